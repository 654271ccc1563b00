from datetime import date
from unittest.mock import patch

from psycopg2 import IntegrityError

from odoo.exceptions import AccessError, LockError, UserError, ValidationError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningCommon, DunningMailCommon


@tagged('post_install', '-at_install')
class TestBadConfiguration(DunningCommon):
    """What is wrong, where, and what to do, before anything is proposed or sent."""

    def assertSays(self, call, *words, exception=UserError):
        with self.assertRaises(exception) as raised, self.env.cr.savepoint():
            call()
        for expected in words:
            self.assertIn(expected, str(raised.exception))

    # === PROVIDER === #

    def make_provider(self, **values):
        return self.env['dunning.provider'].create({
            'name': 'Post', 'smtp_host': 'localhost', 'email_from': 'mahnung@muster.test', **values})

    def test_provider_without_sender_address(self):
        for address in (False, '', 'not an address', 'a@muster.test, b@muster.test', 'mahnung@'):
            with self.subTest(address=address):
                self.assertSays(
                    lambda address=address: self.make_provider(email_from=address),
                    "Post", "sender address", "tab Login", exception=ValidationError)
        provider = self.make_provider()
        self.assertSays(
            lambda: provider.with_user(self.manager).write({'email_from': False}),
            "Post", "sender address", exception=ValidationError)

    def test_provider_without_server(self):
        self.company.dunning_provider_id = self.make_provider(smtp_host=False)
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        self.assertSays(run.action_print_and_send, "Post", "SMTP server", "tab Login")
        self.assertEqual((run.state, run.notice_ids.state), ('proposed', 'draft'))

    # === PROCEDURE, LEVELS, TEXTS === #

    def test_level_without_texts_in_the_fallback_language(self):
        self.make_invoice(self.make_partner('Acme', lang='fr_FR'))
        self.drop_texts(self.level_2, 'de')
        run = self.make_run(generate=False)
        language = self.env['res.lang']._get_data(code='de_DE').name
        self.assertSays(
            run.action_generate_notices, self.level_2.name, self.procedure.name, language, "Dunning Texts")
        self.assertEqual((run.state, len(run.notice_ids)), ('draft', 0))
        self.company.dunning_fallback_lang = 'fr_FR'
        run.action_generate_notices()
        self.assertEqual(len(run.notice_ids), 1)

    def test_customers_own_procedure_without_texts(self):
        """Not only the default procedure matters: one that a single customer has stops nobody else."""
        own = self.procedure.copy({'name': 'Own'})
        own.level_ids.text_ids.unlink()
        bad, good = self.make_partner('Acme'), self.make_partner('Coop')
        bad.dunning_procedure_id = own
        for partner in (bad, good):
            self.make_invoice(partner)
        run = self.make_run()
        run.action_print_and_send()
        by_partner = {notice.partner_id: notice for notice in run.notice_ids}
        self.assertEqual(by_partner[good].state, 'issued')
        self.assertEqual(by_partner[bad].state, 'draft')
        self.assertIn(own.level_ids.sorted('sequence')[0].name, by_partner[bad].problem)

    @mute_logger('odoo.sql_db')
    def test_two_levels_with_one_number(self):
        levels = self.env['dunning.level'].with_user(self.manager)
        with self.assertRaises(IntegrityError) as raised, self.env.cr.savepoint():
            levels.create({'procedure_id': self.procedure.id, 'sequence': 2, 'name': 'Second second'})
        self.assertIn('sequence_unique', str(raised.exception))
        words = self.env.registry['dunning.level']._sequence_unique.get_error_message(levels, None)
        self.assertIn("same number", words)
        self.assertIn("Give each its own", words)

    def test_level_with_impossible_values(self):
        for values in ({'sequence': 0}, {'sequence': -1}):
            self.assertSays(
                lambda values=values: self.level_1.with_user(self.manager).write(values), self.level_1.name,
                exception=ValidationError)
        for values in ({'delay_days': -1}, {'deadline_days': -1}, {'min_amount': -1},
                       {'delay_days': 3651}, {'deadline_days': 2 ** 31 - 1}):
            with (self.subTest(values=values), mute_logger('odoo.sql_db'), self.assertRaises(IntegrityError),
                  self.env.cr.savepoint()):
                self.level_1.with_user(self.manager).write(values)

    def test_more_days_than_a_calendar_has(self):
        """A slip of the finger does not end in a date that nothing can reckon with."""
        manager = self.env(user=self.manager)
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'company_id': self.company.id, 'next_date': TODAY, 'user_id': self.clerk.id})
        for record, values in (
                (self.procedure, {'grace_days': -1}), (self.procedure, {'grace_days': 3651}),
                (schedule, {'interval_number': 0}), (schedule, {'interval_number': 121})):
            with (self.subTest(values=values), mute_logger('odoo.sql_db'), self.assertRaises(IntegrityError),
                  self.env.cr.savepoint()):
                record.with_env(manager).write(values)

    def test_days_that_are_just_allowed(self):
        self.level_1.write({'delay_days': 3650, 'deadline_days': 3650})
        self.procedure.grace_days = 3650
        self.env.flush_all()

    def test_amounts_that_are_none(self):
        for value in (float('nan'), float('inf'), float('-inf')):
            self.assertSays(
                lambda value=value: self.level_1.with_user(self.manager).write({'min_amount': value}), str(value),
                "Minimum Amount")
            self.assertSays(lambda value=value: self.env['dunning.level'].with_user(self.manager).create({
                'procedure_id': self.procedure.id, 'name': 'Fourth', 'sequence': 4, 'min_amount': value}), str(value))

    def test_procedure_without_levels(self):
        empty = self.env['dunning.procedure'].with_user(self.manager).create({'name': 'Empty'})
        self.company.dunning_procedure_id = empty
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run(generate=False)
        self.assertSays(run.action_generate_notices, "Empty", "Procedures")

    def test_company_without_procedure(self):
        self.company.dunning_procedure_id = False
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run(generate=False)
        self.assertSays(run.action_generate_notices, self.company.name, "procedure", "Settings")
        self.assertEqual((run.state, len(run.notice_ids)), ('draft', 0))

    def test_letter_of_another_model(self):
        report = self.env.ref('account.account_invoices')
        self.assertSays(
            lambda: self.level_1.with_user(self.manager).write({'report_id': report.id}), self.level_1.name,
            report.name, exception=ValidationError)

    # === RUN === #

    def test_run_without_due_items(self):
        run = self.make_run(generate=False)
        action = run.action_generate_notices()
        self.assertEqual(action['params']['type'], 'warning')
        self.assertIn("Nothing is to be dunned", action['params']['message'])
        self.assertEqual((run.state, len(run.notice_ids)), ('proposed', 0))
        self.assertSays(run.action_print_and_send, run.name, "no notice to print or send")

    def test_run_of_a_company_the_user_may_not_see(self):
        other = self.env['res.company'].create({'name': 'Other AG'})
        with self.assertRaises(AccessError):
            self.make_run(company_id=other.id)
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[(6, 0, other.ids)])
        with self.assertRaises(AccessError):
            self.make_run(generate=False).with_user(stranger).action_generate_notices()

    def test_two_users_at_once(self):
        run = self.make_run(generate=False)

        def locked(*_args, **_kwargs):
            raise LockError("locked")
        with patch.object(self.env.registry['dunning.run'], 'lock_for_update', locked):
            for method in (run.action_generate_notices, run.action_print_and_send, run.action_cancel):
                self.assertSays(method, "Somebody else")

    def test_impossible_dates(self):
        """A run of long ago or far away is answered like any other."""
        self.make_invoice(self.make_partner('Acme'))
        for day in (date(2017, 1, 1), date(2036, 1, 1)):
            run = self.env['dunning.run'].with_user(self.clerk).create({'date': day})
            run.action_generate_notices()
            self.assertEqual(len(run.notice_ids), day.year == 2036)
            run.action_cancel()

    def test_dates_that_are_a_slip_of_the_finger(self):
        runs = self.env['dunning.run'].with_user(self.clerk)
        run = runs.create({})
        for year in (1, 26, 202, 1926, 2206, 9999):
            for values in ({'date': date(year, 11, 26)}, {'due_until': date(year, 11, 26)}):
                for call in (lambda values=values: runs.create(values), lambda values=values: run.write(values)):
                    self.assertSays(call, "more than ten years away", exception=ValidationError)
        notice = self.make_notice_of('Acme')
        self.assertSays(
            lambda: notice.write({'date_deadline': date(9999, 12, 31)}), 'Acme', exception=ValidationError)

    def make_notice_of(self, name):
        partner = self.make_partner(name)
        self.make_invoice(partner)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def test_item_without_due_date(self):
        partner = self.make_partner('Acme')
        invoice, other = self.make_invoice(partner), self.make_invoice(partner)
        self.env.cr.execute(
            "UPDATE account_move_line SET date_maturity = NULL WHERE id = %s", self.receivable(invoice).ids)
        self.env.invalidate_all()
        run = self.make_run()
        self.assertEqual(run.notice_ids.line_ids.move_id, other)
        self.assertEqual((run.exception_ids.reason, run.exception_ids.move_id), ('no_due_date', invoice))

    def test_item_without_customer(self):
        """Nobody to be dunned, and no reason to stop."""
        invoice = self.make_invoice(self.make_partner('Acme'))
        other = self.make_invoice(self.make_partner('Coop'))
        self.env.cr.execute(
            "UPDATE account_move_line SET partner_id = NULL WHERE id = %s", self.receivable(invoice).ids)
        self.env.invalidate_all()
        self.assertEqual(self.make_run().notice_ids.line_ids.move_id, other)

    def test_customer_merged_after_generating(self):
        source, target = self.make_partner('Acme'), self.make_partner('Acme AG')
        for partner in (source, target):
            self.make_invoice(partner)
        run = self.make_run()
        self.env['base.partner.merge.automatic.wizard']._merge((source | target).ids, target, extra_checks=False)
        self.env.invalidate_all()
        run.action_print_and_send()
        self.assertTrue(all(
            notice.problem or notice.state in ('issued', 'cancelled') for notice in run.notice_ids))
        self.assertEqual(run.notice_ids.partner_id, target)
        claimed = [line.move_line_id.id for notice in run.notice_ids if notice.state == 'issued'
                   for line in notice.line_ids if line.kind == 'due']
        self.assertEqual(len(claimed), len(set(claimed)), "nothing is claimed twice")


@tagged('post_install', '-at_install')
class TestOneBadCustomer(DunningMailCommon):
    """The others of a run go on."""

    def test_one_run_with_all_of_them(self):
        bad = {
            'Ohne Adresse': False,
            'Keine Adresse': 'irgendwas',
            'Zeilenumbruch': 'x@customer.test\nBcc: y@customer.test',
            'Umlaut': 'müller@customer.test',
        }
        for name, email in bad.items():
            self.make_invoice(self.make_partner(name, email=email))
        self.make_invoice(self.make_partner('Name\r\nBcc: evil@customer.test', email='name@customer.test'))
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.action_print_and_send()
        self.assertFalse([problem for problem in run.notice_ids.mapped('problem') if problem])
        for notice in run.notice_ids:
            if notice.partner_id.name in bad:
                self.assertEqual(notice.delivery_state, 'paper', notice.partner_id.name)
                self.assertTrue(notice.delivery_info)
            else:
                self.assertEqual(notice.delivery_state, 'released')
        self.run_engine()
        mails = self.mails()
        self.assertEqual(
            sorted(str(mail['To'].addresses[0].addr_spec) for mail in mails),
            ['acme@customer.test', 'name@customer.test'])
        self.assertEqual(sorted(recipient for message in self.smtp.messages for recipient in message.rcpt_tos),
                         ['acme@customer.test', 'name@customer.test'])
        for mail in mails:
            self.assertNotIn('Bcc', mail)
        self.assertEqual(run.sent_count, 2)

    def test_sender_name_with_line_break(self):
        self.company.name = 'Muster\r\nBcc: evil@customer.test'
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.action_print_and_send()
        self.run_engine()
        self.assertEqual(run.notice_ids.delivery_state, 'sent', run.notice_ids.delivery_info)
        mail = self.mails()[0]
        self.assertNotIn('Bcc', mail)
        self.assertEqual(mail['From'].addresses[0].addr_spec, 'mahnung@muster.test')

    def test_paid_between_release_and_sending(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner)
        other = self.make_invoice(self.make_partner('Coop'), 80)
        run = self.make_run()
        run.action_print_and_send()
        self.pay(invoice)
        self.pay(other, 30)
        self.run_engine()
        by_partner = {notice.partner_id: notice for notice in run.notice_ids}
        self.assertEqual(by_partner[partner].state, 'cancelled')
        self.assertEqual(by_partner[other.partner_id].delivery_state, 'sent')
        self.assertEqual(by_partner[other.partner_id].amount_total, 50.0)
        self.assertEqual(len(self.mails()), 1)
        self.assertEqual(TODAY, by_partner[partner].date)
