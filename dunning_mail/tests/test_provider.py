import logging
import os
import pathlib
import socket
from unittest.mock import patch

from psycopg2.errors import CheckViolation

from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import new_test_user, tagged
from odoo.tools import file_open, mute_logger
from odoo.tools.translate import code_translations

from odoo.addons.dunning_mail.hooks import uninstall_hook
from odoo.addons.dunning_mail.tools import smtp

from .common import DunningMailCommon

SECRET = 'S3cret-nobody-reads'


@tagged('post_install', '-at_install')
class TestProvider(DunningMailCommon):
    """Settings, login and rights of the service provider."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = new_test_user(
            cls.env, login='sysadmin', groups='base.group_system', company_id=cls.company.id)

    def login_record(self, provider):
        return provider.sudo().mail_server_id

    # === SETTINGS === #

    def test_one_create_with_everything(self):
        provider = self.env['dunning.provider'].with_user(self.admin).create({
            'name': 'New', 'smtp_host': 'smtp.new.test', 'smtp_port': 465, 'smtp_encryption': 'ssl_strict',
            'smtp_user': 'me', 'smtp_pass': SECRET, 'smtp_authentication': 'login', 'email_from': 'me@new.test',
            'send_interval': 90, 'hourly_limit': 100, 'daily_limit': 1000, 'redirect_to': 'trial@new.test'})
        self.env.invalidate_all()
        self.assertEqual(
            (provider.smtp_host, provider.smtp_port, provider.smtp_encryption, provider.smtp_user),
            ('smtp.new.test', 465, 'ssl_strict', 'me'))
        server = self.login_record(provider)
        self.assertEqual((server.smtp_host, server.smtp_port, server.smtp_encryption, server.smtp_user),
                         ('smtp.new.test', 465, 'ssl_strict', 'me'))
        self.assertEqual(server.smtp_pass, SECRET)
        self.assertFalse(server.active)

    def test_several_in_one_create(self):
        providers = self.env['dunning.provider'].create([
            {'name': name, 'smtp_host': f'{name}.test', 'email_from': f'me@{name}.test'} for name in ('a', 'b')])
        self.assertEqual(providers.mapped('smtp_host'), ['a.test', 'b.test'])
        self.assertEqual(len(providers.mail_server_id), 2)

    def test_defaults(self):
        provider = self.env['dunning.provider'].create({'name': 'Plain', 'email_from': 'me@plain.test'})
        self.assertEqual(
            (provider.provider_type, provider.smtp_port, provider.smtp_encryption, provider.smtp_authentication,
             provider.send_interval, provider.hourly_limit, provider.daily_limit, provider.state),
            ('email', 587, 'starttls_strict', 'login', 60, 0, 0, 'ready'))
        self.assertEqual(provider.engine_id, self.engine)
        self.assertFalse(provider.is_interval_short)
        server = self.login_record(provider)
        self.assertEqual((server.smtp_encryption, server.smtp_authentication), ('starttls_strict', 'login'))

    def test_weaker_encryption_is_refused(self):
        for encryption in ('none', 'starttls', 'ssl', False, 'nonsense'):
            with self.subTest(encryption=encryption), self.assertRaisesRegex(ValidationError, 'verified'):
                self.provider.smtp_encryption = encryption
            with self.subTest(create=encryption), self.assertRaisesRegex(ValidationError, 'verified'):
                self.make_provider(smtp_encryption=encryption)
        self.assertEqual(self.login_record(self.provider).smtp_encryption, 'starttls_strict')

    def test_login_without_core_settings_of_its_own(self):
        for authentication in ('cli', 'certificate'):
            with self.subTest(authentication), self.assertRaises(ValidationError):
                self.provider.smtp_authentication = authentication

    def test_interval(self):
        self.provider.send_interval = 59
        self.assertTrue(self.provider.is_interval_short)
        self.provider.send_interval = 60
        self.assertFalse(self.provider.is_interval_short)
        for fname in ('send_interval', 'hourly_limit', 'daily_limit'):
            with self.subTest(fname), self.assertRaises(CheckViolation), mute_logger('odoo.sql_db'), \
                    self.env.cr.savepoint():
                self.provider[fname] = -1
                self.provider.flush_recordset()

    def test_sender_address(self):
        for address in (False, '', 'nobody', 'a@b.test, c@d.test', 'mähnung@muster.test'):
            with self.subTest(address=address), self.assertRaisesRegex(ValidationError, 'sender address'):
                self.provider.email_from = address
        with self.assertRaisesRegex(ValidationError, 'sender address'):
            self.env['dunning.provider'].create({'name': 'No sender'})

    def test_trial_address(self):
        for address in ('nobody', 'a@b.test, c@d.test', 'tëst@muster.test'):
            with self.subTest(address=address), self.assertRaisesRegex(ValidationError, 'trial mode'):
                self.provider.redirect_to = address

    def test_only_engines_can_be_chosen(self):
        other = self.env['ir.cron'].search([('model_id.model', '!=', 'dunning.engine')], limit=1)
        self.assertTrue(other)
        with self.assertRaisesRegex(ValidationError, 'no process engine'):
            self.provider.engine_id = other
        domain = self.env['dunning.provider']._fields['engine_id'].domain
        offered = self.env['ir.cron'].search(domain)
        self.assertIn(self.engine, offered)
        self.assertEqual(set(offered.model_id.mapped('model')), {'dunning.engine'})

    def test_oauth_logins(self):
        offered = dict(self.env['dunning.provider']._selection_smtp_authentication())
        logins = [login for login in ('gmail', 'outlook') if login in offered]
        if not logins:
            self.skipTest("neither google_gmail nor microsoft_outlook is installed")
        for login in logins:
            provider = self.make_provider(smtp_authentication=login, smtp_pass=False)
            # Core insists on its unverified value; the session verifies all the same.
            self.assertEqual(self.login_record(provider).smtp_encryption, 'starttls')
            self.assertEqual(provider.smtp_encryption, 'starttls_strict')

    def test_copy(self):
        copy = self.provider.copy()
        self.assertNotEqual(self.login_record(copy), self.login_record(self.provider))
        self.assertFalse(self.login_record(copy).smtp_pass)
        self.assertFalse(self.login_record(copy).active)
        self.assertEqual((copy.email_from, copy.state, copy.next_send_at), (self.provider.email_from, 'ready', False))

    def test_delete(self):
        unused = self.make_provider(name='Unused')
        server = self.login_record(unused)
        unused.unlink()
        self.assertFalse(server.exists())
        self.release('Acme')
        with self.assertRaisesRegex(UserError, 'evidence'):
            self.provider.unlink()

    # === SECRETS === #

    def test_password_is_write_only(self):
        self.provider.with_user(self.admin).smtp_pass = SECRET
        self.env.invalidate_all()
        provider = self.provider.with_user(self.admin)
        self.assertFalse(provider.smtp_pass)
        self.assertTrue(provider.smtp_pass_is_set)
        everything = [
            provider.read(), provider.read(['smtp_pass']), provider.export_data(['smtp_pass']),
            provider.web_read({'smtp_pass': {}, 'smtp_user': {}}), provider.copy_data(),
            provider.search_read([('id', '=', provider.id)]),
            self.env['mail.tracking.value'].search([]).mapped('new_value_char'),
            provider.message_ids.mapped('body'), provider.default_get(list(provider._fields))]
        self.assertNotIn(SECRET, repr(everything))
        with self.assertRaisesRegex(ValueError, 'smtp_pass'):
            provider.search([('smtp_pass', '=like', f'{SECRET[0]}%')])

    def test_login_is_for_administrators(self):
        fields_of_login = ['smtp_host', 'smtp_port', 'smtp_user', 'smtp_pass', 'mail_server_id', 'smtp_encryption']
        for user in (self.manager, self.clerk):
            provider = self.provider.with_user(user)
            self.assertFalse(set(fields_of_login) & set(provider.read()[0]))
            for fname in fields_of_login:
                with self.subTest(user=user.login, field=fname), self.assertRaises(AccessError):
                    provider.read([fname])
            with self.assertRaises(AccessError):
                provider.search([('smtp_user', '=', 'dunning')])
        for values in ({'smtp_pass': 'x'}, {'smtp_host': 'evil.test'}):
            with self.subTest(values=values), self.assertRaises(AccessError):
                self.provider.with_user(self.manager).write(values)
        with self.assertRaises(AccessError):
            self.env['dunning.provider'].with_user(self.manager).create({
                'name': 'Mine', 'email_from': 'me@mine.test', 'smtp_host': 'smtp.mine.test'})
        self.assertEqual(self.login_record(self.provider).smtp_pass, 'geheim')

    def test_password_is_in_no_message(self):
        self.provider.smtp_pass = SECRET
        logger = 'odoo.addons.dunning_mail'
        with self.assertLogs(logger, 'DEBUG') as logs, self.assertRaises(UserError) as caught:
            logging.getLogger(logger).debug("there is a log")
            self.provider.action_test_connection()
        for text in (str(caught.exception), *logs.output):
            self.assertNotIn(SECRET, text)
        self.assertIsNone(caught.exception.__cause__.__cause__)

    # === RIGHTS === #

    def test_manager_without_login_rights(self):
        provider = self.provider.with_user(self.manager)
        provider.write({'name': 'Renamed', 'send_interval': 120, 'email_from': 'new@muster.test'})
        provider.action_pause()
        self.assertEqual(provider.state, 'paused')
        self.assertIn('Max Leiter', provider.pause_reason)
        provider.action_resume()
        self.assertEqual(provider.state, 'ready')
        provider.action_test_connection()
        own = self.env['dunning.provider'].with_user(self.manager).create({
            'name': 'Mine', 'email_from': 'me@mine.test'})
        self.assertTrue(own.sudo().mail_server_id)

    def test_clerk_only_reads(self):
        provider = self.provider.with_user(self.clerk)
        self.assertEqual(provider.name, 'Test provider')
        for action in (
                lambda: provider.write({'name': 'x'}), provider.action_pause, provider.action_resume,
                provider.action_test_connection, provider.unlink):
            with self.assertRaises(AccessError):
                action()

    def test_state_is_kept_by_the_engine(self):
        for user in (self.manager, self.admin):
            for fname, value in (('state', 'paused'), ('next_send_at', False), ('resume_at', False)):
                with self.subTest(user=user.login, field=fname), self.assertRaises(AccessError):
                    self.provider.with_user(user).write({fname: value})

    def test_pause_by_hand_holds(self):
        notice = self.release('Acme')
        self.provider.action_pause()
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'released')
        self.assertFalse(self.smtp.events('connect'))
        self.provider.action_resume()
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'sent')

    # === TEST CONNECTION === #

    def _server(self, certificate='server', **values):
        certs = pathlib.Path(os.environ['DUNNING_TEST_CERTS'])
        return self.enterContext(self.smtpd_module.SmtpServer(
            cert=str(certs / f'{certificate}.pem'), key=str(certs / f'{certificate}.key'), user='dunning',
            password='geheim', **values))

    def test_connection(self):
        action = self.provider.with_user(self.admin).with_context(lang='en_US').action_test_connection()
        self.assertIn('are accepted', action['params']['message'])
        self.assertTrue(self.smtp.events('mail'))
        self.assertFalse(self.smtp.messages, "nothing is sent")

    def test_connection_with_implicit_tls(self):
        self.provider.write({'smtp_port': self._server(tls='implicit').port, 'smtp_encryption': 'ssl_strict'})
        self.provider.action_test_connection()

    def test_connection_says_what_is_wrong(self):
        # kept, so that nobody else listens there
        closed = socket.socket()
        self.addCleanup(closed.close)
        closed.bind(('127.0.0.1', 0))
        closed_port = closed.getsockname()[1]
        for name, values, rules, words in (
                ('no server', {'smtp_host': False}, '', 'has no SMTP server'),
                ('host', {'smtp_host': 'no-such-host.invalid'}, '', 'no-such-host.invalid.*not found'),
                ('port', {'smtp_port': closed_port}, '', f'localhost:{closed_port} refuses the connection'),
                ('login', {'smtp_pass': 'wrong'}, '', '(?s)refuses the login.*535'),
                ('sender', {}, '* mail 550 5.1.8 Bad sender', '(?s)sender address mahnung@muster.test.*550'),
                ('encryption', {'smtp_port': self._server(tls='none').port}, '', 'STARTTLS'),
                ('umlaut', {'smtp_pass': 'Straße'}, '', 'was not asked'),
                ('umlaut of the login', {'smtp_user': 'müller', 'smtp_pass': 'x'}, '', 'was not asked'),
                ('expired', {'smtp_port': self._server('expired').port}, '', 'expired'),
                ('host of certificate', {'smtp_port': self._server('otherhost').port}, '', 'another server'),
                ('authority', {'smtp_port': self._server('unknown').port}, '', 'authority'),
                ('no TLS port', {'smtp_encryption': 'ssl_strict'}, '', 'encrypted connection')):
            with self.subTest(name):
                self.smtp.set_rules(rules)
                self.provider.write({
                    'smtp_host': 'localhost', 'smtp_port': self.smtp.port, 'smtp_pass': 'geheim',
                    'smtp_user': 'dunning', 'smtp_encryption': 'starttls_strict', **values})
                with self.assertRaisesRegex(UserError, words) as caught:
                    self.provider.action_test_connection()
                self.assertNotIn('geheim', str(caught.exception))
                if name.startswith('umlaut'):
                    self.assertNotIn('refuses the login', str(caught.exception))

    def test_starttls_on_a_port_for_tls(self):
        """Both wait for the other to begin."""
        implicit = self._server(tls='implicit')
        self.provider.smtp_port = implicit.port
        original = smtp.open_session
        with patch.object(
                smtp, 'open_session', lambda *args, **values: original(*args, **{**values, 'timeout': 0.5})), \
                self.assertRaisesRegex(UserError, '465'):
            self.provider.action_test_connection()

    def test_international_domain_of_the_sender(self):
        """What the test takes, the mails do too: of the sender, of who answers, and of the company."""
        self.provider.email_from = 'mahnung@müller-treuhand.test'
        self.clerk.email = 'petra@müller-treuhand.test'
        self.provider.action_test_connection()
        notices = self.release('Acme', self.make_partner('Bäcker', email='info@bäcker.test'))
        self.clerk.email = False
        self.company.email = 'info@größe.test'
        notices |= self.release('Coop')
        self.run_engine()
        self.assertEqual(set(notices.mapped('delivery_state')), {'sent'}, notices.mapped('delivery_info'))
        for message in self.smtp.messages:
            self.assertEqual(message.mail_from, 'mahnung@xn--mller-treuhand-gsb.test')
            self.assertTrue(message.content.isascii())
            self.assertIn('<mahnung@xn--mller-treuhand-gsb.test>', message.email['From'])
            self.assertTrue(message.message_id.endswith('@xn--mller-treuhand-gsb.test>'))
        self.assertEqual(len(self.smtp.messages), 3)

    def test_faults_in_the_readers_language(self):
        for reason in smtp.Reason:
            outcome = smtp.Outcome(
                kind=smtp.Kind.PROVIDER, stage=smtp.Stage.BANNER, reason=reason, code=554, text='100% no')
            with self.subTest(reason):
                english, german = (
                    self.provider.with_context(lang=lang)._describe_fault(outcome) for lang in ('en_US', 'de_DE'))
                self.assertNotEqual(english.splitlines()[0], german.splitlines()[0])
                for words in (english, german):
                    self.assertNotIn('%(', words)
                    self.assertIn('554 100% no', words)

    def test_faults_in_a_broken_translation(self):
        """What happened is told in the words of the source, whatever is wrong with those of the translation."""
        source = self.provider._OTHER_FAULT._source
        original = code_translations.get_python_translations
        reason = next(reason for reason in smtp.Reason if reason not in self.provider._FAULT_WORDS)
        outcome = smtp.Outcome(
            kind=smtp.Kind.PROVIDER, stage=smtp.Stage.BANNER, reason=reason, code=554, text='no')
        for broken in ('%(wo)s streikt', 'zu 100%!', '%s streikt %s', 'bei %(where)d'):
            with self.subTest(broken), patch.object(
                    code_translations, 'get_python_translations',
                    lambda module, lang, broken=broken: {**original(module, lang), source: broken},
            ), mute_logger('odoo.tools.translate'):
                words = self.provider.with_context(lang='de_DE')._describe_fault(outcome)
                self.assertIn('The mail server localhost:', words)
                self.assertIn('554 no', words)

    # === NOTHING ELSE GOES THROUGH THE LOGIN === #

    def test_odoo_never_uses_the_login(self):
        Server = self.env['ir.mail_server']
        Server.search([]).active = False
        server = self.login_record(self.provider)
        server.from_filter = 'mahnung@muster.test'
        self.assertFalse(Server._find_mail_server('mahnung@muster.test')[0])
        with self.assertRaisesRegex(ValidationError, 'dunning'), self.env.cr.savepoint():
            server.active = True
        self.assertFalse(server.active)
        with self.assertRaises(ValidationError):
            server.action_unarchive()

    def test_archived_provider(self):
        notice = self.release('Acme')
        self.provider.with_user(self.manager).action_archive()
        self.assertFalse(self.login_record(self.provider).active)
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'released')
        self.make_invoice(self.make_partner('Coop'))
        run = self.make_run()
        self.assertIn('has been archived', run.provider_warning)
        self.assertIn('has been archived', run.notice_ids[:1].channel_info)
        self.company.dunning_provider_id = False
        self.env.invalidate_all()
        self.assertIn('is chosen', run.provider_warning)

    def test_neutralized_copy(self):
        notice = self.release('Acme')
        self.env.flush_all()
        with file_open('dunning_mail/data/neutralize.sql') as script:
            self.env.cr.execute(script.read())
        self.env.invalidate_all()
        self.assertEqual((self.provider.active, self.provider.state), (False, 'paused'))
        self.assertFalse(self.login_record(self.provider).smtp_pass)
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'released')
        self.assertFalse(self.smtp.events('connect'))
        self.provider.active = True
        self.run_engine()
        self.assertFalse(self.smtp.events('connect'), "paused too")

    def test_uninstall_leaves_no_login(self):
        archived = self.make_provider(name='Archived')
        archived.active = False
        servers = self.login_record(self.provider | archived)
        self.assertEqual(len(servers), 2)
        uninstall_hook(self.env)
        self.env.invalidate_all()
        for server in servers:
            self.assertFalse(server.active)
            self.assertEqual((server.smtp_pass, server.smtp_user, server.smtp_host), (False, False, False))
            self.assertIn('Dunning', server.name)
