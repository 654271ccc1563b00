from odoo import api, models
from odoo.tools import format_amount, format_date


class ReportDunningPrintList(models.AbstractModel):
    """The list that lies on top of a run's letters. It is for the house, so in the language of whoever prints."""
    _name = 'report.dunning_mail.print_list'
    _description = 'List of Dunning Letters'

    @api.model
    def _get_report_values(self, docids, data=None):
        run = self.env['dunning.run'].browse(docids)
        letters = self.env['dunning.notice'].browse((data or {}).get('notice_ids') or run._get_letters().ids)
        return {
            'doc_ids': docids,
            'doc_model': 'dunning.run',
            'docs': run,
            'date': format_date(self.env, run.date),
            'left_out': (data or {}).get('left_out') or [],
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
