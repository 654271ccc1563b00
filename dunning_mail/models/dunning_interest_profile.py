from datetime import date, timedelta
from decimal import Decimal

from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.tools import format_date

from .default_rates import DEFAULT_RATES, get_half_year_end

METHODS = [('base', 'Base rate and margin'), ('fixed', 'Fixed rate'), ('none', 'No interest')]
RATE_DIGITS = (7, 3)
# More per cent a year is a slip of the finger.
MAX_RATE = 100


class DunningInterestProfile(models.Model):
    """At what rate, from which day and by which day count interest on arrears is reckoned."""
    _name = 'dunning.interest.profile'
    _description = 'Interest Profile'
    _inherit = ['dunning.shared', 'mail.thread']
    _order = 'name, id'

    name = fields.Char(required=True, translate=True)
    active = fields.Boolean(default=True)
    company_id = fields.Many2one(
        'res.company', index=True, default=lambda self: self._default_company_id(),
        help="Leave empty to share it among all companies.")
    country_ids = fields.Many2many(
        'res.country', 'dunning_interest_profile_country_rel', 'profile_id', 'country_id', string="Countries",
        help="The settings offer it to companies in these countries; empty: to all.")
    currency_id = fields.Many2one(
        'res.currency', required=True, default=lambda self: self.env.company.currency_id,
        help="The currency of the amounts below.")
    begin = fields.Selection(
        [('due_date', "Due date"), ('notice', "The day on which the first notice left"),
         ('deadline', "Deadline of the first notice")],
        string="Runs From the Day After", required=True, default='notice', tracking=True,
        help="What puts the customer in default. A term of payment that one side alone has set does not (BGB 286, "
             "OR 102); one that was agreed on may.")
    day_count = fields.Selection(
        [('act_365', "Days of the calendar, over 365"),
         ('act_act', "Days of the calendar, over 365 or 366 of their year"),
         ('30_360', "Months of 30 days, over 360 (30/360 European)")],
        required=True, default='act_365', tracking=True)
    is_moved_to_workday = fields.Boolean(
        "Only Working Days Are Due Days", tracking=True,
        help="A due date or deadline on which nobody works moves to the next working day (BGB 193; OR 78 for Sundays "
             "and holidays). Working days are those of the company's working schedule, less its public holidays.")
    business_method = fields.Selection(METHODS, "Method for Businesses", required=True, default='fixed', tracking=True)
    business_rate = fields.Float(
        "Per Cent for Businesses", digits=RATE_DIGITS, tracking=True,
        help="Points above the base rate, or the fixed rate, in per cent a year.")
    consumer_method = fields.Selection(METHODS, "Method for Consumers", required=True, default='fixed', tracking=True)
    consumer_rate = fields.Float(
        "Per Cent for Consumers", digits=RATE_DIGITS, tracking=True,
        help="Points above the base rate, or the fixed rate, in per cent a year.")
    rate_ids = fields.One2many('dunning.interest.rate', 'profile_id', string="Base Rates", copy=True)
    rates_until = fields.Date(
        "Rates Confirmed Until", tracking=True,
        help="The last day for which the last base rate is known to hold. For later days nothing is claimed. Empty: "
             "it holds until another one is entered.")
    rates_installed_until = fields.Date(
        readonly=True, copy=False,
        help="The day of the last base rate that came with the software. Updates bring later ones only.")
    least_amount = fields.Monetary(
        tracking=True, help="Less interest than this is not claimed for an item.")
    lump_sum = fields.Monetary(
        "Lump Sum for Businesses", tracking=True,
        help="Claimed once for each item of a business that is in default (BGB 288 V, UGB 458, 2011/7/EU). 0: none.")
    note = fields.Text("What It Rests On", translate=True)
    rates_warning = fields.Char(compute='_compute_rates_warning')

    _not_negative = models.Constraint(
        f'CHECK(COALESCE(business_rate, 0) BETWEEN 0 AND {MAX_RATE} '
        f'AND COALESCE(consumer_rate, 0) BETWEEN 0 AND {MAX_RATE})',
        f"Margins and fixed rates are from 0 to {MAX_RATE} per cent a year.")
    _amounts_not_negative = models.Constraint(
        'CHECK(COALESCE(least_amount, 0) >= 0 AND COALESCE(lump_sum, 0) >= 0)',
        "Least amount and lump sum cannot be negative.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'name', 'active', 'company_id', 'country_ids', 'currency_id', 'begin', 'day_count', 'is_moved_to_workday',
            'business_method', 'business_rate', 'consumer_method', 'consumer_rate', 'rate_ids', 'rates_until',
            'least_amount', 'lump_sum', 'note'}

    # === WHAT IS CHECKED === #

    @api.constrains('rate_ids', 'business_method', 'consumer_method')
    def _check_rates_there(self):
        for profile in self:
            if profile._uses_base() and not profile.rate_ids:
                raise ValidationError(self.env._(
                    "Interest profile “%s” reckons with a base rate and has none. Enter the base rates with the days "
                    "from which they hold, or choose a fixed rate.", profile.name))

    @api.constrains('rate_ids', 'rates_until')
    def _check_rates_until(self):
        for profile in self:
            late = max(profile.rate_ids.mapped('date_from'), default=None)
            if late and profile.rates_until and late > profile.rates_until:
                raise ValidationError(self.env._(
                    "Interest profile “%(profile)s”: the base rate from %(day)s on is later than %(until)s, until when "
                    "the rates are confirmed. Enter there until when it is known to hold, or nothing.",
                    profile=profile.name, day=format_date(self.env, late),
                    until=format_date(self.env, profile.rates_until)))

    @api.constrains('company_id')
    def _check_company_users(self):
        profiles = self.sudo()
        profiles.env['res.company'].search([('dunning_interest_profile_id', 'in', self.ids)])._check_dunning_company()
        profiles.env['dunning.procedure'].with_context(active_test=False).search(
            [('interest_profile_id', 'in', self.ids)])._check_interest_profile()

    @api.constrains('active')
    def _check_active_users(self):
        for profile in self.sudo().filtered(lambda profile: not profile.active):
            users = [
                *profile.env['res.company'].search([('dunning_interest_profile_id', '=', profile.id)]).mapped('name'),
                *profile.env['dunning.procedure'].search([('interest_profile_id', '=', profile.id)]).mapped('name')]
            if users:
                raise UserError(self.env._(
                    "Interest profile “%(profile)s” is in use by %(users)s. Choose another one there, or none, before "
                    "you archive it.", profile=profile.name, users=', '.join(users)))

    # === RATES === #

    def _uses_base(self):
        """Whether something is reckoned with the base rate."""
        self.ensure_one()
        return 'base' in (self.business_method, self.consumer_method)

    def _get_rates(self, debtor_kind):
        """Return the rates for businesses or for consumers, as :func:`~.interest.calculate` takes them.

        A negative base rate lowers the rate, and nobody owes less than nothing.

        :param str debtor_kind: `business` or `consumer`
        :return: list of (day, `Decimal` per cent a year, None: unknown), empty where there is no interest
        """
        self.ensure_one()
        method, rate = self[f'{debtor_kind}_method'], _to_decimal(self[f'{debtor_kind}_rate'])
        if method == 'fixed':
            return [(date.min, rate)]
        if method != 'base':
            return []
        rates = [
            (row.date_from, max(_to_decimal(row.rate) + rate, Decimal()))
            for row in self.rate_ids.sorted('date_from')]
        if self.rates_until:
            rates = [row for row in rates if row[0] <= self.rates_until]
            rates.append((self.rates_until + timedelta(days=1), None))
        return rates

    def _is_rate_known(self, day):
        """Whether the base rate of a day is known, where one is needed."""
        self.ensure_one()
        return not self._uses_base() or (
            any(row.date_from <= day for row in self.rate_ids)
            and (not self.rates_until or day <= self.rates_until))

    def _describe_unknown_rate(self, day):
        """Say that no base rate is known for a day, what follows from it, and the way out.

        :return: str, empty where it is known
        """
        self.ensure_one()
        if self._is_rate_known(day):
            return ''
        if self.rates_until and day > self.rates_until:
            return self.env._(
                "The base rates of interest profile “%(profile)s” are confirmed until %(day)s: no interest is claimed "
                "for later days. Enter the new rate under Invoicing > Configuration > Dunning > Interest Profiles.",
                profile=self.name, day=format_date(self.env, self.rates_until))
        return self.env._(
            "Interest profile “%(profile)s” has no base rate for %(day)s: no interest is claimed for such days. Enter "
            "it under Invoicing > Configuration > Dunning > Interest Profiles.",
            profile=self.name, day=format_date(self.env, day))

    @api.depends('business_method', 'consumer_method', 'rate_ids.date_from', 'rates_until')
    @api.depends_context('company', 'lang')
    def _compute_rates_warning(self):
        day = self.env.company._get_dunning_day()
        for profile in self:
            profile.rates_warning = profile._describe_unknown_rate(day)

    # === INSTALLATION === #

    @api.model
    def _make_default_rates(self, name):
        """Return the base rates with which an installed profile is created.

        :param str name: of its record in `data/dunning_interest_profile.xml`
        """
        return [fields.Command.create({'date_from': day, 'rate': rate}) for day, rate in DEFAULT_RATES[name]]

    @api.model
    def _install_rates(self):
        """Add to the installed profiles the base rates that came with the software since, and say until when they hold.

        A day that a user has entered, changed or deleted stays what he made of it, and a profile that was deleted stays
        deleted.
        """
        for name, rates in DEFAULT_RATES.items():
            profile = self.env.ref(f'dunning_mail.{name}', raise_if_not_found=False)
            if not profile:
                continue
            profile = profile.sudo()
            installed, known = profile.rates_installed_until, set(profile.rate_ids.mapped('date_from'))
            new = [(day, rate) for day, rate in rates if not installed or day > installed]
            if not new:
                continue
            last = max(day for day, _rate in new)
            values = {
                'rates_installed_until': last,
                'rate_ids': [
                    fields.Command.create({'date_from': day, 'rate': rate}) for day, rate in new if day not in known]}
            # Until when rates are known, is the user's word once he has changed it.
            if profile.rates_until == (get_half_year_end(installed) if installed else False):
                values['rates_until'] = get_half_year_end(last)
            elif profile.rates_until and profile.rates_until < last:
                continue
            profile.write(values)


class DunningInterestRate(models.Model):
    """A base rate, from a day on."""
    _name = 'dunning.interest.rate'
    _description = 'Base Rate of Interest'
    _inherit = ['dunning.shared']
    _order = 'date_from desc, id desc'
    _rec_name = 'date_from'

    profile_id = fields.Many2one('dunning.interest.profile', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='profile_id.company_id', store=True, index=True)
    date_from = fields.Date("Valid From", required=True)
    rate = fields.Float("Base Rate (% per Year)", digits=RATE_DIGITS, required=True, help="It may be negative.")

    _day_unique = models.Constraint(
        'UNIQUE(profile_id, date_from)',
        "An interest profile cannot have two base rates from the same day on. Keep one of them.")
    _rate_plausible = models.Constraint(
        f'CHECK(rate BETWEEN -{MAX_RATE} AND {MAX_RATE})',
        f"A base rate is between -{MAX_RATE} and {MAX_RATE} per cent a year.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {'profile_id', 'date_from', 'rate'}

    def _get_shared_owner(self):
        return self.profile_id

    @api.constrains('date_from')
    def _check_date_from(self):
        self.profile_id._check_rates_until()


def _to_decimal(value):
    """Return a rate exactly as it was entered."""
    return Decimal(f'{value:.{RATE_DIGITS[1]}f}')
