from functools import lru_cache

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.fields import Command
from odoo.tools import format_amount, format_date

from .dunning_charge import BOOKED_STATES

# What customers are still asked for.
ASKED_STATES = ('claimed', 'booked')


class DunningCharge(models.Model):
    """Charges in the books: a posted entry for each notice, with a receivable line and its income for each charge.

    All lines of an entry know their charge, those of its reversal too. What has become of them is asked in one place,
    `_follow_entry()`.
    """
    _inherit = 'dunning.charge'

    move_line_booked_id = fields.Many2one(
        'account.move.line', string="Booked As", ondelete='set null', index='btree_not_null', readonly=True,
        copy=False, help="Its own receivable line.")
    move_booked_id = fields.Many2one(related='move_line_booked_id.move_id', string="Entry")
    booked_line_ids = fields.One2many('account.move.line', 'dunning_charge_id', readonly=True)
    amount_paid = fields.Monetary(
        "Paid", compute='_compute_amount_paid', store=True, readonly=True,
        help="What has been reconciled with its receivable line.")
    amount_left = fields.Monetary(
        "Left", compute='_compute_amount_paid', store=True, readonly=True, help="What is still asked for.")
    date_taken = fields.Datetime(
        "Booked or Settled On", readonly=True, copy=False,
        help="When it came into the books, or a person said that its money came.")
    is_entry_draft = fields.Boolean(
        "Entry Being Corrected", compute='_compute_amount_paid', store=True, readonly=True,
        help="Its entry was reset to draft: it counts as in the books, and is not asked for until the entry is posted "
        "again, deleted or cancelled.")
    is_booked_at_issue = fields.Boolean(
        readonly=True, help="The company booked charges with their notices when this one was proposed.")
    split_from_id = fields.Many2one(
        'dunning.charge', ondelete='set null', index='btree_not_null', readonly=True, copy=False,
        help="The charge of which only a part was booked; this is the rest of it.")
    booking_problem = fields.Char("Why It Is Not Booked", readonly=True, copy=False)

    @api.model_create_multi
    def create(self, vals_list):
        is_booked_at_issue = self._get_is_booked_at_issue()
        for vals in vals_list:
            vals.setdefault('is_booked_at_issue', is_booked_at_issue(vals.get('company_id')))
        return super().create(vals_list)

    @api.model
    def _get_is_booked_at_issue(self):
        """Return the function that says of a company's id whether what it claims now is booked with its notice."""
        return lru_cache(None)(lambda company_id: (
            self.env['res.company'].sudo().browse(company_id).dunning_charge_booking == 'issue'))

    @api.depends(
        'state', 'amount', 'move_line_booked_id.amount_residual_currency', 'move_line_booked_id.parent_state')
    def _compute_amount_paid(self):
        for charge in self:
            paid, line = 0.0, charge.sudo().move_line_booked_id
            if charge.state in BOOKED_STATES and line.parent_state == 'posted':
                paid = charge.currency_id.round(charge.amount - max(0.0, line.amount_residual_currency))
            elif charge.state == 'paid':
                paid = charge.amount
            charge.amount_paid = paid
            charge.is_entry_draft = line.parent_state == 'draft'
            charge.amount_left = charge.currency_id.round(charge.amount - paid) if (
                charge.state in ASKED_STATES and not charge.is_entry_draft) else 0.0

    # === NAMED SETTERS === #

    def _set_booked(self, **values):
        """Say that charges stand in the books."""
        return self._set_state('booked', booking_problem=False, **values)

    # === INTO THE BOOKS === #

    def _book(self, amounts=None, date=None):
        """Book claimed charges: a posted entry for each notice, with a receivable line for each charge.

        Whoever calls it has checked the user's rights. Core moves the date out of a locked period.

        :param dict amounts: `dunning.charge` -> what is to be booked of it, where it is not all: the charge is split in
            two, and the rest stays claimed
        :param date date: of the entry, by default the company's day
        :return: the receivable `account.move.line` as superuser, in the order of the charges
        :raise UserError: a charge is not claimed, or the entry cannot be made; names the notice and the way out
        """
        charges, amounts = self.sudo(), {charge.id: amount for charge, amount in (amounts or {}).items()}
        for charge in charges:
            charge._check_bookable(amounts.get(charge.id, charge.amount))
        for charge in charges:
            charge._split(amounts.get(charge.id, charge.amount))
        for notice, of_notice in charges.grouped('notice_id').items():
            try:
                # Half an entry is none.
                with self.env.cr.savepoint():
                    of_notice._make_entry(date or notice._get_today())
            except AccessError:
                raise
            except UserError as error:
                raise UserError(self.env._(
                    "The charges of dunning notice %(notice)s cannot be booked. %(reason)s",
                    notice=notice.display_name, reason=error)) from error
        return charges.move_line_booked_id

    def _check_bookable(self, amount):
        """Check that a charge can be booked with an amount.

        :raise UserError: names the charge and the way out
        """
        self.ensure_one()
        if self.state != 'claimed':
            raise UserError(self.env._(
                "%(charge)s cannot be booked: it is not claimed, but: %(state)s.", charge=self.display_name,
                state=dict(self._fields['state']._description_selection(self.env))[self.state]))
        move = self.move_line_booked_id.move_id
        if move and move.state == 'draft':
            raise UserError(self.env._(
                "%(charge)s has an entry already, which is a draft (%(entry)s): post it, or delete it.",
                charge=self.display_name, entry=move.display_name))
        currency = self.currency_id
        if currency.compare_amounts(amount, 0) <= 0 or currency.compare_amounts(amount, self.amount) > 0:
            raise UserError(self.env._(
                "%(charge)s is claimed with %(claimed)s: %(amount)s of it cannot be booked.",
                charge=self.display_name, claimed=format_amount(self.env, self.amount, currency),
                amount=format_amount(self.env, amount, currency)))

    def _make_entry(self, day):
        """Make and post the entry of the charges of one notice.

        :param date day: of the entry
        :raise UserError: it cannot be made
        """
        notice, company = self.notice_id, self.company_id
        charges = self.with_company(company).with_context(lang=company.partner_id.lang)
        charges._check_rates(day)
        lines = [values for charge in charges for values in charge._prepare_entry_lines(day)]
        move = self.env['account.move'].sudo().with_company(company).with_context(
            # Taxes are contained: core would add them on top.
            skip_invoice_sync=True, lang=company.partner_id.lang,
        ).create({
            'move_type': 'entry', 'company_id': company.id, 'journal_id': company._get_dunning_charge_journal().id,
            'date': day, 'ref': notice.name, 'invoice_user_id': notice.user_id.id,
            'line_ids': [Command.create(values) for values in lines]})
        move._post(soft=False)
        move._message_log(body=charges.env._(
            "Charges of dunning notice %(notice)s, issued by %(user)s.", notice=notice.name,
            user=notice.user_id.name or ''))
        for charge in self:
            line = move.line_ids.filtered(lambda line, charge=charge: (
                line.dunning_charge_id == charge and line.account_id.account_type == 'asset_receivable'))
            charge._set_booked(move_line_booked_id=line.id, date_taken=fields.Datetime.now())
        self._clear_booking_problem()

    def _check_rates(self, day):
        """Check that the charges' currency is worth something on a day.

        :raise UserError: nobody knows its rate
        """
        for company, charges in self.grouped('company_id').items():
            for currency in charges.currency_id - company.currency_id:
                if not self.env['res.currency.rate'].sudo().search_count([
                        ('currency_id', '=', currency.id), ('name', '<=', day),
                        ('company_id', 'in', (False, company.root_id.id))], limit=1):
                    raise UserError(self.env._(
                        "No rate of %(currency)s is known for %(day)s. Enter it under Accounting, Currencies.",
                        currency=currency.name, day=format_date(self.env, day)))

    def _prepare_entry_lines(self, day):
        """Return the values of the `account.move.line` of one charge: receivable, income, taxes.

        :param date day: of the entry
        """
        self.ensure_one()
        company, currency = self.company_id, self.currency_id
        partner = self.partner_id.commercial_partner_id.with_company(company)
        account = partner.property_account_receivable_id
        if not account:
            raise UserError(self.env._("%s has no receivable account.", partner.display_name))
        label = f'{self._get_words()} ({self.notice_id.name})'
        shared = {
            'partner_id': partner.id, 'currency_id': currency.id, 'name': label, 'dunning_charge_id': self.id,
            'tax_ids': [Command.clear()]}
        income, lines = company._get_dunning_charge_account(self.kind).id, []
        for part in self._get_tax_parts():
            lines.append({
                **shared, 'account_id': income, 'amount_currency': -part['base'],
                'tax_ids': [Command.set(part['tax_ids'])], 'tax_tag_ids': [Command.set(part['base_tags'])]})
            lines += [{
                **shared, 'name': f'{tax["name"]}: {label}', 'account_id': tax['account_id'] or income,
                'amount_currency': -tax['amount'], 'display_type': 'tax',
                'tax_repartition_line_id': tax['tax_repartition_line_id'], 'group_tax_id': tax['group'].id,
                'tax_base_amount': self._to_company_currency(tax['base'], day),
                'tax_ids': [Command.set(tax['tax_ids'])], 'tax_tag_ids': [Command.set(tax['tag_ids'])],
            } for tax in part['taxes']]
        balance = self._to_company_currency(self.amount, day)
        for line in lines:
            line['balance'] = self._to_company_currency(line['amount_currency'], day)
        # What rounding leaves goes to the income.
        lines[0]['balance'] = company.currency_id.round(
            lines[0]['balance'] - balance - sum(line['balance'] for line in lines))
        return [{
            **shared, 'account_id': account.id, 'amount_currency': self.amount, 'balance': balance,
            'date_maturity': max(self.notice_id.date_deadline or day, day)}, *lines]

    def _to_company_currency(self, amount, day):
        """Return an amount in the company's currency."""
        return self.currency_id._convert(amount, self.company_id.currency_id, self.company_id, day)

    # === TAX THAT IS CONTAINED === #

    def _get_tax_parts(self):
        """Return how a charge divides into income and taxes.

        :return: list of dicts that together are the amount, to the cent: `base` (income), `tax_ids`, `base_tags`, and
            `taxes`, a list of dicts as core's `account.tax.compute_all()` returns them, their amounts rounded
        """
        self.ensure_one()
        charge, currency = self.sudo(), self.currency_id
        weights = charge._get_tax_weights()
        total, left, parts = sum(weights.values()), charge.amount, []
        for position, (taxes, weight) in enumerate(weights.items(), 1):
            gross = left if position == len(weights) else currency.round(charge.amount * weight / total)
            left = currency.round(left - gross)
            if not currency.is_zero(gross):
                parts.append(charge._split_tax(gross, taxes))
        return parts

    def _split_tax(self, gross, taxes):
        """Divide an amount in which taxes are contained; the parameters are the amount and the `account.tax`.

        :return: a dict as in :meth:`_get_tax_parts`
        """
        currency = self.currency_id
        if not taxes:
            return {'base': gross, 'tax_ids': [], 'base_tags': [], 'taxes': []}
        result = taxes.with_company(self.company_id).with_context(force_price_include=True).compute_all(
            gross, currency, partner=self.partner_id.commercial_partner_id)
        found = [{**tax, 'amount': currency.round(tax['amount'])} for tax in result['taxes']]
        found = [tax for tax in found if not currency.is_zero(tax['amount'])]
        return {
            'base': currency.round(gross - sum(tax['amount'] for tax in found)), 'tax_ids': taxes.ids,
            'base_tags': result['base_tags'], 'taxes': found}

    def _get_tax_weights(self):
        """Return what the notice duns by the taxes of it: a fee shares the fate of the supply.

        :return: dict `account.tax` (several, or none) -> positive amount
        """
        self.ensure_one()
        none = self.env['account.tax'].sudo()
        if self.kind != 'fee' or self.company_id.dunning_fee_tax != 'as_items':
            return {none: 1.0}
        weights = {}
        for item in self.notice_id.due_line_ids:
            sold = {}
            products = item.move_line_id.move_id.invoice_line_ids
            for line in products.filtered(lambda line: line.display_type == 'product'):
                taxes = line.tax_ids.flatten_taxes_hierarchy().filtered(lambda tax: tax.amount_type == 'percent')
                sold[taxes] = sold.get(taxes, 0.0) + line.price_total
            sold = {taxes: amount for taxes, amount in sold.items() if amount > 0}
            total = sum(sold.values())
            for taxes, amount in (sold or {none: 1.0}).items():
                weights[taxes] = weights.get(taxes, 0.0) + item.amount_residual * amount / (total or 1.0)
        return weights or {none: 1.0}

    # === IN TWO PARTS === #

    def _split(self, amount):
        """Leave an amount to a charge, and make a charge of its own of the rest.

        What the notices say stays the same: each line that asks for the charge is divided too.

        :param float amount: what is left to this one
        """
        self.ensure_one()
        rest = self.currency_id.round(self.amount - amount)
        if self.currency_id.is_zero(rest):
            return
        charge = self._as_system()
        [values] = charge.copy_data({
            'amount': rest, 'amount_calculated': charge.currency_id.round(charge.amount_calculated - amount),
            'split_from_id': charge.id, 'state': charge.state})
        lines = charge.line_ids
        other = charge.create(values)
        for line in lines:
            part = charge.currency_id.round(max(0.0, line.amount_residual - amount))
            if not charge.currency_id.is_zero(part):
                line.amount_residual = charge.currency_id.round(line.amount_residual - part)
                if line.notice_id != charge.notice_id:
                    line.copy({'charge_id': other.id, 'amount_residual': part})
        # What is still claimed can be corrected by its calculation.
        charge.write({'amount': amount, 'amount_calculated': amount, 'detail': False})

    def _join(self):
        """Put together again what was divided, where neither part is in the books: a letter names it once."""
        for rest in self.sudo().sorted('id', reverse=True):
            charge = rest.split_from_id
            if not charge or {rest.state, charge.state} != {'draft'}:
                continue
            for line in rest.line_ids:
                own = charge.line_ids.filtered(lambda own, line=line: own.notice_id == line.notice_id)[:1]
                own.amount_residual = charge.currency_id.round(own.amount_residual + line.amount_residual)
            charge.write({'detail': rest.detail, **{
                fname: charge.currency_id.round(charge[fname] + rest[fname])
                for fname in ('amount', 'amount_calculated')}})
            rest.line_ids.with_context(dunning_replace_lines=True).unlink()
            rest.unlink()

    # === OUT OF THE BOOKS === #

    def _take_out_of_books(self, words):
        """Reverse what is booked of charges, each by the exact mirror of its lines; what was paid becomes a credit.

        :param str words: why, for the chatter of the entry
        :raise UserError: the reversal cannot be posted
        """
        booked = self.sudo().with_context(dunning_is_reversing=True).filtered(lambda charge: (
            charge.move_line_booked_id.parent_state == 'posted' and not charge._find_reversal()))
        for move, charges in booked.grouped('move_booked_id').items():
            company = move.company_id
            lines = move.line_ids.filtered(lambda line, charges=charges: line.dunning_charge_id in charges)
            # As core does before it reverses.
            lines.with_context(dunning_reverses_charges=True).remove_move_reconcile()
            values = lines.with_context(include_business_fields=True).copy_data()
            for line in values:
                line.pop('move_id', None)
            journal = move.journal_id if move.journal_id.active else company._get_dunning_charge_journal()
            reversal = move.with_company(company).with_context(
                lang=company.partner_id.lang, skip_invoice_sync=True)._reverse_moves([{
                    'date': max(charges.notice_id[:1]._get_today(), move.date), 'ref': move.ref,
                    'journal_id': journal.id, 'line_ids': [Command.create(line) for line in values]}])
            reversal.with_context(move_reverse_cancel=True)._post(soft=False)
            reversal._message_log(body=words)

    def _find_reversal(self):
        """Return the posted line, an `account.move.line`, that reverses the receivable line of a charge."""
        self.ensure_one()
        booked = self.sudo().move_line_booked_id
        return booked.move_id.reversal_move_ids.line_ids.filtered(lambda line: (
            line.dunning_charge_id == self and line.parent_state == 'posted'
            and line.account_id == booked.account_id))[:1]

    def _leave_books(self):
        """Take charges out of the books whose notice was cancelled, or came back before anything was paid of them.

        Where that cannot be, they stay booked, and the head of accounts is told.
        """
        booked = self.sudo().filtered(lambda charge: charge.state in BOOKED_STATES and charge.move_line_booked_id)
        for charge in booked:
            notice = charge.notice_id
            is_cancelled = notice.state == 'cancelled'
            if not is_cancelled and (notice.is_counted or not charge.currency_id.is_zero(charge.amount_paid)):
                continue
            words = self.env._("Dunning notice %s was cancelled.", notice.name) if is_cancelled else self.env._(
                "Dunning notice %s came back.", notice.name)
            if charge._try(lambda charge, words=words: charge._take_out_of_books(words)):
                charge._set_claimed()
                if not is_cancelled:
                    charge.move_line_booked_id = False

    # === WHAT HAS BECOME OF IT === #

    def _follow_entry(self):
        """Bring charges to what has become of their entries: paid, open again, reset, deleted, posted again, reversed.

        Asked whenever something is reconciled or un-reconciled, and when an entry is changed by core's means.
        """
        # What is being reversed is not asked half-way.
        charges = self.sudo() if not self.env.context.get('dunning_is_reversing') else self.browse()
        for charge in charges:
            line = charge.move_line_booked_id
            if line.parent_state != 'posted':
                # What a person has called paid has none.
                if line and charge.state in BOOKED_STATES:
                    charge._set_claimed()
                    charge._log_followed(self.env._(
                        "Its entry was reset to draft: it is not asked for until that is posted again, deleted or "
                        "cancelled."))
                continue
            if charge._find_reversal():
                if charge.state in BOOKED_STATES:
                    charge._set_cancelled()
                    charge._log_followed(self.env._("Its entry was reversed: it is not claimed any more."))
                continue
            if charge.state not in ('draft', *BOOKED_STATES):
                charge._set_booked()
            is_open = not charge.currency_id.is_zero(line.amount_residual_currency)
            if charge.state == 'booked' and not is_open:
                charge._set_paid()
            elif charge.state == 'paid' and is_open:
                charge._set_booked()

    def _log_followed(self, words):
        """Say in the chatter of the notice what has become of a charge."""
        self.ensure_one()
        self.notice_id.sudo()._message_log(body=f'{self._get_words()}: {words}')
