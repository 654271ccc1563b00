"""What has become of a claim: claimed, paid since, open now, paid on; money on its way; and the lists that show it."""

from unittest.mock import patch

from odoo import Command
from odoo.tests import tagged
from odoo.tools.safe_eval import safe_eval

from .common import DunningCommon

STATES = 'open', 'overdue', 'paid', 'paid_late'


class OpenCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.set_fee(cls.level_1, 20)
        cls.partner = cls.make_partner('Acme', ref='K10042')

    def make_notice(self, *invoices, **values):
        """Dun the customer on the day of the tests, on paper, and print the letter; the deadline is ten days later."""
        run = self.dun(partner_ids=self.partner.ids, **values)
        notice = run.notice_ids
        notice.sudo().date_deadline = self.days(10)
        self.assertEqual(len(notice), 1)
        return notice.with_user(self.clerk)

    def assertClaim(self, notice, paid_since, is_open, state, settled_on=False):
        self.env.invalidate_all()
        self.assertEqual(
            (notice.amount_paid_since, notice.amount_open, notice.claim_state, str(notice.settled_on or '') or False),
            (paid_since, is_open, state, settled_on))
        found = [one for one in STATES if notice in notice.search([('claim_state', '=', one)])]
        self.assertEqual(found, [state] if state else [], "the search says the same")
        for states in (['open', 'overdue'], ['open', 'overdue', 'paid'], [False], [False, 'paid_late']):
            self.assertEqual(
                notice in notice.search([('claim_state', 'in', states)]), state in states, (state, states))
            self.assertEqual(
                notice in notice.search([('claim_state', 'not in', states)]), state not in states, (state, states))
        [(amounts)] = notice._read_group(
            [('id', '=', notice.id)], [], ['amount_paid_since:sum', 'amount_open:sum', '__count'])
        self.assertEqual(tuple(map(float, amounts[:2])), (paid_since, is_open), "the sum of a group says the same")


@tagged('post_install', '-at_install')
class TestClaim(OpenCase):

    def test_nothing_paid(self):
        self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.assertClaim(notice, 0, 100, 'open')
        self.assertEqual(notice.amount_total, notice.amount_open + notice.amount_fee)
        self.assertEqual(notice.claim_info, 'Open')
        self.clock.move_to(f'{self.days(10)} 08:00:00')
        self.assertClaim(notice, 0, 100, 'open')
        self.clock.move_to(f'{self.days(11)} 08:00:00')
        self.assertClaim(notice, 0, 100, 'overdue')
        self.assertEqual(notice.claim_info, 'Deadline over')

    def test_paid_in_part_and_in_full(self):
        first, second = self.make_invoice(self.partner, 100), self.make_invoice(self.partner, 50)
        self.pay(first, 30, '2026-11-10')
        notice = self.make_notice()
        self.assertEqual(notice.amount_overdue, 120)
        self.pay(first, day='2026-11-26')
        self.assertClaim(notice, 70, 50, 'open')
        self.assertEqual(notice.claim_info, 'Paid in part')
        lines = {line.move_id: line for line in notice.line_ids}
        self.assertEqual(
            [(lines[move].amount_residual, lines[move].amount_paid_since, lines[move].amount_open)
             for move in (first, second)], [(70, 70, 0), (50, 0, 50)])
        self.assertEqual(str(lines[first].settled_on), '2026-11-26')
        self.pay(second, 20, '2026-11-25')
        self.assertClaim(notice, 90, 30, 'open')
        # The last payment was booked first.
        self.pay(second, 30, '2026-11-24')
        self.assertClaim(notice, 120, 0, 'paid', '2026-11-26')
        self.assertIn('11/26/2026', notice.with_context(lang='en_US').claim_info)

    def test_the_other_item_is_paid_last_or_first(self):
        """What the last line says does not decide."""
        for position in (0, 1):
            with self.subTest(position=position):
                self.partner = self.make_partner(f'Two items {position}')
                moves = [self.make_invoice(self.partner, 100), self.make_invoice(self.partner, 50)]
                notice = self.make_notice()
                self.pay(moves[position])
                self.assertClaim(notice, [100, 50][position], [50, 100][position], 'open')

    def test_booked_later_than_it_was_paid(self):
        """Paid before the notice was made, and reconciled afterwards: the notice had claimed it."""
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.pay(move, day='2026-11-20')
        self.assertClaim(notice, 100, 0, 'paid', '2026-11-20')

    def test_paid_after_the_deadline(self):
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.pay(move, 40, day=self.days(3))
        self.pay(move, day=self.days(11))
        self.assertClaim(notice, 100, 0, 'paid_late', str(self.days(11)))

    def test_with_the_fee(self):
        """What is left over of a payment stays what it is: fees are not booked."""
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        entry = self.make_unallocated(self.partner, 120, self.days(1))
        (self.receivable(move) | self.receivable(entry)).reconcile()
        self.assertClaim(notice, 100, 0, 'paid', str(self.days(1)))

    def test_settled_by_a_credit_note(self):
        """One that is larger leaves the reconciliation unfinished on its own side only."""
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        credit = self.make_invoice(self.partner, 150, move_type='out_refund')
        (self.receivable(move) | self.receivable(credit)).reconcile()
        self.assertClaim(notice, 100, 0, 'paid', '2026-09-01')

    def test_reconciliation_undone(self):
        move = self.make_invoice(self.partner, 100)
        self.pay(move, 40, day='2026-11-10')
        notice = self.make_notice()
        self.pay(move, day='2026-11-26')
        self.assertClaim(notice, 60, 0, 'paid', '2026-11-26')
        self.receivable(move).remove_move_reconcile()
        # More than was claimed: what had been paid before is owed again.
        self.assertClaim(notice, 0, 100, 'open')

    def test_foreign_currency(self):
        """The rate has changed since: the exchange difference is neither a payment, nor is its day one."""
        move = self.make_invoice(self.partner, 100, currency=self.foreign)
        notice = self.make_notice()
        self.env['res.currency.rate'].create({
            'currency_id': self.foreign.id, 'name': str(self.days(1)), 'rate': 4.0,
            'company_id': self.company.root_id.id})
        self.pay(move, 30, day=self.days(2))
        self.assertClaim(notice, 30, 70, 'open')
        self.pay(move, day=self.days(3))
        self.assertTrue(self.receivable(move).matched_credit_ids.exchange_move_id)
        self.assertClaim(notice, 100, 0, 'paid', str(self.days(3)))

    def test_entry_not_posted_any_more(self):
        """Neither owed nor paid."""
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        move.button_draft()
        self.assertClaim(notice, 0, 0, False)
        move.button_cancel()
        self.assertClaim(notice, 0, 0, False)

    def test_cancelled_excluded_and_draft(self):
        move = self.make_invoice(self.partner, 100)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.assertClaim(notice, 0, 100, False)
        self.pay(move, 30)
        self.assertClaim(notice, 30, 70, False)
        notice.action_exclude()
        self.assertClaim(notice, 30, 70, False)
        notice = self.make_notice()
        notice.action_cancel()
        self.assertClaim(notice, 0, 0, False)

    def test_several_levels(self):
        """Each notice by its own deadline."""
        move = self.make_invoice(self.partner, 100)
        first = self.make_notice()
        second = self.dun(self.days(30), partner_ids=self.partner.ids).notice_ids.with_user(self.clerk)
        self.pay(move, day=self.days(31))
        self.assertClaim(first, 100, 0, 'paid_late', str(self.days(31)))
        self.assertClaim(second, 100, 0, 'paid', str(self.days(31)))


@tagged('post_install', '-at_install')
class TestCredits(OpenCase):
    """What the letter has set off is not paid since, wherever the credit goes."""

    def test_reconciled_with_the_item(self):
        move = self.make_invoice(self.partner, 100)
        entry = self.make_unallocated(self.partner, 30)
        notice = self.make_notice()
        self.assertEqual(notice.amount_total, 90)
        self.assertClaim(notice, 0, 70, 'open')
        (self.receivable(move) | self.receivable(entry)).reconcile()
        self.assertClaim(notice, 0, 70, 'open')
        self.pay(move, 50, day=self.days(1))
        self.assertClaim(notice, 50, 20, 'open')
        self.pay(move, day=self.days(2))
        self.assertClaim(notice, 70, 0, 'paid', str(self.days(2)))

    def test_used_elsewhere(self):
        self.make_invoice(self.partner, 100)
        entry = self.make_unallocated(self.partner, 30)
        notice = self.make_notice()
        other = self.make_invoice(self.partner, 30, due='2027-01-31')
        (self.receivable(other) | self.receivable(entry)).reconcile()
        self.assertClaim(notice, 0, 100, 'open')

    def test_grown_since(self):
        """A credit of which a part was used, and that is free again: not more than was set off."""
        self.make_invoice(self.partner, 100)
        other = self.make_invoice(self.partner, 20, due='2027-01-31')
        entry = self.make_unallocated(self.partner, 50)
        (self.receivable(other) | self.receivable(entry)).reconcile()
        notice = self.make_notice()
        self.assertClaim(notice, 0, 70, 'open')
        self.receivable(entry).remove_move_reconcile()
        self.assertClaim(notice, 0, 70, 'open')

    def test_paid_while_the_credit_is_left(self):
        move = self.make_invoice(self.partner, 100)
        self.make_unallocated(self.partner, 30)
        notice = self.make_notice()
        self.pay(move, 70, day=self.days(1))
        # Nothing is to be paid any more; a person has to reconcile what is left.
        self.assertClaim(notice, 70, 0, 'open')


@tagged('post_install', '-at_install')
class TestOnItsWay(OpenCase):

    def assertOnWay(self, notice, amount, *words):
        self.env.invalidate_all()
        self.assertEqual(notice.amount_on_way, amount)
        for word in words:
            self.assertIn(word, notice.on_way_info or '')
        self.assertEqual(bool(notice.on_way_info), bool(words))

    def test_registered_after_the_notice(self):
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.assertOnWay(notice, 0)
        payment = self.make_payment(self.partner, 60, move, day=str(self.days(1)))
        self.assertOnWay(notice, 60, payment.name, '60')
        # The books say nothing of it.
        self.assertClaim(notice, 0, 100, 'open')
        self.assertEqual(notice.claim_info, 'Payment on its way')
        self.pay(move, day=self.days(2))
        self.assertOnWay(notice, 0)
        self.assertClaim(notice, 100, 0, 'paid', str(self.days(2)))

    def test_set_off_by_the_letter(self):
        """It was counted once; when it is in the books, nothing has been paid since."""
        move = self.make_invoice(self.partner, 100)
        payment = self.make_payment(self.partner, 30, move)
        notice = self.make_notice()
        self.assertEqual(notice.amount_total, 90)
        self.assertOnWay(notice, 0)
        self.assertClaim(notice, 0, 70, 'open')
        self.pay(move, 30, day=self.days(1))
        payment.action_cancel()
        self.assertClaim(notice, 0, 70, 'open')

    def test_gone_since(self):
        """A payment that the letter has set off, and that nobody knows of any more."""
        move = self.make_invoice(self.partner, 100)
        payment = self.make_payment(self.partner, 30, move)
        notice = self.make_notice()
        payment.action_draft()
        self.assertClaim(notice, 0, 100, 'open')
        payment.unlink()
        self.assertFalse(notice.credit_line_ids.payment_id)
        self.assertClaim(notice, 0, 100, 'open')

    def test_that_names_no_invoice(self):
        self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.make_payment(self.partner, 60, memo='Akonto')
        self.assertOnWay(notice, 60, '60')

    def test_of_another(self):
        """For another invoice, in another currency, for another customer, or paid to the customer."""
        self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        other = self.make_invoice(self.partner, 10, due='2027-01-31')
        self.make_payment(self.partner, 10, other)
        self.make_payment(self.make_partner('Other'), 100)
        self.make_payment(self.partner, 5, payment_type='outbound')
        self.assertOnWay(notice, 0)
        self.make_payment(self.partner, 44, currency=self.foreign)
        self.assertOnWay(notice, 0, '44')

    def test_not_allocated(self):
        """Booked, and reconciled with nothing."""
        move = self.make_invoice(self.partner, 100)
        set_off = self.make_unallocated(self.partner, 30)
        notice = self.make_notice()
        self.assertEqual((notice.amount_unallocated, notice.amount_open), (0, 70))
        self.make_unallocated(self.make_contact(self.partner), 20, self.days(1))
        self.make_unallocated(self.partner, 20, self.days(1), currency=self.foreign)
        self.make_unallocated(self.make_partner('Other'), 20, self.days(1))
        self.env.invalidate_all()
        self.assertEqual((notice.amount_unallocated, notice.amount_open, notice.claim_info), (20, 70, 'Open'))
        (self.receivable(move) | self.receivable(set_off)).reconcile()
        self.make_invoice(self.partner, 50, move_type='out_refund')
        self.env.invalidate_all()
        self.assertEqual(
            (notice.amount_unallocated, notice.amount_open, notice.claim_info), (70, 70, 'Payment not allocated'))
        self.pay(move, day=self.days(2))
        self.env.invalidate_all()
        self.assertEqual(notice.amount_unallocated, 0, "there is nothing to allocate it to")

    def test_cancelled_notice(self):
        move = self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        self.make_payment(self.partner, 60, move)
        notice.action_cancel()
        self.assertOnWay(notice, 0)


@tagged('post_install', '-at_install')
class TestLists(OpenCase):

    def make_statuses(self):
        """A notice in each status."""
        notices = self.env['dunning.notice']
        for number, values in enumerate((
                {'state': 'draft'}, {'state': 'excluded'}, {'state': 'cancelled', 'delivery_state': 'failed'},
                {'delivery_state': 'released'}, {'delivery_state': 'paper'},
                {'delivery_state': 'paper', 'printed_at': '2026-11-24 08:00:00'}, {'delivery_state': 'sending'},
                {'delivery_state': 'sent'}, {'delivery_state': 'failed'},
                {'delivery_state': 'failed', 'is_held_back': True}, {'delivery_state': 'unclear'})):
            partner = self.make_partner(f'Status {number}', email=False)
            self.make_invoice(partner, 100 + number)
            notice = self.make_run(partner_ids=partner.ids).notice_ids.sudo()
            notice.write({'state': 'issued', **values})
            notices |= notice
        return notices

    def test_status(self):
        notices = self.make_statuses()
        mine = [('id', 'in', notices.ids)]
        statuses = notices.mapped('status')
        self.assertEqual(sorted(statuses), sorted(dict(notices._fields['status'].selection)), "each status is here")
        for notice in notices:
            self.assertEqual(notices.search([*mine, ('status', '=', notice.status)]), notice)
            self.assertEqual(notices.search([*mine, ('status', 'not in', [notice.status])]), notices - notice)
        self.assertEqual(notices.search(mine, order='status').mapped('status'), sorted(statuses))
        self.assertEqual(dict(notices._read_group(mine, ['status'], ['__count'])), dict.fromkeys(statuses, 1))

    def test_sorted_in_the_database(self):
        """By status, level, oldest item, number and total; not by what only the ledger knows."""
        fields = self.env['dunning.notice'].with_user(self.clerk).fields_get(attributes=['sortable', 'aggregator'])
        for fname in ('status', 'level_id', 'oldest_days', 'name', 'amount_total', 'partner_ref'):
            self.assertTrue(fields[fname]['sortable'], fname)
        for fname in ('amount_open', 'amount_paid_since', 'amount_on_way', 'claim_info'):
            self.assertFalse(fields[fname]['sortable'], fname)
        self.assertEqual(fields['amount_open']['aggregator'], 'sum')
        other = self.make_partner('Other')
        for partner, due in ((self.partner, '2026-10-20'), (other, '2026-10-05'), (other, '2026-10-25')):
            self.make_invoice(partner, 50, due=due)
        notices = self.make_run(partner_ids=(self.partner | other).ids).notice_ids
        self.assertEqual(
            [(notice.partner_id.name, notice.oldest_days)
             for notice in notices.search([('id', 'in', notices.ids)], order='oldest_days desc')],
            [('Other', 50), ('Acme', 35)])

    def test_columns(self):
        move = self.make_invoice(self.partner, 100)
        draft = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.assertFalse(draft.last_level_id)
        draft.run_id.action_cancel()
        first = self.make_notice()
        self.assertEqual((first.partner_ref, first.last_payment_date), ('K10042', False))
        self.make_unallocated(self.partner, 1, '2026-11-20')
        self.make_unallocated(self.make_contact(self.partner), 1, '2026-11-21')
        self.make_unallocated(self.make_partner('Other'), 1, '2026-11-22')
        self.make_paid_out(self.partner, 1, '2026-11-23')
        self.clock.move_to(f'{self.days(30)} 08:00:00')
        second = self.make_run(self.days(30), partner_ids=self.partner.ids).notice_ids
        self.assertEqual((second.level_id, second.last_level_id), (self.level_2, self.level_1))
        self.env.invalidate_all()
        self.assertEqual((first.last_level_id, str(first.last_payment_date)), (self.level_1, '2026-11-21'))
        self.assertEqual(first.oldest_days, (self.days(30) - move.invoice_date_due).days)

    def test_statements_of_a_page(self):
        """As many for twenty notices as for two."""
        partners = [self.make_partner(f'Customer {number}', email=False) for number in range(20)]
        for partner in partners:
            self.make_invoice(partner, 100)
            self.make_invoice(partner, 50)
        notices = self.make_run(partner_ids=[partner.id for partner in partners]).notice_ids.with_user(self.clerk)
        def count(size, fnames):
            self.env.invalidate_all()
            page = notices[:size]
            page.fetch(['state', 'currency_id', 'date_deadline', 'date_left', 'company_id', 'partner_id'])
            page.partner_id.fetch(['commercial_partner_id'])
            page.currency_id.fetch(['rounding'])
            page.sudo().company_id.root_id.fetch(['parent_path'])
            before = self.cr.sql_log_count
            for notice in page:
                for fname in fnames:
                    notice[fname]
            return self.cr.sql_log_count - before

        of_ledger = ['amount_open', 'amount_paid_since', 'claim_state', 'settled_on']
        of_list = [
            'claim_info', 'amount_on_way', 'amount_unallocated', 'last_level_id', 'oldest_days', 'last_payment_date',
            'status']
        count(20, of_ledger + of_list)
        self.assertEqual([count(size, of_ledger) for size in (2, 20)], [1, 1])
        few, many = (count(size, of_list) for size in (2, 20))
        self.assertEqual(few, many)

    def test_sums_of_groups(self):
        own, foreign = self.make_invoice(self.partner, 100), self.make_invoice(
            self.partner, 60, currency=self.foreign)
        notices = self.dun(partner_ids=self.partner.ids).notice_ids.with_user(self.clerk)
        self.pay(own, 30, day=self.days(1))
        self.pay(foreign, 20, day=self.days(1))
        sums = {currency: (float(is_open), float(paid)) for currency, is_open, paid in notices._read_group(
            [('id', 'in', notices.ids)], ['currency_id'], ['amount_open:sum', 'amount_paid_since:sum'])}
        self.assertEqual(sums, {self.currency: (70, 30), self.foreign: (40, 20)})
        [groups] = notices.formatted_read_group(
            [('id', 'in', notices.ids)], [], ['amount_open:sum_currency', 'currency_id:array_agg_distinct'])
        self.assertAlmostEqual(float(groups['amount_open:sum_currency']), 70 + 40 / 2)

    def test_found_without_choosing_a_field(self):
        self.env['res.partner.bank'].create({
            'partner_id': self.company.partner_id.id, 'acc_number': 'CH93 0076 2011 6238 5295 7'})
        invoice = self.make_invoice(self.partner, 100, payment_reference='RF18539007547034')
        self.make_invoice(self.partner, 50)
        self.make_invoice(self.make_partner('Other'), 80)
        run = self.make_run(partner_ids=self.env['res.partner'].search([('name', 'in', ('Acme', 'Other'))]).ids)
        run.action_print_and_send()
        notices = run.notice_ids.with_user(self.clerk)
        mine = notices.filtered(lambda notice: notice.partner_id == self.partner)
        arch = self.env.ref('dunning_mail.dunning_notice_view_search')._get_combined_arch()
        domain = arch.find("field[@name='name']").get('filter_domain')
        for words in (invoice.name, invoice.name[4:], 'RF18539007547034', mine.payment_reference, mine.name, 'Acm'):
            with self.subTest(words=words):
                found = notices.search(safe_eval(domain, {'self': words}))
                self.assertEqual(found & run.notice_ids, mine)

    def test_customer(self):
        first = self.make_invoice(self.partner, 100)
        self.make_notice()
        self.pay(first, 30, day=self.days(1))
        later = self.make_invoice(self.partner, 50, due='2026-11-20')
        self.dun(self.days(30), partner_ids=self.partner.ids)
        contact = self.make_contact(self.partner)
        self.env.invalidate_all()
        customer = self.partner.with_user(self.clerk).with_context(lang='en_US')
        [words] = customer.dunning_claims.splitlines()
        # Each item once, by its last notice: 70 and 50.
        for amount in ('120.00 claimed', '0.00 paid since', '120.00 open now'):
            self.assertIn(amount, words.replace('\xa0', ' ').replace('CHF ', '').replace('$ ', ''))
        self.assertEqual(
            contact.with_user(self.clerk).with_context(lang='en_US').dunning_claims, customer.dunning_claims)
        self.pay(first, day=self.days(31))
        self.env.invalidate_all()
        self.assertIn('70.00 paid since', customer.dunning_claims)
        self.pay(later, day=self.days(31))
        self.env.invalidate_all()
        self.assertFalse(customer.dunning_claims)

    def test_run_shows_the_first(self):
        partners = [self.make_partner(name, email=False) for name in ('Coop', 'Acme AG', 'Bäcker')]
        held = [self.make_partner(name, email=False, dunning_hold_until=self.days(5)) for name in ('Held 1', 'Held 2')]
        for partner in partners + held:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners + held])
        self.assertEqual(run.shown_notice_ids.partner_id.mapped('name'), ['Acme AG', 'Bäcker', 'Coop'])
        self.assertEqual((run.has_more_notices, run.has_more_exceptions), (False, False))
        self.env.invalidate_all()
        with patch('odoo.addons.dunning_mail.models.dunning_run_list.SHOWN_COUNT', 1):
            self.assertEqual(run.shown_notice_ids.partner_id.name, 'Acme AG')
            self.assertEqual(len(run.shown_exception_ids), 1)
            self.assertEqual((run.has_more_notices, run.has_more_exceptions), (True, True))
        new = self.env['dunning.run'].with_user(self.clerk).new({})
        self.assertFalse(new.shown_notice_ids)

    def test_readers(self):
        """Whoever may read notices may read this; nobody may write it."""
        self.make_invoice(self.partner, 100)
        notice = self.make_notice()
        reader = self.clerk.copy({'login': 'reader', 'group_ids': [Command.set([
            self.env.ref('account.group_account_readonly').id])]})
        self.env.invalidate_all()
        mine = notice.with_user(reader)
        self.assertEqual((mine.amount_open, mine.due_line_ids.amount_open, mine.amount_on_way), (100, 100, 0))
        self.assertEqual(mine.search([('claim_state', '=', 'open'), ('id', '=', mine.id)]), mine)
        self.assertFalse(mine.last_payment_date)
