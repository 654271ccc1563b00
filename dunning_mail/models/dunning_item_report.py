from odoo import api, fields, models
from odoo.tools import SQL

from odoo.addons.base.models.res_partner import _lang_get


class DunningItemReport(models.Model):
    """What dunning brings: each item on a notice that was sent or printed, and when it was paid.

    An item that was dunned three times is three rows. Paid is what was reconciled, by payments, credit notes or other
    entries; *Settled By* tells them apart. What is not decided yet, since the deadline or the 30 days are not over, has
    no share, and so does not lower it.
    """
    _name = 'dunning.item.report'
    _description = 'Dunning Effect'
    _auto = False
    # The newest first, which costs no sorting of them all.
    _order = 'id desc'
    _rec_name = 'name'
    _depends = {
        'account.move.line': [
            'move_id', 'parent_state', 'reconciled', 'balance', 'amount_currency', 'amount_residual_currency'],
        'account.partial.reconcile': ['debit_move_id', 'credit_move_id', 'debit_amount_currency', 'max_date'],
        'dunning.level': ['procedure_id'],
        'dunning.notice': [
            'company_id', 'currency_id', 'partner_id', 'user_id', 'lang', 'date_left', 'date_deadline', 'printed_at',
            'is_counted'],
        'dunning.notice.line': ['notice_id', 'kind', 'name', 'move_line_id', 'level_id', 'amount_residual', 'date_due'],
        'res.company': ['currency_id'],
        'account.journal': ['type'],
    }

    name = fields.Char("Document", readonly=True)
    notice_id = fields.Many2one('dunning.notice', readonly=True)
    move_id = fields.Many2one('account.move', string="Invoice", readonly=True)
    company_id = fields.Many2one('res.company', readonly=True)
    partner_id = fields.Many2one('res.partner', string="Customer", readonly=True)
    partner_category_ids = fields.Many2many(related='partner_id.category_id', string="Customer's Tags")
    user_id = fields.Many2one('res.users', string="Clerk", readonly=True)
    procedure_id = fields.Many2one('dunning.procedure', readonly=True)
    level_id = fields.Many2one('dunning.level', readonly=True)
    channel = fields.Selection([('mail', 'E-mail'), ('paper', 'Paper')], readonly=True)
    lang = fields.Selection(_lang_get, string="Language", readonly=True)
    date = fields.Date("Left On", readonly=True)
    date_deadline = fields.Date("Payable Until", readonly=True)
    date_due = fields.Date("Due Date", readonly=True)
    currency_id = fields.Many2one('res.currency', readonly=True)
    company_currency_id = fields.Many2one('res.currency', readonly=True)
    item_count = fields.Integer("Number of Items", readonly=True)
    amount_currency = fields.Monetary("Claimed in Currency", readonly=True, aggregator=None)
    amount = fields.Monetary(
        "Claimed", currency_field='company_currency_id', readonly=True,
        help="In the company's currency, at the rate at which the item was booked.")
    amount_in_deadline = fields.Monetary(
        "Paid Within Deadline", currency_field='company_currency_id', readonly=True,
        help="What of the item was settled up to the deadline, payments in part too.")
    amount_in_30_days = fields.Monetary(
        "Paid Within 30 Days", currency_field='company_currency_id', readonly=True,
        help="What of the item was settled in the 30 days after the notice left, payments in part too.")
    share_in_deadline = fields.Float(
        "Share Paid Within Deadline (%)", readonly=True, aggregator='avg',
        help="Of the items whose deadline is over, or that are paid: how many were paid in full up to the deadline.")
    share_in_30_days = fields.Float(
        "Share Paid Within 30 Days (%)", readonly=True, aggregator='avg',
        help="Of the items on which 30 days have passed, or that are paid: how many were paid in full by then.")
    settled_on = fields.Date("Paid On", readonly=True)
    settled_by = fields.Selection(
        [('payment', 'Payment'), ('credit', 'Credit note'), ('other', 'Other entry')], readonly=True,
        help="What the item was last reconciled with.")
    days = fields.Float(
        "Days Until Paid", digits=(16, 1), readonly=True, aggregator='avg',
        help="From the day on which the notice left, of items that are paid in full.")

    @property
    def _table_query(self):
        return self._get_table_query(self.env.company._get_dunning_day())

    @api.model
    def _get_table_query(self, today):
        """Return the query of the report.

        What was paid up to a day is what was claimed, less what is open now and was reconciled after that day. Amounts
        are the item's own currency's until the end.

        :param date today: what decides whether a deadline is over
        :return: :class:`~odoo.tools.SQL`
        """
        def after(day):
            """What was reconciled after a day: most items are paid at once, the others are looked at one by one."""
            return SQL(
                """
                CASE WHEN part.last IS NULL OR part.last <= %(day)s THEN 0
                     WHEN part.first > %(day)s THEN part.total
                     ELSE (SELECT SUM(p.debit_amount_currency) FROM account_partial_reconcile p
                            WHERE p.debit_move_id = aml.id AND p.max_date > %(day)s)::float END
                """, day=day)

        return SQL(
            """
            SELECT id, name, notice_id, move_id, company_id, partner_id, user_id, procedure_id, level_id, channel, lang,
                   date, date_deadline, date_due, currency_id, company_currency_id, settled_on, settled_by,
                   1 AS item_count, claimed AS amount_currency,
                   claimed * rate AS amount,
                   LEAST(claimed, GREATEST(claimed - open - after_deadline, 0)) * rate AS amount_in_deadline,
                   LEAST(claimed, GREATEST(claimed - open - after_30_days, 0)) * rate AS amount_in_30_days,
                   CASE WHEN settled_on <= date_deadline THEN 100::float
                        WHEN settled_on IS NOT NULL OR date_deadline < %(today)s THEN 0 END AS share_in_deadline,
                   CASE WHEN settled_on <= date + 30 THEN 100::float
                        WHEN settled_on IS NOT NULL OR date + 30 < %(today)s THEN 0 END AS share_in_30_days,
                   CASE WHEN settled_on IS NOT NULL THEN GREATEST(settled_on - date, 0)::float END AS days
              FROM (SELECT l.id, l.name, l.notice_id, l.level_id, l.date_due, l.amount_residual::float AS claimed,
                           n.company_id, n.partner_id, n.user_id, n.lang, n.date_left AS date, n.date_deadline,
                           n.currency_id, c.currency_id AS company_currency_id, level.procedure_id,
                           CASE WHEN n.printed_at IS NULL THEN 'mail' ELSE 'paper' END AS channel,
                           aml.move_id,
                           CASE WHEN aml.reconciled THEN 0 ELSE aml.amount_residual_currency::float END AS open,
                           CASE WHEN n.currency_id = c.currency_id THEN 1
                                ELSE (aml.balance / NULLIF(aml.amount_currency, 0))::float END AS rate,
                           CASE WHEN aml.reconciled OR aml.amount_residual_currency = 0 THEN part.last END
                               AS settled_on,
                           CASE WHEN aml.reconciled OR aml.amount_residual_currency = 0 THEN (
                               SELECT CASE WHEN j.type IN ('bank', 'cash', 'credit') THEN 'payment'
                                           WHEN j.type = 'sale' THEN 'credit' ELSE 'other' END
                                 FROM account_partial_reconcile p
                                 JOIN account_move_line other ON other.id = p.credit_move_id
                                 JOIN account_journal j ON j.id = other.journal_id
                                WHERE p.debit_move_id = aml.id AND p.debit_amount_currency <> 0
                                ORDER BY p.max_date DESC, p.id DESC LIMIT 1) END AS settled_by,
                           %(after_deadline)s AS after_deadline,
                           %(after_30_days)s AS after_30_days
                      FROM dunning_notice_line l
                      JOIN dunning_notice n ON n.id = l.notice_id AND n.is_counted
                      JOIN res_company c ON c.id = n.company_id
                      JOIN account_move_line aml ON aml.id = l.move_line_id AND aml.parent_state = 'posted'
                      LEFT JOIN dunning_level level ON level.id = l.level_id
                      LEFT JOIN (
                           SELECT debit_move_id, MIN(max_date) AS first, MAX(max_date) AS last,
                                  SUM(debit_amount_currency)::float AS total
                             FROM account_partial_reconcile
                            WHERE debit_amount_currency <> 0
                            GROUP BY debit_move_id) AS part ON part.debit_move_id = aml.id
                     WHERE l.kind = 'due') AS item
            """, today=today, after_deadline=after(SQL("n.date_deadline")),
            after_30_days=after(SQL("n.date_left + 30")))

    @api.model
    def search_fetch(self, domain, field_names=None, offset=0, limit=None, order=None):
        # Which rows first: what has become of them is then asked of a page, and not of all before the page is cut out.
        records = super().search_fetch(domain, [], offset=offset, limit=limit, order=order)
        if records and field_names != []:
            records.fetch(field_names)
        return records

    @api.model
    def _read_group_empty_value(self, spec):
        # No share is not one of zero.
        return False if spec.endswith(':avg') else super()._read_group_empty_value(spec)

    def action_open_notice(self):
        """Open the notice on which the item stands."""
        self.ensure_one()
        return self.notice_id.get_formview_action()
