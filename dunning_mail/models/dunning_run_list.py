from odoo import api, fields, models

# How many notices and exceptions the run shows itself; the lists that it opens have all of them.
SHOWN_COUNT = 80


class DunningRun(models.Model):
    """What of a run its own page shows: the web client would else get the ids of all of it, and sort them itself."""
    _inherit = 'dunning.run'

    shown_notice_ids = fields.One2many('dunning.notice', compute='_compute_shown_notice_ids', string="First Notices")
    shown_exception_ids = fields.One2many(
        'dunning.run.exception', compute='_compute_shown_exception_ids', string="First Exceptions")
    has_more_notices = fields.Boolean(compute='_compute_shown_notice_ids')
    has_more_exceptions = fields.Boolean(compute='_compute_shown_exception_ids')

    @api.depends('notice_ids')
    def _compute_shown_notice_ids(self):
        for run in self:
            notices = self.env['dunning.notice'].search(
                [('run_id', 'in', run._origin.ids)], order='partner_id, id', limit=SHOWN_COUNT + 1)
            run.shown_notice_ids = notices[:SHOWN_COUNT]
            run.has_more_notices = len(notices) > SHOWN_COUNT

    @api.depends('exception_ids')
    def _compute_shown_exception_ids(self):
        for run in self:
            exceptions = self.env['dunning.run.exception'].search(
                [('run_id', 'in', run._origin.ids)], limit=SHOWN_COUNT + 1)
            run.shown_exception_ids = exceptions[:SHOWN_COUNT]
            run.has_more_exceptions = len(exceptions) > SHOWN_COUNT
