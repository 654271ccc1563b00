from collections import Counter
from datetime import date

from odoo import api, fields, models
from odoo.tools import SQL

# Why a customer is on hold is nobody's business but the accountants': neither the customer's in the portal, nor that of
# other employees.
DUNNING_GROUPS = 'account.group_account_invoice,account.group_account_readonly'


class ResPartner(models.Model):
    _inherit = 'res.partner'

    # An address that stays one: a contact takes over the address of its company.
    type = fields.Selection(selection_add=[('dunning', 'Dunning Address')], ondelete={'dunning': 'set other'})
    dunning_procedure_id = fields.Many2one(
        'dunning.procedure', company_dependent=True, check_company=True, groups=DUNNING_GROUPS,
        help="Empty: the company's default procedure.")
    # Customers are shared, what is said of them is one company's.
    dunning_hold_until = fields.Date(
        "No Dunning Until", company_dependent=True, copy=False, tracking=True, groups=DUNNING_GROUPS,
        help="Your company, and its branches, do not dun the customer until the end of this day.")
    dunning_hold_reason = fields.Char(
        "Reason for No Dunning", company_dependent=True, copy=False, tracking=True, groups=DUNNING_GROUPS)
    dunning_channel = fields.Selection(
        [('level', 'As the dunning level says'), ('paper', 'Always on paper')], company_dependent=True, copy=True,
        tracking=True, groups=DUNNING_GROUPS,
        help="How your company, and those of its branches that say nothing else, write to the customer.")
    dunning_debtor_kind = fields.Selection(
        [('auto', 'As the record says: a company or a VAT number is a business'), ('business', 'Business'),
         ('consumer', 'Consumer')],
        "Debtor", company_dependent=True, copy=True, tracking=True, groups=DUNNING_GROUPS,
        help="Businesses and consumers owe different interest, lump sums and fees.")
    dunning_email_refused = fields.Boolean(
        "Mail Address Refused", copy=False, readonly=True, groups=DUNNING_GROUPS,
        help="The address is known to refuse mail: no dunning notice goes to it until it is changed or this is "
             "cleared.")
    dunning_email_refused_date = fields.Date("Refused On", copy=False, readonly=True, groups=DUNNING_GROUPS)
    dunning_email_refused_reason = fields.Char("Refused Because", copy=False, readonly=True, groups=DUNNING_GROUPS)
    dunning_refused_addresses = fields.Char(
        "Refused Addresses", copy=False, readonly=True, groups=DUNNING_GROUPS,
        help="Of several mail addresses, those that are known to refuse mail.")
    dunning_notice_count = fields.Integer(
        "Dunning Notices", compute='_compute_dunning_notice_count',
        groups=DUNNING_GROUPS)

    def _compute_dunning_notice_count(self):
        # With those of customers who have become contacts since.
        counts = Counter()
        for addressed, count in self.env['dunning.notice']._read_group(
                [('partner_id.commercial_partner_id', 'in', self.commercial_partner_id.ids), ('state', '!=', 'draft')],
                ['partner_id'], ['__count']):
            counts[addressed.commercial_partner_id] += count
        for partner in self:
            partner.dunning_notice_count = counts[partner.commercial_partner_id]

    dunning_charge_count = fields.Integer(
        "Dunning Charges", compute='_compute_dunning_charge_count', groups=DUNNING_GROUPS)

    def _compute_dunning_charge_count(self):
        counts = Counter()
        for addressed, count in self.env['dunning.charge']._read_group(
                [('partner_id.commercial_partner_id', 'in', self.commercial_partner_id.ids), ('state', '!=', 'draft')],
                ['partner_id'], ['__count']):
            counts[addressed.commercial_partner_id] += count
        for partner in self:
            partner.dunning_charge_count = counts[partner.commercial_partner_id]

    def _get_dunning_holds(self, company):
        """Return until when, and why, a company does not dun these customers.

        What is said in a company holds for its branches too; the longest hold is taken.

        :param company: `res.company`
        :return: dict partner id -> (date, reason), only of those who have a hold, expired ones among them
        """
        holds = {}
        for one in company._get_dunning_parents():
            for partner in self.sudo().with_company(one):
                until = partner.dunning_hold_until
                if until and until > holds.get(partner.id, (date.min,))[0]:
                    holds[partner.id] = (until, partner.dunning_hold_reason or '')
        return holds

    @api.model
    def _get_dunning_hold_sql(self, alias, company):
        """Return what `_get_dunning_holds()` says, as SQL.

        :param str alias: of the table of partners
        :param company: `res.company`
        :return: (expression of the day, expression of the reason)
        """
        said = [tuple(
            self._fields[fname].to_sql(self.sudo().with_company(one), alias)
            for fname in ('dunning_hold_until', 'dunning_hold_reason')) for one in company._get_dunning_parents()]
        until = SQL("GREATEST(%s)", SQL(", ").join(day for day, _reason in said))
        return until, SQL("CASE %s END", SQL(" ").join(
            SQL("WHEN %s = %s THEN %s", day, until, reason) for day, reason in said))

    def _want_dunning_on_paper(self, company):
        """Whether one of these wants paper from a company: what is said there, else in the one whose branch it is."""
        companies = company._get_dunning_parents()
        return any(
            next(filter(None, (partner.with_company(one).dunning_channel for one in companies)), '') == 'paper'
            for partner in self.sudo())

    def _get_dunning_debtor_kinds(self, company):
        """Return whether these are businesses or consumers: as was said of the customer in the company, else in the
        one whose branch it is; without that a company or a VAT number is a business.

        :param company: `res.company`
        :return: dict partner id -> `business` or `consumer`
        """
        if not self:
            return {}
        fnames = ['commercial_partner_id', 'is_company', 'vat', 'dunning_debtor_kind']
        self.flush_model(fnames)
        kind = self._fields['dunning_debtor_kind']
        said = SQL(", ").join(
            kind.to_sql(self.sudo().with_company(one), 'cp') for one in company._get_dunning_parents())
        return dict(self.env.execute_query(SQL(
            """
            SELECT p.id, CASE COALESCE(%s) WHEN 'business' THEN 'business' WHEN 'consumer' THEN 'consumer'
                              ELSE CASE WHEN cp.is_company OR TRIM(COALESCE(cp.vat, '')) NOT IN ('', '/')
                                        THEN 'business' ELSE 'consumer' END END
              FROM res_partner p
              JOIN res_partner cp ON cp.id = p.commercial_partner_id
             WHERE p.id = ANY(%s)
            """, said, self.ids)))

    def write(self, vals):
        if 'email' in vals:
            # A corrected address gets its chance.
            self.sudo().filtered(
                lambda partner: (partner.dunning_email_refused or partner.dunning_refused_addresses)
                and partner.email != vals['email']
            ).action_clear_dunning_refused()
        return super().write(vals)

    def _set_dunning_refused(self, reason, addresses=None):
        """Remember that the address refuses mail; of several, which of them do.

        :param str reason: the server's words
        :param addresses: which were refused, by default all
        """
        for partner in self:
            own = self.env['dunning.notice']._parse_addresses(partner.email)
            known = (partner.dunning_refused_addresses or '').split(', ')
            refused = [address for address in own if addresses is None or address in addresses or address in known]
            if len(refused) < len(own):
                partner.dunning_refused_addresses = ', '.join(refused)
            else:
                partner.write({
                    'dunning_email_refused': True,
                    'dunning_email_refused_date': self.env.company._get_dunning_day(),
                    'dunning_email_refused_reason': reason,
                })
            partner._message_log(body=self.env._(
                "Mail address %(address)s refused: %(reason)s", reason=reason,
                address=', '.join(address for address in own if addresses and address in addresses) or partner.email))

    def _get_dunning_refused_addresses(self):
        """Return list of the addresses of one partner that are known to refuse mail."""
        self.ensure_one()
        own = self.env['dunning.notice']._parse_addresses(self.email)
        known = (self.dunning_refused_addresses or '').split(', ')
        return [address for address in own if self.dunning_email_refused or address in known]

    def _clear_dunning_refused(self, addresses):
        """Say of some addresses of one partner that they are good.

        :param addresses: set of bare addresses
        :return: list of those that were marked
        """
        refused = self._get_dunning_refused_addresses()
        cleared = [address for address in refused if address in addresses]
        if cleared:
            self.action_clear_dunning_refused()
            self.dunning_refused_addresses = ', '.join(a for a in refused if a not in addresses) or False
        return cleared

    def action_clear_dunning_refused(self):
        """Say that the address is good: the next dunning notice goes by mail again."""
        self.write({
            'dunning_email_refused': False, 'dunning_email_refused_date': False, 'dunning_email_refused_reason': False,
            'dunning_refused_addresses': False})

    def action_open_dunning_notices(self):
        """Open the notices of this customer."""
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action')
        action['domain'] = [('partner_id.commercial_partner_id', '=', self.commercial_partner_id.id)]
        action['context'] = {}
        return action

    def action_open_dunning_charges(self):
        """Open the charges of this customer."""
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_charge_action')
        return {**action, 'domain': [('partner_id.commercial_partner_id', '=', self.commercial_partner_id.id)]}

    def action_request_dunning_data(self):
        """Show what dunning keeps of these persons, how long and why, and offer to remove what it need not keep.

        :return: action for the web client
        :raise AccessError: the user may not read them
        """
        self.check_access('read')
        request = self.env['dunning.data.request'].create({'partner_ids': self.ids})
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Personal Data of Dunning"),
            'res_model': request._name,
            'res_id': request.id,
            'view_mode': 'form',
            'target': 'new',
        }
