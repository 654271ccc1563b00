from functools import lru_cache

from odoo import api, models
from odoo.fields import Domain
from odoo.tools import SQL

from ..tools import judgement
from ..tools.debt import Debt, Item
from .dunning_proposal_basis import Basis


class DunningProposal(models.AbstractModel):
    """Who is dunned, at which level, for how much, and why not.

    Reads the open items in sets, has them judged as plain values, and returns values with words. It writes nothing.
    """
    _name = 'dunning.proposal'
    _description = 'Dunning Proposal'

    # === READING === #

    @api.model
    def _load_debts(self, company, due_until, day, partners=None, replaced_run=None, line_ids=()):
        """Read open items and credits of a company's customers.

        Branches are one legal entity with their company: a credit covers the oldest debt, wherever it was booked. So
        what belongs to the rest of the entity is read too, and takes credits without being dunned.

        :param company: `res.company`; its branches are included as core does
        :param due_until: items due on or before it: date, or :class:`~odoo.tools.SQL` of one
        :param date day: the day for which holds are asked
        :param partners: commercial partners to look at, None for all
        :param replaced_run: `dunning.run` whose drafts count for nothing, since they are to be replaced
        :param line_ids: ids of `account.move.line` that are read whenever they are due
        :return: dict (partner id, currency id) -> :class:`Debt`, also where only credits are there; the partner id is
            None where an item has no customer
        """
        self = self.with_company(company)
        entity = self._get_companies_query(company.root_id)
        payments = self._read_payments(entity, partners)
        named = {(move_id, payment['currency_id']) for payment in payments for move_id in payment['named']}
        debts, by_move, numbers = {}, {}, {}
        for row in self._read_items(
                company, self._get_companies_query(company), entity, due_until, partners, line_ids,
                [move_id for move_id, _currency_id in named]):
            key = (row['partner_id'], row['currency_id'])
            debt = debts.setdefault(key, Debt(*key, rounding=row['rounding']))
            item = Item(
                line_id=row['line_id'], move_id=row['move_id'], number=row['number'], partner_id=row['partner_id'],
                currency_id=row['currency_id'], residual=row['residual'], invoiced=row['invoiced'],
                date_due=row['date_maturity'] or row['date'], date_invoice=row['date_invoice'],
                is_payment=row['is_payment'], is_claim=row['is_claim'], is_excluded=row['no_followup'],
                is_due=row['is_due'], account_id=row['account_id'] or False, contact_id=row['contact_id'] or False)
            by_move.setdefault((row['move_id'], row['currency_id']), key)
            numbers.setdefault(key, []).append((row['move_id'], row['number'], row['payment_reference']))
            if item.residual < 0:
                debt.credits.append(item)
                continue
            # Core calls an invoice paid once some payment is registered: what is on its way, is known better here.
            is_known = (row['move_id'], row['currency_id']) in named and row['payment_state'] in ('in_payment', 'paid')
            item.blocked_by = judgement.find_block(
                # What a bank's transaction is booked with has no due date: it is due at once.
                row['date_maturity'] or (row['date'] if row['is_payment'] else None), row['no_followup'], (
                    (row['line_hold'], row['line_hold_reason']), (row['move_hold'], row['move_hold_reason']),
                    (row['contact_hold'], row['contact_hold_reason']),
                    (row['invoiced_hold'], row['invoiced_hold_reason'])),
                'partial' if is_known else row['payment_state'], day, item.is_outgoing,
                # What was called back is not fetched again.
                '' if item.is_claim else row['debited_by'] or '')
            (debt.items if row['is_due'] and row['is_own'] else debt.others).append(item)
        self._add_payments(debts, payments, by_move, numbers)
        self._load_resting(debts, day)
        self._load_history([item for debt in debts.values() for item in debt.items], replaced_run)
        self._cover_charges(debts)
        return debts

    @api.model
    def _read_items(self, company, companies, entity, due_until, partners, line_ids, named):
        """Read open receivable lines, by their due dates; the parameters are those of :meth:`_load_debts`.

        :param companies: :class:`~odoo.tools.SQL` of an array of ids: whose items are dunned
        :param entity: the same, of all companies whose credits cover them
        :param list named: ids of `account.move` that payments name
        :return: list of dicts
        """
        self.env['account.move.line'].flush_model()
        self.env['account.move'].flush_model()
        self.env['res.partner'].flush_model([
            'commercial_partner_id', 'active', 'company_id', 'dunning_hold_until', 'dunning_hold_reason',
            'property_inbound_payment_method_line_id'])
        self.env['res.partner.bank'].flush_model(['active', 'currency_id'])
        self.env['dunning.run'].flush_model(['date', 'due_until'])
        self.env['res.currency'].flush_model(['rounding'])
        contact_hold, contact_hold_reason = self.env['res.partner']._get_dunning_hold_sql('p', self.env.company)
        invoiced_hold, invoiced_hold_reason = self.env['res.partner']._get_dunning_hold_sql('ip', self.env.company)
        partner_filter = SQL("AND p.commercial_partner_id = ANY(%s)", partners.ids) if partners is not None else SQL()
        return self.env.execute_query_dict(SQL(
            """
            SELECT aml.id AS line_id, aml.move_id, COALESCE(am.name, '') AS number, am.move_type, am.payment_state,
                   am.payment_reference,
                   p.commercial_partner_id AS partner_id, aml.currency_id, c.rounding::float,
                   aml.amount_residual_currency AS residual, aml.amount_currency AS invoiced,
                   aml.date_maturity, aml.date, COALESCE(am.invoice_date, aml.date) AS date_invoice,
                   aj.type IN ('bank', 'cash', 'credit') AS is_payment,
                   COALESCE(aml.dunning_is_claim, FALSE) AS is_claim,
                   aml.company_id = ANY(%(companies)s) AS is_own,
                   COALESCE(aml.date_maturity, aml.date) <= %(due_until)s OR aml.id = ANY(%(line_ids)s) AS is_due,
                   COALESCE(aml.no_followup, FALSE) AS no_followup,
                   aml.dunning_hold_until AS line_hold, aml.dunning_hold_reason AS line_hold_reason,
                   CASE WHEN p.id <> p.commercial_partner_id THEN %(contact_hold)s END AS contact_hold,
                   %(contact_hold_reason)s AS contact_hold_reason,
                   CASE WHEN ip.id <> p.commercial_partner_id THEN %(invoiced_hold)s END AS invoiced_hold,
                   %(invoiced_hold_reason)s AS invoiced_hold_reason,
                   am.dunning_hold_until AS move_hold, am.dunning_hold_reason AS move_hold_reason,
                   bank.id AS account_id, method.name AS debited_by,
                   CASE WHEN ip.active AND ip.id <> ip.commercial_partner_id
                         AND ip.commercial_partner_id = p.commercial_partner_id THEN ip.id END AS contact_id
              FROM account_move_line aml
              JOIN account_move am ON am.id = aml.move_id
              JOIN account_journal aj ON aj.id = am.journal_id
              JOIN account_account aa ON aa.id = aml.account_id
              JOIN res_currency c ON c.id = aml.currency_id
              JOIN res_company branch ON branch.id = aml.company_id
              LEFT JOIN res_partner p ON p.id = aml.partner_id
              -- The contact that the invoice was written to; the entry bears the customer.
              LEFT JOIN res_partner ip ON ip.id = am.partner_id
              -- Where the customer is asked to pay to: an account that is still in use and takes the currency.
              LEFT JOIN res_partner_bank bank ON bank.id = am.partner_bank_id AND bank.active
                    AND am.move_type IN ('out_invoice', 'out_receipt')
                    AND COALESCE(bank.currency_id, aml.currency_id) = aml.currency_id
              -- How the customer pays: what the invoice says, else what was agreed on with whom it was written to.
              LEFT JOIN account_payment_method_line method ON method.id = COALESCE(
                        am.preferred_payment_method_line_id,
                        (ip.property_inbound_payment_method_line_id ->> aml.company_id::text)::int,
                        (p.property_inbound_payment_method_line_id ->> aml.company_id::text)::int)
                    AND EXISTS (SELECT 1 FROM res_company_dunning_debit_method_rel debit
                                 WHERE debit.method_line_id = method.id AND (
                                       debit.company_id = ANY(%(parents)s)
                                       OR STRPOS('/' || branch.parent_path, '/' || debit.company_id || '/') > 0))
             WHERE %(is_open)s
               AND aml.company_id = ANY(%(entity)s)
               -- What is not due yet is read where it has credits of its own.
               AND (aml.amount_residual_currency < 0 OR COALESCE(aml.date_maturity, aml.date) <= %(due_until)s
                    OR aml.id = ANY(%(line_ids)s) OR aml.move_id = ANY(%(named)s) OR aml.no_followup
                    OR aj.type IN ('bank', 'cash', 'credit'))
               %(partner_filter)s
             ORDER BY COALESCE(aml.date_maturity, aml.date), aml.id
            """, parents=company.parent_ids.ids, companies=companies, entity=entity, due_until=due_until,
            line_ids=list(line_ids), named=named, is_open=self._get_open_condition(), partner_filter=partner_filter,
            contact_hold=contact_hold, contact_hold_reason=contact_hold_reason, invoiced_hold=invoiced_hold,
            invoiced_hold_reason=invoiced_hold_reason))

    @api.model
    def _load_history(self, items, replaced_run=None):
        """Set on each item what the notices that count say, and whether an open notice holds it.

        :param items: list of :class:`Item`
        :param replaced_run: `dunning.run` whose drafts hold nothing
        """
        if not items:
            return
        by_line = {item.line_id: item for item in items}
        for last in self.env['dunning.notice.line']._get_history(list(by_line), replaced_run):
            item = by_line[last.move_line_id]
            if last.is_counted:
                item.previous_level_id, item.previous_sequence = last.level_id, last.level_sequence
                item.previous_notice_id = last.notice_id
                item.previous_date, item.previous_deadline = last.date_left, last.date_deadline
            else:
                item.reserved_by = last.notice_id
                if not item.blocked_by:
                    item.blocked_by = judgement.Reason('reserved', text=last.name or '')

    # === DECIDING === #

    @api.model
    def _propose(self, run, replaced_run=None):
        """Decide on all customers of a run.

        :param run: one `dunning.run`
        :param replaced_run: the run that `run` stands for, where that is only in memory
        :return: (list of values for `dunning.notice`, list of values for `dunning.run.exception`)
        """
        company = run.company_id
        partner_filter = run.partner_ids.commercial_partner_id if run.partner_ids else None
        debts = self._load_debts(company, run._get_due_until(), run.date, partner_filter, replaced_run)
        partners = self.env['res.partner'].with_company(company).browse(
            {key[0] for key, debt in debts.items() if key[0] and debt.items})
        partners.fetch([
            'name', 'lang', 'active', 'parent_id', 'dunning_hold_until', 'dunning_hold_reason', 'dunning_procedure_id'])
        excluded, known_items = self._find_excluded(replaced_run or run)
        # The preview asks for a run that is only in memory.
        procedures = run.procedure_ids._origin
        default_procedure = company.dunning_procedure_id
        recipients = self._find_recipients(partners, company)
        basis = Basis(run.env, company, run.date, debts)
        describe = lru_cache(None)(self._describe_reason)
        candidates, exceptions = [], []
        partner_ids = partners.ids
        wanted_ids = None if partner_filter is None else set(partner_filter.ids)

        def is_looked_at(partner):
            return (wanted_ids is None or partner.id in wanted_ids) and (
                not procedures or (partner.dunning_procedure_id or default_procedure) in procedures)

        for partner_id, of_partner in basis.debts.items():
            if not any(debt.items for debt in of_partner):
                continue
            partner = partners.browse(partner_id or ()).with_prefetch(partner_ids)
            procedure = partner.dunning_procedure_id or default_procedure
            if procedures and (not partner or procedure not in procedures):
                continue
            for debt in of_partner:
                if (partner_id, debt.currency_id) in excluded:
                    self._block_excluded(debt, procedure, basis.terms, known_items)
            for debt, proposed, left_out in self._judge(
                    basis, of_partner, partner, procedure, recipients.get(partner.id)):
                if notices := excluded.get((partner_id, debt.currency_id)):
                    proposed, left_out, listed = self._leave_out_excluded(
                        run, debt, notices, procedure, basis.terms, known_items, proposed, left_out)
                    exceptions += listed
                candidates += proposed
                exceptions += [
                    self._prepare_exception_values(run, debt, item, reason.code, describe(reason))
                    for reason, item in left_out]
        self._set_charges(replaced_run or run, candidates, basis, replaced_run)
        exceptions += self._find_only_charges(run, basis, is_looked_at)
        hints = self._find_hints(candidates, basis, partners)
        exceptions += [self._prepare_hint_exception_values(run, candidate, hints[key]) for key, candidate in {
            (candidate.partner_id, candidate.currency.id): candidate for candidate in candidates}.items()
            if key in hints]
        return [
            self._prepare_notice_values(run, candidate) | {
                'proposal_hint': hints.get((candidate.partner_id, candidate.currency.id), False)}
            for candidate in candidates], exceptions

    @api.model
    def _judge(self, basis, debts, partner, procedure, recipient):
        """Decide on what one customer owes, and address what is proposed.

        :param basis: :class:`Basis`
        :param debts: list of :class:`Debt`, one for each currency
        :param partner: `res.partner`, empty where the items have no customer
        :param procedure: `dunning.procedure` by which it is dunned
        :param recipient: `res.partner`, whose address stands on notices unless the invoices name another
        :return: as :func:`~.judgement.judge`
        """
        customer = judgement.Customer(
            basis.get_procedure(procedure) if procedure else None, partner.active,
            *partner._get_dunning_holds(basis.company).get(partner.id, (None, ''))) if partner else None
        judged = judgement.judge(debts, customer, basis.get_currency, basis.terms)
        for _debt, candidates, _left_out in judged:
            for candidate in candidates:
                addressed, is_named = self._choose_recipient(partner, recipient, candidate.due, basis.contacts)
                candidate.recipient_id = addressed.id
                langs = (partner.lang, addressed.lang)
                candidate.lang = basis.choose_lang(langs[::-1] if is_named else langs, candidate.level.id)
        return judged

    @api.model
    def _find_excluded(self, run):
        """Find what a person left out of a run.

        :return: (dict (partner id, currency id) -> `dunning.notice`, set of ids of the `account.move.line` that are on
            them, or were taken out of them and can be put back)
        """
        excluded = run.notice_ids.filtered(lambda notice: notice.state == 'excluded')
        if not excluded:
            return {}, set()
        taken_out = self.env['dunning.run.exception'].search([('notice_id', 'in', excluded.ids)])
        return (
            excluded.grouped(lambda notice: (notice.partner_id.id, notice.currency_id.id)),
            {*excluded.line_ids.move_line_id.ids, *taken_out.move_line_id.ids})

    @api.model
    def _block_excluded(self, debt, procedure, terms, known_items):
        """Take what a person left out from the other notices of a customer who has one for each level or account.

        :param debt: :class:`Debt`
        :param procedure: `dunning.procedure` of the customer
        :param terms: :class:`~.judgement.Terms`
        :param set known_items: ids of `account.move.line` that are on excluded notices
        """
        if procedure.grouping != 'level' and not terms.per_account:
            return
        for item in debt.items:
            if item.line_id in known_items and not item.blocked_by:
                item.blocked_by = judgement.Reason('excluded')

    @api.model
    def _leave_out_excluded(self, run, debt, notices, procedure, terms, known_items, proposed, left_out):
        """Leave out again what a person left out: the customer's notice, or that of a level or an account where each
        has its own.

        :param debt: :class:`Debt`
        :param notices: the customer's excluded `dunning.notice` in that currency
        :param procedure: `dunning.procedure` of the customer
        :param terms: :class:`~.judgement.Terms`
        :param set known_items: ids of `account.move.line` that are listed with a notice
        :return: (list of :class:`~.judgement.Candidate`, list of (reason, item), list of values for
            `dunning.run.exception`): what is proposed and left out all the same, and what is said of the rest
        """
        words = self.env._("Excluded from this run by hand.")
        listed = [
            {**self._prepare_exception_values(run, debt, None, 'excluded', words), **notice._prepare_excluded_values()}
            for notice in notices]
        if procedure.grouping != 'level' and not terms.per_account:
            items, proposed, left_out = debt.items, [], []
        else:
            def get_keys(level_id, account_ids):
                level_id = procedure.grouping == 'level' and level_id
                return {(level_id, terms.per_account and account_id)
                        for account_id in account_ids - {False} or {False}}

            accounts = {item.line_id: item.account_id for item in debt.items}
            keys = set().union(*(get_keys(notice.level_id.id, {
                accounts.get(line_id, False) for line_id in notice.due_line_ids.move_line_id.ids})
                for notice in notices))
            again = [candidate for candidate in proposed if keys & get_keys(
                candidate.level.id, {item.account_id for item in candidate.due})]
            items = [item for candidate in again for item in candidate.due]
            proposed = [candidate for candidate in proposed if candidate not in again]
            left_out = [(reason, item) for reason, item in left_out if reason.code != 'excluded']
        return proposed, left_out, listed + [
            self._prepare_exception_values(run, debt, item, 'excluded', words)
            for item in items if item.line_id not in known_items]

    @api.model
    def _find_recipients(self, partners, company):
        """Choose whose address stands on the notice: type dunning, else invoice, else the customer.

        :param partners: commercial partners
        :param company: `res.company`; addresses of other companies are left out
        :return: dict partner id -> `res.partner`
        """
        recipients = {partner.id: partner for partner in partners}
        addresses = self.env['res.partner'].search(self._get_recipients_domain(partners, company), order='id desc')
        for kind in ('invoice', 'dunning'):
            for address in addresses.filtered(lambda candidate, kind=kind: candidate.type == kind):
                recipients[address.commercial_partner_id.id] = address
        return recipients

    @api.model
    def _choose_recipient(self, partner, recipient, items, contacts):
        """Choose whose address stands on one notice: a contact of type dunning comes before the one whom all items
        name, and that one before an invoice address.

        :param partner: commercial partner
        :param recipient: what :meth:`_find_recipients` says of it
        :param items: list of :class:`Item` that are due
        :param dict contacts: :attr:`Basis.contacts`
        :return: (`res.partner`, whether it is the one whom the invoices name: they were written in its language)
        """
        named = {item.contact_id for item in items}
        contact = contacts.get(named.pop()) if len(named) == 1 else None
        if not contact or (recipient != partner and recipient.type == 'dunning'):
            return recipient, False
        return contact.with_env(recipient.env), True

    @api.model
    def _get_recipients_domain(self, partners, company):
        """Return which contacts of customers a notice may go to: their own, in use, and the company's to write to.

        :param partners: customers
        :param company: `res.company`; addresses of other companies are left out
        """
        return Domain([
            ('active', '=', True), ('type', 'in', ('dunning', 'invoice')),
            ('commercial_partner_id', 'in', partners.commercial_partner_id.ids), ('id', 'not in', partners.ids),
            ('company_id', 'in', [False, *company.parent_ids.ids])])
