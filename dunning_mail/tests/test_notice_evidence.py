"""PDF, mail and log of notices as one ZIP."""

import csv
import hashlib
import io
import zipfile

from odoo.exceptions import UserError
from odoo.tests import HttpCase, tagged

from odoo.addons.dunning_mail.tools import evidence

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestEvidence(EngineCase):

    def _files(self, notices):
        with zipfile.ZipFile(notices.with_user(self.clerk).with_context(lang='en_US')._make_evidence()) as archive:
            self.assertFalse(archive.testzip())
            return {name: archive.read(name) for name in archive.namelist()}

    def test_zip(self):
        one, two = self.release('One', 'Two')
        self.run_engine()
        files = self._files(one | two)
        folder = one.name.replace('/', '-')
        self.assertEqual(len(files), 9)
        self.assertEqual(files[f'{folder}/{folder}.pdf'], one.document_id.raw)
        self.assertEqual(files[f'{folder}/{folder}.eml'], self.smtp.messages[0].content)
        rows = list(csv.DictReader(io.StringIO(files[f'{folder}/delivery log.csv'].decode('utf-8-sig'))))
        self.assertEqual([row['To'] for row in rows], ['Released for Sending', 'Sending', 'Sent'])
        self.assertIn(self.smtp.messages[0].queue_id, rows[-1]["Server's Number"])
        self.assertEqual(rows[-1]['Message-ID'], one.message_id)
        facts = dict(csv.reader(io.StringIO(files[f'{folder}/notice.csv'].decode('utf-8-sig'))))
        self.assertEqual(facts['SHA-256'], hashlib.sha256(files[f'{folder}/{folder}.pdf']).hexdigest())
        for line in files['SHA256SUMS'].decode().splitlines():
            digest, path = line.split('  ', 1)
            self.assertEqual(digest, hashlib.sha256(files[path]).hexdigest())

    def test_without_documents(self):
        """What was removed is not there, the log is."""
        self.level_1.report_id.archive_generated = False
        notice = self.release('One')
        self.run_engine()
        self.assertFalse(notice.document_id)
        self.assertEqual([name.rpartition('.')[2] for name in self._files(notice)], ['csv', 'csv', 'SHA256SUMS'])

    def test_drafts_have_none(self):
        partner = self.make_partner('Draft')
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        with self.assertRaises(UserError):
            run.notice_ids.action_export_evidence()

    def test_names_and_formulas(self):
        file = evidence.pack([('../../etc', {'a/b.pdf': b'1'}), ('..\\..\\etc', {'': b'2'}), ('ETC', {'x': b'3'})])
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        self.assertEqual(len(set(names)), 4)
        self.assertFalse([name for name in names if '..' in name or name.startswith('/') or '\\' in name])
        table = evidence.make_csv(['a'], [['=cmd()'], ['+1'], ['550 x'], [None], [''], [False]]).decode('utf-8-sig')
        self.assertEqual(table.splitlines(), ['a', "'=cmd()", "'+1", '550 x', '""', '""', '""'])


@tagged('post_install', '-at_install')
class TestEvidenceDownload(HttpCase):

    def test_access(self):
        self.authenticate('admin', 'admin')
        for ids in ('0', '99999999', 'x', '1;2', ''):
            self.assertEqual(self.url_open(f'/dunning_mail/evidence?ids={ids}').status_code, 404, ids)
        self.authenticate(None, None)
        response = self.url_open('/dunning_mail/evidence?ids=1', allow_redirects=False)
        self.assertIn(response.status_code, (302, 303, 403))
