from odoo.tests import tagged

from odoo.addons.dunning_mail.tests.common import DunningCommon


@tagged('post_install', '-at_install')
class TestThirdReason(DunningCommon):
    """A reason to rest that the addon itself does not know: asked by the proposal and by the recheck all the same."""

    def let_rest(self, move, amount=0.0, days=10):
        return self.env['test.dunning.third.reason'].create({
            'item_id': self.receivable(move).id, 'amount': amount, 'until': self.days(days)})

    def test_whole_and_part(self):
        partner = self.make_partner('Acme', email=False)
        whole, part, free = (self.make_invoice(partner, amount) for amount in (100.0, 70.0, 20.0))
        self.let_rest(whole)
        self.let_rest(part, 30.1)
        run = self.make_run(partner_ids=partner.ids)
        self.assertEqual(
            {line.move_id: (line.amount_residual, line.amount_resting) for line in run.notice_ids.line_ids},
            {part: (39.9, 30.1), free: (20.0, 0.0)})
        exceptions = {one.move_id: (one.reason, one.amount) for one in run.exception_ids}
        self.assertEqual(exceptions, {whole: ('resting', 100.0), part: ('resting', 30.1)})
        self.assertTrue(all('the insurer pays' in one.description for one in run.exception_ids))

    def test_while_it_waits_to_be_printed(self):
        partner, other = self.make_partner('Acme', email=False), self.make_partner('Other', email=False)
        whole, part = self.make_invoice(partner, 100.0), self.make_invoice(other, 50.0)
        run = self.make_run(partner_ids=(partner | other).ids)
        run.action_print_and_send()
        self.let_rest(whole)
        self.let_rest(part, 20.0)
        run._hand_out_letters()
        notices = {notice.partner_id: notice for notice in run.notice_ids}
        self.assertEqual(notices[partner].state, 'cancelled')
        self.assertIn('the insurer pays', notices[partner].delivery_info or '')
        self.assertEqual((notices[other].state, notices[other].amount_total), ('issued', 30.0))
