from odoo import api, models
from odoo.exceptions import UserError
from odoo.fields import Domain


class AccountMoveLine(models.Model):
    """Items of which a customer promises, or contests, something."""
    _inherit = 'account.move.line'

    @api.model
    def _get_dunning_debit_domain(self):
        """Return which items customers owe: what a promise may cover, and a dispute concern."""
        return Domain([
            ('parent_state', '=', 'posted'), ('account_type', '=', 'asset_receivable'),
            ('account_id.non_trade', '=', False), ('reconciled', '=', False), ('amount_residual_currency', '>', 0),
            ('dunning_charge_id', '=', False)])

    @api.model
    def _find_dunning_debits(self, records, company=None, day=None):
        """Find what is open of customers, notices, invoices or items.

        :param records: of the model of any of these
        :param company: `res.company`: only its items, and those of its branches
        :param date day: of customers only what is due by then
        :return: `account.move.line`, oldest first
        """
        domain = self._get_dunning_debit_domain()
        if records._name == 'dunning.notice':
            domain &= Domain('id', 'in', records.due_line_ids.move_line_id.ids)
        elif records._name == 'account.move':
            domain &= Domain('move_id', 'in', records.ids)
        elif records._name == 'res.partner':
            domain &= Domain('partner_id.commercial_partner_id', 'in', records.commercial_partner_id.ids) & Domain(
                'no_followup', '=', False)
            if day:
                domain &= Domain('date_maturity', '<=', day) | Domain('date_maturity', '=', False)
        else:
            domain &= Domain('id', 'in', records.ids)
        if company:
            domain &= Domain('company_id', 'child_of', company.id)
        return self.search(domain, order='date_maturity, id')

    def _check_dunning_debits(self):
        """Check that something can be agreed on, or contested, of these items together.

        :return: (`res.partner`, the customer; `res.company`; `res.currency`)
        :raise UserError: names what does not fit
        """
        if not self:
            raise UserError(self.env._("Choose the items that it is about."))
        self.check_access('read')
        items = self.sudo()
        fit = items.filtered_domain(self._get_dunning_debit_domain())
        if wrong := (items - fit)[:1]:
            raise UserError(self.env._(
                "%s is no open item that a customer owes: it is paid, reversed or not posted any more.",
                wrong.move_id.name or wrong.display_name))
        partners = items.partner_id.commercial_partner_id
        if len(partners) != 1 or not all(item.partner_id for item in items):
            raise UserError(self.env._("These items are not all of one customer. Treat each customer by itself."))
        if len(items.currency_id) > 1:
            raise UserError(self.env._(
                "These items are in several currencies: %s. Treat each currency by itself.",
                ', '.join(items.currency_id.mapped('name'))))
        if len(items.company_id) > 1:
            raise UserError(self.env._(
                "These items belong to several companies: %s. Treat each company by itself.",
                ', '.join(items.company_id.mapped('name'))))
        return partners, items.company_id, items.currency_id

