"""What becomes of charges: their notice goes or comes back, their item was not owed, they are given up or paid."""

from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user, tagged

from .common import DunningMailCommon, read_pdf
from .test_charge_interest import InterestCase
from .test_charges import ChargeCase


class LifeCase(ChargeCase, InterestCase):
    """Fees of 10, 20 and 30; interest of 0.50 a day of an item of 3600, where a profile is chosen."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.set_fee(cls.level_3, 30)

    def make_old(self, amount=3600.0, partner=None, **values):
        return self.make_invoice(
            partner or self.partner, amount, **{'due': '2026-05-31', 'invoice_date': '2026-05-01', **values})

    def dun_partner(self, day, partner=None):
        return self.dun(day, partner_ids=(partner or self.partner).ids).notice_ids

    def propose_partner(self, day, partner=None):
        return self.make_run(day, partner_ids=(partner or self.partner).ids).notice_ids

    def hand_out(self, notice):
        notice.run_id._hand_out_letters()

    def print_again(self, notice):
        self.hand_out(notice)
        notice.action_mark_printed()
        self.assertTrue(notice.printed_at)

    def credit(self, invoice, amount=None, **values):
        """Reconcile a credit note with an invoice, in full or in part."""
        refund = self.make_invoice(
            invoice.partner_id, amount or invoice.amount_total, move_type='out_refund', **values)
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        return refund

    def of_kind(self, notice, kind):
        return notice.charge_ids.filtered(lambda charge: charge.kind == kind)

    def process(self):
        self.env['dunning.charge']._process()


@tagged('post_install', '-at_install')
class TestNoticesThatGo(LifeCase):
    """A charge stands again where what stood for it is gone, unless its own notice is."""

    def test_all_cancelled(self):
        self.make_old()
        self.use_profile('ch')
        first, second = self.dun_partner('2026-06-30'), self.dun_partner('2026-07-30')
        for order in (first | second, second | first):
            with self.subTest(order=order.ids), self.env.cr.savepoint() as savepoint:
                for notice in order:
                    notice.action_cancel()
                self.assertEqual({state for *_words, state in self.states(first, second)}, {'cancelled'})
                again = self.propose_partner('2026-08-30')
                self.assertEqual((again.amount_fee, again.amount_interest, again.amount_earlier), (10.0, 45.0, 0.0))
                savepoint.rollback()
                self.env.invalidate_all()
        (first | second).action_cancel()
        self.assertEqual({state for *_words, state in self.states(first, second)}, {'cancelled'})

    def test_one_of_three_cancelled(self):
        """What the last one stands for too is not asked for beside it."""
        self.make_old()
        first, second, third = (self.dun_partner(f'2026-{month}-25') for month in ('06', '07', '08'))
        self.assertEqual(self.states(first, second, third), [
            ('fee', 10.0, 'replaced'), ('fee', 20.0, 'replaced'), ('fee', 30.0, 'claimed')])
        second.action_cancel()
        self.assertEqual(self.states(first, second, third), [
            ('fee', 10.0, 'replaced'), ('fee', 20.0, 'cancelled'), ('fee', 30.0, 'claimed')])
        third.action_cancel()
        self.assertEqual(self.states(first, second, third), [
            ('fee', 10.0, 'claimed'), ('fee', 20.0, 'cancelled'), ('fee', 30.0, 'cancelled')])

    def test_what_the_last_one_does_not_stand_for(self):
        """The fee in between stood for two; of one of them nothing is on the last notice."""
        paid, _other = self.make_old(), self.make_old(500, due='2026-06-30')
        first = self.dun_partner('2026-06-15')
        second = self.dun_partner('2026-07-25')
        self.pay(paid, day='2026-08-01')
        third = self.dun_partner('2026-08-25')
        self.assertEqual(first.charge_ids.state, 'replaced')
        second.action_cancel()
        self.assertEqual(self.states(first, second, third), [
            ('fee', 10.0, 'claimed'), ('fee', 20.0, 'cancelled'), ('fee', third.amount_fee, 'claimed')])

    def test_given_up_before_its_notice_is_cancelled(self):
        """Nothing was given up of a notice that does not count: the next one asks for all of it."""
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de')
        self.profile.currency_id = self.currency
        self.make_old()
        first = self.dun_partner('2026-06-30')
        amounts = (first.amount_lump_sum, first.amount_interest)
        self.assertTrue(all(amounts))
        first.charge_ids._waive('Kulanz')
        first.action_cancel()
        self.assertEqual(set(first.charge_ids.mapped('state')), {'cancelled'})
        again = self.propose_partner('2026-06-30')
        self.assertEqual((again.amount_lump_sum, again.amount_interest), amounts)
        again.run_id.action_cancel()
        # Also what was left out in the draft, or lapsed.
        second = self.propose_partner('2026-06-30')
        self.of_kind(second, 'lump_sum')._change_amount(0.0, 'Kulanz')
        second.run_id.action_print_and_send()
        self.print_again(second)
        self.of_kind(second, 'interest')._set_lapsed('Old')
        self.assertEqual(set(second.charge_ids.mapped('state')) - {'claimed'}, {'waived', 'lapsed'})
        second.action_cancel()
        third = self.propose_partner('2026-06-30')
        self.assertEqual((third.amount_lump_sum, third.amount_interest), amounts)

    def test_lapsed_lump_sum_leaves_the_fee(self):
        """It is not asked for again, and nothing is set off against it."""
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de')
        self.profile.currency_id = self.currency
        self.procedure.level_ids.charge_interest = False
        self.set_fee(self.procedure.level_ids, 50)
        self.make_old()
        first = self.dun_partner('2026-06-30')
        self.assertEqual((first.amount_lump_sum, first.amount_fee), (40.0, 10.0))
        self.of_kind(first, 'lump_sum')._set_lapsed('Old')
        second = self.propose_partner('2026-07-30')
        self.assertEqual((second.amount_lump_sum, second.amount_fee, second.amount_earlier), (0.0, 50.0, 0.0))
        second._judge_fees_anew()
        self.assertEqual(second.amount_fee, 50.0)


@tagged('post_install', '-at_install')
class TestNeverOwed(LifeCase):
    """What becomes known later corrects what was claimed, also of items that are settled."""

    def setUp(self):
        super().setUp()
        self.use_profile('ch')
        self.invoice = self.make_old()
        self.notice = self.dun_partner('2026-06-30')
        self.assertEqual((self.notice.amount_interest, self.notice.amount_fee), (15.0, 10.0))

    def test_credited_or_taken_back(self):
        ways = {
            'credit note': lambda: self.credit(self.invoice),
            'cancelled': lambda: (self.invoice.button_draft(), self.invoice.button_cancel()),
            'reversed': lambda: self.invoice._reverse_moves(cancel=True),
            'paid before it was due': lambda: self.pay(self.invoice, day='2026-05-20'),
        }
        self.make_old(500, due='2026-06-30')
        for way, act in ways.items():
            with self.subTest(way=way), self.env.cr.savepoint() as savepoint:
                act()
                again = self.propose_partner('2026-07-30')
                self.assertEqual((again.amount_overdue, again.amount_earlier), (500.0, 0.0))
                self.process()
                for charge in self.notice.charge_ids:
                    self.assertEqual(charge.state, 'waived')
                    self.assertTrue(charge.reason)
                    self.assertIn(charge.reason, '\n'.join(self.notice.message_ids.mapped('body')))
                savepoint.rollback()
                self.env.invalidate_all()

    def test_entry_in_draft_overnight(self):
        """Nothing is asked for while it is being corrected, and nothing of it is lost."""
        self.make_old(500, due='2026-06-30')
        self.invoice.button_draft()
        again = self.propose_partner('2026-07-30')
        self.assertEqual((again.amount_overdue, again.amount_earlier), (500.0, 0.0))
        again.run_id.action_cancel()
        for day in ('2026-07-31', '2026-12-31'):
            self.clock.move_to(f'{day} 08:00:00')
            self.process()
            self.assertEqual(set(self.notice.charge_ids.mapped('state')), {'claimed'})
        self.invoice.action_post()
        again = self.propose_partner('2026-12-31')
        self.assertEqual((again.amount_overdue, again.amount_earlier), (4100.0, 0.0))
        again.run_id.action_print_and_send()
        self.print_again(again)
        self.assertEqual(set(self.notice.charge_ids.mapped('state')), {'replaced'})

    def test_paid_earlier_than_known(self):
        """Interest for nine days is owed, and the fee: it was late."""
        self.pay(self.invoice, day='2026-06-10')
        exception = self.make_run('2026-07-30', partner_ids=self.partner.ids).exception_ids
        self.assertEqual((exception.reason, exception.amount), ('charges', 14.5))
        self.make_old(500, due='2026-06-30')
        again = self.propose_partner('2026-07-30')
        self.assertEqual(again.amount_earlier, 14.5)
        self.process()
        charge = self.of_kind(self.notice, 'interest')
        self.assertEqual((charge.state, charge.amount, charge.amount_calculated), ('claimed', 4.5, 4.5))
        self.assertEqual([(row['days'], float(row['amount'])) for row in charge.detail], [(9, 4.5)])
        self.assertIn("became known later", charge.reason)
        self.assertEqual(self.of_kind(self.notice, 'fee').state, 'claimed')
        self.process()
        self.assertEqual(charge.amount, 4.5)
        self.assertEqual(self.notice.amount_interest, 15.0, "what the letter said")

    def test_words_in_the_language_of_the_company(self):
        self.company.partner_id.lang = 'de_DE'
        self.pay(self.invoice, day='2026-07-02')
        self.clock.move_to('2026-10-10 08:00:00')
        self.process()
        for charge in self.notice.charge_ids:
            self.assertEqual(charge.state, 'lapsed')
            self.assertIn('Tagen', charge.reason)

    def test_in_part(self):
        """As of payments and credit notes that leave the item open."""
        self.credit(self.invoice, 1800)
        self.process()
        self.assertEqual(self.of_kind(self.notice, 'interest').amount, 7.5)
        self.pay(self.invoice, 900, day='2026-06-16')
        self.process()
        self.assertEqual(self.of_kind(self.notice, 'interest').amount, 5.63)
        again = self.propose_partner('2026-07-30')
        self.assertEqual(again.amount_interest, 9.38, "nothing was given up: 15 days of 1800, 45 of 900")

    def test_nothing_is_owed_of_what_a_person_lowered(self):
        charge = self.of_kind(self.notice, 'interest')
        charge.sudo().write({'amount': 6.0, 'is_set': True})
        self.pay(self.invoice, day='2026-06-20')
        self.process()
        self.assertEqual((charge.amount, charge.amount_calculated), (6.0, 9.5))
        self.invoice.line_ids.remove_move_reconcile()
        self.pay(self.invoice, day='2026-06-05')
        self.process()
        self.assertEqual((charge.amount, charge.amount_calculated), (2.0, 2.0))

    def test_paid_when_it_was_known(self):
        self.pay(self.invoice, day='2026-07-02')
        self.process()
        self.assertEqual(set(self.notice.charge_ids.mapped('state')), {'claimed'})
        self.assertEqual(self.of_kind(self.notice, 'interest').amount, 15.0)

    def test_rates_that_changed_since(self):
        """What was right when it was claimed stays."""
        self.profile.business_rate = 1.0
        self.company.dunning_interest_profile_id = False
        self.partner.dunning_debtor_kind = 'consumer'
        self.pay(self.invoice, day='2026-07-02')
        self.process()
        self.assertEqual(self.of_kind(self.notice, 'interest').amount, 15.0)

    def test_only_charges_and_nothing_of_them(self):
        self.credit(self.invoice)
        self.assertFalse(self.make_run('2026-07-30', partner_ids=self.partner.ids).exception_ids)

    def test_on_a_letter_that_has_not_left(self):
        self.level_2.charge_interest = False
        self.make_old(500, due='2026-06-30')
        again = self.propose_partner('2026-07-30')
        again.run_id.action_print_and_send()
        self.assertEqual(again.amount_earlier, 15.0)
        self.pay(self.invoice, 3599, day='2026-06-10')
        self.hand_out(again)
        self.assertEqual(again.amount_earlier, 4.5)
        self.credit(self.invoice, 1)
        self.hand_out(again)
        self.assertEqual(again.amount_earlier, 4.5)
        self.assertIn('4,50', read_pdf(again._get_document_bytes()))

    def test_reinstated_by_a_person(self):
        """A credit note that was goodwill takes nothing back, if a person says so."""
        self.credit(self.invoice)
        self.process()
        charge = self.of_kind(self.notice, 'interest')
        self.wizard(charge, 'action_reinstate')
        self.assertEqual((charge.state, charge.amount), ('claimed', 15.0))
        self.process()
        self.assertEqual(charge.state, 'claimed')
        exception = self.make_run('2026-07-30', partner_ids=self.partner.ids).exception_ids
        self.assertEqual(exception.amount, 15.0)

    def test_credit_note_that_is_taken_back(self):
        """The item is open again with all that it bears: nothing was given up."""
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de')
        self.profile.currency_id = self.currency
        other = self.make_partner('Other')
        invoice = self.make_old(partner=other)
        notice = self.dun_partner('2026-06-30', other)
        self.assertEqual(notice.amount_lump_sum, 40.0)
        refund = self.credit(invoice)
        self.process()
        self.assertEqual(set(notice.charge_ids.mapped('state')), {'waived'})
        refund.line_ids.remove_move_reconcile()
        refund.button_draft()
        again = self.propose_partner('2026-07-30', other)
        self.assertEqual(again.amount_lump_sum, 40.0)
        self.assertGreater(again.amount_interest, notice.amount_interest)

    def test_settled_before_the_default_began(self):
        """A lump sum falls with the interest; the fee does not: the item was late."""
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de', begin='notice')
        self.profile.currency_id = self.currency
        self.set_fee(self.level_2, 50)
        other = self.make_partner('Other')
        invoice = self.make_old(partner=other)
        self.dun_partner('2026-06-30', other)
        notice = self.dun_partner('2026-07-30', other)
        self.assertEqual(sorted(notice.charge_ids.mapped('kind')), ['fee', 'interest', 'lump_sum'])
        self.pay(invoice, day='2026-07-10')
        self.process()
        self.assertEqual(self.of_kind(notice, 'lump_sum').state, 'claimed', "it was in default")
        invoice.line_ids.remove_move_reconcile()
        self.pay(invoice, day='2026-06-20')
        self.process()
        self.assertEqual({charge.kind: charge.state for charge in notice.charge_ids}, {
            'fee': 'claimed', 'interest': 'waived', 'lump_sum': 'waived'})

    def test_in_another_currency(self):
        other = self.make_partner('Other')
        invoice = self.make_old(partner=other, currency=self.foreign)
        notice = self.dun_partner('2026-06-30', other)
        self.assertEqual((notice.currency_id, notice.amount_interest), (self.foreign, 15.0))
        self.pay(invoice, day='2026-06-10')
        self.process()
        self.assertEqual(self.of_kind(notice, 'interest').amount, 4.5)

    def test_items_of_a_fee(self):
        """It falls when none of its items was owed."""
        other = self.make_partner('Other')
        first, second = (self.make_old(500, other) for _number in range(2))
        fee = self.of_kind(self.dun_partner('2026-07-01', other), 'fee')
        self.credit(first)
        self.process()
        self.assertEqual(fee.state, 'claimed')
        self.credit(second)
        self.process()
        self.assertEqual(fee.state, 'waived')

    def test_statements(self):
        """As many for each run."""
        def count(number):
            partners = self.env['res.partner'].concat(*(
                self.make_partner(f'Late {number} {i}') for i in range(number)))
            for partner in partners:
                self.pay(self.make_old(partner=partner), 3599, day='2026-08-01')
                self.make_old(50, partner, due='2026-06-30')
            self.dun('2026-07-01', partner_ids=partners.ids)
            self.level_2.charge_interest = False
            run = self.make_run('2026-08-30', generate=False, partner_ids=partners.ids)
            self.env.cr.flush()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            run.action_generate_notices()
            self.env.flush_all()
            self.level_2.charge_interest = True
            return self.env.cr.sql_log_count - before

        count(1)
        self.assertEqual(count(2), count(5))


@tagged('post_install', '-at_install')
class TestGivenUpAndBack(LifeCase):
    """A notice that leaves once more does not ask for what was given up meanwhile."""

    def setUp(self):
        super().setUp()
        self.use_profile('ch')
        self.invoice = self.make_old()

    def test_interest(self):
        """Dated anew it asks for the days since."""
        notice = self.dun_partner('2026-06-30')
        self.of_kind(notice, 'interest')._waive('Kulanz')
        notice.action_unmark_printed()
        self.clock.move_to('2026-07-10 08:00:00')
        self.hand_out(notice)
        self.assertEqual((str(notice.date), notice.amount_interest, notice.amount_fee), ('2026-07-10', 5.0, 10.0))
        self.assertEqual(notice.amount_total, 3615.0)
        notice.action_mark_printed()
        interest = self.of_kind(notice, 'interest')
        self.assertEqual(
            sorted(zip(interest.mapped('state'), interest.mapped('amount'), strict=True)),
            [('claimed', 5.0), ('waived', 15.0)])
        again = self.propose_partner('2026-08-10')
        self.assertEqual(again.amount_interest, 20.0, "35 less 15")

    def test_on_the_same_day(self):
        notice = self.dun_partner('2026-06-30')
        notice.charge_ids._waive('Kulanz')
        notice.action_unmark_printed()
        self.hand_out(notice)
        self.assertEqual((notice.amount_interest, notice.amount_fee, notice.amount_total), (0.0, 0.0, 3600.0))
        self.assertEqual(set(notice.charge_ids.mapped('state')), {'waived'})
        text = read_pdf(notice._get_document_bytes())
        self.assertIn('3.600,00', text)
        for words in ('15,00', '10,00', 'Verzugszins'):
            self.assertNotIn(words, text)

    def test_lump_sum(self):
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de')
        self.profile.currency_id = self.currency
        self.procedure.level_ids.charge_interest = False
        notice = self.dun_partner('2026-06-30')
        self.assertEqual(notice.amount_lump_sum, 40.0)
        self.of_kind(notice, 'lump_sum')._waive('Kulanz')
        notice.action_unmark_printed()
        self.pay(self.invoice, 600, day='2026-06-30')
        self.hand_out(notice)
        self.assertEqual((notice.amount_overdue, notice.amount_lump_sum), (3000.0, 0.0))
        self.assertEqual(len(self.of_kind(notice, 'lump_sum')), 1)

    def test_left_out_once(self):
        other = self.make_old(7200)
        notice = self.propose_partner('2026-06-30')
        left_out = notice.charge_ids.filtered(lambda charge: charge.move_line_id == self.receivable(self.invoice))
        left_out._change_amount(0.0, 'Kulanz')
        notice.run_id.action_print_and_send()
        self.print_again(notice)
        notice.action_unmark_printed()
        self.pay(other, 3600, day='2026-06-16')
        self.print_again(notice)
        self.assertEqual((notice.amount_interest, sum(notice.charge_ids.mapped('amount_waived'))), (22.5, 15.0))
        again = self.propose_partner('2026-07-30')
        self.assertEqual(again.amount_interest, 15.0 + 22.5 + 15.0, "of 30 and 37.50, less 15")

    def test_fee_of_the_run_is_decided(self):
        """It does not come back on another notice of the run."""
        self.company.dunning_account_grouping = 'separate'
        notice = self.dun_partner('2026-06-30')
        self.of_kind(notice, 'fee')._waive('Kulanz')
        notice.action_unmark_printed()
        notice._judge_fees_anew()
        self.hand_out(notice)
        self.assertEqual((notice.amount_fee, len(self.of_kind(notice, 'fee'))), (0.0, 1))

    def test_money_that_was_there_for_it(self):
        """It is a credit once nothing of it is asked for."""
        notice = self.dun_partner('2026-06-30')
        payment = self.make_unallocated(self.partner, 3604, day='2026-07-02')
        (self.receivable(self.invoice) | self.receivable(payment)).reconcile()
        self.make_old(500, due='2026-06-30')
        run = self.make_run('2026-07-30', partner_ids=self.partner.ids)
        self.assertEqual((run.notice_ids.amount_credit, run.notice_ids.amount_earlier), (0.0, 21.0))
        self.wizard(notice.charge_ids, 'action_waive')
        run.action_generate_notices()
        self.assertEqual((run.notice_ids.amount_credit, run.notice_ids.amount_earlier), (4.0, 0.0))

    def test_before_it_has_left(self):
        """It is waived, and the letter is made without it."""
        run = self.make_run('2026-06-30', partner_ids=self.partner.ids)
        notice = run.notice_ids
        with self.assertRaisesRegex(UserError, "In a draft, change its amount"):
            self.wizard(notice.charge_ids, 'action_waive')
        run.action_print_and_send()
        interest, fee = self.of_kind(notice, 'interest'), self.of_kind(notice, 'fee')
        with self.assertRaisesRegex(UserError, "Waive the charge instead"):
            self.wizard(fee, 'action_change', amount=3.0)
        self.wizard(interest | fee, 'action_waive')
        self.hand_out(notice)
        self.assertEqual((notice.amount_interest, notice.amount_fee, notice.amount_total), (0.0, 0.0, 3600.0))
        notice.action_mark_printed()
        self.assertEqual((interest.state, fee.state, fee.amount_waived), ('waived', 'waived', 10.0))
        self.wizard(fee, 'action_reinstate')
        self.assertEqual(fee.state, 'claimed')

    def test_reinstated_before_it_has_left(self):
        run = self.make_run('2026-06-30', partner_ids=self.partner.ids)
        notice = run.notice_ids
        run.action_print_and_send()
        fee = self.of_kind(notice, 'fee')
        self.wizard(fee, 'action_waive')
        self.wizard(fee, 'action_reinstate')
        self.assertEqual(fee.state, 'draft')
        self.print_again(notice)
        self.assertEqual((fee.state, notice.amount_fee), ('claimed', 10.0))

    def test_calculation_is_brought_up_to_date(self):
        """Also where the amount stays: a person has set it, or it is the same."""
        notice = self.propose_partner('2026-06-30')
        interest = self.of_kind(notice, 'interest')
        interest._change_amount(5.0, 'Kulanz')
        notice.run_id.action_print_and_send()
        self.clock.move_to('2026-07-10 08:00:00')
        self.print_again(notice)
        interest = self.of_kind(notice, 'interest')
        self.assertEqual((interest.amount, interest.amount_calculated, str(interest.date_to), interest.reason),
                         (5.0, 20.0, '2026-07-10', 'Kulanz'))
        self.assertEqual([row['days'] for row in interest.detail], [40])
        again = self.propose_partner('2026-08-10')
        self.assertEqual(again.amount_interest, 20.0, "35 less 15")

    def test_calculation_of_a_draft(self):
        """What changes nothing but the calculation is told, and what changes nothing is not."""
        notice = self.propose_partner('2026-06-30')
        interest = self.of_kind(notice, 'interest')
        interest._change_amount(2.0, 'Kulanz')
        self.assertEqual(notice._recheck(keep_dates=True)[notice.id].code, 'same')
        self.profile.business_rate = 10.0
        verdict = notice._recheck(keep_dates=True)[notice.id]
        self.assertEqual((verdict.code, "calculation" in verdict.words), ('changed', True))
        notice._mend_draft()
        interest = self.of_kind(notice, 'interest')
        self.assertEqual((interest.amount, interest.amount_calculated), (2.0, 30.0))
        self.assertEqual(notice._recheck(keep_dates=True)[notice.id].code, 'same')


@tagged('post_install', '-at_install')
class TestSettled(LifeCase):
    """Its money was booked elsewhere: a person says so, with a reason."""

    def test_is_not_asked_for_again(self):
        self.set_fee(self.level_2, 20, 'cumulated')
        self.make_old()
        notice = self.dun_partner('2026-06-30')
        fee = notice.charge_ids
        self.wizard(fee, 'action_settle', reason='Auf 2700 gebucht')
        self.assertEqual((fee.state, fee.reason, fee.amount_waived), ('paid', 'Auf 2700 gebucht', 0.0))
        for record in (notice, self.partner):
            self.assertIn('Auf 2700 gebucht', record.message_ids[0].body)
        run = self.propose_partner('2026-07-30').run_id
        self.assertEqual((run.notice_ids.amount_fee, run.notice_ids.amount_earlier), (20.0, 0.0))
        self.wizard(fee, 'action_reinstate', reason='Irrtum')
        self.assertEqual((fee.state, fee.amount), ('claimed', 10.0))
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.amount_earlier, 10.0)
        self.wizard(fee, 'action_settle')
        with self.assertRaisesRegex(UserError, "is not claimed"):
            self.wizard(fee, 'action_waive')
        with self.assertRaisesRegex(UserError, "is not claimed"):
            self.wizard(fee, 'action_settle')
        self.assertEqual(self.env['dunning.charge'].search([('state', '=', 'paid')]), fee)

    def test_interest_and_lump_sum(self):
        """What was paid is taken off what is reckoned later, and a lump sum is due once."""
        self.use_profile('ch')
        self.make_old()
        first = self.dun_partner('2026-06-30')
        self.of_kind(first, 'interest')._settle('Gebucht')
        again = self.propose_partner('2026-07-30')
        self.assertEqual((again.amount_interest, again.amount_earlier), (15.0, 0.0), "30 less 15")
        second = again
        second.run_id.action_print_and_send()
        self.print_again(second)
        self.assertEqual(self.of_kind(first, 'interest').state, 'paid')
        self.procedure.level_ids.charge_lump_sum = True
        self.use_profile('de')
        self.profile.currency_id = self.currency
        other = self.make_partner('Other')
        self.make_old(partner=other)
        notice = self.dun_partner('2026-06-30', other)
        self.of_kind(notice, 'lump_sum')._settle('Gebucht')
        self.assertEqual(self.propose_partner('2026-07-30', other).amount_lump_sum, 0.0)

    def test_stays_paid(self):
        """Whatever becomes of its notice; when that leaves again, it does not ask for it."""
        self.make_old()
        notice = self.dun_partner('2026-06-30')
        notice.charge_ids._settle('Gebucht')
        notice.action_unmark_printed()
        self.assertEqual(notice.charge_ids.state, 'paid')
        self.hand_out(notice)
        self.assertEqual((notice.amount_fee, notice.amount_total), (0.0, 3600.0))
        notice.action_cancel()
        self.assertEqual(notice.charge_ids.state, 'paid')

    def test_who_may(self):
        """A clerk up to the limit for waiving, for it is asked for as little; who only reads may not."""
        self.company.dunning_waive_limit = 5.0
        self.make_old()
        notice = self.dun_partner('2026-06-30')
        reader = new_test_user(self.env, 'settle_reader', groups='account.group_account_readonly')
        with self.assertRaises(UserError):
            notice.charge_ids.with_user(reader)._settle('x')
        with self.assertRaises(AccessError):
            notice.charge_ids.with_user(self.clerk)._settle('Gebucht')
        self.company.dunning_waive_limit = 10.0
        notice.charge_ids.with_user(self.clerk)._settle('Gebucht')
        self.assertEqual(notice.charge_ids.state, 'paid')

    def test_from_the_exceptions(self):
        invoice = self.make_old()
        notice = self.dun_partner('2026-06-30')
        self.pay(invoice, day='2026-07-02')
        run = self.make_run('2026-07-30', partner_ids=self.partner.ids)
        self.wizard(run.exception_ids, 'action_settle_all')
        self.assertEqual(notice.charge_ids.state, 'paid')
        run.action_generate_notices()
        self.assertFalse(run.exception_ids)


@tagged('post_install', '-at_install')
class TestStartedAgain(LifeCase):
    """Default begins anew with the next notice; what was claimed before stands for itself."""

    def setUp(self):
        super().setUp()
        self.use_profile('ch', begin='notice')
        self.invoice = self.make_old()
        self.dun_partner('2026-06-30')
        self.second = self.dun_partner('2026-07-30')
        self.assertEqual(self.second.amount_interest, 15.0)

    def restart(self):
        self.clock.move_to('2026-08-10 08:00:00')
        self.receivable(self.invoice)._restart_dunning('Agreed')

    def test_interest_claimed_before(self):
        self.restart()
        third = self.dun_partner('2026-08-30')
        self.assertEqual((third.amount_interest, third.amount_earlier), (0.0, 15.0 + self.second.amount_fee))
        fourth = self.dun_partner('2026-09-30')
        interest = self.of_kind(fourth, 'interest')
        self.assertEqual((interest.amount, interest.reason), (15.0, False))
        self.assertEqual(self.of_kind(self.second, 'interest').state, 'claimed')
        fifth = self.propose_partner('2026-10-30')
        self.assertEqual(fifth.amount_interest, 30.0)
        self.assertIn(self.of_kind(self.second, 'interest'), fifth.line_ids.charge_id)
        self.assertNotIn(interest, fifth.line_ids.charge_id)

    def test_given_up_before(self):
        self.of_kind(self.second, 'interest')._waive('Kulanz')
        self.restart()
        self.dun_partner('2026-08-30')
        self.assertEqual(self.propose_partner('2026-09-30').amount_interest, 15.0)

    def test_from_the_due_date(self):
        """Nothing begins anew: later interest contains what was claimed."""
        self.profile.begin = 'due_date'
        self.restart()
        third = self.dun_partner('2026-08-30')
        self.assertEqual(third.amount_interest, 45.0)
        self.assertEqual(self.of_kind(self.second, 'interest').state, 'replaced')

    def test_another_due_date(self):
        """What is less for another reason than money that came says no such thing."""
        self.profile.begin = 'due_date'
        other = self.make_partner('Other')
        invoice = self.make_old(partner=other)
        self.dun_partner('2026-06-30', other)
        invoice.invoice_date_due = '2026-07-09'
        interest = self.of_kind(self.propose_partner('2026-07-25', other), 'interest')
        self.assertEqual(interest.amount, 8.0)
        self.assertIn("Less than was claimed before", interest.reason)
        self.assertNotIn('payment', interest.reason)


@tagged('post_install', '-at_install')
class TestGivenUpByMail(DunningMailCommon):

    def setUp(self):
        super().setUp()
        self.set_fee(self.level_1, 10)
        self.set_fee(self.level_2, 20)
        self.make_letters_simple()
        self.clerk.lang = 'en_US'
        self.notice = self.release('Acme')
        self.run_engine()
        self.charge = self.notice.charge_ids
        self.assertEqual((self.notice.delivery_state, self.charge.state), ('sent', 'claimed'))

    def test_late_bounce(self):
        """The mail that was sent asks for what was given up: it does not leave again."""
        self.assertEqual(self.notice._recheck()[self.notice.id].code, 'same')
        self.charge._waive('Kulanz')
        # Asked also for addresses that are still to be tried.
        self.assertEqual(self.notice._recheck()[self.notice.id].code, 'changed')
        self.notice.sudo()._set_failed('Bounced')
        with self.assertRaisesRegex(UserError, "not asked for any more"):
            self.notice.action_retry()
        self.assertEqual((self.notice.delivery_state, self.charge.state), ('failed', 'waived'))
        self.run_engine()
        self.assertEqual(len(self.mails()), 1)
        self.charge._reinstate('Irrtum')
        self.notice.action_retry()
        self.run_engine()
        self.assertEqual((self.notice.delivery_state, self.charge.state), ('sent', 'claimed'))

    def test_waived_while_it_failed(self):
        self.notice.sudo()._set_failed('Bounced')
        self.charge._waive('Kulanz')
        self.assertEqual(self.charge.state, 'waived')
        with self.assertRaises(UserError):
            self.notice.action_retry()
        self.notice.action_cancel()
        self.assertEqual(self.charge.state, 'cancelled')

    def test_bounced_after_a_later_fee_took_its_place(self):
        run = self.make_run(self.days(15), partner_ids=self.notice.partner_id.ids)
        run.action_print_and_send()
        self.run_engine()
        later = run.notice_ids
        self.assertEqual((self.charge.state, later.charge_ids.state), ('replaced', 'claimed'))
        self.notice.sudo()._set_failed('Bounced')
        later.action_cancel()
        self.assertEqual(self.charge.state, 'draft', "nobody has it")
        exception = self.make_run(self.days(15), partner_ids=self.notice.partner_id.ids).notice_ids
        self.assertEqual(exception.amount_earlier, 0.0)
