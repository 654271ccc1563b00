from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import TODAY
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestShared(RestCase):
    """Several records for the same items: each lets rest what it says, as long as there is anything to rest."""

    def setUp(self):
        super().setUp()
        self.old = self.make_invoice(self.partner, 500.0, due='2026-09-15')
        self.new = self.make_invoice(self.partner, 500.0, due='2026-10-15')

    def test_promise_beside_a_dispute(self):
        """What is contested cannot be what is promised: the promise is for the other one."""
        self.dispute(self.new)
        promise = self.promise(self.old, self.new)
        self.assertEqual((promise.amount, self.claimed()), (500.0, {}))

    def test_two_disputes(self):
        self.dispute(self.old, self.new, amount=500.0)
        self.dispute(self.old, self.new, amount=400.0)
        self.assertEqual(self.claimed(), {self.old.name: 100.0})
        with self.assertRaisesRegex(UserError, r'100[.,]00.* can be contested'), self.env.cr.savepoint():
            self.dispute(self.old, self.new, amount=101.0)
        self.dispute(self.old, self.new, amount=100.0)
        self.assertEqual(self.claimed(), {})

    def test_notice_about_one_of_them(self):
        """What rests of an item hangs on what rests of another, which is not on the notice."""
        notice = self.make_run(partner_ids=self.partner.ids, due_until=self.days(-50)).notice_ids
        self.assertEqual(notice.due_line_ids.move_id, self.old)
        notice.run_id.action_print_and_send()
        self.dispute(self.new)
        self.promise(self.old, self.new)
        notice.run_id._hand_out_letters()
        self.assertEqual(notice.state, 'cancelled')
        items = self.receivable(self.old)
        rests = self.env['dunning.proposal']._find_resting(items.ids, TODAY)
        self.assertEqual([rest.amount for rest in rests[items.id]], [500.0])
