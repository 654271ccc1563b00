"""The words in which a recheck says what has become of a claim."""

from odoo import Command
from odoo.tests import tagged

from .common import RecheckCase


@tagged('post_install', '-at_install')
class TestWords(RecheckCase):
    """The reasons are the true ones."""

    def test_part_payment(self):
        notice = self.issue('Acme')
        self.pay_part(notice)
        message = notice.action_open_document()['params']['message']
        for words in (notice.name, 'Acme', '60.00 instead of', '60.00 open instead of', '100.00'):
            self.assertIn(words, message)
        self.assertIn('60.00 instead of', notice.delivery_log_ids.sorted('id')[-2].text, "the evidence says it")
        self.assertIn("Letter handed out to Petra Muster", notice.delivery_log_ids.sorted('id')[-1].text)

    def test_due_date(self):
        notice = self.issue('Acme')
        self.receivable(self.invoice_of(notice)).date_maturity = '2026-10-05'
        self.assertIn("10/05/2026 instead of 10/01/2026", notice.action_open_document()['params']['message'])

    def test_credit(self):
        notice = self.issue('Acme')
        self.make_unallocated(notice.partner_id.with_env(self.env), 30.0)
        message = notice.action_open_document()['params']['message']
        self.assertRegex(message, r"Credits: \D*30.00 instead of \D*0.00")
        self.assertRegex(message, r"70.00 instead of \D*100.00")

    def test_dated_anew(self):
        notice = self.issue('Acme')
        self.go_to(5)
        message = notice.action_open_document()['params']['message']
        self.assertIn("Dated 11/29/2026, payable until 12/09/2026", message)
        self.assertNotIn("open instead of", message)

    def test_paid_or_settled(self):
        """Paid is what a payment paid; what was written off or set off is settled."""
        journal = self.env['account.journal'].search(
            [('type', '=', 'general'), ('company_id', '=', self.company.id)], limit=1)
        for kind, words in ((journal, "Settled: INV"), (None, "Paid: INV")):
            notice = self.issue('Acme')
            entry = self.make_unallocated(notice.partner_id.with_env(self.env), 100.0, journal=kind) \
                if not kind else self.make_write_off(notice, kind)
            (self.receivable(self.invoice_of(notice)) | self.receivable(entry)).reconcile()
            notice.action_open_document()
            self.assertIn(words, notice.delivery_info)
            self.assertTrue(notice.delivery_info.startswith("Cancelled."))

    def make_write_off(self, notice, journal):
        partner = notice.partner_id.with_env(self.env)
        expense = self.env['account.account'].search(
            [('account_type', '=', 'expense'), ('company_ids', 'in', self.company.ids)], limit=1)
        entry = self.env['account.move'].create({
            'move_type': 'entry', 'journal_id': journal.id, 'date': '2026-11-20', 'line_ids': [
                Command.create({'account_id': expense.id, 'debit': 100.0}),
                Command.create({'account_id': partner.property_account_receivable_id.id, 'partner_id': partner.id,
                                'credit': 100.0})]})
        entry.action_post()
        return entry

    def test_the_same_of_many_items(self):
        """It is said once, not once for each."""
        partner = self.make_partner('Acme', email=False)
        moves = [self.make_invoice(partner) for _number in range(5)]
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        for move in moves:
            self.pay(move)
        run.notice_ids.action_open_document()
        self.assertEqual(run.notice_ids.delivery_info.count("Paid"), 1)
        self.assertIn(f'{moves[0].name}, {moves[1].name}, {moves[2].name} …', run.notice_ids.delivery_info)

    def test_dunned_meanwhile_by_an_earlier_one(self):
        """Whether the one before counts is asked of it, and not read from numbers."""
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        first = self.make_run(partner_ids=partner.ids)
        first.action_print_and_send()
        first.notice_ids.action_open_document()
        first.action_mark_printed()
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        self.assertEqual(second.notice_ids.line_ids.previous_notice_id, first.notice_ids)
        second.action_print_and_send()
        second.notice_ids.action_open_document()
        second.action_mark_printed()
        third = self.make_run(self.days(40), partner_ids=partner.ids)
        third.action_print_and_send()
        notice = third.notice_ids
        self.assertEqual(notice.line_ids.previous_notice_id, second.notice_ids)
        # The first one turns out to have left later than the second one.
        first.notice_ids.sudo().printed_at = '2027-01-02 08:00:00'
        notice.action_open_document()
        self.assertIn(f"dunned meanwhile by {first.notice_ids.name}", notice.delivery_info)

    def test_notice_before_does_not_count_any_more(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        first = self.dun(partner_ids=partner.ids)
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        second.action_print_and_send()
        first.notice_ids.action_cancel()
        second.notice_ids.action_open_document()
        self.assertIn(f"({first.notice_ids.name}) does not count any more", second.notice_ids.delivery_info)

    def test_contact_archived_or_moved(self):
        partner = self.make_partner('Acme', email=False)
        contact = self.env['res.partner'].create({'name': 'Frau Ex', 'parent_id': partner.id, 'type': 'dunning'})
        for change, words in (
                (lambda: contact.write({'active': False}), "Frau Ex has been archived"),
                (lambda: contact.write({'parent_id': self.make_partner('Other').id}), "no longer with the customer")):
            with self.env.cr.savepoint() as savepoint:
                self.make_invoice(partner)
                run = self.make_run(partner_ids=partner.ids)
                run.action_print_and_send()
                self.assertEqual(run.notice_ids.recipient_id, contact)
                change()
                message = run.notice_ids.action_open_document()['params']['message']
                self.assertRegex(message, f"Addressed anew to Acme: .*{words}")
                savepoint.rollback()
                self.env.invalidate_all()

    def test_lines_are_kept_apart(self):
        one, two = self.issue('One AG', 'Two AG')
        for notice in (one, two):
            self.pay_all(notice)
        action = one.run_id.action_print_letters()
        self.assertEqual(action['params']['className'], 'o_dunning_lines')
        self.assertEqual(len(action['params']['message'].split('\n')), 3)
        self.assertEqual(one.run_id.message_ids[0].body.count('<br'), 2)

    def test_what_was_opened_before(self):
        """A letter on the desk is void, or another one takes its place."""
        paid, part, fresh = notices = self.issue('Paid AG', 'Part AG', 'Fresh AG')
        for notice in (paid, part):
            notice.action_open_document()
        self.pay_all(paid)
        self.pay_part(part)
        self.pay_part(fresh)
        lines = notices.run_id.action_print_letters()['params']['message'].split('\n')
        for name in ('Paid AG', 'Part AG'):
            start = next(index for index, line in enumerate(lines) if name in line)
            self.assertIn("opened for printing", ' '.join(lines[start:start + 3]))
        self.assertEqual(sum("opened for printing" in line for line in lines), 2)

    def test_print_and_send_tells_what_was_cancelled(self):
        partners = [self.make_partner(name, email=False) for name in ('Paid AG', 'Good AG', 'Later AG')]
        moves = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(moves[0])
        self.receivable(moves[2]).date_maturity = self.days(30)
        params = run.action_print_and_send()['params']
        self.assertIn("not overdue any more: 2.", params['message'])
        self.assertEqual(params['type'], 'warning')
        self.assertEqual(run.cancelled_count, 2)
        cancelled = run.with_context(dunning_delivery_state='cancelled').action_open_notices()
        self.assertEqual(self.env['dunning.notice'].search_count(cancelled['domain']), 2)


@tagged('post_install', '-at_install')
class TestLevelOfIssued(RecheckCase):

    def test_level_falls(self):
        """The highest item is paid: what is left is a first reminder, in the language that a person chose."""
        partner = self.make_partner('Acme', email=False)
        old = self.make_invoice(partner, 100.0)
        self.dun(partner_ids=partner.ids)
        self.make_invoice(partner, 50.0, due='2026-11-01')
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        notice = second.notice_ids
        self.assertEqual(notice.level_id, self.level_2)
        notice.lang = 'fr_FR'
        second.action_print_and_send()
        self.pay(old, day=self.days(20))
        text, _words = self.hand_out(second)
        self.assertEqual((notice.level_id, notice.lang), (self.level_1, 'fr_FR'))
        first_text = self.level_1._get_text('fr_FR')
        self.assertEqual(notice.text_version_id, first_text._get_version())
        title = first_text.letter_title.split('{')[0].strip()
        self.assertTrue(title)
        self.assertIn(title, text)

    def test_level_falls_to_one_without_texts(self):
        partner = self.make_partner('Acme', email=False)
        old = self.make_invoice(partner, 100.0)
        self.dun(partner_ids=partner.ids)
        self.make_invoice(partner, 50.0, due='2026-11-01')
        second = self.make_run(self.days(20), partner_ids=partner.ids)
        second.action_print_and_send()
        notice = second.notice_ids
        self.level_1.text_ids.unlink()
        self.pay(old, day=self.days(20))
        text, words = self.hand_out(second)
        self.assertFalse(text)
        self.assertIn("has no texts", words[1])
        self.assertEqual(notice.status, 'held')
