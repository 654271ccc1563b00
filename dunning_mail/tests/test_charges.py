from datetime import date

from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form, new_test_user, tagged

from .common import TODAY, DunningCommon, DunningMailCommon, read_pdf


class ChargeCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.set_fee(cls.level_1, 10)
        cls.set_fee(cls.level_2, 20)
        cls.partner = cls.make_partner('Acme')
        cls.clerk.lang = 'en_US'

    def make_counted(self, amount=100.0, day=TODAY, **values):
        """An invoice, and the notice of it that counts."""
        invoice = self.make_invoice(self.partner, amount, **values)
        return invoice, self.dun(day, partner_ids=self.partner.ids).notice_ids

    def states(self, *notices):
        return [(charge.kind, charge.amount, charge.state) for notice in notices for charge in notice.charge_ids]

    def wizard(self, records, action, **values):
        """Press a button that asks for a reason, and answer it."""
        asked = getattr(records, action)()
        form = Form(self.env[asked['res_model']].with_user(self.clerk).with_context(**asked['context']))
        for fname, value in {'reason': 'Kulanz', **values}.items():
            form[fname] = value
        return form.save().action_apply()


@tagged('post_install', '-at_install')
class TestChargeStates(ChargeCase):
    """What becomes of a charge follows from what becomes of its notice."""

    def test_draft_claimed_cancelled(self):
        self.make_invoice(self.partner, 100)
        run = self.make_run(partner_ids=self.partner.ids)
        notice = run.notice_ids
        self.assertEqual(self.states(notice), [('fee', 10.0, 'draft')])
        run.action_print_and_send()
        self.assertEqual(self.states(notice), [('fee', 10.0, 'draft')], "nobody has it yet")
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(self.states(notice), [('fee', 10.0, 'claimed')])
        notice.action_unmark_printed()
        self.assertEqual(self.states(notice), [('fee', 10.0, 'draft')])
        run._hand_out_letters()
        run.action_mark_printed()
        notice.action_cancel()
        self.assertEqual(self.states(notice), [('fee', 10.0, 'cancelled')])

    def test_line_of_each_charge(self):
        _invoice, notice = self.make_counted()
        self.assertEqual(
            [(line.kind, line.charge_id.kind, line.amount_residual) for line in notice.line_ids],
            [('due', False, 100.0), ('charge', 'fee', 10.0)])
        self.assertEqual((notice.amount_fee, notice.amount_earlier, notice.amount_total), (10.0, 0.0, 110.0))

    def test_single_fee_replaces_the_earlier_one(self):
        _invoice, first = self.make_counted()
        run = self.make_run(self.days(15), partner_ids=self.partner.ids)
        second = run.notice_ids
        self.assertEqual((second.amount_fee, second.amount_earlier), (20.0, 0.0))
        self.assertEqual(self.states(first), [('fee', 10.0, 'claimed')], "as long as the other has not left")
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(self.states(first, second), [('fee', 10.0, 'replaced'), ('fee', 20.0, 'claimed')])
        self.assertEqual(first.charge_ids.replaced_by_id, second.charge_ids)
        second.action_cancel()
        self.assertEqual(
            self.states(first, second), [('fee', 10.0, 'claimed'), ('fee', 20.0, 'cancelled')],
            "nothing stands for it any more")

    def test_cumulated_fee_is_named_with_date_and_notice(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        _invoice, first = self.make_counted()
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_fee, second.amount_earlier, second.amount_total), (20.0, 10.0, 130.0))
        earlier = second.line_ids.filtered('is_earlier_charge').filtered('charge_id')
        self.assertEqual((earlier.name, earlier.date_invoice), (first.name, TODAY))
        self.assertEqual(self.states(first, second), [('fee', 10.0, 'claimed'), ('fee', 20.0, 'claimed')])
        text = read_pdf(second._get_document_bytes())
        self.assertIn(first.name, text)
        self.assertIn('130,00', text)

    def test_fee_of_another_debt_is_asked_for_beside_the_new_one(self):
        invoice, first = self.make_counted()
        self.pay(invoice)
        _other, second = self.make_counted(day=self.days(5), due='2026-11-10')
        self.assertEqual((second.amount_fee, second.amount_earlier), (10.0, 10.0))
        self.assertEqual(self.states(first, second), [('fee', 10.0, 'claimed')] * 2)

    def test_stands_on_one_open_notice_only(self):
        invoice, first = self.make_counted()
        self.pay(invoice)
        self.make_invoice(self.partner, 50, due='2026-11-10')
        one = self.make_run(self.days(1), partner_ids=self.partner.ids).notice_ids
        self.make_invoice(self.partner, 70, due='2026-11-10')
        other = self.make_run(self.days(1), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((one.amount_earlier, other.amount_earlier), (10.0, 0.0))
        one.action_exclude()
        third = self.make_run(self.days(1), partner_ids=self.partner.ids)
        self.assertEqual(self.states(first), [('fee', 10.0, 'claimed')])
        self.assertEqual(sum((third.notice_ids | other).mapped('amount_earlier')), 10.0)

    def test_lapses_when_all_is_settled_long_ago(self):
        invoice, notice = self.make_counted()
        other, open_notice = self.make_counted(day=self.days(1), due='2026-11-10')
        Charge = self.env['dunning.charge']
        self.pay(invoice, day=self.days(1))
        for day, expected in ((61, 'claimed'), (62, 'lapsed')):
            self.clock.move_to(f'{self.days(day)} 08:00:00')
            Charge._process()
            self.assertEqual(notice.charge_ids.state, expected, day)
        self.assertEqual(open_notice.charge_ids.state, 'claimed', "its item is open")
        self.assertIn('60', notice.charge_ids.reason)
        self.company.dunning_lapse_days = 0
        self.pay(other, day=self.days(2))
        self.clock.move_to(f'{self.days(300)} 08:00:00')
        Charge._process()
        self.assertEqual(open_notice.charge_ids.state, 'claimed', "nothing lapses")

    def test_what_is_paid_does_not_lapse(self):
        invoice, notice = self.make_counted()
        payment = self.make_unallocated(self.partner, 110, day=self.days(1))
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        self.clock.move_to(f'{self.days(200)} 08:00:00')
        self.env['dunning.charge']._process()
        self.assertEqual(notice.charge_ids.state, 'claimed')


@tagged('post_install', '-at_install')
class TestChargesByHand(ChargeCase):
    """What a person does to charges, each with its reason."""

    def test_changed_in_the_draft(self):
        self.make_invoice(self.partner, 100)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        line = notice.line_ids.filtered(lambda line: line.kind == 'charge')
        self.wizard(line, 'action_change_charge', amount=4.0)
        charge = notice.charge_ids
        self.assertEqual((charge.amount, charge.amount_calculated, charge.amount_waived), (4.0, 10.0, 6.0))
        self.assertEqual((charge.reason, charge.is_set, notice.is_edited), ('Kulanz', True, True))
        self.assertEqual((notice.amount_fee, notice.amount_total), (4.0, 104.0))
        self.assertIn('Kulanz', notice.message_ids[0].body)
        notice._change_level(self.level_2, 'Agreed')
        self.assertEqual(notice.amount_fee, 4.0, "a person has set it")
        for amount in (-1.0, float('nan')):
            with self.assertRaises(UserError):
                self.wizard(line, 'action_change_charge', amount=amount)

    def test_left_out_of_the_draft(self):
        """It is not claimed, and not asked for again."""
        self.make_invoice(self.partner, 100)
        run = self.make_run(partner_ids=self.partner.ids)
        notice = run.notice_ids
        self.wizard(notice.line_ids.filtered('charge_id'), 'action_change_charge', amount=0.0)
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        charge = notice.charge_ids
        self.assertEqual((charge.state, charge.amount_waived, notice.amount_total), ('waived', 10.0, 100.0))
        self.set_fee(self.level_2, 20, 'cumulated')
        again = self.make_run(self.days(15), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((again.amount_fee, again.amount_earlier), (20.0, 0.0))
        self.wizard(charge, 'action_reinstate')
        self.assertEqual((charge.state, charge.amount), ('claimed', 10.0))

    def test_costs_added(self):
        self.make_invoice(self.partner, 100)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.wizard(notice, 'action_add_charge', amount=33.0, reason='Betreibungskosten')
        self.assertEqual((notice.amount_fee, notice.amount_cost, notice.amount_total), (10.0, 33.0, 143.0))
        with self.assertRaisesRegex(UserError, "has a fee already"):
            self.wizard(notice, 'action_add_charge', kind='fee', amount=3.0)
        with self.assertRaises(UserError):
            self.wizard(notice, 'action_add_charge', amount=0.0)
        notice.run_id.action_print_and_send()
        with self.assertRaisesRegex(UserError, "is not a draft"):
            self.wizard(notice, 'action_add_charge', amount=3.0)
        self.assertIn('33,00', read_pdf(notice._get_document_bytes()))

    def test_waived_and_reinstated(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        _invoice, notice = self.make_counted()
        charge = notice.charge_ids
        self.wizard(charge, 'action_waive')
        self.assertEqual((charge.state, charge.reason, charge.amount_waived), ('waived', 'Kulanz', 10.0))
        for record in (notice, self.partner):
            self.assertIn('Kulanz', record.message_ids[0].body)
            self.assertEqual(record.message_ids[0].author_id, self.clerk.partner_id)
        run = self.make_run(self.days(15), partner_ids=self.partner.ids)
        self.assertEqual(run.notice_ids.amount_earlier, 0.0)
        self.wizard(charge, 'action_reinstate', reason='Irrtum')
        self.assertEqual((charge.state, charge.reason, charge.amount_waived), ('claimed', 'Irrtum', 0.0))
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.amount_earlier, 10.0)
        with self.assertRaisesRegex(UserError, "cannot be reinstated"):
            self.wizard(charge, 'action_reinstate')

    def test_waived_while_it_stands_on_another_notice(self):
        """The letter says what is true when it leaves."""
        self.set_fee(self.level_2, 20, 'cumulated')
        _invoice, notice = self.make_counted()
        run = self.make_run(self.days(15), partner_ids=self.partner.ids)
        run.action_print_and_send()
        again = run.notice_ids
        self.assertEqual((again.state, again.amount_total), ('issued', 130.0))
        self.wizard(notice.charge_ids, 'action_waive')
        run._hand_out_letters()
        self.assertEqual((again.amount_earlier, again.amount_total), (0.0, 120.0))
        self.assertIn('120,00', read_pdf(again._get_document_bytes()))

    def test_limit_of_a_clerk(self):
        self.company.dunning_waive_limit = 15.0
        first = self.make_counted()[1]
        self.wizard(first.charge_ids, 'action_waive')
        self.set_fee(self.level_1, 15.01)
        second = self.make_counted(due='2026-11-10', day=self.days(1))[1]
        charge = second.charge_ids.filtered(lambda charge: charge.amount == 15.01)
        with self.assertRaisesRegex(AccessError, "15.00.*head of accounts"):
            self.wizard(charge, 'action_waive')
        self.make_invoice(self.partner, 100, due='2026-11-10')
        draft = self.make_run(self.days(1), partner_ids=self.partner.ids).notice_ids
        with self.assertRaises(AccessError):
            draft.charge_ids.with_user(self.clerk)._change_amount(0.0, 'Kulanz')
        draft.charge_ids.with_user(self.clerk)._change_amount(0.01, 'Kulanz')
        with self.assertRaisesRegex(AccessError, r"15\.00.*paid.*15\.01.*head of accounts"):
            self.wizard(charge, 'action_settle')
        charge.with_user(self.manager)._waive('Kulanz')
        self.assertEqual(charge.state, 'waived')

    def test_limit_counts_all_at_once(self):
        self.company.dunning_waive_limit = 15.0
        first, second = self.make_counted()[1], self.make_counted(due='2026-11-10', day=self.days(1))[1]
        charges = first.charge_ids | second.charge_ids
        with self.assertRaises(AccessError):
            charges.with_user(self.clerk)._waive('Kulanz')
        with self.assertRaises(AccessError):
            charges.with_user(self.clerk)._settle('Bar')
        self.assertEqual(set(charges.mapped('state')), {'claimed'})
        charges[0].with_user(self.clerk)._settle('Bar')
        self.assertEqual(charges.mapped('state'), ['paid', 'claimed'])

    def test_who_may(self):
        _invoice, notice = self.make_counted()
        reader = new_test_user(self.env, 'charge_reader', groups='account.group_account_readonly')
        charge = notice.charge_ids
        self.assertEqual(charge.with_user(reader).amount, 10.0)
        for action in (lambda one: one._waive('x'), lambda one: one._reinstate('x'),
                       lambda one: one.write({'state': 'waived'}), lambda one: one.unlink()):
            with self.assertRaises(UserError):
                action(charge.with_user(reader))
                self.env.flush_all()
        other = self.env['res.company'].create({'name': 'Other'})
        stranger = new_test_user(
            self.env, 'stranger', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        self.assertFalse(self.env['dunning.charge'].with_user(stranger).search([]))
        with self.assertRaises(AccessError):
            charge.with_user(stranger)._waive('x')

    def test_only_charges_are_open(self):
        invoice, notice = self.make_counted()
        self.pay(invoice)
        run = self.make_run(self.days(1), partner_ids=self.partner.ids)
        exception = run.exception_ids
        self.assertEqual((exception.reason, exception.amount, exception.document), ('charges', 10.0, notice.name))
        self.wizard(exception, 'action_waive_all')
        self.assertEqual(notice.charge_ids.state, 'waived')
        run.action_generate_notices()
        self.assertFalse(run.exception_ids)

    def test_what_a_payment_left_is_named(self):
        invoice, _notice = self.make_counted()
        payment = self.make_unallocated(self.partner, 104)
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        exception = self.make_run(self.days(1), partner_ids=self.partner.ids).exception_ids
        self.assertRegex(exception.description, r"10\.00.*4\.00")

    def test_screens(self):
        """Each opens for who may see it."""
        self.make_invoice(self.partner, 100)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.assertEqual(Form(notice.with_user(self.clerk)).charge_count, 1)
        self.assertEqual(Form(notice.charge_ids.with_user(self.clerk)).amount, 10.0)
        with Form(self.level_3.with_user(self.env.ref('base.user_admin'))) as level, level.fee_ids.new() as row:
            row.percent = 1.5
            row.maximum = 80.0
        self.assertEqual(self.level_3.fee_ids.mapped('percent'), [1.5])

    def test_smart_buttons(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        _invoice, first = self.make_counted()
        second = self.dun(self.days(15), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((first.charge_count, second.charge_count, self.partner.dunning_charge_count), (1, 2, 2))
        Charge = self.env['dunning.charge']
        self.assertEqual(Charge.search(second.action_open_charges()['domain']), first.charge_ids | second.charge_ids)
        self.assertEqual(len(Charge.search(self.partner.action_open_dunning_charges()['domain'])), 2)


@tagged('post_install', '-at_install')
class TestFeeRows(ChargeCase):

    def propose(self, amount=100.0, currency=None, partner=None):
        partner = partner or self.make_partner('Row')
        self.make_invoice(partner, amount, currency=currency)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def test_rows_of_a_level(self):
        self.level_1.fee_ids = [Command.clear(), *map(Command.create, [
            {'fixed': 5.0}, {'amount_from': 500.0, 'percent': 2.0, 'maximum': 15.0},
            {'currency_id': self.foreign.id, 'fixed': 7.0}])]
        for amount, currency, fee in ((499.99, None, 5.0), (500.0, None, 10.0), (900.0, None, 15.0),
                                      (900.0, self.foreign, 7.0)):
            self.assertEqual(self.propose(amount, currency).amount_fee, fee, amount)

    def test_measured_on_what_is_overdue_less_credits(self):
        self.level_1.fee_ids = [Command.clear(), Command.create({'percent': 10.0})]
        partner = self.make_partner('Credit')
        self.make_invoice(partner, 30, move_type='out_refund')
        self.assertEqual(self.propose(partner=partner).amount_fee, 7.0)
        self.assertEqual(self.propose(40.0, self.foreign).amount_fee, 4.0)

    def test_measured_again_right_before_it_leaves(self):
        self.level_1.fee_ids = [Command.clear(), Command.create({'percent': 10.0})]
        notice = self.propose()
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.amount_fee), ('issued', 10.0))
        self.pay(notice.due_line_ids.move_id.with_env(self.env), 60.0)
        notice.run_id._hand_out_letters()
        self.assertEqual((notice.amount_fee, notice.amount_total), (4.0, 44.0))
        self.assertIn('44,00', read_pdf(notice._get_document_bytes()))

    def test_business_and_consumer(self):
        self.level_1.fee_ids = [
            Command.clear(), Command.create({'debtor': 'business', 'fixed': 40.0}),
            Command.create({'debtor': 'consumer', 'fixed': 2.0})]
        person = self.make_partner('Person', is_company=False)
        for partner, fee, kind in ((None, 40.0, 'business'), (person, 2.0, 'consumer')):
            notice = self.propose(partner=partner)
            self.assertEqual((notice.amount_fee, notice.charge_ids.debtor_kind), (fee, kind))

    def test_bad_rows(self):
        for values in ({'minimum': 5, 'maximum': 4}, {'percent': 101}, {'fixed': 5}):
            with self.subTest(values=values), self.assertRaisesRegex(ValidationError, self.level_1.name):
                self.env['dunning.level.fee'].create({'level_id': self.level_1.id, **values})

    def test_no_rate_for_the_currency(self):
        """Nothing is proposed without a rate, with a fee or not."""
        other = self.env.ref('base.GBP')
        other.active = True
        self.env['res.currency.rate'].search([('currency_id', '=', other.id)]).unlink()
        partner = self.make_partner('Pound')
        self.make_invoice(partner, 100, currency=other)
        run = self.make_run(partner_ids=partner.ids)
        self.assertFalse(run.notice_ids)
        self.assertEqual(run.exception_ids.mapped('reason'), ['no_rate'])


@tagged('post_install', '-at_install')
class TestStatements(ChargeCase):

    def count(self, number):
        partners = self.env['res.partner'].concat(*(self.make_partner(f'Many {number} {i}') for i in range(number)))
        for partner in partners:
            self.make_invoice(partner, 100)
        first = self.dun(partner_ids=partners.ids)
        self.assertEqual(len(first.notice_ids.charge_ids), number)
        run = self.make_run(self.days(15), generate=False, partner_ids=partners.ids)
        self.env.cr.flush()
        self.env.invalidate_all()
        before = self.env.cr.sql_log_count
        run.action_generate_notices()
        self.env.flush_all()
        return self.env.cr.sql_log_count - before

    def test_as_many_for_each_run(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        self.count(1)
        self.assertEqual(self.count(3), self.count(8))


@tagged('post_install', '-at_install')
class TestChargesByMail(DunningMailCommon):

    def test_claimed_when_sent_and_back_when_it_failed(self):
        self.set_fee(self.level_1, 10)
        self.make_letters_simple()
        notice = self.release('Acme')
        charge = notice.charge_ids
        self.assertIn('10,00', notice.items_html)
        self.assertIn('110,00', notice.items_html)
        self.assertEqual(charge.state, 'draft')
        self.run_engine()
        self.assertEqual((notice.delivery_state, charge.state), ('sent', 'claimed'))
        notice.sudo()._set_failed('Bounced')
        self.assertEqual(charge.state, 'draft', "the customer does not have it")
        self.assertEqual(date(2026, 11, 24), charge.date)
