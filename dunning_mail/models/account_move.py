from odoo import api, fields, models
from odoo.tools import SQL

from .res_partner import DUNNING_GROUPS


class AccountMove(models.Model):
    _inherit = 'account.move'

    dunning_level_id = fields.Many2one(
        'dunning.level', compute='_compute_dunning', search='_search_dunning_level_id',
        help="The highest level that an item of this entry has reached, by the notices that were sent or printed.")
    dunning_last_date = fields.Date(
        "Last Dunned On", compute='_compute_dunning', search='_search_dunning_last_date')
    dunning_hold_until = fields.Date("No Dunning Until", copy=False, tracking=True, groups=DUNNING_GROUPS)
    dunning_hold_reason = fields.Char("Reason for No Dunning", copy=False, tracking=True, groups=DUNNING_GROUPS)
    dunning_notice_count = fields.Integer(
        "Dunning Notices", compute='_compute_dunning_notice_count',
        groups=DUNNING_GROUPS)

    def _compute_dunning(self):
        # Never stored: a stored value would lock invoices while mail goes out.
        self.dunning_level_id = False
        self.dunning_last_date = False
        for move in self.filtered('line_ids'):
            lines = move.line_ids.filtered('dunning_level_id')
            if lines:
                move.dunning_level_id = max(lines.dunning_level_id, key=lambda level: level.sequence)
                move.dunning_last_date = max(lines.mapped('dunning_last_date'))

    @api.model
    def _get_last_counted_query(self):
        """Return a query of what `_compute_dunning()` says of all entries: columns id, level_id, date."""
        return SQL(
            """
            SELECT line.move_id AS id, (ARRAY_AGG(last.level_id ORDER BY level.sequence DESC))[1] AS level_id,
                   MAX(last.date) AS date
              FROM (%s) AS last
              JOIN account_move_line line ON line.id = last.id
              JOIN dunning_level level ON level.id = last.level_id
             GROUP BY line.move_id
            """, self.env['account.move.line']._get_last_counted_query())

    @api.model
    def _search_dunning_level_id(self, operator, value):
        return self.env['account.move.line']._search_dunned_level(self._get_last_counted_query(), operator, value)

    @api.model
    def _search_dunning_last_date(self, operator, value):
        return self.env['account.move.line']._search_dunned_date(self._get_last_counted_query(), operator, value)

    def _compute_dunning_notice_count(self):
        counts = dict(self.env['dunning.notice.line']._read_group(
            [('move_id', 'in', self.ids), ('notice_id.state', '!=', 'draft')],
            ['move_id'], ['notice_id:count_distinct']))
        for move in self:
            move.dunning_notice_count = counts.get(move, 0)

    def action_open_dunning_notices(self):
        """Open the notices on which items of this entry stand."""
        self.ensure_one()
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_notice_action')
        action['domain'] = [('line_ids.move_id', '=', self.id)]
        action['context'] = {}
        return action
