from odoo.tests import tagged

from odoo.addons.dunning_mail.tests.common import DunningCommon


@tagged('post_install', '-at_install')
class TestProposalHooks(DunningCommon):

    def test_values_of_another_addon(self):
        """Each value is written to its own column, wherever among the others the addon puts it."""
        partner = self.make_partner('Acme', email=False)
        invoice = self.make_invoice(partner)
        self.make_unallocated(partner, 12.3)
        run = self.make_run(partner_ids=partner.ids)
        notice = run.notice_ids
        self.assertEqual((notice.court_number, notice.amount_total), (f'C {run.name}', 87.7))
        self.assertEqual(
            sorted((line.kind, line.cost_centre, line.amount_residual) for line in notice.line_ids),
            [('credit', 'credit', -12.3), ('due', f'due {invoice.name}', 100.0)])
