from odoo import api, fields, models

from .res_company_charge import KINDS

PROFIT_AND_LOSS = "[('internal_group', 'in', ('income', 'expense')), ('company_ids', 'parent_of', company_id)]"


class ResConfigSettings(models.TransientModel):
    _inherit = 'res.config.settings'

    dunning_provider_id = fields.Many2one(
        related='company_id.dunning_provider_id', readonly=False,
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', company_id)]")
    dunning_procedure_id = fields.Many2one(
        related='company_id.dunning_procedure_id', readonly=False,
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', company_id)]")
    dunning_interest_profile_id = fields.Many2one(
        related='company_id.dunning_interest_profile_id', readonly=False,
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', company_id), "
               "'|', ('country_ids', '=', False), ('country_ids', 'in', dunning_country_ids)]")
    dunning_interest_warning = fields.Char(related='dunning_interest_profile_id.rates_warning')
    dunning_country_ids = fields.Many2many('res.country', compute='_compute_dunning_country_ids')
    dunning_fallback_lang = fields.Selection(related='company_id.dunning_fallback_lang', readonly=False)
    dunning_min_amount = fields.Monetary(related='company_id.dunning_min_amount', readonly=False)
    dunning_debit_method_ids = fields.Many2many(related='company_id.dunning_debit_method_ids', readonly=False)
    dunning_account_grouping = fields.Selection(related='company_id.dunning_account_grouping', readonly=False)
    dunning_payment_part = fields.Boolean(related='company_id.dunning_payment_part', readonly=False)
    dunning_letter_layout = fields.Selection(related='company_id.dunning_letter_layout', readonly=False)
    dunning_print_order = fields.Selection(related='company_id.dunning_print_order', readonly=False)
    dunning_print_duplex = fields.Boolean(related='company_id.dunning_print_duplex', readonly=False)
    dunning_print_list = fields.Boolean(related='company_id.dunning_print_list', readonly=False)
    dunning_issue_limit = fields.Monetary(related='company_id.dunning_issue_limit', readonly=False)
    dunning_bank_days = fields.Integer(related='company_id.dunning_bank_days', readonly=False)
    dunning_retention_years = fields.Integer(related='company_id.dunning_retention_years', readonly=False)
    dunning_waive_limit = fields.Monetary(related='company_id.dunning_waive_limit', readonly=False)
    dunning_lapse_days = fields.Integer(related='company_id.dunning_lapse_days', readonly=False)

    dunning_charge_booking = fields.Selection(
        related='company_id.dunning_charge_booking', readonly=False, required=True)
    dunning_charge_journal_id = fields.Many2one(
        related='company_id.dunning_charge_journal_id', readonly=False,
        domain="[('type', '=', 'general'), ('company_id', 'parent_of', company_id)]")
    dunning_fee_account_id = fields.Many2one(
        related='company_id.dunning_fee_account_id', readonly=False, domain=PROFIT_AND_LOSS)
    dunning_interest_account_id = fields.Many2one(
        related='company_id.dunning_interest_account_id', readonly=False, domain=PROFIT_AND_LOSS)
    dunning_lump_sum_account_id = fields.Many2one(
        related='company_id.dunning_lump_sum_account_id', readonly=False, domain=PROFIT_AND_LOSS)
    dunning_cost_account_id = fields.Many2one(
        related='company_id.dunning_cost_account_id', readonly=False, domain=PROFIT_AND_LOSS)
    dunning_fee_tax = fields.Selection(related='company_id.dunning_fee_tax', readonly=False, required=True)
    dunning_booking_info = fields.Char(compute='_compute_dunning_booking')
    dunning_booking_warning = fields.Char(compute='_compute_dunning_booking')

    @api.depends(
        'company_id', 'dunning_charge_booking', 'dunning_charge_journal_id', 'dunning_fee_account_id',
        'dunning_interest_account_id', 'dunning_lump_sum_account_id', 'dunning_cost_account_id')
    def _compute_dunning_booking(self):
        for settings in self:
            chosen = {kind: settings[f'dunning_{kind}_account_id'] for kind in KINDS}
            settings.dunning_booking_info, settings.dunning_booking_warning = (
                settings.company_id._describe_dunning_booking(chosen)
                if settings.dunning_charge_booking != 'print' else (False, False))

    @api.depends('company_id')
    def _compute_dunning_country_ids(self):
        for settings in self:
            settings.dunning_country_ids = (
                settings.company_id.account_fiscal_country_id | settings.company_id.country_id)

    dunning_promise_days = fields.Integer(related='company_id.dunning_promise_days', readonly=False)
    dunning_promise_grace_days = fields.Integer(related='company_id.dunning_promise_grace_days', readonly=False)
    dunning_promise_max_days = fields.Integer(related='company_id.dunning_promise_max_days', readonly=False)
    dunning_promise_max_lines = fields.Integer(related='company_id.dunning_promise_max_lines', readonly=False)
    dunning_promise_max_missed = fields.Integer(related='company_id.dunning_promise_max_missed', readonly=False)
    dunning_dispute_max_days = fields.Integer(related='company_id.dunning_dispute_max_days', readonly=False)
    dunning_answer_days = fields.Integer(related='company_id.dunning_answer_days', readonly=False)

    def action_preview_dunning_retention(self):
        """List what the retention rule as it is saved would remove."""
        return self.company_id.action_preview_dunning_retention()
