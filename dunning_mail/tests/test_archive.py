"""What was sent or printed is kept as it is, and is checked."""

import base64
import json
import os
from datetime import timedelta

from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged
from odoo.tools import mute_logger

from .. import hooks
from .common import TODAY, ArchiveCase

DOCUMENT_LOGGER = 'odoo.addons.dunning_mail.models.dunning_notice_document'


@tagged('post_install', '-at_install')
class TestArchive(ArchiveCase):

    def test_no_model_route_changes_or_removes_it(self):
        notice = self.make_printed('Kunde AG')
        document = notice.sudo().document_id
        content = document.raw
        for user in (self.clerk, self.manager, self.env.ref('base.user_admin'), self.env.ref('base.user_root')):
            own = document.with_user(user)
            for values in ({'raw': b'x'}, {'datas': base64.b64encode(b'x')}, {'name': 'x'}, {'res_id': 0},
                           {'res_model': 'res.partner'}, {'type': 'url', 'url': 'http://x'}, {'public': True},
                           {'mimetype': 'text/plain'}, {'res_field': 'x'}, {'checksum': 'x'}, {'store_fname': 'x'}):
                with self.subTest(user=user.login, values=values), self.assertRaises(UserError):
                    own.write(values)
            with self.subTest(user=user.login), self.assertRaises(UserError):
                own.unlink()
            with self.subTest(user=user.login), self.assertRaises(UserError):
                notice.with_user(user).unlink()
        for values in ({'document_id': False}, {'document_sha256': 'x'}, {'document_removed_at': '2026-01-01'}):
            with self.assertRaises(UserError):
                notice.with_user(self.manager).write(values)
        with self.assertRaises(UserError):
            notice.run_id.with_user(self.manager).unlink()
        document.invalidate_recordset()
        self.assertEqual(document.raw, content)

    def test_removing_what_it_hangs_on(self):
        notice = self.make_printed('Kunde AG')
        partner = notice.partner_id
        with self.assertRaises(UserError):
            partner.sudo().unlink()
            self.env.flush_all()
        self.env.invalidate_all()
        self.assertTrue(partner.exists())
        with self.assertRaises(UserError):
            notice.sudo().level_id.unlink()
            self.env.flush_all()
        self.env.invalidate_all()
        self.assertTrue(notice.exists().sudo().document_id.raw)

    def test_duplicates_are_no_way_round(self):
        notice = self.make_printed('Kunde AG')
        document = notice.sudo().document_id
        copied = document.copy({'name': 'copy.pdf'})
        copied.unlink()
        self.assertTrue(document.exists())

    def test_file_store_keeps_it(self):
        """The vacuum cleaner removes files that no attachment names; this one is named."""
        notice = self.make_printed('Kunde AG')
        document = notice.sudo().document_id
        self.env['ir.attachment'].sudo()._gc_file_store_unsafe()
        document.invalidate_recordset()
        self.assertTrue(document.raw)

    def test_check_finds_damage_and_tells(self):
        sound, damaged, gone = self.make_printed('Erste AG', 'Zweite AG', 'Dritte AG').sorted('id').sudo()
        attachments = self.env['ir.attachment'].sudo()
        originals = {}
        for notice in (damaged, gone):
            path = attachments._full_path(notice.document_id.store_fname)
            with open(path, 'rb') as file:
                originals[path] = file.read()
            self.addCleanup(lambda path=path: open(path, 'wb').write(originals[path]))  # noqa: SIM115
            if notice == damaged:
                with open(path, 'r+b') as file:
                    file.seek(100)
                    file.write(b'damage')
            else:
                os.unlink(path)
        self.env.invalidate_all()
        with mute_logger(DOCUMENT_LOGGER, 'odoo.addons.base.models.ir_attachment'):
            self.run_check()
            self.assertEqual(
                [notice.is_document_damaged for notice in (sound, damaged, gone)], [False, True, True])
            kind = self.env.ref('dunning_mail.mail_activity_damaged')
            for notice in (damaged, gone):
                activity = notice.activity_ids.filtered(lambda activity: activity.activity_type_id == kind)
                self.assertEqual(activity.user_id, self.clerk)
                self.assertIn(notice.document_id.store_fname, activity.note)
            self.assertFalse(sound.activity_ids)
            with self.assertRaisesRegex(UserError, 'damaged'):
                damaged.action_open_document()
            with self.assertRaisesRegex(UserError, 'gone'):
                gone.action_open_document()
            # not again the same day, and not a second time to the same person
            self.run_check()
            damaged.document_checked_at -= timedelta(days=8)
            self.run_check()
            self.assertEqual(len(damaged.activity_ids), 1)
        for path, content in originals.items():
            with open(path, 'wb') as file:
                file.write(content)
        (damaged | gone).document_checked_at = False
        self.env.invalidate_all()
        self.run_check()
        self.assertFalse((damaged | gone).filtered('is_document_damaged'))
        self.assertFalse(damaged.activity_ids)

    @mute_logger(DOCUMENT_LOGGER)
    def test_check_reads_the_mail_too(self):
        """And says which of the two is not what was made."""
        self.company.dunning_provider_id = self.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})
        self.clerk.lang = 'en_US'
        partners = [self.make_partner(name) for name in ('Sound', 'Mail', 'Gone', 'Both', 'Old')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        sound, mail, gone, both, old = run.notice_ids.sorted('id').sudo()
        for number, notice in enumerate(run.notice_ids):
            notice.sudo()._set_sending(f'<{number}@muster.test>', TODAY, ['x@customer.test'])
        content = both.mail_document_id.raw, both.document_id.raw
        self.forge(mail.mail_document_id, b'From: forged\r\n\r\n')
        self.forge(gone.mail_document_id, None)
        self.forge(both.mail_document_id, b'forged')
        old.mail_sha256 = False
        self.run_check()
        self.assertEqual([notice.is_document_damaged for notice in (sound, mail, gone, both, old)],
                         [False, True, True, True, False])
        self.assertIn("kept mail", mail.damage_info)
        self.assertIn("damaged", mail.damage_info)
        self.assertIn("gone", gone.damage_info)
        self.assertNotIn("PDF", mail.damage_info + gone.damage_info + both.damage_info)
        self.assertIn("kept mail", mail.activity_ids.note)
        # What is added is told, in the same activity.
        self.forge(both.document_id, b'%PDF forged')
        both.document_checked_at = False
        self.run_check()
        self.assertIn("kept PDF", both.damage_info)
        self.assertIn("kept mail", both.damage_info)
        self.assertIn("kept PDF", both.activity_ids.note)
        self.assertEqual(len(both.activity_ids), 1)
        self.forge(both.mail_document_id, content[0])
        self.forge(both.document_id, content[1])
        both.document_checked_at = False
        self.run_check()
        self.assertFalse(both.is_document_damaged or both.damage_info or both.activity_ids)
        with self.assertRaisesRegex(UserError, "mail .+ damaged"):
            mail.action_open_mail()
        with self.assertRaisesRegex(UserError, "mail .+ gone"):
            gone.action_open_mail()
        self.assertIn("nobody can tell", old.with_context(lang='en_US').action_open_mail()['params']['message'])

    def test_without_archive_it_goes_after_printing(self):
        self.env.ref('dunning_mail.report_letter').archive_generated = False
        notice = self.make_printed('Kunde AG')
        self.assertFalse(notice.sudo().document_id)
        self.assertTrue(notice.document_sha256 and notice.document_removed_at)

    def test_without_archive_the_others_are_not_read(self):
        """One letter is not archived: the notices with another one, thousands maybe, are left alone."""
        self.level_1.report_id = self.env.ref('dunning_mail.report_letter').copy({'archive_generated': True})
        kept = self.make_printed('Kunde AG')
        self.env.ref('dunning_mail.report_letter').archive_generated = False
        asked, original = self.env['dunning.notice'], self.env.registry['dunning.notice']._get_report

        def get_report(notice):
            nonlocal asked
            asked |= notice.with_env(self.env)
            return original(notice)
        self.patch(self.env.registry['dunning.notice'], '_get_report', get_report)
        kept._drop_unarchived_documents()
        self.assertFalse(asked)
        self.assertTrue(kept.sudo().document_id)
        self.level_1.report_id = False
        kept._drop_unarchived_documents()
        self.assertFalse(kept.sudo().document_id)

    def test_uninstalling_leaves_them_with_the_customers(self):
        notice = self.make_printed('Kunde AG')
        document = notice.sudo().document_id
        content, facts = document.raw, (notice.name, notice.document_sha256)
        partner = notice.partner_id
        hooks.uninstall_hook(self.env)
        document.invalidate_recordset()
        self.assertEqual((document.res_model, document.res_id), ('res.partner', partner.id))
        self.assertEqual(document.raw, content)
        for fact in facts:
            self.assertIn(fact, document.description)
        self.assertFalse(notice.exists(), "or Odoo could not remove its level")


@tagged('post_install', '-at_install')
class TestArchiveRoutes(ArchiveCase, HttpCase):

    def call(self, path, **params):
        response = self.url_open(
            path, data=json.dumps({'params': params}), headers={'Content-Type': 'application/json'})
        return response.json()

    def test_routes(self):
        notice = self.make_printed('Kunde AG')
        document = notice.sudo().document_id
        content = document.raw
        for login in ('clerk', 'dunning_manager'):
            self.authenticate(login, login)
            with mute_logger('odoo.http'):
                for answer in (
                    self.call('/web/dataset/call_kw', model='ir.attachment', method='write', kwargs={},
                              args=[document.ids, {'raw': 'x'}]),
                    self.call('/web/dataset/call_kw', model='ir.attachment', method='unlink', kwargs={},
                              args=[document.ids]),
                    self.call('/web/dataset/call_kw', model='ir.attachment', method='web_save', kwargs={
                        'specification': {}}, args=[document.ids, {'name': 'x'}]),
                    self.call('/web/dataset/call_kw', model='dunning.notice', method='write', kwargs={},
                              args=[notice.ids, {'document_id': False}]),
                    self.call('/web/dataset/call_kw', model='dunning.notice', method='unlink', kwargs={},
                              args=[notice.ids]),
                    self.call('/mail/attachment/delete', attachment_id=document.id),
                ):
                    self.assertIn('error', answer)
            response = self.url_open(f'/web/content/{document.id}')
            self.assertEqual(response.content, content)
        self.env.invalidate_all()
        self.assertEqual(document.raw, content)
