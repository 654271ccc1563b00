from odoo import api, fields, models
from odoo.fields import Domain
from odoo.tools import format_amount, format_date

from ..tools import qr
from .dunning_notice_recheck import Verdict


class DunningNotice(models.Model):
    """The confirmation of a promise: what was agreed on, with a payment slip for each instalment. It claims nothing."""
    _inherit = 'dunning.notice'

    promise_id = fields.Many2one(
        'dunning.promise', string="Confirmed Promise", readonly=True, copy=False, ondelete='set null',
        index='btree_not_null',
        help="What the notice confirms.")
    promise_date_text = fields.Char(compute='_compute_promise_texts')
    plan_html = fields.Html(compute='_compute_promise_texts', sanitize=False)

    @api.depends('promise_id.line_ids.payment_reference', 'lang')
    def _compute_promise_texts(self):
        for notice in self:
            spoken = notice.with_context(lang=notice.lang)
            promise = spoken.promise_id

            def show_amount(value, notice=notice):
                return format_amount(self.env, value, notice.currency_id, lang_code=notice.lang)

            def show_day(day, notice=notice):
                return format_date(self.env, day, lang_code=notice.lang)
            notice.promise_date_text = bool(promise) and format_date(
                self.env, promise.date, lang_code=notice.lang, date_format='long')
            notice.plan_html = bool(promise) and self.env['ir.qweb'].with_context(lang=notice.lang)._render(
                'dunning_mail.mail_plan', {
                    'notice': spoken, 'promise': promise, 'terms': promise._describe_terms(),
                    'lines': promise.line_ids.sorted('number'), 'format_amount': show_amount, 'format_date': show_day,
                    'format_reference': qr.format_reference})

    # === IS IT STILL TRUE? === #

    def _judge_plan(self, values, words):
        """Say what has become of a confirmation: is the promise still open, and for as much?

        :param dict values: that mend what is not true any more of the notice itself
        :param list words: why
        :return: :class:`~.dunning_notice_recheck.Verdict`
        """
        self.ensure_one()
        if not self.promise_id:
            return Verdict('held', self.env._("What it confirms has been removed."))
        if fault := self.promise_id._find_confirmation_fault():
            return Verdict('settled' if self.promise_id.state == 'kept' else 'held', fault)
        return Verdict('changed' if words else 'same', '\n'.join(words), values)

    # === HOW IT IS PAID === #

    def _list_instalment_ways(self, line, account):
        """Return the numbers of an account, each with the reference of an instalment; as `_list_payment_ways()`."""
        number = account.sanitized_acc_number or ''
        if account.acc_type != 'iban':
            return [(number, line._get_own_reference(False))]
        ways, qr_iban = [], self._get_qr_iban(account)
        if qr_iban:
            ways.append((qr_iban, line._get_own_reference(True)))
        if number != qr_iban:
            ways.append((number, line._get_own_reference(False)))
        return ways

    def _get_instalment_parts(self):
        """Decide how each instalment is paid.

        :return: list of (`dunning.promise.line`, what `_get_payment_part()` returns), by day
        """
        self.ensure_one()
        account = self._get_payment_account().sudo()
        return [
            (line, self._choose_payment_part(account, self._list_instalment_ways(line, account), line.amount))
            for line in self.promise_id.sudo().line_ids.sorted('number')]

    def _get_payment_part(self, is_new=None):
        if self.kind == 'plan' and (parts := self._get_instalment_parts()):
            return parts[0][1]
        return super()._get_payment_part(is_new)

    def _prepare_payment_values(self):
        values = super()._prepare_payment_values()
        if self.kind == 'plan':
            # Money comes for an instalment, and never for the whole of it.
            values['payment_reference'] = False
            for line, part in self._get_instalment_parts():
                if line.payment_reference != part['reference']:
                    line.payment_reference = part['reference'] or False
        return values

    # === THE WAY BACK === #

    @api.model
    def _find_by_references(self, words, company):
        found = super()._find_by_references(words, company)
        lines = self.env['dunning.promise.line']._find_by_references(
            [text for text in words if text not in found], company)
        for text, line in lines.items():
            if notice := line.sudo().promise_id.confirmation_id:
                found[text] = self.browse(notice.id)
        return found

    @api.model
    def _find_by_own_references(self, words, company):
        found = super()._find_by_own_references(words, company)
        lines = self.env['dunning.promise.line']._search_references(
            words, Domain('promise_id.company_id', 'child_of', company.root_id.id))
        for text, of_text in lines.items():
            for promise in of_text.sudo().promise_id:
                found[text] = found.get(text, self.browse()) | self.browse(promise._get_slip_notice().id)
        return {text: notices for text, notices in found.items() if notices}

    @api.model
    def _get_searched_references(self, notices):
        return super()._get_searched_references(notices) | notices.sudo().promise_id.line_ids._get_own_references()

    def _get_items_to_settle(self):
        plans = self.filtered(lambda notice: notice.kind == 'plan')
        return super(DunningNotice, self - plans)._get_items_to_settle() | (
            plans.sudo().promise_id.line_ids._get_settled_items())
