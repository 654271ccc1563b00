import hashlib

from odoo.tests import tagged

from .common import DunningMailCommon


@tagged('post_install', '-at_install')
class TestFlow(DunningMailCommon):
    """The way through the house: proposal, issue, process engine, sent."""

    def test_first_notice_by_mail(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner, 250.0)
        run = self.make_run()
        self.assertEqual(run.state, 'proposed')
        notice = run.notice_ids
        self.assertEqual(len(notice), 1)
        self.assertEqual((notice.partner_id, notice.level_id, notice.amount_total), (partner, self.level_1, 250.0))
        self.assertEqual(notice.channel, 'mail')
        self.assertFalse(notice.delivery_state)
        run.action_print_and_send()
        self.assertFalse(notice.problem)
        self.assertEqual((notice.state, notice.delivery_state), ('issued', 'released'))
        self.assertFalse(self.receivable(invoice).dunning_level_id, "issuing only reserves")
        self.run_engine()
        self.assertEqual(notice.delivery_state, 'sent', notice.delivery_info)
        self.assertEqual(self.receivable(invoice).dunning_level_id, self.level_1)
        self.assertEqual(run.state, 'done')
        mail = self.mails()[0]
        self.assertEqual(mail['Message-ID'], notice.message_id)
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        content = pdf.get_payload(decode=True)
        self.assertEqual(hashlib.sha256(content).hexdigest(), notice.document_sha256)
        self.assertEqual(content, notice.document_id.raw)
        self.assertIn('250', mail.get_body(('plain',)).get_content())
