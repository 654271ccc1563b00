"""The first steps: looked at each time, never remembered."""

from unittest.mock import patch

from odoo import fields
from odoo.exceptions import AccessError
from odoo.tests import new_test_user, tagged
from odoo.tools import config

from .common import DunningMailCommon

STEPS = ['provider', 'mailbox', 'bounce', 'account', 'texts', 'letter', 'trial', 'engine']


class ChecklistCase(DunningMailCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.dunning_provider_id = False
        cls.company.partner_id.bank_ids.unlink()
        cls.company.dunning_letter_seen = False
        cls.engine.lastcall = False

    @classmethod
    def set_up(cls):
        """Do what can be done on the screen without mail having gone anywhere."""
        cls.company.dunning_provider_id = cls.provider
        cls.provider.action_test_connection()
        cls.mailbox = cls.env['fetchmail.server'].create({
            'name': 'Mahnungen', 'server_type': 'imap', 'server': 'imap.muster.test', 'user': 'mahnung@muster.test',
            'password': 'x', 'state': 'done', 'date': fields.Datetime.now()})
        # The database's clock is not the test's.
        cls.env.cr.execute("UPDATE fetchmail_server SET create_date = %s WHERE id = %s", [
            fields.Datetime.now(), cls.mailbox.id])
        cls.mailbox.invalidate_recordset(['create_date'])
        cls.provider.incoming_server_id = cls.mailbox
        cls.env['res.partner.bank'].create({
            'acc_number': 'CH9300762011623852957', 'partner_id': cls.company.partner_id.id})
        cls.engine.lastcall = fields.Datetime.now()

    def missing(self, lang='en_US'):
        items = self.env['dunning.checklist'].with_user(self.clerk).with_context(lang=lang).get_items()
        return [item['code'] for item in items if not item['is_done']]


@tagged('post_install', '-at_install')
class TestChecklist(ChecklistCase):

    def test_from_red_to_green(self):
        items = self.env['dunning.checklist'].with_user(self.clerk).get_items()
        self.assertEqual([item['code'] for item in items], STEPS, "in the order of the first steps")
        self.assertEqual(self.missing(), [code for code in STEPS if code != 'texts'])
        self.assertTrue(all(item['words'] for item in items if not item['is_done']))
        self.set_up()
        self.assertEqual(self.missing(), ['bounce', 'letter', 'trial'])
        self.provider.redirect_to = 'probe@muster.test'
        notices = self.release('Gone', 'Acme', user=self.clerk)
        notices[0].action_open_document()
        self.assertEqual(self.missing(), ['bounce', 'trial'])
        self.run_engine()
        self.engine.lastcall = fields.Datetime.now()
        self.assertEqual(self.missing(), ['bounce'])
        self.env['dunning.notice.report'].create({
            'notice_id': notices[0].id, 'address': 'gone@customer.test', 'action': 'failed', 'is_ours': True})
        self.assertEqual(self.env['dunning.checklist'].with_user(self.clerk).get_items(), [], "all is done")

    def test_never_remembered(self):
        """What was right is asked again."""
        self.set_up()
        self.make_invoice(self.make_partner('Acme'))
        self.make_run().notice_ids.action_open_document()
        done = [code for code in STEPS if code not in self.missing()]
        self.assertEqual(done, ['provider', 'mailbox', 'account', 'texts', 'letter', 'engine'])
        for code, change in {
                'provider': lambda: self.provider.write({'smtp_pass': 'falsch'}),
                'mailbox': lambda: self.mailbox.write({'date': fields.Datetime.subtract(self.mailbox.date, days=2)}),
                'account': self.company.partner_id.bank_ids.action_archive,
                'texts': lambda: self.make_partner('Français', lang='fr_FR', customer_rank=1) and self.drop_texts(
                    self.level_2, 'fr'),
                'letter': lambda: self.company.write({'dunning_letter_layout': 'left'}),
                'engine': lambda: self.engine.write({'active': False})}.items():
            with self.subTest(code):
                self.assertNotIn(code, self.missing())
                change()
                self.assertIn(code, self.missing())

    def test_mailbox_as_core_writes_it(self):
        """Each attempt has its time, failed or not; the first failure since it last worked has its own."""
        self.set_up()
        now = fields.Datetime.now()
        hours_ago = {hours: fields.Datetime.subtract(now, hours=hours) for hours in (1, 100)}
        for values, is_missing in (
                ({'date': now, 'error_date': False}, False), ({'date': now, 'error_date': hours_ago[1]}, True),
                ({'date': now, 'error_date': hours_ago[100]}, True), ({'date': False, 'error_date': False}, True),
                ({'date': hours_ago[100], 'error_date': False}, True)):
            with self.subTest(str(values)):
                self.mailbox.write(values)
                self.assertEqual('mailbox' in self.missing(), is_missing)

    def test_bounce_of_another_day_or_provider(self):
        """What counts came back to this provider's mailbox, of a mail that it has sent."""
        self.set_up()
        notice = self.release('Gone', user=self.clerk)
        self.run_engine()
        Report = self.env['dunning.notice.report']
        good = {'notice_id': notice.id, 'address': 'gone@customer.test', 'action': 'failed', 'is_ours': True}
        other = self.provider.copy({'name': 'Other'})
        before = fields.Datetime.subtract(self.mailbox.create_date, days=1)
        for values in ({'is_ours': False}, {'action': 'delayed'}, {'date': before}):
            with self.subTest(str(values)):
                report = Report.create({**good, **values})
                self.assertIn('bounce', self.missing())
                report.unlink()
        report = Report.create(good)
        self.assertNotIn('bounce', self.missing())
        notice.sudo().provider_id = other
        self.assertIn('bounce', self.missing())

    def test_provider_counts_as_tested_by_what_it_sent(self):
        self.company.dunning_provider_id = self.provider
        self.assertFalse(self.provider._is_tested())
        self.clock.tick(60)
        self.release('Acme')
        self.run_engine()
        self.assertTrue(self.provider._is_tested())
        self.clock.tick(2)
        self.provider.email_from = 'andere@muster.test'
        self.assertFalse(self.provider._is_tested())
        self.provider.action_test_connection()
        self.assertTrue(self.provider._is_tested())
        self.provider.name = 'Anders'
        self.assertTrue(self.provider._is_tested())

    def test_all_on_paper(self):
        """Who sends no mail needs no provider, and is asked for none."""
        self.procedure.level_ids.send_by_mail = False
        self.assertEqual(self.missing(), ['account', 'letter', 'engine'])

    def test_account_in_another_currency(self):
        self.env['res.partner.bank'].create({
            'acc_number': 'DE89370400440532013000', 'partner_id': self.company.partner_id.id,
            'currency_id': self.foreign.id})
        self.assertIn('account', self.missing())

    def test_texts_of_another_country(self):
        """A variant of a language takes the texts of another country."""
        self.env['res.lang']._activate_lang('fr_CH')
        for level in self.procedure.level_ids:
            level.text_ids.filtered(lambda text: text.lang == 'fr_CH').unlink()
        self.make_partner('Romand', lang='fr_CH', customer_rank=1)
        self.assertNotIn('texts', self.missing())

    def test_engine(self):
        self.engine.lastcall = fields.Datetime.now()
        for threads, is_missing in ((0, False), (1, True), (2, False)):
            with self.subTest(threads), patch.dict(config.options, {'max_cron_threads': threads}):
                self.assertEqual('engine' in self.missing(), is_missing)
        self.engine.lastcall = fields.Datetime.subtract(fields.Datetime.now(), hours=1)
        self.assertIn('engine', self.missing())

    def test_letter_looks_otherwise(self):
        """What is on the letter counts, whatever language somebody reads it in."""
        self.set_up()
        self.company.with_context(lang='de_DE').report_header = '<p>Kopf</p>'
        self.company.with_context(lang='fr_FR').report_header = '<p>Tête</p>'
        self.company.with_context(lang='fr_FR')._note_dunning_letter_seen()
        for lang in ('de_DE', 'it_IT', 'en_US', 'fr_FR'):
            self.assertNotIn('letter', self.missing(lang), lang)
        report = self.env.ref('dunning_mail.report_letter').copy()
        for record, values in (
                (self.company, {'street': 'Neugasse 2'}), (self.company, {'phone': '+41 44 000 00 00'}),
                (self.company.with_context(lang='fr_FR'), {'report_header': '<p>Autre</p>'}),
                (self.level_3, {'report_id': report.id})):
            with self.subTest(str(values)):
                self.company._note_dunning_letter_seen()
                self.assertNotIn('letter', self.missing())
                record.write(values)
                self.assertIn('letter', self.missing())

    def test_each_scheduled_action(self):
        self.engine.lastcall = fields.Datetime.now()
        for name in ('issue', 'join', 'archive', 'schedule', 'incoming'):
            job = self.env.ref(f'dunning_mail.ir_cron_{name}')
            with self.subTest(name):
                self.assertNotIn('engine', self.missing())
                job.active = False
                [item] = [item for item in self.env['dunning.checklist'].get_items() if item['code'] == 'engine']
                self.assertIn(job.name, item['words'])
                job.active = True
        self.env.ref('dunning_mail.ir_cron_engine_2').active = False
        self.assertNotIn('engine', self.missing())

    def test_link_of_who_may_not_open_the_settings(self):
        """Whoever heads the accounts may not be an administrator."""
        self.company.dunning_provider_id = False
        for user, has_link in ((self.manager, False), (self.env.ref('base.user_admin'), True)):
            action = self.env['dunning.checklist'].with_user(user).action_open('provider')
            is_settings = bool(action) and action['res_model'] == 'res.config.settings'
            self.assertEqual(is_settings, has_link, user.name)

    def test_links(self):
        Checklist = self.env['dunning.checklist']
        for user, linked in (
                (self.clerk, set(STEPS) - {'engine', 'mailbox'}), (self.env.ref('base.user_admin'), set(STEPS))):
            self.company.dunning_provider_id = self.provider
            items = Checklist.with_user(user).get_items()
            self.assertEqual({item['code'] for item in items if item['has_action']}, linked)
            for code in linked:
                with self.subTest(code, user=user.login):
                    action = Checklist.with_user(user).action_open(code)
                    self.env[action['res_model']].with_user(user).get_views(action['views'])
        self.assertFalse(Checklist.with_user(self.clerk).action_open('nonsense'))

    def test_for_nobody_else(self):
        employee = new_test_user(self.env, login='employee', groups='base.group_user')
        for call in (lambda model: model.get_items(), lambda model: model.action_open('provider')):
            with self.assertRaises(AccessError):
                call(self.env['dunning.checklist'].with_user(employee))

    def test_preflight_warns(self):
        self.set_up()
        notice = self.release('Acme') and self.make_run(generate=False)
        self.make_invoice(self.make_partner('Other'))
        notice.action_generate_notices()
        codes = self.env['dunning.preflight'].browse(notice.action_preflight()['res_id']).line_ids.mapped('code')
        self.assertEqual(
            [code for code in codes if code.startswith('setup_')],
            [f'setup_{code}' for code in self.missing()])
