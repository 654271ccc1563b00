"""An item stands on one notice at a time."""

from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import OneCustomerCase


@tagged('post_install', '-at_install')
class TestReservation(OneCustomerCase):

    def test_failed_notice_is_overtaken(self):
        """Another notice has dunned the item meanwhile: the old one must not go out any more."""
        _invoice, run = self.make_letter()
        first = run.notice_ids
        first.sudo()._set_delivery('released', 'x')
        first.sudo()._set_delivery('failed', 'x')
        self.dun()
        with self.assertRaisesRegex(UserError, "dunned meanwhile"):
            first.action_set_paper()

    def test_excluded_notice_is_overtaken(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        notice.action_exclude()
        self.dun()
        with self.assertRaisesRegex(UserError, "dunned meanwhile"):
            notice.action_include()

    def test_draft_does_not_hold_an_invoice(self):
        invoice = self.make_invoice(self.partner)
        run = self.make_run()
        invoice.button_draft()
        invoice.with_context(force_delete=True).unlink()
        self.assertFalse(run.notice_ids.exists())

    def test_issued_notice_holds_its_invoice(self):
        invoice, _run = self.make_letter()
        invoice.button_draft()
        with self.assertRaisesRegex(UserError, "part of its evidence"), self.env.cr.savepoint():
            self.receivable(invoice).unlink()
