from odoo import api, models
from odoo.tools import format_amount, format_date, format_datetime


class ReportDunningPrintList(models.AbstractModel):
    """The list that lies on top of a run's letters. It is for the house, so in the language of whoever prints."""
    _name = 'report.dunning_mail.print_list'
    _description = 'List of Dunning Letters'

    @api.model
    def _get_report_values(self, docids, data=None):
        run = self.env['dunning.run'].browse(docids)
        letters = self.env['dunning.notice'].browse((data or {}).get('notice_ids') or run._get_letters().ids)
        is_reprint = bool(letters) and all(letter.printed_at for letter in letters)
        return {
            'doc_ids': docids,
            'doc_model': 'dunning.run',
            'docs': run,
            'date': format_date(self.env, run.date),
            'reprint': is_reprint and self._describe_reprint(letters),
            'left_out': [] if is_reprint else run._list_left_out(),
            'rows': [self._get_row(letter) for letter in letters],
            'totals': [
                {'count': len(of_currency), 'total': format_amount(
                    self.env, sum(of_currency.mapped('amount_total')), currency)}
                for currency, of_currency in letters.grouped('currency_id').items()],
        }

    @api.model
    def _get_row(self, letter):
        address = letter._get_addressee()
        customer, recipient = letter.partner_id.commercial_partner_id, letter.recipient_id
        return {
            'name': letter.name,
            'customer': customer.name,
            # a contact's name says little without the customer's
            'recipient': recipient.name if recipient != customer and recipient.name != customer.name else '',
            'town': ' '.join(filter(None, (
                address.country_id != letter.company_id.country_id and address.country_id.code, address.zip,
                address.city))),
            'level': letter.level_id.name,
            'total': format_amount(self.env, letter.amount_total, letter.currency_id),
        }

    @api.model
    def _describe_reprint(self, letters):
        days = letters.mapped(lambda letter: format_datetime(self.env, letter.printed_at, dt_format='short'))
        return self.env._(
            "Reprint: these letters were printed before, on %(days)s by %(users)s.",
            days=', '.join(dict.fromkeys(days)), users=', '.join(letters.sudo().printed_by.mapped('name')))
