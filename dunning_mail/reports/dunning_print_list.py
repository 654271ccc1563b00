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
            'rows': [{
                'name': letter.name,
                'customer': letter.recipient_id.name or letter.partner_id.name,
                'town': ' '.join(filter(None, (
                    letter.recipient_id.country_id != letter.company_id.country_id
                    and letter.recipient_id.country_id.code, letter.recipient_id.zip, letter.recipient_id.city))),
                'level': letter.level_id.name,
                'total': format_amount(self.env, letter.amount_total, letter.currency_id),
            } for letter in letters],
        }

    @api.model
    def _describe_reprint(self, letters):
        days = letters.mapped(lambda letter: format_datetime(self.env, letter.printed_at, dt_format='short'))
        return self.env._(
            "Reprint: these letters were printed before, on %(days)s by %(users)s.",
            days=', '.join(dict.fromkeys(days)), users=', '.join(letters.sudo().printed_by.mapped('name')))
