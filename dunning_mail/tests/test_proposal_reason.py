"""Why an item has its level, and why another one was left out."""

from odoo.tests import tagged

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestLevelReason(DunningCommon):
    """Each line says which rule gave it its level."""

    def reasons(self, run):
        return {(line.kind, line.move_id): line.level_reason for line in run.notice_ids.line_ids.with_context(
            lang='de_DE')}

    def test_each_kind(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 100, due=self.days(-60))
        self.dun()
        new = self.make_invoice(partner, 50, due=self.days(3))
        fresh = self.make_invoice(partner, 20, due=self.days(13))
        refund = self.make_invoice(partner, 5, move_type='out_refund')
        reasons = self.reasons(self.make_run(self.days(15), lang='de_DE'))
        self.assertEqual(set(reasons), {
            ('due', old), ('due', new), ('info', fresh), ('credit', refund)})
        level_1, level_2 = (level.with_context(lang='de_DE') for level in (self.level_1, self.level_2))
        for words in ('15', '24.11.2026', level_1.name, level_2.name):
            self.assertIn(words, reasons['due', old])
        for words in ('12', str(self.level_1.delay_days), level_1.name):
            self.assertIn(words, reasons['due', new])
        self.assertTrue(reasons['info', fresh])
        self.assertTrue(reasons['credit', refund])
        self.assertEqual(len(set(reasons.values())), 4, "each kind has its own words")

    def test_information_that_was_dunned_before(self):
        partner = self.make_partner('Acme')
        old = self.make_invoice(partner, 10)
        self.dun()
        self.make_invoice(partner, 20, due=self.days(-5))
        reason = self.reasons(self.make_run(self.days(6)))['info', old]
        self.assertIn('24.11.2026', reason)
        self.assertIn(self.level_1.with_context(lang='de_DE').name, reason)

    def test_exception_has_one_click_to_the_record(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner, due=self.days(-2))
        held = self.make_partner('Coop', dunning_hold_until=self.days(3))
        self.make_invoice(held)
        run = self.make_run()
        actions = {exception.partner_id: exception.action_open_record() for exception in run.exception_ids}
        self.assertEqual((actions[partner]['res_model'], actions[partner]['res_id']), ('account.move', invoice.id))
        self.assertEqual((actions[held]['res_model'], actions[held]['res_id']), ('res.partner', held.id))
