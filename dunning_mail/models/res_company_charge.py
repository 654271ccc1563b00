from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.fields import Domain

KINDS = ('fee', 'interest', 'lump_sum', 'cost')
INCOME_TYPES = ('income', 'income_other')

# chart of accounts -> kind -> (code, types that such an account has there): where such income is usually booked. The
# Swiss chart has its financial revenues among expenses. What is not named is damages, as a fee is.
DEFAULT_ACCOUNTS = {
    'de_skr03': {'fee': ('2700', INCOME_TYPES), 'interest': ('2650', INCOME_TYPES)},
    'de_skr04': {'fee': ('4830', INCOME_TYPES), 'interest': ('7100', INCOME_TYPES)},
    'ch': {'fee': ('3600', INCOME_TYPES), 'interest': ('6950', (*INCOME_TYPES, 'expense'))},
}


class ResCompany(models.Model):
    """Whether, when and where what is claimed beside the items comes into the books."""
    _inherit = 'res.company'

    dunning_charge_booking = fields.Selection(
        [('print', "Never by itself: charges are only printed"),
         ('payment', "When money for them is there"),
         ('issue', "When the notice has left")],
        string="Charges Are Booked", required=True, default='payment',
        help="Fees, interest, lump sums and costs. A change concerns what is claimed from now on; what is claimed "
             "already stays as it is, and can be booked by hand.")
    dunning_charge_journal_id = fields.Many2one(
        'account.journal', string="Journal of Charges", ondelete='restrict',
        domain="[('type', '=', 'general'), ('company_id', 'parent_of', id)]",
        help="Empty: the first journal for miscellaneous entries.")
    dunning_fee_account_id = fields.Many2one(
        'account.account', string="Income from Fees", ondelete='restrict')
    dunning_interest_account_id = fields.Many2one(
        'account.account', string="Income from Interest", ondelete='restrict')
    dunning_lump_sum_account_id = fields.Many2one(
        'account.account', string="Income from Lump Sums", ondelete='restrict')
    dunning_cost_account_id = fields.Many2one(
        'account.account', string="Income from Costs", ondelete='restrict')
    dunning_fee_tax = fields.Selection(
        [('none', "No tax: damages (DE, AT)"),
         ('as_items', "Contained, by the taxes of the items that are dunned (CH)")],
        string="Tax on Dunning Fees", compute='_compute_dunning_fee_tax', store=True, readonly=False,
        help="Only on fees; interest, lump sums and costs are damages.")

    @api.depends('account_fiscal_country_id')
    def _compute_dunning_fee_tax(self):
        for company in self:
            company.dunning_fee_tax = 'as_items' if company.account_fiscal_country_id.code == 'CH' else 'none'

    @api.constrains('dunning_charge_journal_id', *(f'dunning_{kind}_account_id' for kind in KINDS))
    def _check_dunning_charge_booking(self):
        for company in self.sudo():
            journal = company.dunning_charge_journal_id
            if journal and (journal.type != 'general' or journal.company_id not in company.parent_ids):
                raise ValidationError(self.env._(
                    "Journal “%(journal)s” cannot take the charges of %(company)s: choose one of its journals for "
                    "miscellaneous entries.", journal=journal.display_name, company=company.name))
            for kind in KINDS:
                account = company[f'dunning_{kind}_account_id']
                if account and (account.internal_group not in ('income', 'expense')
                                or not account.company_ids & company.parent_ids):
                    raise ValidationError(self.env._(
                        "Account “%(account)s” cannot take the income from dunning of %(company)s: choose one of its "
                        "accounts of profit and loss.", account=account.display_name, company=company.name))

    def _get_dunning_charge_setting(self, fname):
        """Return what the company has chosen, else the nearest of those whose branch it is."""
        self.ensure_one()
        return next((
            value for company in self._get_dunning_parents() if (value := company[fname])), self.sudo()[fname])

    def _get_dunning_charge_journal(self):
        """Return the journal into which charges are booked.

        :return: `account.journal` as superuser
        :raise UserError: there is none, or it is archived
        """
        self.ensure_one()
        journal = self._get_dunning_charge_setting('dunning_charge_journal_id')
        if journal and not journal.active:
            raise UserError(self.env._(
                "Journal “%(journal)s”, into which %(company)s books charges, is archived. Choose another one in the "
                "settings of Invoicing, under Dunning.", journal=journal.display_name, company=self.name))
        journal = journal or self._find_dunning_charge_journal()
        if not journal:
            raise UserError(self.env._(
                "%s has no journal for miscellaneous entries, into which charges could be booked. Make one, or choose "
                "one in the settings of Invoicing, under Dunning.", self.name))
        return journal

    def _find_dunning_charge_journal(self):
        """Return the first general journal that is not there for core's own entries; the company's before its
        parents'."""
        company = self.sudo()
        taken = self.env['account.journal'].sudo()
        for fname in ('currency_exchange_journal_id', 'tax_cash_basis_journal_id'):
            taken |= company.parent_ids[fname]
        journals = taken.search([
            ('type', '=', 'general'), ('company_id', 'in', company.parent_ids.ids), ('id', 'not in', taken.ids)])
        depth = {parent: position for position, parent in enumerate(self._get_dunning_parents())}
        return journals.sorted(lambda journal: (depth[journal.company_id], journal.sequence, journal.id))[:1]

    def _find_dunning_charge_account(self, kind):
        """Return the account that takes the income from charges of a kind; empty where nobody has said which.

        :param str kind: of `dunning.charge`
        """
        self.ensure_one()
        account = self._get_dunning_charge_setting(f'dunning_{kind}_account_id')
        if account:
            return account
        company = self.sudo()
        codes = DEFAULT_ACCOUNTS.get(company.root_id.chart_template, {})
        code, types = codes.get(kind) or codes.get('fee') or (None, ())
        return account.with_company(company).search(
            Domain('code', '=', code) & Domain('account_type', 'in', types)
            & Domain(account._check_company_domain(company)), limit=1) if code else account

    def _describe_dunning_booking(self, chosen):
        """Say which accounts take the income where none is chosen, and for which kinds nobody knows one.

        :param dict chosen: kind -> `account.account` that is being chosen
        :return: two texts; False where there is nothing to say
        """
        self.ensure_one()
        labels = dict(self.env['dunning.charge']._fields['kind']._description_selection(self.env))
        found = {kind: self._find_dunning_charge_account(kind) for kind in KINDS if not chosen[kind]}
        known = [
            f'{labels[kind]}: {account.with_company(self).display_name}' for kind, account in found.items() if account]
        missing = [labels[kind] for kind, account in found.items() if not account]
        return (
            bool(known) and self.env._("Where no account is chosen: %s.", ', '.join(known)),
            bool(missing) and self.env._(
                "Charges cannot be booked before an account is chosen for: %s.", ', '.join(missing)))

    def _get_dunning_charge_account(self, kind):
        """Return the account that takes the income from charges of a kind.

        :param str kind: of `dunning.charge`
        :return: `account.account` as superuser
        :raise UserError: nobody has said which, or it is archived
        """
        account = self._find_dunning_charge_account(kind)
        label = dict(self.env['dunning.charge']._fields['kind']._description_selection(self.env))[kind]
        if not account:
            raise UserError(self.env._(
                "No account is chosen for the income from charges of %(company)s: %(kind)s. Choose one in the settings "
                "of Invoicing, under Dunning.", company=self.name, kind=label))
        if not account.active:
            raise UserError(self.env._(
                "Account “%(account)s”, on which %(company)s books the income from charges (%(kind)s), is archived. "
                "Choose another one in the settings of Invoicing, under Dunning.",
                account=account.display_name, company=self.name, kind=label))
        return account
