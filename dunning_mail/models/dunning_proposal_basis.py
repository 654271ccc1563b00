from collections import defaultdict
from functools import cached_property, lru_cache, partial

from odoo.tools import float_compare, float_round, format_date

from ..tools import judgement


class Basis:
    """What all judgements of one company and day share, looked up once for each currency, procedure and level."""

    def __init__(self, env, company, day, debts):
        self.env = env
        self.company = company
        self.day = day
        self.roundings = {debt.currency_id: debt.rounding for debt in debts.values()}
        # Notice id -> the items that it goes on claiming, credits set off.
        self.due_items = {}
        self.debts = defaultdict(list)
        for debt in debts.values():
            self.debts[debt.partner_id].append(debt)
        self.contact_ids = {item.contact_id for debt in debts.values() for item in debt.items if item.contact_id}
        self.get_currency = lru_cache(None)(self._get_currency)
        self.get_procedure = lru_cache(None)(self._get_procedure)
        self.get_profile = lru_cache(None)(self._get_profile)
        self.choose_lang = lru_cache(None)(self._choose_lang)
        self.format_date = lru_cache(None)(lambda value: format_date(env, value))

    @cached_property
    def terms(self):
        """What the judgement asks of company and day."""
        return judgement.Terms(
            self.day, self.get_currency(self.company.currency_id.id), self.company.dunning_min_amount,
            self.company.dunning_account_grouping == 'separate')

    @cached_property
    def accounts(self):
        """The company's bank accounts, with what is asked of them."""
        return self.env['res.partner.bank'].sudo().search_fetch(
            [('partner_id', '=', self.company.partner_id.id)],
            [fname for fname in ('active', 'currency_id', 'company_id', 'sanitized_acc_number', 'l10n_ch_qr_iban')
             if fname in self.env['res.partner.bank']._fields])

    @cached_property
    def contacts(self):
        """The customers' contacts to whom invoices were written and who may be written to: dict id -> `res.partner`."""
        found = self.env['res.partner'].sudo().search_fetch([
            ('id', 'in', list(self.contact_ids)), ('company_id', 'in', [False, *self.company.parent_ids.ids]),
        ], ['lang', 'type'])
        return {contact.id: contact for contact in found}

    def _get_currency(self, currency_id):
        currency = self.env['res.currency'].browse(currency_id)
        # Read with the items: each mail would have to read the currency anew.
        rounding = self.roundings.get(currency_id) or currency.rounding
        return judgement.Currency(
            currency_id, rounding, partial(float_round, precision_rounding=rounding),
            partial(float_compare, precision_rounding=rounding), lru_cache(None)(lambda: self._get_rate(currency)))

    def _get_rate(self, currency):
        own = self.company.currency_id
        if currency != own and not self.env['res.currency.rate'].sudo().search_count([
                ('currency_id', '=', currency.id), ('name', '<=', self.day),
                ('company_id', 'in', (False, self.company.root_id.id))], limit=1):
            return None
        return self.env['res.currency']._get_conversion_rate(currency, own, self.company, self.day)

    def _get_procedure(self, procedure):
        return judgement.Procedure(
            procedure.name, tuple(
                judgement.Level(
                    level.id, level.sequence, level.delay_days, level.deadline_days, level.min_amount,
                    tuple(judgement.Fee(
                        fee.currency_id.id or self.company.currency_id.id, fee.debtor, fee.amount_from, fee.fixed,
                        fee.percent, fee.minimum, fee.maximum) for fee in level.fee_ids),
                    level.fee_method == 'cumulated', level.repeat, level.charge_interest, level.charge_lump_sum)
                for level in procedure.level_ids.sorted('sequence')),
            procedure.grace_days, procedure.grouping == 'level', procedure._is_usable_by(self.company))

    def _get_profile(self, level_id):
        return self.env['dunning.level'].browse(level_id).procedure_id._get_interest_profile(self.company)

    def _choose_lang(self, langs, level_id):
        return self.env['dunning.notice']._choose_lang_among(
            langs, self.env['dunning.level'].browse(level_id), self.company)
