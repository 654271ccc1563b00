from odoo.tests import tagged

from .common import DunningCommon, read_pdf


class InterestCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.level_ids.charge_interest = True
        cls.partner = cls.make_partner('Acme')
        cls.clerk.lang = 'en_US'

    @classmethod
    def use_profile(cls, country, **values):
        """Let the company use an installed profile, here with the due date as the event that begins default."""
        cls.profile = cls.env.ref(f'dunning_mail.interest_profile_{country}')
        cls.profile.write({'begin': 'due_date', **values})
        cls.company.dunning_interest_profile_id = cls.profile

    def propose(self, amount, due, day, partner=None, **values):
        partner = partner or self.partner
        self.make_invoice(partner, amount, due=due, invoice_date=due, **values)
        return self.make_run(day, partner_ids=partner.ids).notice_ids

    def issue(self, notice):
        notice.run_id.action_print_and_send()
        self.assertFalse(notice.problem)
        return read_pdf(notice._get_document_bytes())


@tagged('post_install', '-at_install')
class TestInterestOnNotices(InterestCase):
    """From the ledger to the letter's text, worked out by hand."""

    def test_rate_that_changes_inside_the_period(self):
        """32 days at 10.27 and 31 at 10.52 per cent of 1000, over 365."""
        self.use_profile('de')
        notice = self.propose(1000, '2026-05-29', '2026-07-31')
        self.assertEqual((notice.amount_interest, notice.amount_total), (17.94, 1017.94))
        charge = notice.charge_ids
        self.assertEqual((charge.kind, charge.debtor_kind, charge.move_line_id), (
            'interest', 'business', notice.due_line_ids.move_line_id))
        self.assertEqual((str(charge.date_from), str(charge.date_to)), ('2026-05-30', '2026-07-31'))
        self.assertEqual([(row['days'], float(row['rate'])) for row in charge.detail], [(32, 10.27), (31, 10.52)])
        text = self.issue(notice)
        for words in ('17,94', '1.017,94', '30.05.2026', '30.06.2026', '10,27', '10,52', '9,0038', '8,9348'):
            self.assertIn(words, text)

    def test_what_rests_bears_none(self):
        """As long as it rests, and for the days before it too; it counts again once the dispute is rejected."""
        self.use_profile('de')
        invoice = self.make_invoice(self.partner, 2000, due='2026-05-29', invoice_date='2026-05-29')
        dispute = self.env['dunning.dispute'].create({
            'item_ids': self.receivable(invoice).ids, 'amount': 1000,
            'reason_id': self.env.ref('dunning_mail.dispute_reason_price').id})
        run = self.make_run('2026-07-31', partner_ids=self.partner.ids)
        notice = run.notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (1000.0, 17.94))
        run.action_cancel()
        dispute.closing_note = "As ordered"
        dispute.action_reject()
        notice = self.make_run('2026-07-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (2000.0, 35.88))

    def test_consumer(self):
        self.use_profile('de')
        person = self.make_partner('Person', is_company=False)
        notice = self.propose(1000, '2026-05-29', '2026-07-31', person)
        self.assertEqual((notice.amount_interest, notice.charge_ids.debtor_kind), (11.03, 'consumer'))

    def test_months_of_thirty_days(self):
        self.use_profile('ch')
        for amount, due, day, expected in (
                (2500, '2025-10-31', '2026-02-28', 40.97), (10000, '2026-02-28', '2026-03-31', 44.44)):
            partner = self.make_partner(due)
            notice = self.propose(amount, due, day, partner)
            self.assertEqual(notice.amount_interest, expected)
            self.assertIn(str(expected).replace('.', ','), self.issue(notice))

    def test_paid_in_part_after_a_year(self):
        """5 per cent of 200 for a year, and of 100 for another; the day of payment is of the second."""
        self.use_profile('ch')
        invoice = self.make_invoice(self.partner, 200, due='2024-06-30', invoice_date='2024-06-01')
        self.pay(invoice, 100, day='2025-07-01')
        notice = self.make_run('2026-06-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (100.0, 15.0))

    def test_fixed_rate(self):
        """1000 x 5.12 % x 25 / 365."""
        self.use_profile('ch', day_count='act_365', business_rate=5.12)
        notice = self.propose(1000, '2026-10-01', '2026-10-26')
        self.assertEqual(notice.amount_interest, 3.51)

    def test_less_than_half_a_cent(self):
        """0.29 x 5 % x 100 / 360 = 0.004."""
        self.use_profile('ch')
        self.company.dunning_min_amount = 0
        notice = self.propose(0.29, '2026-06-30', '2026-10-10')
        self.assertFalse(notice.charge_ids)
        self.assertNotIn('Verzugszins', self.issue(notice))

    def test_none_without_a_profile_or_where_the_level_asks_for_none(self):
        self.use_profile('ch')
        self.level_1.charge_interest = False
        self.assertFalse(self.propose(1000, '2026-05-29', '2026-07-31').charge_ids)
        self.level_1.charge_interest = True
        self.company.dunning_interest_profile_id = False
        self.assertFalse(self.propose(1000, '2026-05-29', '2026-07-31', self.make_partner('Other')).charge_ids)

    def test_later_interest_contains_the_earlier(self):
        self.use_profile('ch')
        self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        first = self.dun('2026-06-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((first.amount_interest, first.charge_ids.state), (15.0, 'claimed'))
        second = self.dun('2026-07-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_interest, second.amount_earlier), (30.0, 0.0))
        self.assertEqual((first.charge_ids.state, second.charge_ids.state), ('replaced', 'claimed'))

    def test_what_was_waived_is_not_claimed_again(self):
        self.use_profile('ch')
        self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        first = self.dun('2026-06-30', partner_ids=self.partner.ids).notice_ids
        first.charge_ids._waive('Kulanz')
        run = self.make_run('2026-07-30', partner_ids=self.partner.ids)
        self.assertEqual((run.notice_ids.amount_interest, run.notice_ids.amount_earlier), (15.0, 0.0))
        self.assertIn('-15,00', self.issue(run.notice_ids).replace('\N{MINUS SIGN}', '-'))
        third = self.make_partner('Third')
        self.make_invoice(third, 3600, due='2026-05-31', invoice_date='2026-05-01')
        lowered = self.make_run('2026-06-30', partner_ids=third.ids).notice_ids
        lowered.charge_ids._change_amount(5.0, 'Kulanz')
        lowered.run_id.action_print_and_send()
        lowered.run_id._hand_out_letters()
        lowered.run_id.action_mark_printed()
        self.assertEqual((lowered.charge_ids.state, lowered.amount_interest), ('claimed', 5.0))
        again = self.make_run('2026-07-30', partner_ids=third.ids).notice_ids
        self.assertEqual(again.amount_interest, 20.0, "30 less the 10 that were waived")

    def test_paid_meanwhile_is_reckoned_anew(self):
        """A payment that splits the period, and one known late that corrects it."""
        self.use_profile('ch')
        invoice = self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        run = self.make_run('2026-07-30', partner_ids=self.partner.ids)
        self.assertEqual(run.notice_ids.amount_interest, 30.0)
        self.pay(invoice, 1800, day='2026-07-01')
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (1800.0, 22.5))
        self.pay(invoice, 900, day='2026-05-31')
        run._hand_out_letters()
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (900.0, 15.0))
        self.assertIn('15,00', read_pdf(notice._get_document_bytes()))
        run.action_mark_printed()
        self.assertEqual(notice.charge_ids.state, 'claimed')

    def test_claimed_and_then_less(self):
        """Money that became known late leaves nothing of the interest that was claimed."""
        self.use_profile('ch')
        invoice = self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        other = self.make_invoice(self.partner, 100, due='2026-05-31', invoice_date='2026-05-01')
        first = self.dun('2026-06-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual(first.amount_interest, 15.42)
        self.pay(invoice, 3599, day='2026-05-31')
        second = self.dun('2026-07-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_earlier, second.amount_interest), (0.0, 0.84))
        self.assertEqual(set(first.charge_ids.mapped('state')), {'replaced'})
        small = second.charge_ids.filtered(lambda charge: charge.move_line_id == self.receivable(invoice))
        self.assertIn("Less than was claimed before", small.reason)
        self.assertTrue(other)

    def test_dated_anew(self):
        """Interest ends on the day in the letter."""
        self.use_profile('ch')
        self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        run = self.make_run('2026-06-30', partner_ids=self.partner.ids)
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.amount_interest, 15.0)
        self.clock.move_to('2026-07-10 08:00:00')
        run._hand_out_letters()
        notice = run.notice_ids
        self.assertEqual((str(notice.date), notice.amount_interest), ('2026-07-10', 20.0))
        self.assertEqual(set(notice.charge_ids.mapped('date')), {notice.date})

    def test_item_taken_out(self):
        self.use_profile('ch')
        one, other = (self.make_invoice(self.partner, amount, due='2026-05-31', invoice_date='2026-05-01')
                      for amount in (3600, 7200))
        notice = self.make_run('2026-06-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual(notice.amount_interest, 45.0)
        notice.due_line_ids.filtered(lambda line: line.move_id == other).action_take_out()
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (3600.0, 15.0))
        notice.run_id.exception_ids.action_put_back()
        self.assertEqual(notice.amount_interest, 45.0)
        notice._change_level(self.level_2, 'Agreed')
        self.level_1.charge_interest = False
        notice._change_level(self.level_1, 'Agreed')
        self.assertEqual((notice.amount_interest, notice.charge_ids), (0.0, notice.charge_ids.browse()))
        self.assertTrue(one)

    def test_entry_deleted(self):
        self.use_profile('ch')
        one = self.make_invoice(self.partner, 3600, due='2026-05-31', invoice_date='2026-05-01')
        self.make_invoice(self.partner, 7200, due='2026-05-31', invoice_date='2026-05-01')
        notice = self.make_run('2026-06-30', partner_ids=self.partner.ids).notice_ids
        one.button_draft()
        one.with_context(force_delete=True).unlink()
        self.assertEqual((notice.amount_overdue, notice.amount_interest), (7200.0, 30.0))

    def test_cancelled_with_all_of_it(self):
        """Each once, however many segments its calculation has; and the customer owes what he owed before."""
        self.use_profile('de')
        self.set_fee(self.level_1, 10)
        self.make_invoice(self.partner, 1000, due='2026-05-29', invoice_date='2026-05-29')
        first = self.dun('2026-07-31', partner_ids=self.partner.ids).notice_ids
        second = self.dun('2026-08-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual(set(first.charge_ids.mapped('state')), {'claimed', 'replaced'})
        second.action_cancel()
        self.assertEqual(second.charge_ids.mapped('state'), ['cancelled'] * len(second.charge_ids))
        self.assertEqual(first.charge_ids.mapped('state'), ['claimed'] * 2)
        self.assertEqual((first.amount_interest, first.amount_total), (17.94, 1027.94), "what it said")
        again = self.make_run('2026-08-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((again.amount_interest, again.amount_earlier), (26.87, 10.0))

    def test_nothing_asked_for_any_more(self):
        """What a level does not ask for any more is gone with the next proposal, not with what was proposed."""
        self.use_profile('ch')
        self.set_fee(self.level_1, 10)
        notice = self.propose(3600, '2026-05-31', '2026-06-30')
        run = notice.run_id
        self.assertEqual((notice.amount_fee, notice.amount_interest), (10.0, 15.0))
        self.set_fee(self.level_1, 0)
        self.level_1.charge_interest = False
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.mapped('amount_total'), [3600.0])

    def test_rate_that_nobody_knows(self):
        """Nothing is claimed for those days, and draft and run say so."""
        self.use_profile('de', rates_until='2026-12-31')
        self.make_invoice(self.partner, 1000, due='2026-11-30', invoice_date='2026-11-30')
        run = self.make_run('2027-01-31', partner_ids=self.partner.ids)
        self.assertEqual(run.notice_ids.amount_interest, 8.93, "31 days at 10.52 per cent")
        self.assertIn('2026', run.notice_ids.proposal_hint)
        self.assertEqual(run.exception_ids.mapped('reason'), ['hint'])

    def test_long_calculation_has_a_page_of_its_own(self):
        self.use_profile('ch')
        for number in range(14):
            self.make_invoice(self.partner, 3600 + number, due='2026-05-31', invoice_date='2026-05-01')
        notice = self.make_run('2026-06-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual(len(notice.charge_ids), 14)
        text = self.issue(notice)
        self.assertEqual(text.count('01.06.2026'), 14)


@tagged('post_install', '-at_install')
class TestLumpSums(InterestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.level_ids.charge_interest = False
        cls.procedure.level_ids.charge_lump_sum = True
        cls.use_profile('de')
        cls.profile.currency_id = cls.currency

    def test_once_an_item_and_of_businesses_only(self):
        person = self.make_partner('Person', is_company=False)
        self.assertFalse(self.propose(1000, '2026-05-29', '2026-07-31', person).charge_ids)
        for _invoice in range(2):
            self.make_invoice(self.partner, 500, due='2026-05-29', invoice_date='2026-05-29')
        first = self.dun('2026-07-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((first.amount_lump_sum, first.amount_total), (80.0, 1080.0))
        self.assertIn('80,00', read_pdf(first._get_document_bytes()))
        second = self.dun('2026-08-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_lump_sum, second.amount_earlier), (0.0, 80.0))
        self.assertEqual(first.charge_ids.mapped('state'), ['claimed'] * 2)
        first.charge_ids._waive('Kulanz')
        third = self.make_run('2026-09-30', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((third.amount_lump_sum, third.amount_earlier), (0.0, 0.0), "waived is waived")

    def test_in_default_only(self):
        self.profile.begin = 'notice'
        self.make_invoice(self.partner, 500, due='2026-05-29', invoice_date='2026-05-29')
        first = self.dun('2026-07-31', partner_ids=self.partner.ids).notice_ids
        self.assertFalse(first.charge_ids)
        self.assertEqual(self.make_run('2026-08-31', partner_ids=self.partner.ids).notice_ids.amount_lump_sum, 40.0)

    def test_fee_beside_it(self):
        """Only what exceeds the lump sum, that was claimed now or before."""
        self.set_fee(self.procedure.level_ids, 50)
        self.make_invoice(self.partner, 500, due='2026-05-29', invoice_date='2026-05-29')
        first = self.dun('2026-07-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((first.amount_lump_sum, first.amount_fee), (40.0, 10.0))
        second = self.make_run('2026-08-31', partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.amount_lump_sum, second.amount_fee, second.amount_earlier), (0.0, 10.0, 40.0))
        second._judge_fees_anew()
        self.assertEqual(second.amount_fee, 10.0)
        first.charge_ids.filtered(lambda charge: charge.kind == 'lump_sum')._waive('Kulanz')
        second._judge_fees_anew()
        self.assertEqual((second.amount_fee, second.amount_earlier), (50.0, 0.0), "nothing is beside it any more")

    def test_in_the_currency_of_the_notice(self):
        notice = self.propose(1000, '2026-05-29', '2026-07-31', currency=self.foreign)
        self.assertEqual(notice.amount_lump_sum, 80.0)

    def test_statements(self):
        def count(number):
            partners = self.env['res.partner'].concat(*(
                self.make_partner(f'Many {number} {i}') for i in range(number)))
            for partner in partners:
                for _invoice in range(2):
                    self.make_invoice(partner, 1000, due='2026-05-29', invoice_date='2026-05-29')
            run = self.make_run('2026-07-31', generate=False, partner_ids=partners.ids)
            self.env.cr.flush()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            run.action_generate_notices()
            self.env.flush_all()
            proposed = self.env.cr.sql_log_count - before
            self.assertEqual(len(run.notice_ids.charge_ids), 4 * number)
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            self.assertEqual({verdict.code for verdict in run.notice_ids._recheck().values()}, {'same'})
            return proposed, self.env.cr.sql_log_count - before

        self.procedure.level_ids.charge_interest = True
        count(1)
        self.assertEqual(count(2), count(6))
