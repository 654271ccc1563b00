from odoo import api, models

from ..tools import qr


class ReportDunningLetter(models.AbstractModel):
    """What the letter that confirms a promise shows in place of a claim."""
    _inherit = 'report.dunning_mail.letter'

    @api.model
    def _get_letter_values(self, notice, cache=None):
        cache = {} if cache is None else cache
        values = super()._get_letter_values(notice, cache)
        values['plan'] = False
        if notice.kind == 'plan':
            values.update(slip=False, epc_code=False, plan=self._get_plan_values(
                notice.with_context(lang=notice.lang), values['currency'], *cache[notice.lang]))
        return values

    @api.model
    def _get_plan_values(self, notice, currency, format_number, format_day):
        """Return the instalments of a plan, and what it covers.

        :param notice: `dunning.notice` of kind `plan`, in its language
        :param str currency: its name
        :param format_number: function of a number and its decimal places
        :param format_day: function of a date
        :return: dict
        """
        digits, instalments = notice.currency_id.decimal_places, []
        parts = notice._get_instalment_parts()
        for line, part in parts:
            instalments.append({
                'number': line.number,
                'date': format_day(line.date),
                'amount': format_number(line.amount, digits),
                'reference': qr.format_reference(part['reference']),
                'slip': part['method'] == 'swiss' and self._get_slip_values(part, notice.lang),
                'epc_code': part['method'] == 'epc' and qr.data_uri(qr.render_svg('\n'.join(part['lines']))),
            })
        return {
            'instalments': instalments,
            'count': len(instalments),
            # Three codes stand side by side.
            'epc_rows': [
                [one for one in instalments[start:start + 3] if one['epc_code']]
                for start in range(0, len(instalments), 3)] if any(one['epc_code'] for one in instalments) else [],
            'items': [{
                'name': line.name or '', 'date': format_day(line.date_invoice), 'date_due': format_day(line.date_due),
                'invoiced': format_number(line.amount_invoiced, digits),
                'open': format_number(line.amount_residual, digits)} for line in notice.due_line_ids],
            'terms': notice.promise_id._describe_terms(),
            'slips': [one for one in instalments if one['slip']],
        }
