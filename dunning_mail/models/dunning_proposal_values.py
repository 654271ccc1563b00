from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import format_amount, format_date

NUMBERS_SHOWN = 3
# How lines stand on a notice.
KIND_ORDER = {'due': 1, 'credit': 2, 'info': 4}


class DunningProposal(models.AbstractModel):
    """What was decided, as values of records and in words."""
    _inherit = 'dunning.proposal'

    @api.model
    def _prepare_exception_values(self, run, debt, item, code, words):
        """Values of one `dunning.run.exception`; a hook for other addons."""
        if item:
            amount = item.uncovered if code == 'outgoing' else item.resting if code == 'resting' else item.residual
        else:
            amount = sum(open_item.residual for open_item in debt.items)
        return {
            'run_id': run.id,
            'partner_id': debt.partner_id,
            'currency_id': debt.currency_id,
            'move_line_id': item.line_id if item else False,
            'amount': amount,
            'date_due': item.date_due if item else min(open_item.date_due for open_item in debt.items),
            'document': self._list_numbers([item] if item else debt.items),
            'notice_id': False,
            'reason': code,
            'description': words,
        }

    @api.model
    def _prepare_hint_exception_values(self, run, candidate, words):
        """Values of the `dunning.run.exception` beside a notice of which a person should know more.

        :param run: `dunning.run`
        :param candidate: :class:`~.judgement.Candidate`
        :param str words: what :meth:`_find_hints` says
        """
        return {
            'run_id': run.id,
            'partner_id': candidate.partner_id,
            'currency_id': candidate.currency.id,
            'move_line_id': False,
            'amount': candidate.amount,
            'date_due': min(item.date_due for item in candidate.due),
            'document': self._list_numbers(candidate.due),
            'notice_id': False,
            'reason': 'hint',
            'description': words.replace('\n', ' '),
        }

    @api.model
    def _list_numbers(self, items):
        """Name items by their numbers, as many as a list has room for.

        :param items: what has a `number`, oldest first
        """
        numbers = list(dict.fromkeys(item.number for item in items))
        return ', '.join(numbers[:NUMBERS_SHOWN]) + (' …' if len(numbers) > NUMBERS_SHOWN else '')

    @api.model
    def _prepare_notice_values(self, run, candidate):
        """Values of one `dunning.notice` with its lines; a hook for other addons.

        :param run: `dunning.run`
        :param candidate: :class:`~.judgement.Candidate`
        """
        level = candidate.level
        return {
            'run_id': run.id,
            'partner_id': candidate.partner_id,
            'recipient_id': candidate.recipient_id,
            'level_id': level.id,
            'currency_id': candidate.currency.id,
            'date': run.date,
            'date_deadline': run.date + timedelta(days=level.deadline_days),
            'lang': candidate.lang,
            'charge_ids': [fields.Command.create(values) for values in self._prepare_charges_values(run, candidate)],
            'line_ids': [
                fields.Command.create(values) for values in [
                    *(self._prepare_line_values(item, 'due', item.next_level.id, run.date)
                      for item in candidate.due),
                    *(self._prepare_line_values(item, 'info', item.previous_level_id, run.date)
                      for item in candidate.info),
                    *(self._prepare_credit_values(credit, amount) for credit, amount in candidate.credits),
                    *(self._prepare_earlier_values(charge) for charge in candidate.earlier),
                ]],
        }

    @api.model
    def _prepare_line_values(self, item, kind, level_id, day):
        """Values of one `dunning.notice.line` for an item; a hook for other addons.

        :param item: :class:`Item`
        :param str kind: `due` or `info`
        :param int level_id: id of the line's `dunning.level`, False for none
        :param date day: the notice's date
        """
        return {
            'kind': kind,
            'sequence': KIND_ORDER[kind],
            'move_line_id': item.line_id,
            'payment_id': False,
            'name': item.number,
            'date_invoice': item.date_invoice,
            'date_due': item.date_due,
            'days_overdue': (day - item.date_due).days,
            'amount_invoiced': item.invoiced,
            'amount_residual': item.claimable if kind == 'due' else item.uncovered,
            'amount_resting': item.resting,
            'amount_contested': item.contested,
            'rest_info': item.rest_info or False,
            'level_id': level_id or False,
            'previous_level_id': item.previous_level_id or False,
            'previous_date': item.previous_date or False,
            'previous_notice_id': item.previous_notice_id or False,
        }

    @api.model
    def _prepare_credit_values(self, credit, amount):
        """Values of one `dunning.notice.line` for a credit; `amount` is positive and is subtracted."""
        return {
            'kind': 'credit',
            'sequence': KIND_ORDER['credit'],
            'move_line_id': credit.line_id or False,
            'payment_id': credit.payment_id or False,
            'name': credit.number,
            'date_invoice': credit.date_invoice,
            'date_due': credit.date_due,
            'days_overdue': 0,
            'amount_invoiced': credit.invoiced,
            'amount_residual': -amount,
            'amount_resting': 0.0,
            'amount_contested': 0.0,
            'rest_info': False,
            'level_id': False,
            'previous_level_id': False,
            'previous_date': False,
            'previous_notice_id': False,
        }

    # === WORDS === #

    @api.model
    def _describe_reason(self, reason):
        """Say in words why something is not dunned.

        :param reason: :class:`~.debt.Reason`
        """
        match reason.code:
            case 'no_partner':
                return self.env._(
                    "Items without a customer: %(count)s, %(amount)s in all. Enter the customer on their entries.",
                    count=reason.count, amount=self._format_amount(reason))
            case 'archived':
                return self.env._("The customer is archived.")
            case 'partner_hold' | 'item_hold':
                return self._describe_hold(reason.day, reason.text)
            case 'no_procedure' if reason.text:
                return self.env._("Dunning procedure “%s” has no level.", reason.text)
            case 'no_procedure':
                return self.env._("Neither the customer nor the company has a dunning procedure.")
            case 'unusable_procedure':
                return self.env._(
                    "Dunning procedure “%s” is archived, or another company's. Choose another one for the customer.",
                    reason.text)
            case 'no_rate':
                return self.env._(
                    "There is no rate for %(currency)s on %(day)s. Enter one under Invoicing > Configuration > "
                    "Currencies.", currency=self.env['res.currency'].browse(reason.currency_id).name,
                    day=format_date(self.env, reason.day))
            case 'covered' if reason.amount is not None:
                return self.env._("Credits of %s cover the debt.", self._format_amount(reason))
            case 'covered':
                return self.env._("Covered by credits of the customer.")
            case 'on_its_way' if reason.amount is not None:
                return self.env._(
                    "Credits and payments on their way cover the debt: %s. Payments without an entry count until they "
                    "are cancelled.", self._format_amount(reason))
            case 'on_its_way':
                return self.env._(
                    "Covered by what is on its way: payment %s is registered and not in the books yet.", reason.text)
            case 'below_minimum':
                return self.env._("Less than the minimum amount (%s).", self._format_amount(reason))
        return self._describe_block(reason) or self._describe_waiting(reason)

    @api.model
    def _describe_block(self, reason):
        """Say in words what keeps an item from being dunned, whatever its age; None for another reason."""
        match reason.code:
            case 'no_due_date':
                return self.env._("The item has no due date.")
            case 'no_followup':
                return self.env._("Excluded from follow-up on the entry.")
            case 'outgoing' if reason.amount is not None:
                return self.env._(
                    "%s was paid out to the customer, and no credit is left for it. If the customer owes it, as after "
                    "a returned direct debit, press “Claim”; else reconcile it with what it repays.",
                    self._format_amount(reason))
            case 'outgoing':
                return self.env._("It is money that was paid out to the customer.")
            case 'excluded':
                return self.env._("Excluded from this run by hand.")
            case 'in_payment':
                return self.env._("The invoice is paid or in payment, its open amount is not settled yet.")
            case 'blocked':
                return self.env._("The invoice is blocked for payment.")
            case 'direct_debit':
                return self.env._(
                    "Collected by direct debit (%s). Choose another payment method on the invoice to dun it.",
                    reason.text)
            case 'resting' if reason.amount is not None:
                return self.env._(
                    "%(amount)s of it rests. %(words)s", amount=self._format_amount(reason), words=reason.text)
            case 'resting':
                return reason.text
            case 'reserved':
                return self.env._("Already on another open notice (%s).", reason.text or self.env._("draft"))
        return None

    @api.model
    def _describe_waiting(self, reason):
        """Say in words what an item waits for before it reaches the next level."""
        day = format_date(self.env, reason.day)
        match reason.code:
            case 'last_level':
                return self.env._("The last level was reached on %s and is not repeated.", day)
            case 'grace':
                return self.env._("Within the days of grace until %s.", day)
            case 'not_yet':
                return self.env._("Next notice on %s.", day)
        raise ValueError(reason.code)

    @api.model
    def _describe_hold(self, until, reason):
        day = format_date(self.env, until)
        if reason:
            return self.env._("On hold until %(day)s: %(reason)s", day=day, reason=reason)
        return self.env._("On hold until %(day)s.", day=day)

    @api.model
    def _format_amount(self, reason):
        return format_amount(self.env, reason.amount, self.env['res.currency'].browse(reason.currency_id))
