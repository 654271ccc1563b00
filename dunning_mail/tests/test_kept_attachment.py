"""What a notice or a run refers to belongs to the system: nobody changes, shares or deletes it, by whichever way."""

import base64
import itertools

from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged
from odoo.tools import mute_logger

from .common import DunningCommon
from .test_guard import GuardCase


class KeptCase(DunningCommon):

    def make_kept(self, is_frozen):
        """Return a dict name -> attachment that is referred to: of a letter, of a mail, of a run's joined letters."""
        paper, mailed = self.make_partner('Paper', email=False), self.make_partner('Mailed')
        for partner in (paper, mailed):
            self.make_invoice(partner)
        run = self.make_run(partner_ids=(paper | mailed).ids, lang='en_US').sudo()
        run.action_print_and_send()
        letter = run.notice_ids.filtered(lambda notice: notice.partner_id == paper)
        mail = run.notice_ids - letter
        run._store_joined(letter)
        if is_frozen:
            run._hand_out_letters()
            letter.action_mark_printed()
            mail._set_sending('<x@muster.test>', '2026-11-24 08:00:00', ['mailed@customer.test'])
        self.assertEqual({notice._is_frozen() for notice in run.notice_ids}, {is_frozen})
        self.assertFalse(run.notice_ids.filtered('problem'))
        return {'letter': letter.document_id, 'pdf': mail.document_id, 'eml': mail.mail_document_id,
                'joined': run.letters_id}


@tagged('post_install', '-at_install')
class TestKeptAttachments(KeptCase, GuardCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.dunning_provider_id = cls.provider

    def get_stored_fields(self):
        """Return the fields that hold something, less the picture that browsers draw and what the ORM keeps."""
        attachments = self.env['ir.attachment']
        return [field for field in attachments._fields.values() if (field.store or field.inverse) and not field.manual
                and field.name not in attachments._DUNNING_PASSING]

    def test_every_field(self):
        names = {field.name for field in self.get_stored_fields()}
        self.assertLessEqual({
            'name', 'description', 'res_model', 'res_id', 'company_id', 'public', 'access_token', 'raw', 'datas',
            'index_content', 'checksum', 'file_size'}, names)
        for is_frozen in (False, True):
            kept = self.make_kept(is_frozen)
            before = {name: self.read_row(attachment) for name, attachment in kept.items()}
            users = (*self.users, self.env.ref('base.user_root'))
            for (name, attachment), user, field in itertools.product(
                    kept.items(), users, self.get_stored_fields()):
                own = attachment.with_user(user).with_context(lang='en_US')
                value = self.make_value(attachment, field)
                with self.subTest(kept=name, user=user.login, field=field.name, is_frozen=is_frozen):
                    with self.assertRaisesRegex(UserError, 'kept as it is'):
                        own.write({field.name: value})
                    with self.assertRaisesRegex(UserError, 'kept as it is'):
                        own[field.name] = value
                    attachment.invalidate_recordset()
            self.assertEqual({name: self.read_row(attachment) for name, attachment in kept.items()}, before)

    def test_deleting(self):
        """A clear message instead of the database's, also before anything has left."""
        for is_frozen in (False, True):
            for name, attachment in self.make_kept(is_frozen).items():
                for user in (*self.users, self.env.ref('base.user_root')):
                    own = attachment.with_user(user).with_context(lang='en_US')
                    with self.subTest(kept=name, user=user.login, is_frozen=is_frozen):
                        with self.assertRaisesRegex(UserError, 'dunning (notice|run) .+ (cancel|goes by itself)'):
                            own.unlink()
                        with self.assertRaises(UserError):
                            own.sudo()._delete_and_notify()
                        with self.assertRaisesRegex(UserError, 'kept as it is'):
                            own.with_context(_force_unlink=True).unlink()
                self.assertTrue(attachment.exists())

    def test_two_steps(self):
        """To move it away first does not make it anybody's: the reference protects it, whatever it says of itself."""
        kept = self.make_kept(False)['pdf']
        self.env.cr.execute("UPDATE ir_attachment SET res_model = 'res.partner', res_id = %s WHERE id = %s",
                            [self.company.partner_id.id, kept.id])
        kept.invalidate_recordset()
        with self.assertRaises(UserError):
            kept.with_user(self.clerk).write({'raw': b'forged'})
        with self.assertRaises(UserError):
            kept.with_user(self.clerk).unlink()

    def test_among_others(self):
        """One that is kept among those that are written to is enough, and the others are free."""
        kept = self.make_kept(False)['eml']
        other = self.env['ir.attachment'].create({'name': 'other.pdf', 'raw': b'1'})
        with self.assertRaises(UserError):
            (other | kept).write({'description': 'x'})
        other.write({'description': 'x', 'public': True})
        other.unlink()
        copied = kept.with_user(self.clerk).copy({'name': 'copy.eml'})
        copied.write({'raw': b'my own'})
        copied.unlink()
        self.assertTrue(kept.exists())

    @mute_logger('odoo.addons.dunning_mail.models.ir_attachment')
    def test_moving_the_store(self):
        """An administrator may put all files into the database: bytes stay what they are, and damage stays visible."""
        kept = self.make_kept(True)
        content = {name: attachment.raw for name, attachment in kept.items()}
        self.forge(kept['eml'], b'forged')
        self.env['ir.config_parameter'].set_param('ir_attachment.location', 'db')
        (kept['pdf'] | kept['letter'])._migrate()
        self.assertFalse(kept['pdf'].store_fname)
        self.assertEqual((kept['pdf'].raw, kept['letter'].raw), (content['pdf'], content['letter']))
        checksum = kept['eml'].checksum
        kept['eml']._migrate()
        self.assertEqual(kept['eml'].checksum, checksum)

    def test_defaults_of_others(self):
        """What an administrator or a clerk set as default for attachments is not for these."""
        for fname, value in (('public', True), ('access_token', 'x'), ('description', 'x'), ('url', '/x'),
                             ('type', 'url'), ('company_id', False)):
            self.env['ir.default'].set('ir.attachment', fname, value)
        kept = self.make_kept(False)
        for attachment in kept.values():
            self.assertEqual(
                (attachment.public, attachment.access_token, attachment.description, attachment.url, attachment.type,
                 attachment.company_id), (False, False, False, False, 'binary', self.company))

    def test_system_goes_on(self):
        """Letters and mails are made anew, dropped and removed."""
        kept = self.make_kept(False)
        notice = self.env['dunning.notice'].search([('document_id', '=', kept['pdf'].id)])
        notice._make_anew()
        self.assertFalse((kept['pdf'] | kept['eml']).exists())
        self.assertTrue(notice._get_mail_bytes())
        notice.with_user(self.clerk).action_set_paper()
        self.assertFalse(notice.mail_document_id)
        run = notice.run_id
        run._store_joined(run._get_letters())
        self.assertFalse(kept['joined'].exists())
        joined = run.letters_id
        run.action_cancel()
        run._gc_joined_letters()
        self.assertFalse(joined.exists())
        document = notice.document_id
        notice._remove_documents("Time is over.")
        self.assertFalse(document.exists())

    def test_joined_letters_altered_on_disk(self):
        run = self.env['dunning.run'].search([('letters_id', '=', self.make_kept(False)['joined'].id)])
        letters = run._get_letters()
        self.assertTrue(run._get_joined(letters))
        for content in (b'%PDF-1.4 forged', None):
            self.forge(run.letters_id, content)
            self.assertIsNone(run._get_joined(letters))


@tagged('post_install', '-at_install')
class TestKeptAttachmentRoutes(KeptCase, HttpCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.dunning_provider_id = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})

    def get(self, path):
        return self.url_open(path, allow_redirects=False)

    @mute_logger('odoo.http')
    def test_tokens(self):
        for name, attachment in self.make_kept(False).items():
            with self.assertRaises(UserError):
                attachment.with_user(self.clerk).generate_access_token()
            self.env.cr.execute("UPDATE ir_attachment SET access_token = 'of-old' WHERE id = %s", [attachment.id])
            attachment.invalidate_recordset()
            signed = attachment._get_raw_access_token()
            owner = attachment._get_ownership_token()
            self.authenticate(None, None)
            for path in (f'/web/content/{attachment.id}?access_token=of-old',
                         f'/web/content/{attachment.id}?access_token={signed}',
                         f'/web/content/ir.attachment/{attachment.id}/raw?access_token={signed}',
                         f'/web/image/{attachment.id}?access_token={signed}',
                         f'/mail/attachment/pdf_first_page/{attachment.id}?access_token={owner}',
                         f'/web/content/{attachment.id}'):
                with self.subTest(kept=name, path=path):
                    response = self.get(path)
                    self.assertNotIn(attachment.raw[:40], response.content)
                    self.assertFalse(response.content.startswith(b'%PDF'))
            answer = self.url_open('/mail/attachment/delete', json={
                'params': {'attachment_id': attachment.id, 'access_token': owner}})
            self.assertIn('error', answer.json())
            self.assertTrue(attachment.exists())
            self.authenticate('clerk', 'clerk')
            self.assertEqual(self.get(f'/web/content/{attachment.id}?access_token={signed}').content, attachment.raw)
            self.assertEqual(self.get(f'/web/content/{attachment.id}').content, attachment.raw)

    @mute_logger('odoo.http')
    def test_what_is_damaged_is_not_opened(self):
        """Not by the address of the file either."""
        kept = self.make_kept(True)
        self.authenticate('clerk', 'clerk')
        for name, content in (('letter', b'%PDF-1.4 forged'), ('eml', b'From: forged\r\n\r\n'), ('pdf', None)):
            self.forge(kept[name], content)
            with self.subTest(kept=name):
                response = self.get(f'/web/content/{kept[name].id}')
                self.assertEqual(response.status_code, 404)
                self.assertNotIn(b'forged', response.content)

    def test_other_attachments_keep_their_tokens(self):
        other = self.env['ir.attachment'].create({'name': 'x.txt', 'raw': b'shared', 'mimetype': 'text/plain'})
        self.authenticate(None, None)
        self.assertEqual(self.get(
            f'/web/content/{other.id}?access_token={other.generate_access_token()[0]}').content, b'shared')
        self.assertEqual(self.get(
            f'/web/content/{other.id}?access_token={other._get_raw_access_token()}').content, b'shared')
        self.assertEqual(base64.b64decode(other.datas), b'shared')
