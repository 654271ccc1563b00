from odoo import fields, models


class DunningTextVersion(models.Model):
    """Texts as they were when notices were issued with them.

    A level's texts may be corrected at any time; what was issued before keeps its words, also where its letter has to
    be made again. One row serves all notices with the same words. It is never changed.
    """
    _name = 'dunning.text.version'
    _description = 'Texts of Issued Dunning Notices'
    _inherit = ['dunning.guard']
    _rec_name = 'letter_title'

    digest = fields.Char(required=True, index=True, readonly=True)
    lang = fields.Char("Language", required=True, readonly=True)
    mail_subject = fields.Text(required=True, readonly=True)
    mail_body = fields.Text(required=True, readonly=True)
    letter_title = fields.Text(required=True, readonly=True)
    letter_intro = fields.Text(required=True, readonly=True)
    letter_closing = fields.Text(required=True, readonly=True)
