"""What a run would do on another date, without doing it."""

from odoo.exceptions import AccessError
from odoo.tests import new_test_user, tagged

from .common import TODAY, DunningCommon


@tagged('post_install', '-at_install')
class TestPreview(DunningCommon):

    def preview(self, run, date, user=None):
        return self.env['dunning.run.preview'].with_user(user or self.clerk).create({'run_id': run.id, 'date': date})

    def count_writes(self):
        """Rows that this transaction has written in the addon's tables, but for the wizard's own."""
        self.env.flush_all()
        self.env.cr.execute("""
            SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_user_tables
             WHERE (relname LIKE 'dunning%' AND relname <> 'dunning_run_preview')
                OR relname IN ('mail_message', 'ir_sequence', 'ir_sequence_date_range')
        """)
        return self.env.cr.fetchone()[0]

    def test_writes_nothing(self):
        self.make_invoice(self.make_partner('Acme'), due=self.days(-12))
        self.make_invoice(self.make_partner('Coop'), due=self.days(-2))
        run = self.make_run()
        before = self.count_writes()
        run.invalidate_recordset()
        values = run.sudo().read()
        preview = self.preview(run, self.days(9))
        self.assertEqual(preview.notice_count, 2)
        self.assertIn('Coop', preview.result)
        self.assertEqual(self.count_writes(), before)
        run.invalidate_recordset()
        self.assertEqual(run.sudo().read(), values)

    def test_customer_of_a_branch_whom_the_user_may_not_see(self):
        branch = self.env['res.company'].create({
            'name': 'Branch', 'parent_id': self.company.id, 'dunning_procedure_id': self.procedure.id})
        partner = self.make_partner('Hidden')
        self.make_invoice(partner, due=self.days(-12))
        partner.company_id = branch
        run = self.make_run(generate=False)
        self.assertFalse(self.env['res.partner'].with_user(self.clerk).search([('id', '=', partner.id)]))
        self.assertIn('Hidden', self.preview(run, self.days(0)).result)

    def test_another_date(self):
        self.make_invoice(self.make_partner('Acme'), due=self.days(-2))
        run = self.make_run(generate=False)
        self.assertEqual(self.preview(run, self.days(7)).notice_count, 0)
        self.assertIn(self.level_1.name, self.preview(run, self.days(8)).result)

    def test_reasons(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        partner.write({'dunning_hold_until': self.days(10), 'dunning_hold_reason': 'Ratenzahlung'})
        run = self.make_run(generate=False)
        self.assertIn('Ratenzahlung', self.preview(run, self.days(10)).result)
        self.assertEqual(self.preview(run, self.days(11)).notice_count, 1)

    def test_own_drafts_would_be_replaced(self):
        """What the run's own drafts hold is free for its next proposal; what another run holds is not."""
        acme, coop = self.make_partner('Acme'), self.make_partner('Coop')
        self.make_invoice(acme)
        self.make_invoice(coop)
        self.make_run(partner_ids=coop.ids)
        run = self.make_run()
        self.assertEqual(run.notice_count, 1)
        preview = self.preview(run, self.days(3))
        self.assertEqual(preview.notice_count, 1)
        self.assertIn('Coop', preview.result)
        run.notice_ids.action_exclude()
        preview.invalidate_recordset()
        self.assertEqual(preview.notice_count, 0, "what is excluded stays excluded")

    def test_same_filters(self):
        acme, coop = self.make_partner('Acme'), self.make_partner('Coop')
        self.make_invoice(acme)
        self.make_invoice(coop)
        preview = self.preview(self.make_run(generate=False, partner_ids=coop.ids), TODAY)
        self.assertEqual(preview.notice_count, 1)
        self.assertNotIn('Acme', preview.result)

    def test_not_ready(self):
        run = self.make_run(generate=False)
        self.company.dunning_procedure_id = False
        preview = self.preview(run, TODAY)
        self.assertIn(self.company.name.split(' ')[0], preview.result)
        self.assertEqual(preview.notice_count, 0)

    def test_not_for_others(self):
        run = self.make_run(generate=False)
        stranger = new_test_user(self.env, login='stranger', groups='base.group_user')
        with self.assertRaises(AccessError):
            self.preview(run, TODAY, stranger)
