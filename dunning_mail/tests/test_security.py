import json

from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import file_open, mute_logger

from .common import DunningCommon, DunningMailCommon

MODELS = (
    'dunning.provider', 'dunning.procedure', 'dunning.level', 'dunning.level.text', 'dunning.run',
    'dunning.run.exception', 'dunning.notice', 'dunning.notice.line', 'dunning.delivery.log', 'dunning.notice.report',
    'dunning.incoming.mail', 'dunning.interest.profile', 'dunning.interest.rate')
LOGIN_FIELDS = (
    'smtp_host', 'smtp_port', 'smtp_encryption', 'smtp_authentication', 'smtp_user', 'smtp_pass', 'smtp_pass_is_set',
    'mail_server_id', 'incoming_server_id')


@tagged('post_install', '-at_install')
class TestClerk(DunningMailCommon):
    """A clerk with no more than core's invoicing rights does the whole job."""

    def test_whole_job(self):
        mail, paper, excluded = (self.make_partner(name) for name in ('Acme', 'Bäcker', 'Coop'))
        paper.dunning_channel = 'paper'
        for partner in (mail, paper, excluded):
            self.make_invoice(partner)
            self.make_invoice(partner, 20)
        clerk = self.env(user=self.clerk)
        run = clerk['dunning.run'].create({'date': '2026-11-24'})
        run.due_until = '2026-11-20'
        run.partner_ids = mail | paper | excluded
        run.action_generate_notices()
        by_partner = {notice.partner_id: notice for notice in run.notice_ids}
        by_partner[excluded].action_exclude()
        by_partner[excluded].action_include()
        by_partner[excluded].action_exclude()
        by_partner[mail].line_ids[0].action_take_out()
        by_partner[mail].write({'date_deadline': '2026-12-24', 'lang': 'fr_FR'})
        run.action_generate_notices()
        run.action_print_and_send()
        by_partner = {notice.partner_id: notice for notice in run.notice_ids}
        self.assertFalse(any(run.notice_ids.mapped('problem')))
        self.run_engine()
        run._hand_out_letters()
        run.action_mark_printed()
        by_partner[paper].action_unmark_printed()
        by_partner[paper].action_mark_printed()
        self.assertEqual(by_partner[mail].delivery_state, 'sent', by_partner[mail].delivery_info)
        self.assertEqual(run.state, 'done')
        for notice in run.notice_ids:
            notice.read()
            notice.line_ids.read()
            notice.delivery_log_ids.read()
        run.read()
        run.exception_ids.read()
        self.assertTrue(by_partner[mail].document_id.raw)
        by_partner[mail].action_open_document()
        by_partner[mail].action_cancel()
        again = clerk['dunning.run'].create({'date': '2026-11-24'})
        again.action_generate_notices()
        again.action_cancel()
        again.unlink()

    def test_forms_can_be_opened(self):
        """Every field of her screens can be read with her rights."""
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        run.action_print_and_send()
        for record in (run, run.notice_ids, run.notice_ids.line_ids[:1], self.level_1, self.procedure, self.provider):
            record = record.with_user(self.clerk)
            views = record.get_views([(False, 'form'), (False, 'list')])['views']
            for view in views.values():
                self.assertTrue(view['arch'])
            record.web_read({fname: {} for fname in record.fields_get()})


@tagged('post_install', '-at_install')
class TestRights(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.provider = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_user': 'dunning', 'smtp_pass': 'geheim-4711',
            'email_from': 'mahnung@muster.test', 'company_id': cls.company.id})
        cls.company.dunning_provider_id = cls.provider
        cls.readonly = new_test_user(
            cls.env, login='auditor', groups='account.group_account_readonly', company_id=cls.company.id)
        cls.employee = new_test_user(
            cls.env, login='employee', groups='base.group_user', company_id=cls.company.id)
        cls.admin = cls.env.ref('base.user_admin')
        cls.partner = cls.make_partner('Acme', email=False)
        cls.invoice = cls.make_invoice(cls.partner)
        cls.run_draft = cls.make_run()
        cls.notice = cls.run_draft.notice_ids

    def issue(self):
        self.run_draft.action_print_and_send()
        return self.notice

    # === CLERK === #

    def test_fields_kept_by_the_system(self):
        """Neither clerks nor managers nor administrators write them over the ORM."""
        values = {
            'state': 'issued', 'delivery_state': 'sent', 'delivery_info': 'x', 'level_id': self.level_3.id,
            'partner_id': self.company.partner_id.id, 'currency_id': self.foreign.id, 'date': '2026-01-01',
            'amount_overdue': 1.0, 'amount_total': 1.0, 'amount_interest': 1.0, 'amount_earlier': 1.0,
            'printed_at': '2026-11-24 08:00:00', 'printed_by': self.clerk.id, 'document_sha256': 'x',
            'document_id': False, 'message_id': '<x@y>', 'sent_at': '2026-11-24 08:00:00', 'email_to': 'x@y.test',
            'provider_id': self.provider.id, 'name': 'MA/1', 'is_counted': True, 'is_open': False,
            'line_ids': [Command.clear()], 'run_id': self.run_draft.id, 'redirected_to': 'x@y.test',
            'delivery_log_ids': [Command.clear()], 'handover_at': False, 'attempt_count': 0, 'problem': 'x'}
        for user in (self.clerk, self.manager, self.admin):
            for fname, value in values.items():
                with self.subTest(user=user.login, field=fname), self.assertRaises(AccessError):
                    self.notice.with_user(user).write({fname: value})
        self.assertEqual((self.notice.state, self.notice.amount_total), ('draft', 100.0))

    def test_notices_are_made_by_runs_only(self):
        for user in (self.clerk, self.manager, self.admin):
            notice = self.notice.with_user(user)
            with self.assertRaises(AccessError):
                notice.unlink()
            with self.assertRaises(AccessError):
                notice.copy()
            with self.assertRaises(AccessError):
                notice.create({
                    'run_id': self.run_draft.id, 'partner_id': self.partner.id, 'recipient_id': self.partner.id,
                    'level_id': self.level_1.id, 'lang': 'de_DE', 'currency_id': self.currency.id,
                    'date': '2026-11-24', 'date_deadline': '2026-12-04'})
            line = notice.line_ids
            for values in ({'amount_residual': 1}, {'kind': 'info'}, {'move_line_id': False}, {'is_reserved': False}):
                with self.assertRaises(AccessError):
                    line.write(values)
            with self.assertRaises(AccessError):
                line.unlink()
            with self.assertRaises(AccessError):
                line.create({'notice_id': notice.id, 'amount_residual': -50, 'kind': 'credit'})
            with self.assertRaises(AccessError):
                self.env['dunning.delivery.log'].with_user(user).create({'notice_id': notice.id, 'text': 'x'})

    def test_run_is_kept_by_the_system_too(self):
        for user in (self.clerk, self.manager, self.admin):
            for values in ({'state': 'done'}, {'is_issuing': True}, {'notice_ids': [Command.clear()]},
                           {'exception_ids': [Command.create({'reason': 'excluded', 'description': 'x'})]}):
                with self.subTest(user=user.login, values=values), self.assertRaises(AccessError):
                    self.run_draft.with_user(user).write(values)
        with self.assertRaises(AccessError):
            self.env['dunning.run'].with_user(self.clerk).create({
                'date': '2026-11-24', 'notice_ids': [Command.create({
                    'partner_id': self.partner.id, 'recipient_id': self.partner.id, 'level_id': self.level_1.id,
                    'lang': 'de_DE', 'currency_id': self.currency.id, 'date': '2026-11-24',
                    'date_deadline': '2026-12-04'})]})
        self.assertTrue(self.notice.exists())

    def test_run_cannot_be_created_done(self):
        for fname, value in (('state', 'done'), ('is_issuing', True), ('issue_total', 3)):
            with self.assertRaises(AccessError):
                self.env['dunning.run'].with_user(self.clerk).create({'date': '2026-11-24', fname: value})

    # === ISSUED === #

    def test_issued_notice_is_fixed(self):
        notice = self.issue()
        for user in (self.clerk, self.manager, self.admin):
            user_notice = notice.with_user(user)
            for values in ({'date_deadline': '2027-01-01'}, {'recipient_id': self.company.partner_id.id},
                           {'lang': 'fr_FR'}, {'amount_fee': 5}):
                with self.subTest(user=user.login, values=values), self.assertRaises(UserError):
                    user_notice.write(values)
            with self.assertRaises(UserError):
                user_notice.line_ids.action_take_out()
            with self.assertRaises(UserError):
                user_notice.run_id.unlink()
            with self.assertRaises(UserError):
                user_notice.run_id.write({'date': '2026-01-01'})
        # Not even the system: what was issued is evidence.
        with self.assertRaises(UserError):
            notice.sudo().unlink()
        with self.assertRaises(UserError):
            notice.sudo().line_ids.unlink()

    def test_kept_document_cannot_be_changed(self):
        notice = self.issue()
        notice.action_mark_printed()
        attachment = notice.document_id
        content = attachment.sudo().raw
        for user in (self.clerk, self.manager, self.admin):
            document = attachment.with_user(user)
            for values in ({'raw': b'%PDF-forged'}, {'datas': 'JVBERi0='}, {'name': 'other.pdf'}, {'res_id': 0},
                           {'res_model': 'res.partner'}, {'type': 'url', 'url': 'https://x.test'}, {'public': True},
                           {'mimetype': 'text/plain'}):
                with self.subTest(user=user.login, values=values), self.assertRaises(UserError):
                    document.write(values)
            with self.assertRaises(UserError):
                document.unlink()
        self.assertEqual(notice.document_id.sudo().raw, content)

    def test_damaged_document_is_noticed(self):
        notice = self.issue()
        notice.action_mark_printed()
        self.env.cr.execute(
            "UPDATE dunning_notice SET document_sha256 = repeat('0', 64) WHERE id = %s", [notice.id])
        notice.invalidate_recordset()
        with self.assertRaisesRegex(UserError, "SHA-256"):
            notice.action_open_document()

    def test_customers_items_cannot_be_deleted_under_a_notice(self):
        self.issue()
        with mute_logger('odoo.sql_db'), self.assertRaises(Exception), self.env.cr.savepoint():  # noqa: B017
            self.invoice.button_draft()
            self.invoice.with_context(force_delete=True).unlink()

    # === OTHER USERS === #

    def test_readonly_user(self):
        self.issue()
        for name in MODELS:
            records = self.env[name].with_user(self.readonly).search([], limit=1)
            with self.subTest(model=name):
                if name not in ('dunning.run.exception', 'dunning.notice.report', 'dunning.incoming.mail'):
                    self.assertTrue(records)
                records.read()
                for operation in ('create', 'write', 'unlink'):
                    self.assertFalse(records.has_access(operation))
        run = self.run_draft.with_user(self.readonly)
        notice = self.notice.with_user(self.readonly)
        for method in (run.action_generate_notices, run.action_print_and_send, run.action_cancel,
                       run.action_mark_printed, notice.action_mark_printed, notice.action_cancel,
                       notice.action_exclude, notice.action_include, notice.action_retry, notice.action_set_paper,
                       notice.action_unmark_printed, notice.action_clear_refused,
                       notice.line_ids.action_take_out):
            with self.subTest(method=method.__name__), self.assertRaises(AccessError):
                method()
        self.assertFalse(self.notice.printed_at)
        self.assertTrue(notice.document_id.raw, "an auditor may read the letter")

    def test_employee_without_accounting(self):
        self.issue()
        for name in MODELS:
            with self.subTest(model=name), self.assertRaises(AccessError):
                self.env[name].with_user(self.employee).search([]).read(['display_name'])
        with self.assertRaises(AccessError):
            self.notice.document_id.with_user(self.employee).read(['raw'])
        for method in ('action_mark_printed', 'action_cancel', 'action_retry', 'action_set_paper',
                       'action_open_document'):
            with self.subTest(method=method), self.assertRaises(AccessError):
                getattr(self.notice.with_user(self.employee), method)()

    def test_employee_can_still_open_partners_and_users(self):
        """What the addon adds to core's records does not lock others out of them."""
        self.issue()
        partner = self.partner.with_user(self.employee)
        fnames = [fname for fname in partner.fields_get() if partner._fields[fname]._module == 'dunning_mail']
        self.assertNotIn('dunning_hold_reason', fnames, "why a customer is on hold is the accountants' matter")
        partner.web_read({fname: {} for fname in fnames})
        partner.get_view(view_type='form')

    def test_manager_configures(self):
        manager = self.env(user=self.manager)
        procedure = manager['dunning.procedure'].create({
            'name': 'Own', 'level_ids': [Command.create({'sequence': 1, 'name': 'First', 'text_tone': 'friendly'})]})
        procedure.level_ids.action_install_default_texts()
        procedure.level_ids.text_ids.filtered(lambda text: text.lang == 'de_DE').letter_title = 'Mahnung'
        procedure.level_ids.archive_generated = False
        procedure.copy()
        provider = self.provider.with_user(self.manager)
        provider.write({'send_interval': 90, 'redirect_to': 'me@muster.test'})
        provider.action_pause()
        self.assertEqual(provider.state, 'paused')
        procedure.unlink()
        self.assertTrue(manager['dunning.provider'].create({'name': 'Q', 'email_from': 'q@muster.test'}))

    def test_clerk_does_not_configure(self):
        for record in (self.procedure, self.level_1, self.level_1.text_ids[0], self.provider):
            record = record.with_user(self.clerk)
            for operation in ('write', 'create', 'unlink'):
                with self.subTest(model=record._name, operation=operation):
                    self.assertFalse(record.has_access(operation))
        with self.assertRaises(AccessError):
            self.level_1.with_user(self.clerk).archive_generated = False
        with self.assertRaises(AccessError):
            self.provider.with_user(self.clerk).action_test_connection()

    # === LOGIN AND PASSWORD === #

    def test_only_administrators_see_the_login(self):
        for user in (self.clerk, self.manager, self.readonly):
            provider = self.provider.with_user(user)
            known = provider.fields_get()
            for fname in LOGIN_FIELDS:
                with self.subTest(user=user.login, field=fname):
                    self.assertNotIn(fname, known)
                    with self.assertRaises(AccessError):
                        provider.read([fname])
                    with self.assertRaises(AccessError):
                        provider.search([(fname, '!=', False)])
            with self.assertRaises(AccessError):
                provider.write({'smtp_pass': 'x'})
            with self.assertRaises(AccessError):
                provider.write({'smtp_host': 'mail.evil.test'})
            with self.assertRaises(AccessError):
                provider.create({'name': 'Q', 'email_from': 'q@muster.test', 'smtp_host': 'mail.evil.test'})
            arch = provider.get_view(view_type='form')['arch']
            for fname in LOGIN_FIELDS:
                self.assertNotIn(f'name="{fname}"', arch)
        provider = self.provider.with_user(self.admin)
        self.assertEqual((provider.smtp_host, provider.smtp_user), ('localhost', 'dunning'))

    def test_nobody_reads_the_password(self):
        secret = 'geheim-4711'
        for user in (self.admin, self.env.ref('base.user_root')):
            provider = self.provider.with_user(user)
            provider.invalidate_recordset()
            self.assertFalse(provider.smtp_pass)
            self.assertTrue(provider.smtp_pass_is_set)
            fnames = [fname for fname in provider.fields_get() if fname != 'display_name']
            answers = [
                provider.read(), provider.search_read([('id', '=', provider.id)]),
                provider.web_read({fname: {} for fname in fnames}),
                provider.export_data([f for f in fnames if f not in ('message_ids', 'activity_ids')])['datas'],
                provider.name_search(''), provider.name_search(secret),
                provider.message_ids.read(), provider.message_ids.tracking_value_ids.read(),
                provider.sudo().read(), provider.read(['smtp_pass']),
            ]
            self.assertNotIn(secret, str(answers))
            for domain in ([('smtp_pass', '=', secret)], [('smtp_pass', 'like', 'geheim')]):
                # Not stored and not searchable.
                with self.assertRaises(ValueError), mute_logger('odoo.domains'):
                    provider.search(domain)

    def test_copy_has_no_login(self):
        copy = self.provider.with_user(self.admin).copy()
        self.assertFalse(copy.smtp_pass_is_set)
        self.assertNotEqual(copy.mail_server_id, self.provider.mail_server_id)
        self.assertFalse(copy.mail_server_id.smtp_pass)

    def test_password_stays_when_others_change(self):
        self.provider.with_user(self.admin).write({'smtp_host': 'mail.muster.test'})
        self.provider.with_user(self.manager).write({'name': 'New name'})
        server = self.provider.sudo().mail_server_id
        self.assertEqual((server.smtp_host, server.smtp_pass), ('mail.muster.test', 'geheim-4711'))

    def test_login_serves_no_other_mail(self):
        server = self.provider.sudo().mail_server_id
        self.assertFalse(server.active)
        self.assertNotIn(server, self.env['ir.mail_server'].sudo().search([]))
        for values in ({'active': True}, {'active': True, 'from_filter': 'muster.test'}):
            with self.assertRaises(ValidationError), self.env.cr.savepoint():
                server.write(values)
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            server.action_unarchive()
        self.provider.active = False
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            server.active = True

    def test_login_is_not_let_go(self):
        """A login that no provider points to would be out of everybody's sight, and stay in copies of the database."""
        server = self.provider.sudo().mail_server_id
        admin = self.provider.with_user(self.admin)
        self.assertTrue(server.is_dunning_login)
        for values in ({'mail_server_id': False}, {'mail_server_id': server.copy().id}):
            with self.assertRaises(AccessError):
                admin.write(values)
            with self.assertRaises(AccessError):
                admin.create({'name': 'Q', 'email_from': 'q@muster.test', **values})
        result = admin.load(['.id', 'mail_server_id/.id'], [[str(admin.id), '']])
        self.assertFalse(result['ids'])
        with self.assertRaises(AccessError):
            server.with_user(self.admin).is_dunning_login = False
        with mute_logger('odoo.sql_db'), self.assertRaises(Exception), self.env.cr.savepoint():  # noqa: B017
            server.with_user(self.admin).unlink()
        self.env.invalidate_all()
        self.assertEqual((self.provider.mail_server_id, server.smtp_pass), (server, 'geheim-4711'))
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            self.provider.sudo().mail_server_id = False
            server.active = True

    def test_lost_login_is_made_anew(self):
        self.env.flush_all()
        self.env.cr.execute("UPDATE dunning_provider SET mail_server_id = NULL WHERE id = %s", [self.provider.id])
        self.provider.invalidate_recordset()
        self.assertFalse(self.provider.smtp_host)
        self.provider.with_user(self.admin).write({'smtp_host': 'mail.muster.test', 'smtp_pass': 'neu'})
        server = self.provider.mail_server_id
        self.assertEqual((server.smtp_host, server.smtp_pass, server.active), ('mail.muster.test', 'neu', False))

    def test_neutralized_copy_has_no_login(self):
        """However it came to stand by itself."""
        orphan = self.provider.sudo().mail_server_id
        self.provider.sudo().mail_server_id = False
        self.provider.with_user(self.admin).smtp_pass = 'zweites'
        other = self.env['ir.mail_server'].create({'name': 'Other', 'smtp_host': 'other.test', 'smtp_pass': 'x'})
        self.env.flush_all()
        with file_open('dunning_mail/data/neutralize.sql') as file:
            self.env.cr.execute(file.read())
        self.env.invalidate_all()
        for server in (orphan, self.provider.sudo().mail_server_id):
            self.assertEqual((server.smtp_host, server.smtp_user, server.smtp_pass), ('invalid', False, False))
        self.assertEqual((other.smtp_host, other.smtp_pass), ('other.test', 'x'), "core sees to others")
        self.assertEqual((self.provider.state, self.provider.active), ('paused', False))

    # === COMPANIES === #

    def test_other_company(self):
        other = self.env['res.company'].create({'name': 'Other AG', 'currency_id': self.currency.id})
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_manager', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        own_procedure = self.procedure.copy({'name': 'Own', 'company_id': self.company.id})
        self.issue()
        own = [
            self.run_draft, self.notice, self.notice.line_ids, self.notice.delivery_log_ids, self.provider,
            own_procedure, own_procedure.level_ids, own_procedure.level_ids.text_ids]
        for records in own:
            records = records.sudo(False).with_user(stranger)
            with self.subTest(model=records._name):
                self.assertFalse(records.search([('id', 'in', records.ids)]))
                for operation in ('read', 'write'):
                    self.assertFalse(records.has_access(operation))
        with self.assertRaises(AccessError):
            self.notice.document_id.with_user(stranger).read(['raw'])
        with self.assertRaises(AccessError):
            self.run_draft.with_user(stranger).action_cancel()
        self.assertTrue(self.procedure.with_user(stranger).name, "the shared procedure is everybody's")

    def test_provider_and_procedure_of_another_company(self):
        other = self.env['res.company'].create({'name': 'Other AG'})
        foreign = self.procedure.copy({'name': 'Foreign', 'company_id': other.id})
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            self.company.dunning_procedure_id = foreign
        with self.assertRaises(ValidationError), self.env.cr.savepoint():
            other.dunning_provider_id = self.provider
        with self.assertRaises(UserError), self.env.cr.savepoint():
            self.make_run(generate=False, user=self.env.user, procedure_ids=foreign.ids)

    def test_run_reads_only_its_own_company(self):
        """A user of several companies works in one of them: texts, levels, addresses and items of the run's only."""
        other = self.env['res.company'].create({'name': 'Other AG', 'currency_id': self.currency.id})
        self.env.cr.precommit.run()
        self.env['account.chart.template'].try_loading('generic_coa', company=other, install_demo=False)
        both = new_test_user(
            self.env, login='both', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[Command.set((other | self.company).ids)])
        self.env.user.company_ids += other
        own_procedure = self.procedure.copy({'name': 'Strict', 'company_id': other.id})
        other.dunning_procedure_id = own_procedure
        other.dunning_fallback_lang = 'fr_FR'
        partner = self.make_partner('Shared', lang=False, email=False)
        partner.with_company(self.company).dunning_procedure_id = self.procedure
        move = self.env['account.move'].with_company(other).create({
            'move_type': 'out_invoice', 'partner_id': partner.id, 'company_id': other.id,
            'invoice_date': '2026-09-01', 'invoice_date_due': '2026-10-01', 'invoice_payment_term_id': False,
            'invoice_line_ids': [Command.create({'name': 'S', 'quantity': 1, 'price_unit': 20, 'tax_ids': False})]})
        move.action_post()
        self.make_invoice(partner, 70)
        runs = self.env['dunning.run'].with_user(both).with_context(
            allowed_company_ids=(self.company | other).ids)
        in_other = runs.create({'company_id': other.id, 'date': '2026-11-24'})
        in_own = runs.create({'company_id': self.company.id, 'date': '2026-11-24'})
        (in_other | in_own).action_generate_notices()
        notice = in_other.notice_ids
        self.assertEqual(notice.amount_total, 20.0)
        self.assertEqual(
            (notice.company_id, notice.lang, notice.level_id.procedure_id), (other, 'fr_FR', own_procedure))
        notice = in_own.notice_ids.filtered(lambda notice: notice.partner_id == partner)
        self.assertEqual((notice.amount_total, notice.lang), (70.0, 'de_DE'))
        self.assertEqual(notice.level_id.procedure_id, self.procedure)
        in_other.action_print_and_send()
        self.assertEqual(in_other.notice_ids.delivery_state, 'paper')
        self.assertIn("No service provider" if partner.email else "no mail address", in_other.notice_ids.delivery_info)

    # === CONFIGURATION IN USE === #

    def test_used_configuration_stays(self):
        self.issue()
        for record in (self.level_1, self.procedure):
            with self.assertRaises(UserError), self.env.cr.savepoint():
                record.with_user(self.manager).unlink()
        self.procedure.with_user(self.manager).active = False
        self.assertTrue(self.notice.level_id.exists())

    def test_used_provider_stays(self):
        self.partner.email = 'acme@customer.test'
        self.issue()
        self.assertEqual(self.notice.provider_id, self.provider)
        with self.assertRaises(UserError), self.env.cr.savepoint():
            self.provider.with_user(self.admin).unlink()
        self.provider.with_user(self.admin).active = False

    def test_unused_provider_goes_with_its_login(self):
        provider = self.env['dunning.provider'].create({'name': 'Q', 'email_from': 'q@muster.test'})
        server = provider.mail_server_id
        provider.with_user(self.admin).unlink()
        self.assertFalse(server.exists())


@tagged('post_install', '-at_install')
class TestOverRpc(HttpCase, DunningCommon):
    """The same over the web client's own API."""

    def call(self, model, method, *args, **kwargs):
        response = self.url_open(
            f'/web/dataset/call_kw/{model}/{method}',
            data=json.dumps({'jsonrpc': '2.0', 'method': 'call', 'id': 1, 'params': {
                'model': model, 'method': method, 'args': args, 'kwargs': kwargs}}),
            headers={'Content-Type': 'application/json'})
        return response.json()

    @mute_logger('odoo.http')
    def test_rpc(self):
        provider = self.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_user': 'dunning', 'smtp_pass': 'geheim-4711',
            'email_from': 'mahnung@muster.test'})
        self.make_invoice(self.make_partner('Acme', email=False))
        run = self.make_run()
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        notice = run.notice_ids
        self.env.flush_all()
        self.authenticate('admin', 'admin')
        for method, args in (('read', ()), ('read', (['smtp_pass'],)), ('web_read', ({'smtp_pass': {}},)),
                             ('export_data', (['name', 'smtp_pass'],))):
            answer = self.call('dunning.provider', method, provider.ids, *args)
            self.assertIn('result', answer)
            self.assertNotIn('geheim-4711', str(answer))
        for model, ids, method, args in (
                ('dunning.notice', notice.ids, 'write', ({'state': 'draft'},)),
                ('dunning.notice', notice.ids, 'write', ({'date_deadline': '2027-01-01'},)),
                ('dunning.notice', notice.ids, 'unlink', ()),
                ('dunning.notice', notice.ids, '_set_state', ('draft',)),
                ('dunning.notice', notice.ids, '_set_delivery', ('sent', 'x')),
                ('dunning.notice.line', notice.line_ids.ids, 'write', ({'amount_residual': 1},)),
                ('dunning.notice.line', notice.line_ids.ids, 'unlink', ()),
                ('ir.attachment', notice.document_id.ids, 'unlink', ()),
                ('ir.attachment', notice.document_id.ids, 'write', ({'raw': 'x'},)),
                ('dunning.run', run.ids, 'write', ({'state': 'draft'},)),
                ('dunning.run', run.ids, 'unlink', ()),
        ):
            with self.subTest(model=model, method=method):
                answer = self.call(model, method, ids, *args)
                self.assertIn('error', answer)
        # The context is the caller's: it opens nothing.
        answer = self.call('dunning.notice.line', 'unlink', notice.line_ids.ids,
                           context={'dunning_replace_lines': True, 'install_mode': True})
        self.assertIn('error', answer)
        self.env.invalidate_all()
        self.assertEqual((notice.state, len(notice.line_ids), notice.amount_total), ('issued', 1, 100.0))
        self.assertEqual(notice._get_document_bytes(), notice.document_id.raw)
