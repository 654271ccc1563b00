"""The mail is made with its letter, and can be read before it leaves."""

import hashlib
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.fields import Datetime
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..tools import mail_header
from .common import DunningMailCommon


@tagged('post_install', '-at_install')
class TestComposedMail(DunningMailCommon):
    """The mail is made with its letter, and can be read before it leaves."""

    def read_mail(self, notice):
        return self.smtpd_module.email.message_from_bytes(
            notice.mail_document_id.raw, policy=self.smtpd_module.email.policy.default)

    def test_before_it_leaves(self):
        notice = self.release('Acme')
        mail = self.read_mail(notice)
        self.assertEqual(mail['To'], 'Acme <acme@customer.test>')
        for name in ('Date', 'Message-ID'):
            self.assertIsNone(mail[name], "that is known when it leaves")
        self.assertIn(notice.name, mail['Subject'])
        self.assertEqual(mail['From'].addresses[0].addr_spec, 'mahnung@muster.test')
        action = notice.with_user(self.clerk).action_open_mail()
        self.assertIn(f'/web/content/{notice.mail_document_id.id}', action['url'])
        before = notice.mail_document_id.raw
        self.run_engine()
        after = self.smtp.messages[0].content
        self.assertEqual(after, notice.mail_document_id.raw)
        self.assertTrue(
            after.endswith(mail_header.remove(before, 'To')), "else byte for byte what could be read before")
        mail = self.read_mail(notice)
        self.assertEqual((mail['To'], mail['Message-ID']), ('Acme <acme@customer.test>', notice.message_id))
        self.assertEqual(mail['Date'].datetime.replace(tzinfo=None, microsecond=0), notice.claimed_at)

    def test_paper_has_none(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        run.action_print_and_send()
        notice = run.notice_ids
        self.assertFalse(notice.mail_document_id)
        partner.email = 'acme@customer.test'
        notice.action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent', "composed when it is needed")
        self.assertEqual(len(self.smtp.messages), 1)

    def test_sender_changed(self):
        for change in (lambda: self.provider.write({'email_from': 'neu@muster.test'}),
                       lambda: self.company.write({'name': 'Neue Firma AG'})):
            with self.env.cr.savepoint() as savepoint:
                self.smtp.clear()
                notice = self.release('Acme')
                change()
                self.run_engine()
                self.assertEqual(notice.status, 'sent')
                mail = self.mails()[0]
                self.assertEqual(mail['From'].addresses[0].addr_spec, self.provider.email_from)
                self.assertEqual(mail['From'].addresses[0].display_name, self.company.name)
                pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
                self.assertEqual(pdf.get_payload(decode=True), notice.document_id.raw, "letter and mail go together")
                savepoint.rollback()
                self.env.invalidate_all()

    def test_trial_switched_on_and_off(self):
        on, off = self.release('Trial on'), self.release('Trial off')
        self.provider.redirect_to = 'me@muster.test'
        off.sudo()._make_anew()
        self.assertTrue(self.read_mail(off)['X-Original-To'])
        off.sudo().next_attempt_at = Datetime.add(Datetime.now(), hours=1)
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['me@muster.test'])
        self.assertIn('trialon@customer.test', self.mails()[0]['Subject'])
        self.assertEqual((on.status, on.is_counted), ('sent', False))
        self.provider.redirect_to = False
        off.sudo().next_attempt_at = False
        self.run_engine()
        self.assertEqual(self.smtp.messages[1].rcpt_tos, ['trialoff@customer.test'])
        self.assertNotIn('trialoff@customer.test', self.mails()[1]['Subject'])
        self.assertIsNone(self.mails()[1]['X-Original-To'])

    @mute_logger('odoo.addons.dunning_mail.models.dunning_engine')
    def test_altered_on_disk(self):
        notice = self.release('Acme')
        forged = notice.mail_document_id.raw.replace(b'acme', b'evil').replace(b'Subject: ', b'Subject: Forged ')
        notice.mail_document_id.sudo()._replace_dunning_mail(forged)
        self.run_engine()
        self.assertEqual(notice.status, 'held')
        self.assertIn('SHA-256', notice.delivery_info)
        self.assertFalse(self.smtp.messages)
        notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent', "nobody has it yet: it was made anew")
        self.assertNotIn('Forged', self.mails()[0]['Subject'])

    @mute_logger('odoo.addons.dunning_mail.models.dunning_engine')
    def test_altered_after_a_handover(self):
        notice = self.release('Acme')
        self.smtp.set_rules('* eod 554 5.6.0 Not to our taste')
        self.run_engine()
        notice.mail_document_id.sudo()._replace_dunning_mail(b'Subject: forged\r\n\r\nPay to me\r\n')
        self.smtp.set_rules('')
        with self.assertRaisesRegex(UserError, 'SHA-256'):
            notice.with_user(self.clerk).action_retry()
        # Altered when it has been released again.
        notice.sudo()._set_delivery('released', "Released again")
        self.run_engine()
        self.assertEqual(notice.status, 'held')
        self.assertIn('SHA-256', notice.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_without_sha256(self):
        """Of what an earlier version kept nobody can tell: what nobody has is made anew, the rest asks a person."""
        fresh, old, waiting = self.release('Fresh', 'Old', 'Waiting')
        before = fresh.mail_document_id
        fresh.mail_sha256 = False
        self.smtp.set_rules('old@customer.test eod 554 5.6.0 No\nwaiting@customer.test eod 451 4.3.0 Later')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual((fresh.status, old.status, waiting.status), ('sent', 'failed', 'released'))
        self.assertFalse(before.exists())
        self.assertEqual(hashlib.sha256(self.smtp.messages[0].content).hexdigest(), fresh.mail_sha256)
        (old | waiting).mail_sha256 = False
        waiting.next_attempt_at = False
        with mute_logger('odoo.addons.dunning_mail.models.dunning_engine'):
            self.run_engine()
        self.assertEqual(waiting.status, 'held')
        self.assertIn('SHA-256', waiting.delivery_info)
        with self.assertRaisesRegex(UserError, 'SHA-256'):
            old.with_user(self.clerk).action_retry()
        self.assertFalse(old.mail_sha256 or waiting.mail_sha256, "what is not known is not made up")
        # The letter is what was made.
        (old | waiting).with_user(self.clerk).action_set_paper()
        self.assertEqual(set((old | waiting).mapped('status')), {'paper'})
        self.assertEqual(len(self.smtp.messages), 1)

    @mute_logger('odoo.addons.dunning_mail.models.dunning_notice_mail')
    def test_one_mail_that_cannot_be_made(self):
        """The others are issued; it stays a draft and says why."""
        partners = [self.make_partner(name) for name in ('One', 'Two', 'Three')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[1])
        original = self.env.registry['dunning.notice']._make_mail

        def make(notice, *args):
            if notice.id == two.id:
                # what is not written yet is written for a query like this
                self.assertEqual(notice.search_count([('email_to', '!=', False), ('run_id', '=', run.id)]), 3)
                raise ValueError("no mail can be made of it")
            return original(notice, *args)
        with patch.object(self.env.registry['dunning.notice'], '_make_mail', make):
            run.action_print_and_send()
        self.assertEqual(sorted(run.notice_ids.mapped('status')), ['draft', 'released', 'released'])
        self.assertIn("no mail can be made of it", two.problem)
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertFalse(two.document_id or two.provider_id or two.email_to)
        self.assertEqual(len((run.notice_ids - two).filtered('email_to')), 2)
        run.action_print_and_send()
        self.run_engine()
        self.assertEqual(set(run.notice_ids.mapped('status')), {'sent'})

    def test_many_are_made_together(self):
        """However many notices are issued, texts and attachments are asked for once."""
        counts = []
        original = self.env.registry['ir.attachment'].create

        def create(attachments, vals_list):
            counts.append(len(vals_list))
            return original(attachments, vals_list)
        with patch.object(self.env.registry['ir.attachment'], 'create', create):
            self.release('One', 'Two', 'Three', 'Four')
        self.assertEqual(counts, [8], "four letters, four mails")
