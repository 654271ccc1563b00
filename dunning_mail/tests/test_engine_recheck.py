"""Right before a mail is handed over."""

from unittest.mock import patch

from odoo.tests import tagged

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestRightBeforeSending(EngineCase):
    """Nobody is dunned for what they have paid, and nothing goes out that must not."""

    def test_paid(self):
        notice, other = self.release('Paid', 'Other')
        self.pay(self.receivable_move(notice))
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertEqual(notice.delivery_state, 'released', "it keeps its last true value")
        self.assertIn(notice.delivery_info, notice.delivery_log_ids.mapped('text'))
        self.assertDelivery(other, 'sent')
        self.assertEqual(self.accepted(notice), 0)
        self.assertEqual(notice.run_id.state, 'done')

    def receivable_move(self, notice):
        return notice.line_ids.filtered(lambda line: line.kind == 'due').move_id

    def test_partly_paid(self):
        notice = self.release('Part', amount=100.0)
        old = notice.document_sha256
        self.pay(self.receivable_move(notice), 40.0)
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.amount_total, 60.0)
        self.assertNotEqual(notice.document_sha256, old)
        mail = self.mails()[0]
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        self.assertEqual(pdf.get_payload(decode=True), notice.document_id.raw)
        text = mail.get_body(('plain',)).get_content()
        self.assertIn('60', text)
        self.assertNotIn('100', text)

    def test_covered_by_a_credit(self):
        notice = self.release('Credit', amount=100.0)
        self.make_invoice(notice.partner_id, 100.0, move_type='out_refund')
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.messages)

    def test_changed_after_a_handover(self):
        notice = self.release('Part', amount=100.0)
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        original = self.env.registry['dunning.engine']._try_later

        def try_later(engine, notice, *args):
            steps = original(engine, notice, *args)
            self.env.flush_all()
            self.pay(self.receivable_move(notice.with_env(self.env)), 40.0)
            self.env.flush_all()
            engine.env.invalidate_all()
            return steps
        with patch.object(self.env.registry['dunning.engine'], '_try_later', try_later):
            for _pass in range(3):
                self.run_engine()
        self.assertDelivery(notice, 'failed')
        self.assertEqual(notice.state, 'issued', "whether it is cancelled is a person's decision")
        self.assertTrue(self.activities(notice, 'failed'))
        self.assertFalse(self.smtp.messages, "the frozen mail claims too much")

    def test_same_bytes_after_a_handover(self):
        notice = self.release('Again')
        self.smtp.set_rules('* eod times=1 451 4.3.0 Come again')
        for _pass in range(3):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        refused = self.smtp.events('refused')
        self.assertEqual([event['message_id'] for event in refused], [notice.message_id])
        self.assertEqual(self.mails()[0]['Message-ID'], notice.message_id)

    def test_on_hold_meanwhile(self):
        customer, invoice = self.release('Customer on hold', 'Invoice on hold')
        customer.partner_id.write({'dunning_hold_until': self.days(10), 'dunning_hold_reason': 'Complaint pending'})
        self.receivable_move(invoice).dunning_hold_until = self.days(10)
        self.run_engine()
        self.assertEqual((customer.state, invoice.state), ('cancelled', 'cancelled'))
        self.assertIn('Complaint pending', customer.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_run_cancelled(self):
        notice = self.release('One')
        notice.run_id.action_cancel()
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled')
        self.assertFalse(self.smtp.events('connect'))

    def test_address_refused_meanwhile(self):
        notice = self.release('One')
        notice.partner_id._set_dunning_refused('550 5.1.1 gone')
        self.run_engine()
        self.assertDelivery(notice, 'paper')
        self.assertIn('550 5.1.1 gone', notice.delivery_info)
        self.assertFalse(self.smtp.messages)
        self.assertFalse(notice.printed_at)

    def test_customer_wants_paper_meanwhile(self):
        notice = self.release('One')
        notice.partner_id.dunning_channel = 'paper'
        self.run_engine()
        self.assertDelivery(notice, 'paper')

    def test_address_corrected_meanwhile(self):
        notice = self.release('One')
        notice.partner_id.email = 'corrected@customer.test'
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.email_to, 'corrected@customer.test')
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['corrected@customer.test'])
