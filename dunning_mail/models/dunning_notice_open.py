from collections import defaultdict
from datetime import date
from typing import NamedTuple

from odoo import api, fields, models
from odoo.fields import Domain
from odoo.tools import SQL, format_amount, format_date, format_list


class Claim(NamedTuple):
    """What has become of what a notice claims."""
    notice_id: int
    open: float
    paid_since: float
    settled_on: date
    is_open: bool


class DunningNoticeLine(models.Model):
    """What of an item was settled since its notice was made, and what is open now: the ledger is asked here only.

    Settled is what was reconciled: payments, credit notes and what was written off. Nothing of it is stored, and
    nothing depends on the ledger: a reconciliation must not have to look for notices.
    """
    _inherit = 'dunning.notice.line'

    amount_paid_since = fields.Monetary(
        "Paid Since", compute='_compute_claim',
        help="What was paid, credited or written off since the notice was made.")
    amount_open = fields.Monetary(
        "Open Now", compute='_compute_claim', help="What is open of the item in the books at this moment.")
    settled_on = fields.Date(
        "Paid On", compute='_compute_claim', help="Of an item that is settled: the day of the last payment or credit.")

    def _compute_claim(self):
        claims = {}
        if self.ids:
            claims = {row[0]: row[1:] for row in self.env.execute_query(SQL(
                "SELECT id, open::float, settled::float, settled_on FROM (%s) AS claim",
                self._get_claims_query(SQL("l.id = ANY(%s)", self.ids), self.sudo().notice_id._get_on_way_query())))}
        for line in self:
            line.amount_open, line.amount_paid_since, line.settled_on = claims.get(line._origin.id, (0.0, 0.0, False))

    @api.model
    def _flush_claims(self):
        """Bring to the database what claims are read from."""
        for model_name, fnames in {
            'account.move.line': ['amount_residual_currency', 'reconciled', 'parent_state'],
            'account.partial.reconcile': ['debit_move_id', 'debit_amount_currency', 'max_date'],
            'dunning.notice': [
                'kind', 'state', 'partner_id', 'date_deadline', 'date_left', 'company_id', 'currency_id'],
            'dunning.notice.line': [
                'notice_id', 'kind', 'move_line_id', 'payment_id', 'amount_residual', 'amount_resting',
                'amount_contested'],
            'dunning.dispute': ['state', 'amount_left'],
            'dunning.promise': ['state', 'amount'],
        }.items():
            self.env[model_name].flush_model(fnames)

    @api.model
    def _get_claims_query(self, condition, on_way):
        """Return the query of what has become of lines. A credit's amounts are negative.

        A cancelled notice claims nothing, nor does the confirmation of a promise. An entry that is not posted any more
        was not paid, and is not owed. What was set off of a credit cannot grow. A due item is a debit, and a credit
        takes from it; an exchange difference takes nothing in the item's currency, so its day says nothing.

        :param condition: :class:`~odoo.tools.SQL` on the line `l` and its notice `n`
        :param on_way: :class:`~odoo.tools.SQL` query of the ids of payments that are on their way
        :return: :class:`~odoo.tools.SQL`: id, notice_id, kind, claimed, open, settled, settled_on, is_open
        """
        self._flush_claims()
        return SQL(
            """
            -- Both fences keep the planner from putting one expression in place of each of its columns.
            WITH on_way AS MATERIALIZED (%(on_way)s)
            SELECT id, notice_id, kind, claimed, open, open <> 0 AS is_open,
                   CASE WHEN is_posted AND kind <> 'credit' THEN GREATEST(claimed - open, 0) ELSE 0 END AS settled,
                   CASE WHEN is_posted AND kind <> 'credit' AND open = 0 THEN (
                       SELECT MAX(part.max_date) FROM account_partial_reconcile part
                        WHERE part.debit_move_id = move_line_id AND part.debit_amount_currency <> 0) END AS settled_on
              FROM (SELECT l.id, l.notice_id, l.kind, l.move_line_id, l.amount_residual AS claimed,
                           aml.parent_state IS NOT DISTINCT FROM 'posted' AS is_posted,
                           CASE WHEN l.payment_id IS NOT NULL THEN
                                     CASE WHEN l.payment_id IN (SELECT id FROM on_way) THEN l.amount_residual ELSE 0 END
                                WHEN aml.parent_state IS DISTINCT FROM 'posted' OR aml.reconciled THEN 0
                                WHEN l.kind = 'credit' THEN GREATEST(l.amount_residual, aml.amount_residual_currency)
                                ELSE %(open_item)s END AS open
                      FROM dunning_notice_line l
                      JOIN dunning_notice n ON n.id = l.notice_id AND n.state <> 'cancelled' AND n.kind <> 'plan'
                      LEFT JOIN account_move_line aml ON aml.id = l.move_line_id
                     WHERE %(condition)s
                    OFFSET 0) AS line
            """, condition=condition, on_way=on_way, open_item=self._get_open_item_sql())

    @api.model
    def _get_open_item_sql(self):
        """Return what is open of what the line `l` claims of the item `aml`: what was left out, since the customer
        contests it or has promised it for later, is not in it as long as he does. What comes meanwhile pays what is
        claimed first.

        :return: :class:`~odoo.tools.SQL`
        """
        return SQL(
            """
            CASE WHEN COALESCE(l.amount_resting, 0) = 0 THEN aml.amount_residual_currency
                 ELSE LEAST(l.amount_residual, GREATEST(0, aml.amount_residual_currency
                    - LEAST(l.amount_resting - COALESCE(l.amount_contested, 0), (
                      SELECT COALESCE(SUM(promise.amount), 0)
                        FROM dunning_promise_item_rel promised
                        JOIN dunning_promise promise ON promise.id = promised.promise_id AND promise.state = 'open'
                       WHERE promised.item_id = aml.id))
                    - LEAST(COALESCE(l.amount_contested, 0), (
                      SELECT COALESCE(SUM(dispute.amount_left), 0)
                        FROM dunning_dispute_item_rel contested
                        JOIN dunning_dispute dispute ON dispute.id = contested.dispute_id AND dispute.state = 'open'
                       WHERE contested.item_id = aml.id)))) END
            """)


class DunningNotice(models.Model):
    """What has become of what a notice claims: claimed, paid since, open now; and what is on its way.

    Claimed is what the letter says, with fee and interest. These are printed and never booked: so *open now* is what
    the books say of the notice's items, less what of the credits that the letter set off is still there. Right after
    a notice was made, claimed is open now, fee and interest.
    """
    _inherit = 'dunning.notice'

    amount_paid_since = fields.Monetary(
        "Paid Since", compute='_compute_claim',
        help="What of the claimed items was paid, credited or written off since the notice was made. Credits that the "
        "notice had set off already are not counted again.")
    amount_open = fields.Monetary(
        "Open Now", compute='_compute_claim',
        help="What is open of the claimed items in the books at this moment, less credits that the notice has set off. "
        "Fee and interest are not in it: they are printed and not booked.")
    settled_on = fields.Date(
        "Paid On", compute='_compute_claim',
        help="The day of the last payment or credit, once nothing of the claimed items is open any more.")
    claim_state = fields.Selection(
        [('open', 'Open'), ('overdue', 'Open, Deadline Over'), ('paid', 'Paid Within Deadline'),
         ('paid_late', 'Paid After Deadline')],
        string="Payment State", compute='_compute_claim', search='_search_claim_state')
    claim_info = fields.Char("Payment", compute='_compute_claim_info')
    amount_on_way = fields.Monetary(
        "On Its Way", compute='_compute_on_way',
        help="Payments that are registered and not in the books yet, and that the notice has not set off.")
    on_way_info = fields.Text(compute='_compute_on_way')
    amount_unallocated = fields.Monetary(
        "Not Allocated", compute='_compute_amount_unallocated',
        help="Payments and credit notes of the customer in the books that are reconciled with nothing, and that the "
        "notice has not set off.")

    def _compute_claim(self):
        claims = {}
        if self.ids:
            claims = {claim.notice_id: claim for claim in (Claim(*row) for row in self.env.execute_query(SQL(
                "SELECT notice_id, open::float, paid_since::float, settled_on, is_open FROM (%s) AS claim",
                self._get_claims_query(
                    SQL("l.notice_id = ANY(%s) AND n.id = ANY(%s)", self.ids, self.ids),
                    self.sudo()._get_on_way_query()))))}
        for notice in self:
            claim = claims.get(notice._origin.id) or Claim(0, 0.0, 0.0, False, False)
            notice.amount_open = claim.open
            notice.amount_paid_since = claim.paid_since
            notice.settled_on = claim.settled_on
            notice.claim_state = notice._get_claim_state(claim)

    def _get_claim_state(self, claim):
        """Return the state of a notice's claim; False where there is none any more, or not yet.

        :param claim: :class:`Claim`
        """
        self.ensure_one()
        deadline = self.date_deadline
        if self.state != 'issued':
            return False
        if claim.is_open:
            return 'overdue' if self.date_left and deadline and deadline < self._get_today() else 'open'
        if claim.settled_on:
            return 'paid_late' if deadline and claim.settled_on > deadline else 'paid'
        return False

    @api.model
    def _get_claims_query(self, condition, on_way):
        """Return the query of what has become of notices; the parameters are those of the lines' query.

        :return: :class:`~odoo.tools.SQL`, its columns those of :class:`Claim`
        """
        return SQL(
            """
            SELECT notice_id,
                   GREATEST(SUM(open), 0) AS open,
                   GREATEST(SUM(CASE kind WHEN 'due' THEN settled ELSE claimed - open END), 0) AS paid_since,
                   CASE WHEN NOT BOOL_OR(is_open AND kind = 'due') THEN MAX(settled_on) END AS settled_on,
                   BOOL_OR(is_open AND kind = 'due') AS is_open
              FROM (%s) AS line
             GROUP BY notice_id
            """, self.env['dunning.notice.line']._get_claims_query(
                SQL("l.kind IN ('due', 'credit') AND %s", condition), on_way))

    @api.depends_context('lang')
    def _compute_claim_info(self):
        for notice in self:
            if notice.claim_state in ('paid', 'paid_late'):
                notice.claim_info = self.env._("Paid on %s", format_date(self.env, notice.settled_on))
            elif notice.claim_state and notice.on_way_info:
                notice.claim_info = self.env._("Payment on its way")
            elif notice.claim_state and notice.amount_unallocated and notice.amount_unallocated >= notice.amount_open:
                notice.claim_info = self.env._("Payment not allocated")
            elif notice.claim_state == 'overdue':
                notice.claim_info = self.env._("Deadline over")
            elif notice.claim_state == 'open':
                notice.claim_info = (
                    self.env._("Paid in part") if notice.amount_paid_since else self.env._("Open"))
            else:
                notice.claim_info = False

    # === SEARCH === #

    @api.model
    def _search_claim_state(self, operator, value):
        if operator != 'in':
            return NotImplemented
        self.env['dunning.notice.line']._flush_claims()
        wanted = {state for state in value if state}
        if wanted >= {'open', 'overdue'}:
            wanted = wanted - {'open', 'overdue'} | {'unpaid'}
        domain = Domain.OR(
            Domain.custom(to_sql=lambda model, alias, _query, state=state: (
                model._get_claim_state_condition(alias, state))) for state in sorted(wanted))
        if False in value:
            states = [state for state, _label in self._fields['claim_state'].selection]
            domain |= ~Domain('claim_state', 'in', states)
        return domain

    @api.model
    def _get_claim_state_condition(self, alias, state):
        """Return the :class:`~odoo.tools.SQL` condition of what `_get_claim_state()` says of a notice.

        :param str alias: of the table of notices
        :param str state: one of `claim_state`, or `unpaid` for those that are open, whatever their deadline
        """
        def column(fname):
            return SQL.identifier(alias, fname)

        def has_item(condition, join=None):
            return SQL(
                """
                EXISTS (SELECT 1 FROM dunning_notice_line l
                          JOIN account_move_line aml ON aml.id = l.move_line_id AND aml.parent_state = 'posted' %s
                         WHERE l.notice_id = %s AND l.kind = 'due' AND %s)
                """, join or SQL(), column('id'), condition)
        is_open = has_item(SQL(
            "aml.reconciled IS NOT TRUE AND %s <> 0", self.env['dunning.notice.line']._get_open_item_sql()))
        part = SQL(
            "JOIN account_partial_reconcile part ON part.debit_move_id = aml.id AND part.debit_amount_currency <> 0")
        is_paid_late = has_item(SQL("part.max_date > %s", column('date_deadline')), part)
        days = SQL(" ").join(
            SQL("WHEN %s THEN %s", company.id, company._get_dunning_day()) for company in self.env.companies)
        is_over = SQL(
            "COALESCE(%s IS NOT NULL AND %s < CASE %s %s END, FALSE)", column('date_left'), column('date_deadline'),
            column('company_id'), days)
        return SQL("(%s = 'issued' AND %s <> 'plan' AND %s)", column('state'), column('kind'), {
            'unpaid': is_open,
            'open': SQL("NOT %s AND %s", is_over, is_open),
            'overdue': SQL("%s AND %s", is_over, is_open),
            'paid': SQL("NOT %s AND NOT %s AND %s", is_open, is_paid_late, has_item(SQL("TRUE"), part)),
            'paid_late': SQL("NOT %s AND %s", is_open, is_paid_late),
        }[state])

    # === MONEY ON ITS WAY === #

    def _get_on_way_payments_query(self):
        """Return the query of payments, without an entry, of these notices' customers or for their invoices."""
        entity = SQL(
            "ARRAY(SELECT id FROM res_company WHERE active AND parent_path LIKE ANY(%s))",
            [f'{root.parent_path}%' for root in self.company_id.root_id])
        return self.env['dunning.proposal']._get_payments_query(entity, self.partner_id.commercial_partner_id)

    def _get_on_way_query(self):
        """Return the query of the ids of payments that are on their way; it runs where a line names a payment only."""
        return SQL("SELECT id FROM (%s) AS payment", self._get_on_way_payments_query())

    @api.depends_context('lang')
    def _compute_on_way(self):
        found = self._find_on_way()
        for notice in self:
            payments = found.get(notice.id, ())
            notice.amount_on_way = -sum(
                float(payment['residual']) for payment in payments if payment['currency_id'] == notice.currency_id.id)
            notice.on_way_info = self._describe_on_way(payments)

    def _find_on_way(self):
        """Find the money that is on its way for what these notices claim, and that they have not set off.

        :return: dict notice id -> list of payments as `dunning.proposal._read_payments()` returns them
        """
        notices = self.sudo().filtered(lambda notice: notice.state in ('draft', 'issued'))
        payments = self.env.execute_query_dict(notices._get_on_way_payments_query()) if notices else []
        if not payments:
            return {}
        roots = {company.id: company.root_id for company in self.env['res.company'].sudo().browse(
            {payment['company_id'] for payment in payments})}
        of_customer, of_move = defaultdict(list), defaultdict(list)
        for payment in payments:
            for move_id in payment['named']:
                of_move[move_id].append(payment)
            if not payment['named']:
                of_customer[payment['partner_id']].append(payment)
        found = {}
        for notice in notices:
            mine = {payment['id']: payment for payment in (
                *of_customer.get(notice.partner_id.commercial_partner_id.id, ()),
                *(payment for move in (notice.due_line_ids.move_id if of_move else ())
                  for payment in of_move.get(move.id, ())))}
            mine = [payment for payment in mine.values()
                    if roots[payment['company_id']] == notice.company_id.root_id and notice._is_paid_by(payment)]
            if mine:
                found[notice.id] = sorted(mine, key=lambda payment: (payment['date'], payment['id']))
        return found

    @api.model
    def _describe_on_way(self, payments):
        """Name payments that are on their way; False where there is none."""
        return format_list(self.env, [
            self.env._(
                "%(payment)s of %(day)s, %(amount)s", payment=payment['number'],
                day=format_date(self.env, payment['date']), amount=format_amount(
                    self.env, -float(payment['residual']), self.env['res.currency'].browse(payment['currency_id'])))
            for payment in payments]) if payments else False

    def _compute_amount_unallocated(self):
        found = self._find_unallocated()
        for notice in self:
            notice.amount_unallocated = found.get(notice.id, {}).get(notice.currency_id, 0.0)

    def _find_unallocated(self):
        """Find what customers have paid or were credited, and is reconciled with nothing and not set off.

        :return: dict notice id -> dict `res.currency` -> positive amount; only of notices of which something is open
        """
        notices, found = self.sudo().filtered(lambda notice: notice.state in ('draft', 'issued')), {}
        credits = notices._read_unallocated() if notices else {}
        if not credits:
            return found
        of_customer = defaultdict(dict)
        for (partner_id, root_id, currency_id), amount in credits.items():
            of_customer[partner_id, root_id][currency_id] = amount
        notices = notices.filtered(lambda notice: notice._get_customer_key() in of_customer)
        set_off, is_open = notices._read_set_off()
        for notice in notices:
            if notice._origin.id not in is_open:
                continue
            for currency_id, amount in of_customer[notice._get_customer_key()].items():
                currency = self.env['res.currency'].browse(currency_id)
                # What the customer's notices in another currency have set off is theirs.
                is_own = currency == notice.currency_id
                key = notice._origin.id if is_own else (*notice._get_customer_key(), currency_id)
                left = currency.round(amount + set_off.get(key, 0.0))
                if left > 0:
                    found.setdefault(notice.id, {})[currency] = left
        return found

    def _get_customer_key(self):
        """Return whose money the notice could take: (customer's id, id of the head company)."""
        self.ensure_one()
        return self.partner_id.commercial_partner_id.id, self.company_id.root_id.id

    def _read_set_off(self):
        """Read what these notices have set off of credits in the books, and what their customers' notices on their way
        have in any currency.

        :return: (dict notice id, or key of the customer with the currency's id -> negative amount, ids of the notices
            of which an item is open)
        """
        self.env['dunning.notice'].flush_model(['is_open', 'partner_id'])
        others = [notice_id for (notice_id,) in self.env.execute_query(SQL(
            "SELECT id FROM dunning_notice WHERE is_open AND partner_id = ANY(%s)", self.partner_id.ids))]
        ids = list({*self.ids, *others})
        rows = self.env.execute_query(SQL(
            """
            SELECT claim.notice_id, n.currency_id, n.is_open, p.commercial_partner_id,
                   SPLIT_PART(c.parent_path, '/', 1)::int,
                   COALESCE(SUM(claim.open) FILTER (WHERE claim.kind = 'credit'), 0)::float,
                   COALESCE(BOOL_OR(claim.is_open) FILTER (WHERE claim.kind = 'due'), FALSE)
              FROM (%(claims)s) AS claim
              JOIN dunning_notice n ON n.id = claim.notice_id AND n.id = ANY(%(ids)s)
              JOIN res_partner p ON p.id = n.partner_id
              JOIN res_company c ON c.id = n.company_id
             GROUP BY 1, 2, 3, 4, 5
            """, ids=ids, claims=self.env['dunning.notice.line']._get_claims_query(
                SQL("l.payment_id IS NULL AND l.notice_id = ANY(%s) AND n.id = ANY(%s)", ids, ids),
                SQL("SELECT 0 AS id WHERE FALSE"))))
        set_off, is_open = defaultdict(float), set()
        for notice_id, currency_id, is_on_way, partner_id, root_id, amount, has_open in rows:
            set_off[notice_id] += amount
            if is_on_way:
                set_off[partner_id, root_id, currency_id] += amount
            if has_open:
                is_open.add(notice_id)
        return set_off, is_open

    def _read_unallocated(self):
        """Read what the books know of these notices' customers as a credit and is reconciled with nothing.

        :return: dict (customer's id, id of the head company, currency id) -> positive amount
        """
        self.env['account.move.line'].flush_model()
        self.env['res.partner'].flush_model(['commercial_partner_id'])
        return {tuple(key): float(amount) for *key, amount in self.env.execute_query(SQL(
            """
            SELECT p.commercial_partner_id, SPLIT_PART(c.parent_path, '/', 1)::int, aml.currency_id,
                   -SUM(aml.amount_residual_currency)
              FROM account_move_line aml
              JOIN account_account aa ON aa.id = aml.account_id
              JOIN res_partner p ON p.id = aml.partner_id
              JOIN res_company c ON c.id = aml.company_id
             WHERE %s AND aml.amount_residual_currency < 0 AND p.commercial_partner_id = ANY(%s)
               AND c.parent_path LIKE ANY(%s)
             GROUP BY 1, 2, 3
            """, self.env['dunning.proposal']._get_open_condition(), self.partner_id.commercial_partner_id.ids,
            [f'{root.parent_path}%' for root in self.company_id.root_id]))}

    def _is_paid_by(self, payment):
        """Whether a payment that is on its way is for what the notice claims, and not set off on it.

        :param dict payment: as `dunning.proposal._read_payments()` returns it
        """
        self.ensure_one()
        if payment['residual'] >= 0 or payment['id'] in self.line_ids.payment_id.ids:
            return False
        if payment['named']:
            return bool(set(payment['named']).intersection(self.due_line_ids.move_id.ids))
        is_open = any(line.amount_open for line in self.due_line_ids)
        return is_open and payment['partner_id'] == self.partner_id.commercial_partner_id.id
