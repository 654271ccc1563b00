from odoo.exceptions import UserError
from odoo.tests import Form, tagged

from .common import TODAY
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestRestingCharges(RestCase):
    """Charges of what rests, rest with it; they can be promised too."""

    def setUp(self):
        super().setUp()
        self.set_fee(self.level_1, 20)
        self.company.dunning_interest_profile_id = self.env.ref('dunning_mail.interest_profile_ch')
        self.company.dunning_interest_profile_id.begin = 'due_date'
        self.procedure.level_ids.charge_interest = True
        self.invoice = self.make_invoice(self.partner, 1000.0, due='2026-09-01')
        self.first = self.dun(self.days(-3), partner_ids=self.partner.ids).notice_ids
        self.charges = self.first.charge_ids
        self.asked = sum(self.charges.mapped('amount'))
        self.clock.move_to(f'{TODAY} 08:00:00')
        self.assertEqual(sorted(self.charges.mapped('kind')), ['fee', 'interest'])

    def propose(self):
        """The notice of another item, which fell due since."""
        self.other = self.make_invoice(self.partner, 50.0, due='2026-11-01')
        return self.make_run(partner_ids=self.partner.ids).notice_ids

    def extra_charges(self, notice):
        return notice.charge_line_ids.filtered(lambda line: line.charge_id.notice_id != notice).charge_id

    def open_dialog(self):
        action = self.invoice.with_user(self.clerk).action_dunning_promise()
        return Form(self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']))

    def test_with_whatever_lets_the_item_rest(self):
        for kind in ('promised', 'contested', 'answered', 'part', 'nothing'):
            with self.subTest(kind), self.env.cr.savepoint() as savepoint:
                if kind == 'promised':
                    self.promise(self.invoice)
                elif kind == 'contested':
                    self.dispute(self.invoice)
                elif kind == 'answered':
                    self.first.sudo().write({'answer_state': 'open', 'answer_rest_until': self.days(5)})
                elif kind == 'part':
                    self.promise(self.invoice, lines=[(10, 400.0)])
                notice = self.propose()
                due = notice.due_line_ids.move_id
                self.assertEqual(due, self.other, "the next level of the earlier item is not due yet")
                is_asked = kind in ('part', 'nothing')
                self.assertEqual(self.extra_charges(notice), self.charges if is_asked else self.charges.browse())
                savepoint.rollback()
                self.env.invalidate_all()

    def test_on_a_letter_that_waits(self):
        notice = self.propose()
        self.assertEqual(self.extra_charges(notice), self.charges)
        notice.run_id.action_print_and_send()
        self.promise(self.invoice)
        notice.run_id._hand_out_letters()
        self.assertEqual((notice.state, self.extra_charges(notice)), ('issued', self.charges.browse()))
        self.assertIn('Promised until', ' '.join(notice.delivery_log_ids.mapped('text')))

    def test_credit_covers_what_does_not_rest(self):
        self.promise(self.invoice, lines=[(10, 800.0)])
        find = self.env['dunning.proposal']._find_resting_charges
        self.assertFalse(find(self.charges, TODAY))
        self.make_unallocated(self.partner, 200.0, day='2026-11-20')
        self.assertEqual(set(find(self.charges, TODAY)), set(self.charges.ids))

    def test_promised_too(self):
        form = self.open_dialog()
        self.assertEqual(form.amount, 1000.0)
        self.assertAlmostEqual(form.amount_charges, self.asked, 2)
        form.with_charges = True
        total = form.amount
        self.assertAlmostEqual(total, 1000.0 + self.asked, 2)
        form.date = self.days(10)
        promise = self.env['dunning.promise'].browse(form.save().action_make()['res_id'])
        self.assertAlmostEqual(promise.amount, total, 2)
        self.assertEqual(set(promise.sudo().charges), {str(one) for one in self.charges.ids})
        self.assertFalse(self.extra_charges(self.propose()))
        # The items first: what was promised beyond them is still to come, and its charges still rest.
        self.pay(self.invoice, day=self.days(1))
        self.assertEqual((promise.state, promise.amount_received), ('open', 1000.0))
        self.assertEqual(
            set(self.env['dunning.proposal']._find_resting_charges(self.charges, TODAY)), set(self.charges.ids))
        self.go_to(13)
        self.assertEqual((promise.state, promise.is_missed), ('partly', True))
        self.assertFalse(self.env['dunning.proposal']._find_resting_charges(self.charges, self.days(13)))

    def test_promised_and_paid_or_given_up(self):
        for kind in ('paid', 'waived', 'little'):
            with self.subTest(kind), self.env.cr.savepoint() as savepoint:
                promise = self.promise(
                    self.invoice, lines=[(10, 1000.0 + self.asked)], with_charges=True)
                if kind == 'waived':
                    self.charges._waive('Kulanz')
                else:
                    self.make_unallocated(
                        self.partner, self.asked if kind == 'paid' else self.asked - 1, day=self.days(2))
                self.pay(self.invoice, day=self.days(2))
                self.clock.move_to(f'{self.days(13)} 08:00:00')
                promise._value()
                self.clock.move_to(f'{TODAY} 08:00:00')
                self.assertEqual(promise.state, 'partly' if kind == 'little' else 'kept')
                savepoint.rollback()
                self.env.invalidate_all()

    def test_no_more_than_is_asked_for(self):
        with self.assertRaisesRegex(UserError, 'only'):
            self.promise(self.invoice, lines=[(10, 1000.0 + self.asked)])
        with self.assertRaisesRegex(UserError, 'only'):
            self.promise(self.invoice, lines=[(10, 1001.0 + self.asked)], with_charges=True)
