"""Which procedure holds, and for which company."""

from odoo.exceptions import ValidationError
from odoo.tests import tagged

from .common import OneCustomerCase


@tagged('post_install', '-at_install')
class TestProcedure(OneCustomerCase):

    def test_branch_uses_its_parents_procedure(self):
        self.procedure.company_id = self.company
        branch = self.env['res.company'].create({
            'name': 'Branch', 'parent_id': self.company.id, 'dunning_procedure_id': self.procedure.id})
        self.assertEqual(branch.dunning_procedure_id, self.procedure)
        other = self.env['res.company'].create({'name': 'Other', 'dunning_procedure_id': False})
        with self.assertRaises(ValidationError):
            other.dunning_procedure_id = self.procedure

    def test_procedure_in_use_stays_with_its_company(self):
        other = self.env['res.company'].create({'name': 'Other', 'dunning_procedure_id': False})
        with self.assertRaises(ValidationError):
            self.procedure.company_id = other
