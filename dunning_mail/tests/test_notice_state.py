"""State and delivery state in one word."""

from odoo.tests import tagged

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestStatus(DunningCommon):

    def test_status(self):
        self.make_invoice(self.make_partner('Acme', email=False))
        run = self.make_run()
        notice = run.notice_ids
        self.assertEqual(notice.status, 'draft')
        notice.action_exclude()
        self.assertEqual(notice.status, 'excluded')
        notice.action_include()
        run.action_print_and_send()
        self.assertEqual(notice.status, 'paper')
        self.assertEqual(run.action_open_notices()['domain'], [('run_id', '=', run.id)])
        to_print = run.with_context(dunning_delivery_state='to_print').action_open_notices()
        self.assertEqual(self.env['dunning.notice'].search(to_print['domain']), notice)
        notice.action_mark_printed()
        self.assertEqual(notice.status, 'printed')
        self.assertFalse(self.env['dunning.notice'].search(to_print['domain']))
        notice.action_cancel()
        self.assertEqual(notice.status, 'cancelled')
