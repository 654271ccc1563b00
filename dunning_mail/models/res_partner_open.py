from odoo import api, fields, models
from odoo.tools import SQL, format_amount

from .res_partner import DUNNING_GROUPS


class ResPartner(models.Model):
    """What has become of what a customer was dunned for."""
    _inherit = 'res.partner'

    dunning_claims = fields.Text(
        "Dunned", compute='_compute_dunning_claims', groups=DUNNING_GROUPS,
        help="Of the notices that are not paid in full: what their items claimed, what of it was paid, credited or "
        "written off since, and what is open now. Each item by the last notice that was sent or printed; without fees, "
        "and without credits that are not reconciled.")

    @api.depends_context('lang', 'allowed_company_ids')
    def _compute_dunning_claims(self):
        claims = {}
        for partner_id, currency_id, *amounts in self._read_dunning_claims():
            currency = self.env['res.currency'].browse(currency_id)
            claimed, settled, is_open = (format_amount(self.env, amount, currency) for amount in amounts)
            claims.setdefault(partner_id, []).append(self.env._(
                "%(claimed)s claimed, %(paid)s paid since, %(open)s open now", claimed=claimed, paid=settled,
                open=is_open))
        for partner in self:
            partner.dunning_claims = '\n'.join(claims.get(partner.commercial_partner_id.id, ())) or False

    def _read_dunning_claims(self):
        """Return what has become of what these customers were dunned for in the companies that are looked at.

        :return: list of (customer's id, currency id, claimed, settled since, open now)
        """
        customers = self.commercial_partner_id
        if not customers.ids:
            return []
        Line = self.env['dunning.notice.line']
        # With notices of customers who have become contacts since.
        dunned = SQL(
            """
            n.partner_id IN (SELECT id FROM res_partner WHERE commercial_partner_id = ANY(%s))
            AND n.company_id = ANY(%s) AND n.is_counted
            """, customers.ids, self.env.companies.ids)
        return self.env.execute_query(SQL(
            """
            SELECT commercial_partner_id, currency_id, SUM(claimed)::float, SUM(settled)::float, SUM(open)::float
              FROM (SELECT p.commercial_partner_id, n.currency_id, claim.claimed, claim.settled, claim.open,
                           BOOL_OR(claim.is_open) OVER (PARTITION BY claim.notice_id) AS is_unpaid
                      FROM (%(claims)s) AS claim
                      JOIN dunning_notice_line l ON l.id = claim.id
                      JOIN dunning_notice n ON n.id = claim.notice_id
                      JOIN res_partner p ON p.id = n.partner_id
                      JOIN (%(history)s) AS last
                           ON last.move_line_id = l.move_line_id AND last.notice_id = claim.notice_id) AS dunned
             WHERE is_unpaid
             GROUP BY commercial_partner_id, currency_id
             ORDER BY commercial_partner_id, currency_id
            """,
            claims=Line._get_claims_query(SQL("l.kind = 'due' AND %s", dunned), SQL("SELECT 0 AS id WHERE FALSE")),
            history=Line._get_history_query(dunned)))
