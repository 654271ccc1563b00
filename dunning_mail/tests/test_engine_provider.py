"""Several providers, and what the engine does with documents."""

from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import new_test_user, tagged

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestProvidersAndDocuments(EngineCase):

    def test_trial_mode(self):
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.assertIn('trial@muster.test', notice.run_id.provider_warning)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.redirected_to, 'trial@muster.test')
        self.assertEqual(notice.email_to, 'trial@customer.test')
        self.assertFalse(notice.is_counted)
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['trial@muster.test'])
        mail = self.mails()[0]
        self.assertEqual(mail['X-Original-To'], 'trial@customer.test')
        self.assertIn('trial@customer.test', mail['Subject'])
        self.assertNotIn('trial@customer.test', mail['To'])
        self.assertFalse(self.receivable(notice.line_ids.move_id).dunning_level_id)
        self.provider.redirect_to = False
        run = self.make_run(partner_ids=notice.partner_id.ids)
        self.assertEqual(run.notice_ids.level_id, self.level_1, "it can be dunned for real")

    def test_trial_address_refused(self):
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertFalse(notice.partner_id.dunning_email_refused, "nobody asked the customer's server")

    def test_trial_over_between_two_attempts(self):
        """What was made for the trial never goes to the customer."""
        self.provider.redirect_to = 'trial@muster.test'
        notice = self.release('Trial')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            notice.provider_id.redirect_to = False
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['trial@customer.test'])
        mail = self.mails()[0]
        self.assertNotIn('Trial for', mail['Subject'])
        self.assertFalse(mail['X-Original-To'])
        self.assertTrue(notice.is_counted)

    def test_trial_begun_between_two_attempts(self):
        notice = self.release('Real')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            notice.provider_id.redirect_to = 'trial@muster.test'
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertFalse(self.smtp.messages)

    def test_two_providers_of_one_engine(self):
        """A slow or broken one does not hold up the other."""
        other_company = self.make_company()
        slow = self.provider
        slow.send_interval = 60
        one, two = self.release('One', 'Two')
        fast = self.make_provider(name='Fast', company_id=other_company.id, email_from='other@other.test')
        other_company.dunning_provider_id = fast
        three, four = self.release_in(other_company, 'Three', 'Four')
        self.run_engine()
        self.assertEqual((one | three | four).mapped('delivery_state'), ['sent'] * 3)
        self.assertDelivery(two, 'released')
        self.assertEqual(
            sorted(message.mail_from for message in self.smtp.messages),
            ['mahnung@muster.test', 'other@other.test', 'other@other.test'])
        slow.smtp_pass = 'wrong'
        five, = self.release_in(other_company, 'Five')
        for _pass in range(3):
            self.run_engine()
        self.assertEqual((slow.state, fast.state), ('paused', 'ready'))
        self.assertDelivery(five, 'sent')
        self.assertDelivery(two, 'released')

    def make_company(self):
        company = self.env['res.company'].create({
            'name': 'Zweite AG', 'currency_id': self.currency.id, 'country_id': self.company.country_id.id})
        self.env['account.chart.template'].try_loading(
            self.company.chart_template or 'generic_coa', company=company, install_demo=False)
        company.write({'dunning_procedure_id': self.procedure.id, 'dunning_fallback_lang': 'de_DE'})
        self.clerk.write({'company_ids': [(4, company.id)]})
        self.env.user.write({'company_ids': [(4, company.id)]})
        return company

    def release_in(self, company, *names):
        self.env = self.env(context=dict(self.env.context, allowed_company_ids=[company.id]))
        type(self).env, env = self.env, type(self).env
        try:
            partners = [self.make_partner(name) for name in names]
            for partner in partners:
                self.make_invoice(partner, currency=company.currency_id)
            run = self.make_run(company_id=company.id, partner_ids=[partner.id for partner in partners])
            run.action_print_and_send()
            self.assertEqual(run.notice_ids.mapped('delivery_state'), ['released'] * len(names),
                             run.notice_ids.mapped('problem'))
            return self.env['dunning.notice'].browse(run.notice_ids.sorted('id').ids).with_env(env)
        finally:
            type(self).env = env
            self.env = env

    def test_second_engine(self):
        second = self.env.ref('dunning_mail.ir_cron_engine').copy({'name': 'Second engine'})
        notice = self.release('One')
        self.provider.engine_id = second
        self.run_engine()
        self.assertDelivery(notice, 'released')
        self.run_engine(second)
        self.assertDelivery(notice, 'sent')

    def test_archive_off(self):
        self.level_1.report_id.archive_generated = False
        notice = self.release('Unkept')
        document = notice.document_id
        self.assertTrue(document.raw)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertFalse(notice.document_id)
        self.assertFalse(notice.mail_document_id)
        self.assertFalse(document.exists())
        self.assertTrue(notice.document_sha256, "the hash stays as evidence")
        self.assertFalse(self.env['ir.attachment'].search([
            ('res_model', '=', 'dunning.notice'), ('res_id', '=', notice.id)]))

    def test_archive_off_keeps_what_may_be_needed(self):
        self.level_1.report_id.archive_generated = False
        notice = self.release('Unclear')
        self.smtp.set_rules('* eod drop')
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertTrue(notice.document_id)
        self.assertTrue(notice.mail_document_id)

    def test_archive_on(self):
        notice = self.release('Kept')
        self.run_engine()
        self.assertEqual(notice.mail_document_id.raw, self.smtp.messages[0].content)
        with self.assertRaises(UserError):
            notice.document_id.raw = b'forged'
        with self.assertRaises(UserError):
            notice.document_id.unlink()
        with self.assertRaises(UserError):
            notice.mail_document_id.unlink()

    def test_issued_by_someone_who_left(self):
        clerk = new_test_user(
            self.env, login='gone', name='Gone', groups='account.group_account_invoice', company_id=self.company.id)
        notice = self.release('Refused', user=clerk)
        clerk.active = False
        self.smtp.set_rules('* rcpt 550 5.1.1 No such user')
        self.run_engine()
        self.assertDelivery(notice, 'failed')
        user = self.activities(notice, 'failed').user_id
        self.assertTrue(user.active)
        self.assertFalse(user == self.env.ref('base.user_root'), "the robot does not read its activities")
