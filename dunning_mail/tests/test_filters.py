"""What a run is limited to stays its limit: archived customers and procedures, another company's, what was left out."""

from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import DunningCommon, read_pdf


class FilterCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.partner, cls.other = cls.make_partner('Acme'), cls.make_partner('Other')
        for partner in (cls.partner, cls.other):
            cls.make_invoice(partner)
        cls.second = cls.procedure.copy({'name': 'Second'})
        for level in cls.second.level_ids:
            level._install_default_texts()

    def reasons(self, run):
        return {(exception.partner_id.name, exception.reason) for exception in run.exception_ids}


@tagged('post_install', '-at_install')
class TestArchivedFilters(FilterCase):

    def test_customer_archived_after_the_filter_was_set(self):
        run = self.make_run(generate=False, partner_ids=self.partner.ids)
        self.partner.active = False
        run.action_generate_notices()
        self.assertFalse(run.notice_ids)
        self.assertEqual(self.reasons(run), {('Acme', 'archived')})
        self.assertEqual(run.partner_ids, self.partner)
        self.assertFalse(run.is_stale)

    def test_archived_after_the_proposal(self):
        run = self.make_run(partner_ids=self.partner.ids)
        self.assertEqual(len(run.notice_ids), 1)
        self.partner.active = False
        self.env.invalidate_all()
        self.assertFalse(run.is_stale, "the filter is what it was")
        run.action_generate_notices()
        self.assertFalse(run.notice_ids)

    def test_preview(self):
        run = self.make_run(generate=False, partner_ids=self.partner.ids)
        self.partner.active = False
        preview = self.env['dunning.run.preview'].with_user(self.clerk).create({'run_id': run.id})
        self.assertEqual(preview.notice_count, 0)
        self.assertNotIn('Other', str(preview.result))

    def test_merged_customer_that_was_archived(self):
        run = self.make_run(generate=False, partner_ids=self.partner.ids)
        self.partner.active = False
        self.env['base.partner.merge.automatic.wizard']._merge([self.partner.id, self.other.id], self.other)
        self.env.invalidate_all()
        self.assertEqual(run.partner_ids, self.other)
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.partner_id, self.other)

    def test_archived_procedure_of_a_schedule(self):
        self.partner.with_company(self.company).dunning_procedure_id = self.second
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'user_id': self.clerk.id, 'procedure_ids': self.second.ids, 'issue': True})
        self.second.active = False
        before = self.env['dunning.run'].search([])
        schedule._make_run()
        self.assertEqual(self.env['dunning.run'].search([]), before)
        self.assertIn('Second', schedule.activity_ids.note)
        self.assertFalse(self.env['dunning.notice'].search([('partner_id', 'in', (self.partner | self.other).ids)]))

    def test_one_of_two_procedures_is_archived(self):
        """Its customers are named; those of the other one are dunned."""
        self.partner.with_company(self.company).dunning_procedure_id = self.second
        run = self.make_run(generate=False, procedure_ids=(self.procedure | self.second).ids)
        self.second.active = False
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.partner_id, self.other)
        self.assertEqual(self.reasons(run), {('Acme', 'unusable_procedure')})
        self.assertIn('Second', run.exception_ids.description)


@tagged('post_install', '-at_install')
class TestUnusableProcedures(FilterCase):

    def test_archived_default(self):
        self.procedure.active = False
        with self.assertRaisesRegex(UserError, self.procedure.name):
            self.make_run()
        schedule = self.env['dunning.schedule'].create({'name': 'Weekly', 'user_id': self.clerk.id, 'issue': True})
        schedule._make_run()
        self.assertTrue(schedule.activity_ids)
        self.assertFalse(self.env['dunning.notice'].search([('partner_id', '=', self.partner.id)]))

    def test_default_that_became_another_companys(self):
        other = self.env['res.company'].create({'name': 'Other Ltd'})
        self.env.cr.execute('UPDATE dunning_procedure SET company_id = %s WHERE id = %s', [other.id, self.procedure.id])
        self.env.invalidate_all()
        with self.assertRaisesRegex(UserError, 'another company'):
            self.make_run()

    def test_customers_own(self):
        self.partner.with_company(self.company).dunning_procedure_id = self.second
        run = self.make_run()
        notice = run.notice_ids.filtered(lambda notice: notice.partner_id == self.partner)
        self.second.company_id = self.env['res.company'].create({'name': 'Other Ltd'})
        verdict = notice.sudo()._recheck()[notice.id]
        self.assertEqual(verdict.code, 'archived')
        self.assertIn('another company', verdict.words)
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.partner_id, self.other)
        self.assertEqual(self.reasons(run), {('Acme', 'unusable_procedure')})


@tagged('post_install', '-at_install')
class TestLeftOut(FilterCase):
    """A notice for each level."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.procedure.grouping = 'level'

    def propose_two(self, **values):
        self.dun(partner_ids=self.partner.ids)
        self.new = self.make_invoice(self.partner, 50.0, due='2026-11-01', **values)
        self.run = self.make_run(self.days(20), partner_ids=self.partner.ids)
        return (self.run.notice_ids.filtered(lambda notice, level=level: notice.level_id == level)
                for level in (self.level_1, self.level_2))

    def test_sibling_of_an_excluded_notice(self):
        for excluded_level in (self.level_2, self.level_1):
            with self.subTest(level=excluded_level.name):
                self.partner = self.make_partner(f'Acme {excluded_level.sequence}')
                self.make_invoice(self.partner)
                notices = {notice.level_id: notice for notice in self.propose_two()}
                excluded = notices.pop(excluded_level)
                [(level, sibling)] = notices.items()
                amount = sibling.amount_total
                excluded.action_exclude()
                self.run.action_generate_notices()
                again = self.run.notice_ids - excluded
                self.assertEqual((again.level_id, again.amount_total), (level, amount))
                self.assertEqual(self.run.exception_ids.mapped('reason'), ['excluded'])
                self.assertEqual(self.run.exception_ids.notice_id, excluded)
                excluded.action_include()
                self.assertEqual(self.run.notice_ids.mapped('state'), ['draft', 'draft'])

    def test_credit_stays_with_the_excluded_notice(self):
        first, second = self.propose_two()
        self.make_unallocated(self.partner, 30)
        self.run.action_generate_notices()
        first, second = self.run.notice_ids.sorted(lambda notice: notice.level_id.sequence)
        self.assertEqual((first.amount_total, second.amount_total), (50.0, 70.0))
        second.action_exclude()
        self.run.action_generate_notices()
        self.assertEqual((self.run.notice_ids - second).amount_total, 50.0)

    def test_further_item_of_the_excluded_level(self):
        first, _second = self.propose_two()
        first.action_exclude()
        later = self.make_invoice(self.partner, 20.0, due='2026-11-02')
        self.run.action_generate_notices()
        self.assertEqual((self.run.notice_ids - first).level_id, self.level_2)
        self.assertEqual(
            {(exception.reason, exception.move_id) for exception in self.run.exception_ids},
            {('excluded', later), ('excluded', self.env['account.move'])})

    def test_credit_that_is_taken_out_is_no_secret(self):
        self.make_invoice(self.partner, 80.0)
        self.make_unallocated(self.partner, 30)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        newest = notice.due_line_ids.sorted('id')[-1]
        with self.assertRaisesRegex(UserError, "cannot be taken out"), self.env.cr.savepoint():
            (newest | notice.credit_line_ids).action_take_out()
        self.env.invalidate_all()
        self.assertEqual(len(notice.due_line_ids), 2)
        newest.action_take_out()
        self.assertEqual((len(notice.due_line_ids), notice.amount_credit), (1, 30.0))

    def test_credit_that_leaves_with_its_item(self):
        other = self.make_invoice(self.partner, 80.0, due='2026-10-20')
        self.make_payment(self.partner, 30, other)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.assertEqual(notice.amount_total, 150.0)
        (notice.due_line_ids.filtered(lambda line: line.move_id == other) | notice.credit_line_ids).action_take_out()
        self.assertEqual((notice.amount_total, len(notice.line_ids)), (100.0, 1))


@tagged('post_install', '-at_install')
class TestOneFee(DunningCommon):
    """One fee for each customer and run, on the notice of the highest level."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.set_fee(cls.level_2, 20)
        cls.partner = cls.make_partner('Acme')

    def propose(self, own=900.0, foreign=50.0, level_1_fee=0.0):
        """A notice in the company's currency at level 1, and one in another at level 2."""
        self.set_fee(self.level_1, level_1_fee)
        self.make_invoice(self.partner, foreign, currency=self.foreign)
        self.dun(partner_ids=self.partner.ids)
        self.make_invoice(self.partner, own, due='2026-11-20')
        run = self.make_run(self.days(20), partner_ids=self.partner.ids)
        return run, *(run.notice_ids.filtered(lambda notice, currency=currency: notice.currency_id == currency)
                      for currency in (self.currency, self.foreign))

    def assertFees(self, *expected):
        self.assertEqual([notice.amount_fee for notice in (self.own, self.other)], list(expected))

    def test_reminder_beside_a_second_level(self):
        _run, self.own, self.other = self.propose()
        self.assertEqual((self.own.level_id, self.other.level_id), (self.level_1, self.level_2))
        self.assertFees(0.0, 40.0)
        self.assertEqual(self.own.amount_total, 900.0)

    def test_excluded_and_put_back(self):
        run, self.own, self.other = self.propose(level_1_fee=5.0)
        self.other.action_exclude()
        self.assertEqual(self.own.amount_fee, 5.0)
        run.action_generate_notices()
        self.own = run.notice_ids - self.other
        self.assertEqual(self.own.amount_fee, 5.0)
        self.other.action_include()
        self.assertFees(0.0, 40.0)
        self.own.action_exclude()
        self.own.action_include()
        self.assertFees(0.0, 40.0)

    def test_level_changed(self):
        _run, self.own, self.other = self.propose()
        self.own._change_level(self.level_2, 'Agreed')
        self.assertFees(20.0, 0.0)
        self.own._change_level(self.level_1, 'Agreed')
        self.assertFees(0.0, 40.0)

    def test_settled(self):
        run, self.own, self.other = self.propose(level_1_fee=5.0)
        self.pay(self.other.due_line_ids.move_id.with_env(self.env))
        run.action_print_and_send()
        self.assertEqual((self.own.state, self.other.state), ('issued', 'cancelled'))
        self.assertEqual((self.own.amount_fee, self.own.amount_total), (5.0, 905.0))

    def test_entry_deleted(self):
        _run, self.own, self.other = self.propose(level_1_fee=5.0)
        move = self.other.due_line_ids.move_id.with_env(self.env)
        self.dunned = self.other.due_line_ids.previous_notice_id
        self.dunned.sudo()._cancel('test')
        move.button_draft()
        move.with_context(force_delete=True).unlink()
        self.assertFalse(self.other.exists())
        self.assertEqual(self.own.amount_fee, 5.0)

    def test_issued_sibling_keeps_it(self):
        run, self.own, self.other = self.propose(level_1_fee=5.0)
        self.own.action_exclude()
        run.action_print_and_send()
        self.assertEqual((self.other.state, self.other.amount_fee), ('issued', 40.0))
        self.own.action_include()
        self.assertFees(0.0, 40.0)

    def test_fee_of_a_person_stays(self):
        _run, self.own, self.other = self.propose(level_1_fee=5.0)
        self.other.amount_fee = 0
        self.own._change_level(self.level_2, 'Agreed')
        self.own._change_level(self.level_1, 'Agreed')
        self.assertFees(0.0, 0.0)
        self.own.amount_fee = 3
        self.other._change_level(self.level_1, 'Agreed')
        self.assertFees(3.0, 0.0)

    def test_waived_and_another_becomes_larger(self):
        """What a person decided is the customer's fee, even if it is none."""
        self.set_fee(self.level_1, 20)
        first, second = self.make_invoice(self.partner, 400), self.make_invoice(self.partner, 100)
        self.make_invoice(self.partner, 300, currency=self.foreign)
        run = self.make_run(partner_ids=self.partner.ids)
        self.own, self.other = (
            run.notice_ids.filtered(lambda notice, currency=currency: notice.currency_id == currency)
            for currency in (self.currency, self.foreign))
        bearer = self.own if self.own.amount_fee else self.other
        bearer.amount_fee = 0
        (self.own.line_ids.filtered(lambda line: line.move_id == first)).action_take_out()
        self.assertFees(0.0, 0.0)
        self.assertTrue(second)

    def test_set_by_a_person_on_another_notice(self):
        _run, self.own, self.other = self.propose(level_1_fee=5.0)
        self.assertFees(0.0, 40.0)
        self.own.amount_fee = 5
        self.assertFees(5.0, 0.0)

    def test_cumulated_without_a_fee_of_its_own_is_borne_once(self):
        self.set_fee(self.level_1, 15)
        self.set_fee(self.level_2, 0, 'cumulated')
        for currency in (self.currency, self.foreign):
            self.make_invoice(self.partner, 300, currency=currency)
        self.dun(partner_ids=self.partner.ids)
        run = self.make_run(self.days(20), partner_ids=self.partner.ids)
        self.assertFalse(any(run.notice_ids.mapped('amount_fee')))
        bearer = run.notice_ids.filtered('amount_earlier')
        other = run.notice_ids - bearer
        self.assertEqual(len(bearer), 1)
        other.action_exclude()
        run.action_print_and_send()
        self.assertEqual(bearer.state, 'issued')
        other.action_include()
        self.assertFalse(other.amount_fee or other.amount_earlier)

    def test_moved_while_it_is_issued(self):
        """What is written down of a letter is what the letter says."""
        self.env['res.partner.bank'].create({
            'acc_number': 'CH9300762011623852957', 'partner_id': self.company.partner_id.id,
            'allow_out_payment': True})
        _run, self.own, self.other = self.propose(level_1_fee=5.0)
        run = self.own.run_id
        self.own.due_line_ids.move_id.with_env(self.env).payment_reference = 'Rechnung 4711'
        self.pay(self.other.due_line_ids.move_id.with_env(self.env))
        run.action_print_and_send()
        self.assertEqual((self.own.state, self.own.amount_fee), ('issued', 5.0))
        self.assertTrue(self.own.payment_reference.startswith('RF'), "it stands for the fee too")
        text = ''.join(read_pdf(self.own._get_document_bytes()).split())
        self.assertIn(self.own.payment_reference, text)

    def test_cumulated_over_all_that_is_dunned(self):
        self.level_2.fee_method = 'cumulated'
        _run, self.own, self.other = self.propose(level_1_fee=5.0)
        for _time in range(2):
            self.assertFees(0.0, 40.0)
            self.assertEqual((self.other.amount_earlier, self.other.amount_total), (10.0, 100.0))
            self.other.action_exclude()
            self.other.action_include()
