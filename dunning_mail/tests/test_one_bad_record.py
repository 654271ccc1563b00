"""One bad record never stops the others, and what is not finished in the scheduler's time goes on at once."""

from unittest.mock import patch

from odoo import SUPERUSER_ID, Command, api
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..models import dunning_retention, dunning_run_print
from .common import RecheckCase, read_pdf

REPORT_LOGGER = 'odoo.addons.report_pdf_engine.models.ir_actions_report_document'


@tagged('post_install', '-at_install')
class TestLettersOfOthers(RecheckCase):

    def damage(self, notice):
        document = notice.sudo().document_id
        self.env.flush_all()
        self.env.cr.execute("UPDATE ir_attachment SET store_fname = NULL, db_datas = %s WHERE id = %s", [
            b'%PDF-1.7 something else', document.id])
        self.env.invalidate_all()

    def assertLeftOut(self, run, bad, *others, printed=False):
        content, words = run._hand_out_letters(printed=printed)
        text = read_pdf(content)
        for notice in others:
            self.assertIn(notice.name, text)
        self.assertNotIn(bad.name, text)
        self.assertIn(bad.name, '\n'.join(words))

    def test_printed_again(self):
        bad, one, two = self.issue('Bad', 'One', 'Two')
        run = bad.run_id
        run._hand_out_letters()
        run.action_mark_printed()
        self.damage(bad)
        self.assertLeftOut(run, bad, one, two, printed=True)
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            run.action_reprint_letters()
            with self.enter_registry_test_mode():
                self.env.ref('dunning_mail.ir_cron_join').method_direct_trigger()
            self.env.invalidate_all()
        self.assertIn(bad.name, run.message_ids[0].body)
        self.assertIn(one.name, read_pdf(run.sudo().letters_id.raw))
        self.assertLeftOut(run, bad, one, two, printed=True)

    def test_opened_by_somebody_who_only_reads(self):
        bad, one = self.issue('Bad', 'One')
        self.damage(bad)
        self.manager.write({'group_ids': [Command.set([self.env.ref('account.group_account_readonly').id])]})
        self.assertLeftOut(bad.run_id.with_user(self.manager), bad, one)

    def test_letter_that_cannot_be_made_again(self):
        bad, one = self.issue('Bad', 'One')
        report = self.level_1.report_id.sudo().copy({'report_name': 'dunning_mail.there_is_none'})
        level = self.level_1.sudo().copy({'sequence': 9, 'report_id': report.id})
        self.env.flush_all()
        self.env.cr.execute('UPDATE dunning_notice SET level_id = %s WHERE id = %s', [level.id, bad.id])
        self.env.invalidate_all()
        self.damage(bad)
        with mute_logger(REPORT_LOGGER):
            self.assertLeftOut(bad.run_id, bad, one)
        self.assertEqual((bad.status, one.status), ('held', 'paper'))


@tagged('post_install', '-at_install')
class TestTimeIsOver(RecheckCase):

    def run_pass(self, cron, method):
        """Run a job as the scheduler does when it has no time left.

        :return: (done, remaining)
        """
        self.env.flush_all()
        with self.enter_registry_test_mode(), self.registry.cursor() as cr:
            env = api.Environment(cr, SUPERUSER_ID, {})
            cron, progress = env.ref(cron)._add_progress()
            method(env(context={
                **cron.env.context, 'ir_cron_progress_id': progress.id, 'cron_id': cron.id, 'cron_end_time': 0}))
            figures = progress.done, progress.remaining
        self.env.invalidate_all()
        return figures

    def test_joining(self):
        runs = [self.issue(f'{name} 1', f'{name} 2').run_id for name in ('One', 'Two', 'Three')]
        with patch.object(dunning_run_print, 'JOIN_AT_ONCE', 1):
            for run in runs:
                run.action_print_letters()
        for remaining in (2, 1, 0):
            self.assertEqual(self.run_pass(
                'dunning_mail.ir_cron_join', lambda env: env['dunning.run']._process_joining()), (1, remaining))
            self.assertEqual(sum(run.is_joining for run in runs), remaining)

    def test_removing_documents_of_two_companies(self):
        notices = self.issue('One', 'Two', 'Three')
        notices.run_id._hand_out_letters()
        notices.run_id.action_mark_printed()
        for move in notices.line_ids.move_id:
            self.pay(move)
        other = self.env['res.company'].create({'name': 'Other Ltd', 'dunning_retention_years': 1})
        self.company.dunning_retention_years = 1
        self.env.flush_all()
        # As if they were the other company's.
        self.env.cr.execute('UPDATE dunning_notice SET company_id = %s WHERE id = %s', [other.id, notices[2].id])
        self.env.invalidate_all()
        self.go_to(800)
        with patch.object(dunning_retention, 'BATCH', 2):
            # The other company's notice, two of this one, their run.
            for left in ((3, 2), (1, 0), (0, 0)):
                _done, remaining = self.run_pass(
                    'dunning_mail.ir_cron_archive', lambda env: env['dunning.archive']._apply_retention())
                self.assertEqual((remaining, len(notices.sudo().filtered('document_id'))), left)
