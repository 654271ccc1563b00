"""Whose address stands on the letter."""

from odoo.exceptions import ValidationError
from odoo.tests import tagged

from .common import OneCustomerCase


@tagged('post_install', '-at_install')
class TestRecipient(OneCustomerCase):

    def test_recipient_of_another_customer(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        with self.assertRaises(ValidationError):
            notice.recipient_id = self.make_partner('Bravo')
        with self.assertRaises(ValidationError):
            notice.amount_fee = -500
        with self.assertRaises(ValidationError):
            notice.date_deadline = '2020-01-01'

    def test_recipient_who_left(self):
        contact = self.make_partner('Contact', parent_id=self.partner.id, type='dunning', is_company=False)
        self.make_invoice(self.partner)
        run = self.make_run()
        self.assertEqual(run.notice_ids.recipient_id, contact)
        contact.parent_id = self.make_partner('Bravo')
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.recipient_id, self.partner)

    def test_address_of_another_company(self):
        other = self.env['res.company'].create({'name': 'Other'})
        self.make_partner('Foreign', parent_id=self.partner.id, type='dunning', is_company=False, company_id=other.id)
        self.make_invoice(self.partner)
        self.assertEqual(self.make_run().notice_ids.recipient_id, self.partner)
