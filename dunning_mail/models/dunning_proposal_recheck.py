from collections import defaultdict

from odoo import api, models
from odoo.tools import SQL, format_amount

from ..tools import judgement, recheck
from ..tools.debt import Debt
from .dunning_proposal_values import NUMBERS_SHOWN

# Stands for the numbers of all items of which the same is to be said.
ITEMS = '\N{OBJECT REPLACEMENT CHARACTER}'
# Journals in which payments are booked.
PAYING_JOURNALS = {'bank', 'cash', 'credit'}


class DunningProposal(models.AbstractModel):
    """The same rules, asked again of the items on a notice."""
    _inherit = 'dunning.proposal'

    @api.model
    def _load_for_recheck(self, notices, lines, day):
        """Read what the customers of notices owe now, once for all of them.

        :param notices: `dunning.notice` of one company
        :param lines: their `dunning.notice.line`
        :param date day: for which holds are asked
        :return: as :meth:`_load_debts`
        """
        items = lines.filtered(lambda line: line.kind not in ('credit', 'charge'))
        # As for the proposal. Items that are due later get credits only after these: they need not be read.
        due_until = SQL(
            "GREATEST(%s, (SELECT MAX(LEAST(due_until, date - 1)) FROM dunning_run WHERE id = ANY(%s)))",
            max(filter(None, items.mapped('date_due')), default=day), notices.run_id.ids)
        return self._load_debts(
            notices.company_id, due_until, day, notices.partner_id.commercial_partner_id,
            line_ids=items.move_line_id.ids)

    @api.model
    def _judge_lines(self, notice, lines, debts, basis, date):
        """Ask the rules again of each item on a notice. Writes nothing.

        :param notice: one `dunning.notice`
        :param lines: its `dunning.notice.line`
        :param dict debts: what :meth:`_load_for_recheck` returned
        :param basis: :class:`~.dunning_proposal.Basis` of the day on which the notice leaves
        :param date date: what the notice is dated, from which days overdue count
        :return: (`same`, `changed`, `settled` or `held`; list of words, each reason once; values of all lines as they
            should be, None where they are; dict id of the `account.move.line` -> why it is not claimed any more)
        """
        currency = basis.get_currency(notice.currency_id.id)
        # The customer may have been merged into another one, or have become a contact of one.
        key = (notice.partner_id.commercial_partner_id.id, currency.id)
        debt = debts.get(key) or Debt(*key)
        debt.offset(currency)
        kept, codes, words, gone = self._find_faults(notice, lines, debt, basis)
        due_items = [item for line, item in kept if line.kind == 'due']
        basis.due_items[notice.id] = due_items
        if not due_items and codes:
            return 'held' if 'held' in codes else 'settled', words, None, gone
        expected = [
            {**self._prepare_line_values(item, line.kind, line.level_id.id, date), 'is_level_set': line.is_level_set,
             # What claims nothing says what is open.
             **({} if notice.kind == 'dunning' else {'amount_residual': item.residual, 'amount_resting': 0.0,
                                                     'amount_contested': 0.0, 'rest_info': False})}
            for line, item in kept]
        expected += [
            self._prepare_credit_values(credit, amount)
            for credit, amount in judgement.sum_credits(due_items, currency)]
        if notice.kind == 'dunning' and self._is_below_minimum(notice, debt, expected, basis):
            words.append(self.env._("Less than the minimum amount is left to claim."))
            return 'held', words, None, gone
        present = [{
            'kind': line.kind, 'move_line_id': line.move_line_id.id, 'payment_id': line.payment_id.id,
            'amount_residual': line.amount_residual,
            'date_due': line.date_due, 'days_overdue': line.days_overdue} for line in lines]
        if self._list_facts(present, currency) != self._list_facts(expected, currency):
            words += self._describe_changes(lines, expected, notice.currency_id, basis)
            return 'changed', words, expected, gone
        # That a notice is dated anew is no change of the claim, but days overdue on its lines change.
        is_dated_anew = self._list_facts(present, currency, True) != self._list_facts(expected, currency, True)
        return 'same', [], expected if is_dated_anew else None, gone

    @api.model
    def _list_facts(self, rows, currency, with_days=False):
        """Return what values of lines say, to be compared with those of others.

        :param list rows: dicts
        :param currency: :class:`~.debt.Currency`
        :param bool with_days: days overdue are compared too
        """
        return sorted(
            (row['kind'], row['move_line_id'] or 0, row['payment_id'] or 0, currency.round(row['amount_residual']),
             row['date_due'], row['days_overdue'] if with_days and row['kind'] != 'credit' else 0) for row in rows)

    @api.model
    def _find_faults(self, notice, lines, debt, basis):
        """Tell the lines that a notice may still claim from those that it may not.

        :param debt: :class:`~.debt.Debt` as it stands now, credits set off
        :return: (list of (line, :class:`~.debt.Item`); set of `settled` and `held`, of what was due; list
            of words, each reason once; dict id of the `account.move.line` -> words)
        """
        items = {item.line_id: item for item in debt.items}
        kept, codes, numbers, gone = [], set(), defaultdict(list), {}
        for line in lines:
            if line.kind == 'credit':
                continue
            item = items.get(line.move_line_id.id)
            fault = self._find_line_fault(notice, line, item, basis)
            if not fault:
                kept.append((line, item))
                continue
            code, reason = fault
            numbers[reason].append(line.name or '')
            gone[line.move_line_id.id] = reason.replace(ITEMS, line.name or '')
            if line.kind == 'due':
                codes.add(code)
        words = [
            reason.replace(ITEMS, ', '.join(named[:NUMBERS_SHOWN]) + (' …' if len(named) > NUMBERS_SHOWN else ''))
            for reason, named in numbers.items()]
        return kept, codes, words, gone

    @api.model
    def _find_line_fault(self, notice, line, item, basis):
        """Say why an item may not be claimed any more.

        :param notice: `dunning.notice`
        :param line: its `dunning.notice.line`
        :param item: :class:`~.debt.Item` as it stands now, None where it is no open one of the customer's
        :param basis: :class:`~.dunning_proposal.Basis`
        :return: (`settled` or `held`, words with `ITEMS` in place of the item's number), None where it may
        """
        if not item:
            return self._describe_gone(notice, line)
        if notice.kind != 'dunning':
            # It says what is open, and claims nothing.
            return None
        claim = recheck.Claim(
            notice.id, line.kind, line.date_due, line.previous_notice_id.id, line.previous_date or None,
            line.is_level_set)
        reason = recheck.find_fault(claim, item, basis.get_currency(notice.currency_id.id), basis.day)
        if reason:
            code = 'settled' if reason.code in recheck.SETTLING else 'held'
            return code, self._describe_line_fault(line, item, reason, basis)
        if recheck.must_reach_level(claim, item):
            judgement.set_level(item, basis.get_procedure(notice.level_id.procedure_id), basis.day)
            if item.reason:
                return 'held', f'{ITEMS}: {self._describe_reason(item.reason)}'
        return None

    @api.model
    def _is_below_minimum(self, notice, debt, expected, basis):
        """Whether what is left open of a customer's debt is less than the company or the level asks for.

        :param notice: `dunning.notice`
        :param debt: :class:`~.debt.Debt` as it stands now, credits set off
        :param list expected: values of the notice's lines as they should be now
        :param basis: :class:`~.dunning_proposal.Basis`
        """
        compare = basis.terms.currency.compare
        if basis.terms.min_amount:
            debts = [debt, *(other for other in basis.debts[debt.partner_id] if other is not debt)]
            for other in debts[1:]:
                other.offset(basis.get_currency(other.currency_id))
            if compare(judgement.sum_owed(debts, basis.get_currency, basis.terms), basis.terms.min_amount) < 0:
                return True
        due = [values for values in expected if values['kind'] == 'due']
        if any(values['is_level_set'] for values in due):
            return False
        level = self.env['dunning.level'].browse([values['level_id'] for values in due]).sorted('sequence')[-1:]
        return bool(level.min_amount) and compare(
            judgement.sum_owed([debt], basis.get_currency, basis.terms), level.min_amount) < 0

    # === WORDS === #

    @api.model
    def _describe_line_fault(self, line, item, reason, basis):
        """Say in words why an item may not be claimed any more; `ITEMS` stands for its number."""
        match reason.code:
            case 'not_overdue':
                return self.env._(
                    "%(item)s is not overdue: it is payable until %(day)s now.", item=ITEMS,
                    day=basis.format_date(reason.day))
            case 'other_history' if line.previous_notice_id and not line.previous_notice_id.is_counted:
                return self.env._(
                    "%(item)s: the notice that counted before (%(notice)s) does not count any more.", item=ITEMS,
                    notice=line.previous_notice_id.display_name)
            case 'other_history' if not item.previous_notice_id:
                return self.env._("%s starts again at the first level.", ITEMS)
            case 'other_history':
                other = self.env['dunning.notice'].browse(item.previous_notice_id or ())
                return self.env._(
                    "%(item)s was dunned meanwhile by %(notice)s.", item=ITEMS, notice=other.display_name)
            case 'covered':
                return self.env._("%s: covered by credits of the customer.", ITEMS)
            case 'on_its_way':
                return self.env._(
                    "%(item)s: covered by what is on its way, payment %(payment)s.", item=ITEMS, payment=reason.text)
        return f'{ITEMS}: {self._describe_reason(reason)}'

    @api.model
    def _describe_changes(self, lines, expected, currency, basis):
        """Say what is new about the items that a notice goes on claiming, and about credits.

        :param lines: `dunning.notice.line` as they are
        :param list expected: values of the lines as they should be
        :param currency: `res.currency` of the notice
        :param basis: :class:`~.dunning_proposal.Basis`
        :return: list of str
        """
        words = []
        old = {line.move_line_id.id: line for line in lines if line.kind != 'credit'}
        for values in expected:
            if not (line := old.get(values['move_line_id'])) or values['kind'] == 'credit':
                continue
            if values['date_due'] != line.date_due:
                words.append(self.env._(
                    "%(item)s: due on %(new)s instead of %(old)s.", item=line.name,
                    new=basis.format_date(values['date_due']), old=basis.format_date(line.date_due)))
            if currency.compare_amounts(values['amount_residual'], line.amount_residual):
                words.append(self.env._(
                    "%(item)s: %(new)s open instead of %(old)s.", item=line.name,
                    new=format_amount(self.env, values['amount_residual'], currency),
                    old=format_amount(self.env, line.amount_residual, currency)))
                if values['rest_info'] and values['rest_info'] != line.rest_info:
                    words.append(f"{line.name}: {values['rest_info']}")
        new_credit = -sum(values['amount_residual'] for values in expected if values['kind'] == 'credit')
        old_credit = -sum(line.amount_residual for line in lines if line.kind == 'credit')
        if currency.compare_amounts(new_credit, old_credit):
            words.append(self.env._(
                "Credits: %(new)s instead of %(old)s.", new=format_amount(self.env, new_credit, currency),
                old=format_amount(self.env, old_credit, currency)))
        return words

    @api.model
    def _describe_gone(self, notice, line):
        """Say what has become of an item that is no open receivable of the customer any more.

        :return: (`settled` or `held`, words with `ITEMS` in place of the item's number)
        """
        item = line.move_line_id
        if not item:
            return 'held', self.env._("%s: the entry has been deleted.", ITEMS)
        if item.parent_state != 'posted':
            return 'held', self.env._("%s: the entry is not posted any more.", ITEMS)
        if item.reconciled or item.currency_id.is_zero(item.amount_residual_currency):
            if item.move_id.payment_state == 'reversed':
                return 'settled', self.env._("Reversed: %s.", ITEMS)
            counterparts = item.matched_credit_ids.credit_move_id
            if counterparts and set(counterparts.move_id.mapped('move_type')) == {'out_refund'}:
                return 'settled', self.env._("Covered by a credit note: %s.", ITEMS)
            # Written off, set off or moved by another entry, it is not paid.
            if set(counterparts.journal_id.mapped('type')) & PAYING_JOURNALS:
                return 'settled', self.env._("Paid: %s.", ITEMS)
            return 'settled', self.env._("Settled: %s.", ITEMS)
        if item.partner_id.commercial_partner_id != notice.partner_id.commercial_partner_id:
            return 'held', self.env._("%s belongs to another customer now.", ITEMS)
        return 'held', self.env._("%s is no open receivable any more.", ITEMS)
