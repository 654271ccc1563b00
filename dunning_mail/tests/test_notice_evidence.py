"""PDF, mail and log of notices as one ZIP."""

import csv
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

from odoo.exceptions import UserError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.tools import evidence
from odoo.addons.dunning_mail.tools.ids import parse_ids

from .common import DunningCommon, EngineCase

CHECKER = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'check_evidence.py'
ARCHIVE_LOGGER = 'odoo.addons.dunning_mail.models.dunning_notice_document'


class EvidenceCase(EngineCase):

    def _files(self, notices):
        with zipfile.ZipFile(notices.with_user(self.clerk).with_context(lang='en_US')._make_evidence()) as archive:
            self.assertFalse(archive.testzip())
            return {name: archive.read(name) for name in archive.namelist()}

    def read_record(self, notice):
        return json.loads(self._files(notice)[notice.name.replace('/', '-') + '/notice.json'])

    def read_facts(self, notice):
        content = self._files(notice)[notice.name.replace('/', '-') + '/notice.csv']
        return dict(csv.reader(io.StringIO(content.decode('utf-8-sig'))))

    def make_paper(self, *names):
        partners = [self.make_partner(name, email=False) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        return run.notice_ids.with_env(self.env)

    def make_printed(self, *names):
        notices = self.make_paper(*names)
        notices.with_user(self.clerk)._note_hand_out()
        notices.with_user(self.clerk).action_mark_printed()
        return notices

    def check(self, files):
        """Run the checker as anybody would, without Odoo.

        :return: (exit status, what it printed)
        """
        with tempfile.NamedTemporaryFile(suffix='.zip') as file:
            with zipfile.ZipFile(file, 'w') as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            file.flush()
            finished = subprocess.run(
                [sys.executable, '-I', CHECKER, file.name], capture_output=True, text=True, encoding='utf-8',
                env={'PYTHONIOENCODING': 'utf-8', 'PYTHONUTF8': '1'}, check=False)
        self.assertFalse(finished.stderr)
        return finished.returncode, finished.stdout


@tagged('post_install', '-at_install')
class TestEvidence(EvidenceCase):

    def test_zip(self):
        one, two = self.release('One', 'Two')
        self.run_engine()
        files = self._files(one | two)
        folder = one.name.replace('/', '-')
        self.assertEqual(len(files), 11)
        self.assertEqual(files[f'{folder}/{folder}.pdf'], one.document_id.raw)
        self.assertEqual(files[f'{folder}/{folder}.eml'], self.smtp.messages[0].content)
        rows = list(csv.DictReader(io.StringIO(files[f'{folder}/delivery log.csv'].decode('utf-8-sig'))))
        self.assertEqual([row['State After'] for row in rows], ['Released for Sending', 'Sending', 'Sent'])
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
        self.assertEqual(
            [name.rpartition('.')[2] for name in self._files(notice)], ['csv', 'csv', 'json', 'SHA256SUMS'])

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
        for query in ('', '?', '?ids', '?other=1', *(f'?ids={ids}' for ids in (
                '0', '99999999', 'x', '1;2', '', '-1', '1,x', '1,,2', ',', '1.5', '1_0', '\u0661', '\u00b2', 'None',
                '2147483648', '99999999999999999999999', '1,2147483648', '9' * 5000))):
            self.assertEqual(self.url_open(f'/dunning_mail/evidence{query}').status_code, 404, query)
        for run_id in ('0', '99999999', '2147483648', '9' * 30):
            self.assertEqual(self.url_open(f'/dunning_mail/run/{run_id}/letters').status_code, 404, run_id)
        self.authenticate(None, None)
        response = self.url_open('/dunning_mail/evidence?ids=1', allow_redirects=False)
        self.assertIn(response.status_code, (302, 303, 403))

    def test_parse_ids(self):
        self.assertEqual(parse_ids('3, 1,3'), [3, 1])
        self.assertEqual(parse_ids('2147483647'), [2147483647])


@tagged('post_install', '-at_install')
class TestEvidenceOfNotices(HttpCase, DunningCommon):

    @mute_logger('odoo.http')
    def test_addresses(self):
        """What cannot be had is said, and is no fault of the server."""
        for name in ('One', 'Two'):
            self.make_invoice(self.make_partner(name, email=False))
        run = self.make_run()
        one, two = run.notice_ids
        self.authenticate('clerk', 'clerk')
        get = lambda *ids: self.url_open(f"/dunning_mail/evidence?ids={','.join(map(str, ids))}")  # noqa: E731
        response = get(one.id)
        self.assertEqual(response.status_code, 422, "a draft has none")
        run.action_print_and_send()
        response = get(one.id, one.id, two.id, 99999999)
        self.assertEqual(response.status_code, 200)
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            self.assertEqual(len({name.partition('/')[0] for name in archive.namelist() if '/' in name}), 2)
        with unittest.mock.patch('odoo.addons.dunning_mail.models.dunning_notice_evidence.MAX_EVIDENCE', 1):
            self.assertEqual(get(one.id, two.id).status_code, 422)
        new_test_user(self.env, login='employee', groups='base.group_user')
        self.authenticate('employee', 'employee')
        self.assertEqual(get(one.id).status_code, 403)
        self.assertEqual(self.url_open(f'/dunning_mail/run/{run.id}/letters').status_code, 403)


@tagged('post_install', '-at_install')
class TestEvidenceNames(EvidenceCase):
    """Who was dunned, by whom and in which words stays what it was when the letter was made."""

    def change_all_names(self, notice):
        other = self.make_partner('Merged AG', email='other@customer.test', street='Elsewhere 2')
        partner = notice.partner_id
        self.env['base.partner.merge.automatic.wizard'].create({})._merge(
            [partner.id, other.id], other, extra_checks=False)
        self.assertEqual(notice.partner_id, other)
        other.name = 'Renamed AG'
        notice.level_id.with_context(lang='de_DE').name = 'Ganz anders'
        notice.level_id.name = 'Changed'
        self.provider.name = 'Changed provider'
        self.clerk.name = 'Changed clerk'
        self.company.name = 'Changed company'
        self.level_1.text_ids.write({'mail_subject': 'Changed', 'mail_body': 'Changed', 'letter_title': 'Changed'})
        self.env.flush_all()
        self.env.invalidate_all()

    def test_stay(self):
        sent = self.release('Acme')
        self.run_engine()
        printed = self.make_printed('Bravo')
        for notice in (sent, printed):
            before = self._files(notice)
            record, facts = self.read_record(notice), self.read_facts(notice)
            names = record['names']
            self.assertEqual([names[key] for key in ('source', 'customer', 'recipient', 'clerk', 'company')], [
                'issue', notice.partner_id.name, notice.partner_id.name, 'Petra Muster', 'Muster & Söhne AG'])
            self.assertEqual(names['address'][-2:], ['Bahnhofstrasse 1', '8001 Zürich'])
            self.assertIn(notice.partner_id.name, facts.values())
            self.assertIn('Petra Muster', {row['user'] for row in record['log']})
            with self.subTest(notice=names['customer']):
                savepoint = self.env.cr.savepoint()
                self.change_all_names(notice)
                self.assertEqual(self._files(notice), before)
                savepoint.rollback()
                savepoint.close(rollback=False)
                self.env.invalidate_all()
        record = self.read_record(sent)
        self.assertEqual(record['names']['provider'], 'Test provider')
        self.assertEqual({row['provider'] for row in record['log']}, {'Test provider'})
        self.assertEqual(
            [row['recipients'] for row in record['log'] if row['state_to'] == 'sending'], ['acme@customer.test'])
        self.assertIn('mahnung@muster.test', record['names']['sender'])
        self.assertIn('Sehr geehrte', record['words']['mail_body'])
        self.assertTrue(record['words']['letter_title'])

    def test_made_anew(self):
        """Until it leaves, a letter is made anew when a name changes, and then it says that one."""
        notice = self.release('Acme')
        self.customer(notice).name = 'Acme Holding'
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'sent')
        record = self.read_record(notice)
        self.assertEqual((record['names']['customer'], record['names']['to_name']), ('Acme Holding', 'Acme Holding'))
        self.assertEqual(self.mails()[0]['To'], 'Acme Holding <acme@customer.test>')

    def customer(self, notice):
        return notice.partner_id.with_env(self.env)

    def test_nobody_writes_them(self):
        notice = self.release('Acme')
        for user in (self.clerk, self.manager, self.env.ref('base.user_admin')):
            for record, fname in ((notice, 'snapshot'), (notice, 'mail_body'), (notice, 'damage_info'),
                                  (notice.delivery_log_ids[0], 'user_name'), (notice.delivery_log_ids[0], 'recipients'),
                                  (notice.delivery_log_ids[0], 'mail_sha256')):
                with self.assertRaises(UserError):
                    record.with_user(user).write({fname: 'forged'})

    def test_of_before_the_upgrade(self):
        """What was filled in later says so, and what nothing was kept of is as it is now."""
        notice = self.release('Acme')
        self.run_engine()
        for source, words in (('upgrade', 'upgrade'), ('now', 'as they are now')):
            notice.snapshot = notice._prepare_snapshot(source=source) if source == 'upgrade' else False
            self.assertEqual(self.read_record(notice)['names']['source'], source)
            self.assertIn(words, self.read_facts(notice)['Names'])


@unittest.skipUnless(CHECKER.is_file(), "docs/check_evidence.py is not at hand")
@tagged('post_install', '-at_install')
class TestEvidenceChecker(EvidenceCase):

    def tamper(self, files, change, is_covered=True):
        """Change a copy of the files; `is_covered`: the list of SHA-256 is made anew to fit."""
        files = dict(files)
        change(files)
        if is_covered:
            files['SHA256SUMS'] = ''.join(
                f'{hashlib.sha256(content).hexdigest()}  {name}\n'
                for name, content in files.items() if name != 'SHA256SUMS').encode()
        return files

    def edit(self, files, folder, change):
        record = json.loads(files[f'{folder}/notice.json'])
        change(record)
        files[f'{folder}/notice.json'] = json.dumps(record).encode()

    @mute_logger(ARCHIVE_LOGGER, 'odoo.addons.dunning_mail.models.dunning_engine')
    def test_genuine(self):
        """Whatever way a notice went, its evidence fits together."""
        several = self.make_partner('Müller, Söhne & "Co"', email='a@customer.test, b@customer.test')
        sent, refused, late, back, paper, stays = self.release(
            several, 'Refused', 'Late', 'Back', 'Was Mail', 'Stays')
        stays.with_user(self.clerk).action_cancel()
        self.smtp.set_rules('refused@customer.test rcpt 550 5.1.1 Unknown\nlate@customer.test rcpt 450 4.2.1 Later')
        paper.with_user(self.clerk).action_set_paper()
        self.run_engine()
        self.smtp.set_rules('')
        late.next_attempt_at = False
        self.run_engine()
        back._set_failed("Came back")
        back.with_user(self.clerk).action_set_paper()
        self.provider.redirect_to = 'me@muster.test'
        trial = self.release('Trial')
        self.run_engine()
        printed, unprinted, cancelled = self.make_paper('Printed', 'Unprinted', 'Cancelled')
        (printed | cancelled)._note_hand_out()
        (printed | cancelled).with_user(self.clerk).action_mark_printed()
        cancelled.with_user(self.clerk).action_cancel()
        unprinted._note_hand_out()
        notices = sent | refused | late | back | paper | stays | trial | printed | unprinted | cancelled
        self.assertEqual(notices.mapped('status'), [
            'sent', 'failed', 'sent', 'paper', 'paper', 'cancelled', 'sent', 'printed', 'paper', 'cancelled'])
        status, words = self.check(self._files(notices))
        self.assertEqual((status, words.count('DIFFERENT'), words.count('not proven')), (0, 0, 0), words)
        self.assertEqual(words.count('byte for byte'), 4)
        self.assertEqual(words.count('sent or printed'), 6)
        # Two companies may have given the same number.
        twice = evidence.pack([('2026', sent._get_evidence_files()), ('2026', late._get_evidence_files())])
        with zipfile.ZipFile(twice) as archive:
            status, words = self.check({name: archive.read(name) for name in archive.namelist()})
        self.assertEqual((status, words.count('DIFFERENT')), (0, 0), words)

    def test_tampered(self):
        notice = self.release('Acme')
        self.run_engine()
        folder = notice.name.replace('/', '-')
        genuine = self._files(notice)
        self.assertEqual(self.check(genuine)[0], 0)
        pdf, eml, record = (f'{folder}/{folder}.pdf', f'{folder}/{folder}.eml', f'{folder}/notice.json')
        table = f'{folder}/delivery log.csv'

        def put(name, old, new):
            def change(files):
                self.assertIn(old, files[name])
                files[name] = files[name].replace(old, new)
            return change

        def set_hash(kind, path, in_log=False):
            def change(files):
                put(path, b'100', b'900')(files) if kind == 'pdf' else put(path, b'Subject: ', b'Subject: No ')(files)
                digest = hashlib.sha256(files[path]).hexdigest()

                def note(record):
                    record['files'][kind]['sha256'] = digest
                    for row in record['log'] if in_log else ():
                        row['document_sha256' if kind == 'pdf' else 'mail_sha256'] = digest
                self.edit(files, folder, note)
            return change

        def in_record(change):
            return lambda files: self.edit(files, folder, change)

        def drop_step(step, renumber):
            def change(files):
                def drop(record):
                    del record['log'][step]
                    if renumber:
                        record['steps'] -= 1
                        for number, row in enumerate(record['log'], 1):
                            row['step'] = number
                self.edit(files, folder, drop)
                if renumber:
                    rows = files[table].splitlines(keepends=True)
                    del rows[step + 1]
                    files[table] = b''.join(rows)
            return change
        cases = {
            'pdf': put(pdf, b'100', b'900'),
            'pdf with its hash': set_hash('pdf', pdf),
            'pdf with all hashes': set_hash('pdf', pdf, in_log=True),
            'eml': put(eml, b'Subject: ', b'Subject: No '),
            'eml with its hash': set_hash('eml', eml),
            'eml with all hashes': set_hash('eml', eml, in_log=True),
            'recipient of the mail': put(eml, b'<acme@', b'<evil@'),
            'message id of the mail': put(eml, notice.message_id.encode(), b'<x@muster.test>'),
            'name': put(record, b'"customer": "Acme"', b'"customer": "Evil"'),
            'name in the mail': put(record, b'"to_name": "Acme"', b'"to_name": "Evil"'),
            'table of facts': put(f'{folder}/notice.csv', b'Acme', b'Evil'),
            'message id': in_record(lambda record: record['facts'].update(message_id='<x@muster.test>')),
            'message id in the log': in_record(lambda record: record['log'][1].update(message_id='<x@muster.test>')),
            'recipient': in_record(lambda record: record['facts'].update(email_to='evil@customer.test')),
            'recipient in the log': in_record(lambda record: record['log'][1].update(recipients='evil@customer.test')),
            'state': in_record(lambda record: record['facts'].update(delivery_state='failed')),
            'standing': in_record(lambda record: record['files']['pdf'].update(standing='damaged')),
            'form': in_record(lambda record: record.update(format=99)),
            'no json': lambda files: files.update({record: b'{'}),
            'json of something else': lambda files: files.update({record: b'[]'}),
            'no record': lambda files: files.pop(record),
            'no pdf': lambda files: files.pop(pdf),
            'no eml': lambda files: files.pop(eml),
            'no log': lambda files: files.pop(table),
            'another file': lambda files: files.update({f'{folder}/more.txt': b'x'}),
            **{f'step {step}, {renumber}': drop_step(step, renumber)
               for step in range(3) for renumber in (False, True)},
        }
        for name, change in cases.items():
            for is_covered in (False, True):
                with self.subTest(case=name, is_covered=is_covered):
                    status, words = self.check(self.tamper(genuine, change, is_covered))
                    self.assertEqual(status, 1, words)
                    self.assertIn('DIFFERENT', words)
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
                for name, content in genuine.items():
                    archive.writestr(name, content)
            file.seek(0)
            whole = file.read()
        for content in (b'', b'PK', whole[:-30], whole[:1000] + bytes(100) + whole[1100:]):
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                finished = subprocess.run([sys.executable, '-I', CHECKER, file.name], capture_output=True, check=False)
                self.assertEqual((finished.returncode, finished.stderr), (1, b''))

    def test_damaged_in_the_archive(self):
        """Evidence of what was altered is no evidence, and says so; also where it cannot be told."""
        damaged, mail_damaged, gone = self.release('Damaged', 'Mail', 'Gone')
        self.run_engine()
        for notice, fname, content, label, words in (
                (damaged, 'document_id', b'%PDF forged', 'PDF', 'DAMAGED'),
                (mail_damaged, 'mail_document_id', mail_damaged.mail_document_id.raw + b' ', 'Mail', 'DAMAGED'),
                (gone, 'mail_document_id', None, 'Mail', 'GONE')):
            self.forge(notice[fname], content)
            facts = self.read_facts(notice)
            self.assertIn(words, facts[label])
            self.assertIn('It is what was made', facts['PDF' if label == 'Mail' else 'Mail'])
            status, printed = self.check(self._files(notice))
            self.assertEqual(status, 1 if words == 'DAMAGED' else 2, printed)

    def test_what_an_earlier_version_kept(self):
        notice = self.release('Old')
        self.run_engine()
        notice.write({'mail_sha256': False, 'snapshot': notice._prepare_snapshot(source='upgrade')})
        notice.delivery_log_ids.write({'mail_sha256': False, 'document_sha256': False, 'recipients': False})
        self.assertIn('NOT VERIFIED', self.read_facts(notice)['Mail'])
        status, words = self.check(self._files(notice))
        self.assertEqual((status, words.count('DIFFERENT')), (2, 0), words)
        self.assertIn('filled in later', words)

    def test_removed(self):
        notice = self.release('Removed')
        self.run_engine()
        notice._remove_documents('')
        self.assertIn('removed by', self.read_facts(notice)['Mail'])
        status, words = self.check(self._files(notice))
        self.assertEqual((status, words.count('DIFFERENT')), (2, 0), words)
