"""What is about to go out: shown before it does, with what to look at first."""

from datetime import datetime, timedelta
from unittest.mock import patch

from odoo import Command, fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import tagged

from ..models import dunning_run_issue
from ..models.dunning_notice_hint import Hint
from .common import TODAY, EngineCase, IssueCase, make_pdf

# Customers by what there is to look at.
NAMES = ('Fine', 'Last', 'Nowhere', 'Wide', 'Copy', 'Unsent', 'Credit', 'Coming', 'Large', 'Silent', 'Paper')


class PreflightCase(IssueCase):

    @classmethod
    def prepare_run(cls):
        """A run whose customers each have one thing to look at, and whose company has all of them.

        :return: (`dunning.run`, dict name -> `dunning.notice`)
        """
        cls.clerk.lang = 'en_US'
        cls.level_2.attach_invoices = True
        # All that is missing is what is tested.
        cls.company.partner_id.bank_ids.unlink()
        partners = {name: cls.make_partner(name) for name in NAMES}
        partners['Paper'].email = False
        partners['Nowhere'].write({'street': False, 'zip': False, 'city': False})
        partners['Wide'].street2 = 'Hinterhaus ' * 120
        partners['Silent'].lang = 'it_IT'
        invoices = {
            name: cls.make_invoice(partner, 20000.0 if name == 'Large' else 100.0, is_move_sent=name != 'Unsent')
            for name, partner in partners.items()}
        run = cls.make_run(partner_ids=[partner.id for partner in partners.values()])
        notices = {notice.partner_id.name: notice for notice in run.notice_ids}
        notices['Last']._change_level(cls.level_3, 'x')
        notices['Copy']._change_level(cls.level_2, 'x')
        cls.drop_texts(cls.level_1, 'it')
        # The only thing that the bank account has seen, three weeks ago.
        cls.make_unallocated(partners['Credit'], 30.0, day='2026-11-02', currency=cls.foreign)
        cls.make_payment(partners['Coming'], 40.0, invoices['Coming'])
        cls.company.dunning_issue_limit = 10000.0
        cls.provider._pause('Wartung')
        return run, notices

    def open(self, run):
        return self.env['dunning.preflight'].with_user(self.clerk).browse(run.action_preflight()['res_id'])

    def rows(self, preflight):
        return {line.code: line for line in preflight.line_ids}

    def names(self, line):
        """The customers of the notices that a row opens."""
        action = line.action_show()
        return sorted(self.env[action['res_model']].search(action['domain']).mapped('partner_id.name'))


@tagged('post_install', '-at_install')
class TestPreflight(PreflightCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_, cls.notices = cls.prepare_run()

    def test_each_warning_opens_exactly_its_notices(self):
        preflight = self.open(self.run_)
        rows = self.rows(preflight)
        going = sorted(set(NAMES) - {'Large', 'Silent'})
        for code, names in {
                'large': ['Large'], 'last_level': ['Last'], 'no_address': ['Nowhere'], 'address_size': ['Wide'],
                'no_account': going, 'no_copy': ['Copy'], 'not_sent': ['Unsent'], 'unallocated': ['Credit'],
                'on_way': ['Coming'], 'no_text': ['Silent']}.items():
            with self.subTest(code):
                self.assertEqual(self.names(rows[code]), names)
                self.assertEqual(rows[code].notice_count, len(names))
        for code, model in {
                'bank_old': 'account.journal', 'provider_paused': 'dunning.provider',
                'setup_provider': 'dunning.provider', 'setup_account': 'res.partner'}.items():
            with self.subTest(code):
                self.assertEqual(rows[code].action_show()['res_model'], model)
        self.assertIn('11/02/2026', rows['bank_old'].words.replace('Nov 2, 2026', '11/02/2026'))
        order = [line.severity for line in preflight.line_ids]
        self.assertEqual(order, sorted(order, key=('danger', 'warning', 'info').index))

    def test_hint_of_another_addon(self):
        """It is no code that the clerk reads."""
        Notice = self.env.registry['dunning.notice']
        find = Notice._find_hints

        def find_more(notices):
            found = find(notices)
            found[self.notices['Unsent'].id].append(Hint('of_another', "Ask the warehouse first."))
            return found
        self.patch(Notice, '_find_hints', find_more)
        row = self.rows(self.open(self.run_))['of_another']
        self.assertEqual((row.name, self.names(row)), ("Ask the warehouse first.", ['Unsent']))

    def test_what_goes_out(self):
        preflight = self.open(self.run_)
        self.assertEqual((len(preflight.draft_ids), preflight.issue_count), (11, 9))
        self.assertEqual((preflight.mail_count, preflight.paper_count), (8, 1))
        self.assertEqual(preflight.issue_label, 'Issue 9 notices')
        self.assertIn('does not send', preflight.end_info)

    def test_nothing_is_written(self):
        fnames = ['state', 'name', 'problem', 'delivery_state', 'write_date']
        before = self.run_.notice_ids.read(fnames)
        self.open(self.run_)
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(before, self.run_.notice_ids.read(fnames))

    def test_the_same_is_said_of_the_draft(self):
        for name in ('Nowhere', 'Wide', 'Copy', 'Unsent', 'Credit', 'Coming', 'Large', 'Silent', 'Last'):
            with self.subTest(name):
                self.assertTrue(self.notices[name].hints)
        found = self.env['dunning.notice'].search([('hints', '!=', False), ('run_id', '=', self.run_.id)])
        self.assertEqual(found, self.run_.notice_ids, "nobody has an account to pay into")

    def test_head_of_accounts(self):
        preflight = self.env['dunning.preflight'].browse(
            self.run_.with_user(self.manager).action_preflight()['res_id'])
        self.assertEqual((len(preflight.draft_ids), preflight.issue_count), (11, 10))
        self.assertEqual(self.rows(preflight)['large'].severity, 'warning')

    def test_of_somebody_else(self):
        preflight = self.open(self.run_)
        with self.assertRaises(AccessError):
            preflight.with_user(self.manager).line_ids[:1].action_show()
        with self.assertRaises(AccessError):
            preflight.write({'issue_count': 3})

    def test_drafts_have_changed(self):
        preflight = self.open(self.run_)
        self.notices['Fine'].action_exclude()
        with self.assertRaisesRegex(UserError, self.run_.name):
            preflight.action_issue()

    def test_as_many_drafts_but_others(self):
        self.notices['Paper'].action_exclude()
        preflight = self.open(self.run_)
        self.notices['Fine'].action_exclude()
        self.notices['Paper'].action_include()
        with self.assertRaisesRegex(UserError, self.run_.name):
            preflight.action_issue()


@tagged('post_install', '-at_install')
class TestPreflightForesees(IssueCase):
    """What is counted is what goes out: the claims are asked again, as issuing asks them."""

    def open(self, run):
        return self.env['dunning.preflight'].with_user(self.clerk).browse(run.action_preflight()['res_id'])

    def prepare(self, **amounts):
        self.invoices = {
            name: self.make_invoice(self.make_partner(name), amount) for name, amount in amounts.items()}
        run = self.make_run(partner_ids=[invoice.partner_id.id for invoice in self.invoices.values()])
        self.notices = {notice.partner_id.name: notice for notice in run.notice_ids}
        return run

    def names(self, preflight):
        """The customers of the notices behind each row."""
        return {
            line.code: sorted(self.env['dunning.notice'].browse(line.notice_ids).mapped('partner_id.name'))
            for line in preflight.line_ids if line.notice_count}

    def test_what_happened_since_the_proposal(self):
        run = self.prepare(Fine=100.0, Paid=200.0, Reversed=250.0, Held=400.0, Archived=800.0, Part=1600.0,
                           Silent=3200.0, Credit=6400.0)
        self.pay(self.invoices['Paid'])
        self.pay(self.invoices['Reversed'])
        self.pay(self.invoices['Part'], 600.0)
        self.make_unallocated(self.invoices['Credit'].partner_id, 400.0)
        self.invoices['Held'].partner_id.dunning_hold_until = self.days(30)
        self.invoices['Archived'].partner_id.active = False
        self.notices['Silent'].sudo().lang = 'it_IT'
        self.drop_texts(self.level_1, 'it')
        before = run.notice_ids.read(['state', 'amount_total', 'problem', 'write_date'])
        preflight = self.open(run)
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(before, run.notice_ids.read(['state', 'amount_total', 'problem', 'write_date']))
        names = self.names(preflight)
        self.assertEqual(
            {code: names.get(code) for code in ('settled', 'held', 'archived', 'no_text', 'changed')},
            {'settled': ['Paid', 'Reversed'], 'held': ['Held'], 'archived': ['Archived'], 'no_text': ['Silent'],
             'changed': ['Credit', 'Part']})
        self.assertEqual(preflight.issue_count, 3)
        self.assertIn('7,100.00', preflight.amounts)
        self.assertEqual(preflight.mail_count + preflight.paper_count, 3)
        preflight.action_issue()
        self.assertEqual(
            {name: notice.state for name, notice in self.notices.items()},
            {'Fine': 'issued', 'Part': 'issued', 'Credit': 'issued', 'Paid': 'cancelled', 'Reversed': 'cancelled',
             'Held': 'cancelled', 'Archived': 'draft', 'Silent': 'draft'})
        issued = run.notice_ids.filtered(lambda notice: notice.state == 'issued')
        self.assertEqual(sum(issued.mapped('amount_total')), 7100.0)

    def test_all_paid(self):
        """The run can be brought to an end all the same."""
        run = self.prepare(One=100.0, Two=200.0)
        for invoice in self.invoices.values():
            self.pay(invoice)
        preflight = self.open(run)
        self.assertEqual((preflight.issue_count, preflight.cancel_count), (0, 2))
        self.assertFalse(preflight.amounts)
        self.assertIn('2', preflight.issue_label)
        preflight.action_issue()
        self.assertEqual(set(run.notice_ids.mapped('state')), {'cancelled'})

    def test_limit_of_what_will_be_claimed(self):
        run = self.prepare(Grown=1000.0, Shrunk=1000.0)
        self.notices['Grown'].line_ids.sudo().amount_residual = 400.0
        self.company.dunning_issue_limit = 900.0
        preflight = self.open(run)
        self.assertEqual(preflight.issue_count, 0)
        self.assertEqual(self.names(preflight)['large'], ['Grown', 'Shrunk'])

    def test_dated_anew(self):
        """Nobody has paid: what is a week old goes out with another date."""
        run = self.prepare(Old=100.0)
        self.clock.move_to(f'{self.days(7)} 08:00:00')
        try:
            preflight = self.open(run)
        finally:
            self.clock.move_to(f'{TODAY} 08:00:00')
        self.assertEqual((preflight.issue_count, self.names(preflight)['changed']), (1, ['Old']))

    def test_large_run_that_nobody_issues(self):
        run = self.prepare(One=100.0, Two=100.0)
        self.env.ref('dunning_mail.ir_cron_issue').active = False
        self.assertNotIn('issue_off', self.open(run).line_ids.mapped('code'), "it is issued while she waits")
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 1):
            line = self.open(run).line_ids.filtered(lambda line: line.code == 'issue_off')
        self.assertEqual(line.severity, 'danger')


@tagged('post_install', '-at_install')
class TestPreflightNumbers(IssueCase):

    def open(self, run):
        return self.env['dunning.preflight'].browse(run.action_preflight()['res_id'])

    def test_sums_for_each_currency(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner, 100.5)
        self.make_invoice(partner, 70.0, currency=self.foreign)
        self.make_invoice(self.make_partner('Other', email=False), 200.0)
        preflight = self.open(self.make_run())
        self.assertEqual((preflight.issue_count, preflight.mail_count, preflight.paper_count), (3, 2, 1))
        amounts = preflight.amounts.splitlines()
        self.assertEqual(len(amounts), 2)
        self.assertTrue(any('300.50' in amount for amount in amounts), amounts)
        self.assertTrue(any('70.00' in amount for amount in amounts), amounts)
        self.assertEqual(preflight.issue_label, 'Issue 3 notices')

    def test_several_runs(self):
        runs = self.propose('Acme').run_id | self.propose('Other').run_id
        preflight = self.open(runs)
        self.assertEqual(preflight.issue_count, 2)
        preflight.action_issue()
        self.assertEqual(set(runs.notice_ids.mapped('state')), {'issued'})

    def test_runs_of_several_companies(self):
        """A company all of whose notices go on paper needs no provider, and none of the others' words."""
        other = self.env['res.company'].create({'name': 'Other', 'currency_id': self.currency.id})
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        # The chart brings its own currency.
        other.write({
            'currency_id': self.currency.id, 'dunning_procedure_id': self.procedure.id,
            'dunning_fallback_lang': 'de_DE'})
        self.clerk.company_ids |= other
        self.env.user.company_ids |= other
        own = self.propose('Acme').run_id
        journal = self.env['account.journal'].search([('type', '=', 'sale'), ('company_id', '=', other.id)], limit=1)
        self.make_invoice(self.make_partner('Abroad'), journal_id=journal.id)
        theirs = self.env['dunning.run'].with_company(other).create({'company_id': other.id})
        theirs.action_generate_notices()
        self.assertEqual(len(theirs.notice_ids), 1)
        self.provider._pause('Wartung')
        preflight = self.open((own | theirs).with_context(allowed_company_ids=(self.company | other).ids))
        self.assertEqual((preflight.mail_count, preflight.paper_count), (1, 1))
        codes = preflight.line_ids.mapped('code')
        self.assertEqual(codes.count('provider_paused'), 1)
        # One provider of two companies is told of once.
        other.dunning_provider_id = self.provider
        preflight = self.open((own | theirs).with_context(allowed_company_ids=(self.company | other).ids))
        self.assertEqual(preflight.mail_count, 2)
        self.assertEqual(preflight.line_ids.mapped('code').count('provider_paused'), 1)

    def test_as_many_statements_for_many(self):
        """Twice as many notices, with all kinds of things to look at, are no statement more."""
        def count(names):
            partners = [self.make_partner(name) for name in names]
            for number, partner in enumerate(partners):
                invoice = self.make_invoice(partner, 100.0, is_move_sent=bool(number % 2))
                self.env['ir.attachment'].create({
                    'name': 'x.pdf', 'res_model': 'account.move', 'res_id': invoice.id,
                    'res_field': 'invoice_pdf_report_file', 'raw': make_pdf() if number % 3 else b'no PDF'})
                self.make_contact(partner, email=False, street=False, city=False, zip=False)
                self.make_unallocated(partner, 10.0, currency=self.foreign)
                self.make_payment(partner, 5.0)
            run = self.make_run(partner_ids=[partner.id for partner in partners])
            for number, notice in enumerate(run.notice_ids):
                if number % 2:
                    self.pay(notice.due_line_ids.move_id, 20.0 if number % 4 == 1 else None)
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            preflight = self.open(run)
            self.assertEqual(preflight.cancel_count, len(partners) // 4)
            self.assertEqual(preflight.issue_count, len(partners) - len(partners) // 4)
            return self.env.cr.sql_log_count - before
        self.level_1.attach_invoices = True
        count(['Warm'])
        few = count([f'Few {number}' for number in range(4)])
        many = count([f'Many {number}' for number in range(12)])
        self.assertLessEqual(many, few)

    def test_money_that_is_none(self):
        """What is not posted, is covered already or is another customer's is not told of."""
        partner, other = self.make_partner('Acme'), self.make_partner('Other')
        self.make_invoice(partner, 100.0)
        for move_type in ('out_refund', 'entry'):
            if move_type == 'entry':
                entry = self.make_unallocated(partner, 40.0, currency=self.foreign)
            else:
                entry = self.make_invoice(partner, 30.0, move_type=move_type)
            entry.button_draft()
            entry.button_cancel()
        self.pay(self.make_invoice(partner, 20.0, currency=self.foreign))
        self.make_unallocated(other, 50.0, currency=self.foreign)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        codes = {hint.code for hint in notice._find_hints()[notice.id]}
        self.assertFalse(codes & {'unallocated', 'on_way'}, codes)
        # Set off on the draft: nothing is left to look at.
        self.make_unallocated(partner, 25.0)
        notice.run_id.action_generate_notices()
        notice = notice.search([('partner_id', '=', partner.id)])
        self.assertEqual(notice.amount_total, 75.0)
        self.assertNotIn('unallocated', {hint.code for hint in notice._find_hints()[notice.id]})
        # What comes after the proposal is.
        self.make_unallocated(partner, 10.0)
        notice.invalidate_recordset()
        self.assertIn('10.00', notice.hints)

    def test_menu_of_the_list(self):
        """The print menu of the list shows it too."""
        run = self.propose().run_id
        action = self.env.ref('dunning_mail.dunning_run_action_print_and_send').with_context(
            active_model='dunning.run', active_ids=run.ids).run()
        self.assertEqual(action['res_model'], 'dunning.preflight')
        self.assertEqual(run.notice_ids.state, 'draft')


@tagged('post_install', '-at_install')
class TestLimit(IssueCase):
    """Notices above an amount are issued by whoever heads the accounts, whichever way."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.dunning_issue_limit = 1000.0
        for name, amount, currency in (
                ('Small', 1000.0, cls.currency), ('Large', 1000.01, cls.currency), ('Foreign', 2000.0, cls.foreign),
                ('Large Foreign', 2000.01, cls.foreign)):
            cls.make_invoice(cls.make_partner(name), amount, currency=currency)

    def states(self, run):
        self.env.invalidate_all()
        return {notice.partner_id.name: notice.state for notice in run.notice_ids}

    HELD = {'Small': 'issued', 'Large': 'draft', 'Foreign': 'issued', 'Large Foreign': 'draft'}

    def test_clerk_over_rpc_and_then_the_head(self):
        run = self.make_run()
        run.action_print_and_send()
        self.assertEqual(self.states(run), self.HELD)
        self.assertEqual(run.state, 'proposed')
        held = run.notice_ids.filtered(lambda notice: notice.state == 'draft')
        self.assertTrue(all('1,000.00' in problem for problem in held.mapped('problem')), held.mapped('problem'))
        self.assertFalse(any(held.mapped('name')), "no number is used up")
        run.action_print_and_send()
        self.assertEqual(self.states(run), self.HELD, "she may press again")
        run.with_user(self.manager).action_print_and_send()
        self.assertEqual(set(self.states(run).values()), {'issued'})
        self.assertFalse(any(held.mapped('problem')))

    def test_in_the_background(self):
        for user, expected in ((self.clerk, self.HELD), (self.manager, dict.fromkeys(self.HELD, 'issued'))):
            with self.subTest(user.name), patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 0):
                run = self.make_run()
                run.with_user(user).action_print_and_send()
                self.assertTrue(run.is_issuing)
                with self.enter_registry_test_mode():
                    self.env.ref('dunning_mail.ir_cron_issue').method_direct_trigger()
                self.assertEqual(self.states(run), expected)
                self.assertFalse(run.is_issuing)
                run.action_cancel()

    def test_schedule(self):
        """Nobody has looked at what a schedule sends, whoever it belongs to."""
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'user_id': self.manager.id, 'next_date': TODAY, 'issue': True})
        schedule._make_run()
        self.assertEqual(self.states(schedule.run_ids), self.HELD)
        summary = schedule.run_ids.activity_ids.summary
        self.assertEqual(summary.count('2'), 2, summary)

    def test_schedule_in_the_background(self):
        """What is still to be made is not said to have been sent."""
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'user_id': self.manager.id, 'next_date': TODAY, 'issue': True})
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 0):
            schedule._make_run()
        self.assertTrue(schedule.run_ids.is_issuing)
        summary = schedule.run_ids.activity_ids.summary
        self.assertIn('being printed and sent now: 2.', summary)
        self.assertTrue(summary.endswith('2'), summary)

    def test_grown_meanwhile(self):
        """What is claimed is read again when it is issued, and asked for again."""
        run = self.make_run()
        small = run.notice_ids.filtered(lambda notice: notice.partner_id.name == 'Small')
        line = small.line_ids
        # As if a part had been paid when it was proposed.
        line.sudo().amount_residual = 400.0
        self.company.dunning_issue_limit = 999.0
        self.assertEqual(small.amount_total, 400.0)
        run.action_print_and_send()
        self.assertEqual(small.state, 'draft', small.amount_total)

    def test_whoever_forgets_to_say(self):
        """Without a word about it, it is asked who issues."""
        for user, expected in ((self.clerk, self.HELD), (self.manager, dict.fromkeys(self.HELD, 'issued'))):
            with self.subTest(user.name):
                run = self.make_run()
                run.notice_ids.with_user(user)._issue()
                self.assertEqual(self.states(run), expected)
                run.action_cancel()
        run = self.make_run()
        run.notice_ids.with_user(self.manager).with_context(dunning_unattended=True)._issue()
        self.assertEqual(self.states(run), self.HELD)

    def test_nothing_is_put_back_while_the_head_issues(self):
        self.make_invoice(self.env['res.partner'].search([('name', '=', 'Small')]), 50.0)
        run = self.make_run()
        notices = {notice.partner_id.name: notice for notice in run.notice_ids}
        notices['Large'].action_exclude()
        notices['Small'].due_line_ids[:1].action_take_out()
        taken = run.exception_ids.filtered(lambda exception: exception.line_values)
        self.assertTrue(taken)
        with patch.object(dunning_run_issue, 'ISSUE_AT_ONCE', 0):
            run.with_user(self.manager).action_print_and_send()
        for call in (notices['Large'].action_include, taken.action_put_back):
            with self.assertRaisesRegex(UserError, run.name):
                call()
        self.assertEqual(notices['Large'].state, 'excluded')

    def test_no_limit(self):
        self.company.dunning_issue_limit = 0
        run = self.make_run()
        run.action_print_and_send()
        self.assertEqual(set(self.states(run).values()), {'issued'})


@tagged('post_install', '-at_install')
class TestEnd(EngineCase):
    """When the last mail will have left. Each handover takes a second beside the interval."""

    NOW = datetime(2026, 11, 24, 8)

    def end(self, count=3, **values):
        self.provider.write(values)
        return self.provider._estimate_end([1] * count, now=self.NOW)

    def test_behind_what_waits(self):
        self.assertEqual(self.end(send_interval=59), self.NOW + timedelta(minutes=2))
        first, _second = self.release('One', 'Two')
        self.assertEqual(self.end(), self.NOW + timedelta(minutes=4))
        first.partner_id.email = 'a@customer.test, b@customer.test'
        first.sudo().email_to = 'a@customer.test, b@customer.test'
        # Two, one, one: the next has to wait for the first to leave the hour, the last for the pace.
        self.assertEqual(self.end(hourly_limit=4), self.NOW + timedelta(hours=1, minutes=1, seconds=1))
        self.assertEqual(self.end(redirect_to='probe@muster.test', hourly_limit=5), self.NOW + timedelta(minutes=4))

    def test_of_one_run(self):
        """Mails of other runs that wait behind it are not the clerk's matter."""
        self.provider.send_interval = 59
        first = self.release('One', 'Two')
        self.release('Three', 'Four')
        self.assertEqual(
            self.provider._estimate_end(now=self.NOW, run=first.run_id), self.NOW + timedelta(minutes=1))
        self.assertEqual(self.provider._estimate_end(now=self.NOW), self.NOW + timedelta(minutes=3))
        words = first.run_id.with_context(lang='en_US', tz='UTC').moving_info
        self.assertIn('8:01', words)

    def test_what_left_counts(self):
        notice = self.release('One')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        sent = notice.sent_at
        self.provider.hourly_limit = 1
        self.assertEqual(
            self.provider._estimate_end([1], now=sent + timedelta(minutes=5)), sent + timedelta(hours=1, seconds=1))

    def test_sending_hours(self):
        calendar = self.env['resource.calendar'].create({
            'name': 'Sending hours', 'tz': 'UTC', 'company_id': False, 'attendance_ids': [
                Command.clear(), *(Command.create({
                    'name': 'x', 'dayofweek': str(day), 'hour_from': 8, 'hour_to': 9, 'day_period': 'morning'})
                    for day in range(5))]})
        end = self.end(60, calendar_id=calendar.id, send_interval=59)
        self.assertEqual(end, self.NOW + timedelta(minutes=59))
        self.assertEqual(self.end(61), self.NOW + timedelta(days=1))
        # Tuesday to Friday, then Monday.
        self.assertEqual(self.end(60 * 4 + 1), self.NOW + timedelta(days=6))
        # As the engine itself would find its slots.
        for moment in ('2026-11-24 07:00:00', '2026-11-24 08:30:00', '2026-11-24 09:00:00', '2026-11-27 20:00:00'):
            moment = fields.Datetime.to_datetime(moment)
            self.assertEqual(self.provider._make_opening()(moment), self.provider._get_opening(moment))
        calendar.attendance_ids.unlink()
        self.assertIsNone(self.end(1))

    def test_another_attempt_later(self):
        """What waits for another attempt is not done before; what is new does not wait for it."""
        self.provider.send_interval = 59
        first = self.release('One', 'Two')
        first[0].sudo().next_attempt_at = self.NOW + timedelta(hours=2)
        self.assertEqual(self.provider._estimate_end(now=self.NOW), self.NOW + timedelta(hours=2))
        self.assertEqual(
            self.provider._estimate_end(now=self.NOW, run=first.run_id), self.NOW + timedelta(hours=2))
        self.assertEqual(self.end(2), self.NOW + timedelta(minutes=2))
        self.assertEqual(self.end(130), self.NOW + timedelta(minutes=131), "it comes between")

    def test_words_for_each_provider(self):
        other, closed = (self.provider.copy({'name': name}) for name in ('Zweiter', 'Dritter'))
        other._pause('x')
        closed.calendar_id = self.env['resource.calendar'].create({'name': 'Never', 'tz': 'UTC', 'company_id': False})
        closed.calendar_id.attendance_ids.unlink()
        Preflight = self.env['dunning.preflight'].with_context(lang='en_US')
        words = Preflight._describe_end({self.provider: [1], other: [1], closed: [1]})
        self.assertIn('Leaves at about', words)
        self.assertIn('“Zweiter”: it does not send at present', words)
        self.assertIn('“Dritter”: its sending hours', words)
        self.assertNotIn(self.provider.name, words)

    def test_provider_that_does_not_send(self):
        self.provider._pause('x', passing=True, now=self.NOW)
        self.assertEqual(self.provider._estimate_end([1], now=self.NOW), self.provider.resume_at)
        self.provider._pause('y')
        self.assertIsNone(self.end(1))
        self.provider.action_resume()
        self.assertTrue(self.provider.tested_at)
        self.provider.active = False
        self.assertIsNone(self.end(1))
