from odoo import api, fields, models
from odoo.fields import Domain
from odoo.tools import SQL

# What is summed in the database and not sorted by: the field, and its name in `_get_claims_query()`.
SUMMED_CLAIMS = {'amount_open': 'open', 'amount_paid_since': 'paid_since'}


class DunningNotice(models.Model):
    """What lists of notices show beside the notice itself, and what they sort, group and sum by in the database."""
    _inherit = 'dunning.notice'

    status = fields.Selection(search='_search_status')
    partner_ref = fields.Char("Customer Number", related='partner_id.ref')
    amount_claimed = fields.Monetary(
        "Claimed", compute='_compute_amount_claimed',
        help="What the letter asks for. The confirmation of a plan claims nothing.")
    last_level_id = fields.Many2one(
        'dunning.level', compute='_compute_last_level_id',
        help="The highest level that the items have reached by now, by notices that were sent or printed.")
    oldest_days = fields.Integer(
        "Oldest Item (Days)", compute='_compute_oldest_days', aggregator=None,
        help="How many days ago the oldest item of the notice fell due.")
    last_payment_date = fields.Date(
        "Last Payment", compute='_compute_last_payment_date',
        help="The day of the customer's last payment in the books, whatever it was for.")

    @api.depends('kind', 'amount_total')
    def _compute_amount_claimed(self):
        for notice in self:
            notice.amount_claimed = 0.0 if notice.kind == 'plan' else notice.amount_total

    def _compute_last_level_id(self):
        Line = self.env['dunning.notice.line'].sudo()
        items = SQL(
            "SELECT notice_id, move_line_id FROM dunning_notice_line WHERE kind = 'due' AND notice_id = ANY(%s)",
            self.ids)
        levels = dict(self.env.execute_query(SQL(
            """
            WITH item AS MATERIALIZED (%s)
            SELECT item.notice_id, (ARRAY_AGG(last.level_id ORDER BY last.sequence DESC))[1]
              FROM item JOIN (%s) AS last ON last.move_line_id = item.move_line_id
             GROUP BY item.notice_id
            """, items, Line._get_history_query(SQL(
                "n.is_counted AND l.move_line_id IN (SELECT move_line_id FROM item)"))))) if self.ids else {}
        for notice in self:
            notice.last_level_id = levels.get(notice._origin.id, False)

    @api.depends('line_ids.kind', 'line_ids.date_due')
    def _compute_oldest_days(self):
        self.env['dunning.notice.line'].flush_model(['notice_id', 'kind', 'date_due'])
        days = dict(self.env.execute_query(SQL(
            """
            SELECT notice_id, MIN(date_due) FROM dunning_notice_line
             WHERE kind = 'due' AND date_due IS NOT NULL AND notice_id = ANY(%s) GROUP BY notice_id
            """, self.ids))) if self.ids else {}
        for notice in self:
            day = days.get(notice._origin.id)
            notice.oldest_days = (notice._get_today() - day).days if day else 0

    def _compute_last_payment_date(self):
        entity = SQL("LIKE ANY(%s)", [f'{root.parent_path}%' for root in self.company_id.root_id.sudo()])
        self.env['account.move.line'].flush_model(['partner_id', 'journal_id', 'account_id', 'balance', 'date'])
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        days = {(partner_id, root_id): day for partner_id, root_id, day in self.env.execute_query(SQL(
            """
            SELECT p.commercial_partner_id, SPLIT_PART(c.parent_path, '/', 1)::int, MAX(aml.date)
              FROM res_partner p
              JOIN account_move_line aml ON aml.partner_id = p.id AND aml.parent_state = 'posted' AND aml.balance < 0
              JOIN account_account aa ON aa.id = aml.account_id AND aa.account_type = 'asset_receivable'
              JOIN account_journal aj ON aj.id = aml.journal_id AND aj.type IN ('bank', 'cash', 'credit')
              JOIN res_company c ON c.id = aml.company_id
             WHERE p.commercial_partner_id = ANY(%s) AND c.parent_path %s
             GROUP BY 1, 2
            """, self.partner_id.commercial_partner_id.ids, entity))} if self.partner_id else {}
        for notice in self:
            notice.last_payment_date = days.get(
                (notice.partner_id.commercial_partner_id.id, notice.company_id.sudo().root_id.id), False)

    # === IN THE DATABASE === #

    def _field_to_sql(self, alias, field_expr, query=None):
        if field_expr in SUMMED_CLAIMS and self.env.context.get('dunning_sum_claims'):
            return self._get_claim_sql(alias, field_expr, query)
        if field_expr == 'amount_claimed':
            return SQL("CASE WHEN %s = 'plan' THEN 0 ELSE %s END", *(
                super(DunningNotice, self)._field_to_sql(alias, fname, query) for fname in ('kind', 'amount_total')))
        if field_expr != 'status':
            return super()._field_to_sql(alias, field_expr, query)
        column = {
            fname: super(DunningNotice, self)._field_to_sql(alias, fname, query)
            for fname in ('state', 'delivery_state', 'printed_at', 'is_held_back')}
        return SQL(
            """
            CASE WHEN %(state)s <> 'issued' THEN %(state)s
                 WHEN %(delivery_state)s = 'paper' AND %(printed_at)s IS NOT NULL THEN 'printed'
                 WHEN %(delivery_state)s = 'failed' AND %(is_held_back)s THEN 'held'
                 ELSE %(delivery_state)s END
            """, **column)

    @api.model
    def _search_status(self, operator, value):
        if operator != 'in':
            return NotImplemented
        return Domain.custom(to_sql=lambda model, alias, query: SQL(
            "COALESCE(%s, '') = ANY(%s)", model._field_to_sql(alias, 'status', query),
            [status or '' for status in value]))

    def _order_field_to_sql(self, alias, field_name, direction, nulls, query):
        if field_name == 'amount_claimed':
            return SQL("%s %s %s", self._field_to_sql(alias, field_name, query), direction, nulls)
        if field_name != 'oldest_days':
            return super()._order_field_to_sql(alias, field_name, direction, nulls, query)
        self.env['dunning.notice.line'].flush_model(['notice_id', 'kind', 'date_due'])
        # The earlier it fell due, the more days ago.
        return SQL(
            """
            (%s - (SELECT MIN(l.date_due) FROM dunning_notice_line l WHERE l.notice_id = %s AND l.kind = 'due')) %s %s
            """,
            self.env.company._get_dunning_day(), SQL.identifier(alias, 'id'), direction, nulls)

    @api.model
    def _read_group_select(self, aggregate_spec, query):
        fname, _colon, _function = aggregate_spec.partition(':')
        if fname in SUMMED_CLAIMS:
            self = self.with_context(dunning_sum_claims=True)
        return super()._read_group_select(aggregate_spec, query)

    @api.model
    def _get_claim_sql(self, alias, fname, query):
        """Return what has become of a notice's claim as :class:`~odoo.tools.SQL`, for sums.

        :param str alias: of the table of notices
        :param str fname: one of `SUMMED_CLAIMS`
        :param query: :class:`~odoo.tools.Query` that takes the join
        """
        payments = self.env['dunning.proposal']._get_payments_query(SQL("ARRAY(SELECT id FROM res_company)"), None)
        claims = query.make_alias(alias, 'claims')
        query.add_join(
            'LEFT JOIN', claims,
            SQL("(%s)", self._get_claims_query(SQL("TRUE"), SQL("SELECT id FROM (%s) AS payment", payments))),
            SQL("%s = %s", SQL.identifier(claims, 'notice_id'), SQL.identifier(alias, 'id')))
        return SQL("COALESCE(%s, 0)", SQL.identifier(claims, SUMMED_CLAIMS[fname]))
