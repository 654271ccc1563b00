"""What a run takes, and what is fixed once something was issued."""

from psycopg2 import IntegrityError

from odoo import Command
from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import TODAY, OneCustomerCase


@tagged('post_install', '-at_install')
class TestRun(OneCustomerCase):

    def test_run_of_the_future(self):
        self.make_invoice(self.partner)
        run = self.make_run(self.days(365))
        self.clock.move_to(f'{TODAY} 08:00:00')
        with self.assertRaisesRegex(UserError, "before their date"):
            run.action_print_and_send()

    def test_clerk_of_issued_notices_is_fixed(self):
        _invoice, run = self.make_letter()
        with self.assertRaises(UserError):
            run.user_id = self.manager

    def test_filter_does_not_vanish(self):
        run = self.make_run(generate=False, partner_ids=[Command.set(self.partner.ids)])
        with self.assertRaises(IntegrityError) as raised, self.env.cr.savepoint():
            self.partner.sudo().unlink()
        self.assertIn('dunning_run', str(raised.exception))
        self.assertEqual(run.partner_ids, self.partner)
