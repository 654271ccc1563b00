from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Domain
from odoo.tools import SQL

from .res_partner import DUNNING_GROUPS


class AccountMoveLine(models.Model):
    _inherit = 'account.move.line'

    dunning_level_id = fields.Many2one(
        'dunning.level', compute='_compute_dunning', search='_search_dunning_level_id')
    dunning_last_date = fields.Date("Last Dunned On", compute='_compute_dunning', search='_search_dunning_last_date')
    dunning_hold_until = fields.Date("No Dunning Until", copy=False, groups=DUNNING_GROUPS)
    dunning_hold_reason = fields.Char("Reason for No Dunning", copy=False, groups=DUNNING_GROUPS)

    dunning_is_claim = fields.Boolean(
        "Owed by the Customer", copy=False, groups=DUNNING_GROUPS,
        help="Money that was paid out to the customer is dunned only where a person says that the customer owes it, as "
             "after a returned direct debit.")

    def unlink(self):
        self._leave_dunning_drafts()
        return super().unlink()

    def _leave_dunning_drafts(self):
        """A mere proposal must not keep anybody from correcting an entry: items leave drafts and cancelled notices.

        :raise UserError: an item stands on a notice that was issued
        """
        lines = self.env['dunning.notice.line'].sudo().search([('move_line_id', 'in', self.ids)])
        issued = lines.filtered(lambda line: line.notice_id.state == 'issued')
        if issued:
            raise UserError(self.env._(
                "%(item)s stands on dunning notice %(notice)s and is part of its evidence. Cancel the notice first.",
                item=issued[0].name, notice=issued[0].notice_id.display_name))
        lines.filtered(lambda line: line.notice_id.state == 'cancelled').move_line_id = False
        drafts = lines.filtered(lambda line: line.notice_id.state in ('draft', 'excluded'))
        notices = drafts.notice_id
        # What goes may have borne the fee of the customer's other drafts.
        others = notices.run_id.notice_ids.filtered(lambda notice: (
            notice.state == 'draft' and notice.partner_id in notices.partner_id))
        self.env['dunning.charge'].sudo().search([
            ('move_line_id', 'in', self.ids), ('notice_id', 'in', notices.ids)]).unlink()
        drafts.unlink()
        notices.filtered(lambda notice: not notice.due_line_ids).unlink()
        notices.exists()._update_level_from_lines()
        others.exists()._judge_fees_anew()

    def _get_dunning_restart_action(self):
        """Return the action that asks why items start again at the first level."""
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Start Dunning Again"),
            'res_model': 'dunning.restart',
            'view_mode': 'form',
            'target': 'new',
            'context': {'active_model': self._name, 'active_ids': self.ids},
        }

    def _restart_dunning(self, reason):
        """Let items start again at the first level. What was sent stays what it is, and counts for them no more.

        :param str reason: in the user's words, kept with the notices and the entries
        :return: the items that had a level
        :raise UserError: one is on an open notice, or none has a level
        """
        self.env['dunning.notice'].check_access('write')
        lines = self.env['dunning.notice.line'].sudo().search(
            [('move_line_id', 'in', self.ids), ('kind', '=', 'due'), ('is_past', '=', False)])
        if reserved := lines.filtered('is_reserved')[:1]:
            raise UserError(self.env._(
                "%(item)s is on another open notice meanwhile (%(notice)s).", item=reserved.name,
                notice=reserved.notice_id.display_name))
        lines = lines.filtered('notice_id.is_counted')
        if not lines:
            raise UserError(self.env._("None of these items has reached a dunning level."))
        lines.is_past = True
        self.env['dunning.charge'].sudo()._begin_anew(lines)
        for notice, of_notice in lines.grouped('notice_id').items():
            notice._message_log(body=self.env._(
                "Does not count any more for %(items)s, which start again at the first level: %(reason)s",
                items=', '.join(line.name or '' for line in of_notice), reason=reason))
        items = lines.move_line_id
        for move in items.move_id:
            move._message_log(body=self.env._("Dunning starts again at the first level: %s", reason))
        items.invalidate_recordset(['dunning_level_id', 'dunning_last_date'])
        return items

    def _compute_dunning(self):
        self.dunning_level_id = False
        self.dunning_last_date = False
        if not self.ids:
            return
        for last in self.env['dunning.notice.line'].sudo()._get_last_counted(self.ids):
            line = self.browse(last.move_line_id)
            line.dunning_level_id = last.level_id
            line.dunning_last_date = last.date_left

    @api.model
    def _get_last_counted_query(self):
        """Return a query of the last notice line that counted for each item: columns id, level_id, date."""
        return SQL(
            "SELECT move_line_id AS id, level_id, date_left AS date FROM (%s) AS history",
            self.env['dunning.notice.line']._get_history_query(SQL("n.is_counted")))

    @api.model
    def _search_dunning_level_id(self, operator, value):
        return self._search_dunned_level(self._get_last_counted_query(), operator, value)

    @api.model
    def _search_dunning_last_date(self, operator, value):
        return self._search_dunned_date(self._get_last_counted_query(), operator, value)

    # Of items and of their entries: both are searched for what a query says.

    @api.model
    def _search_dunned(self, query, condition):
        rows = self.env.execute_query(SQL("SELECT id FROM (%s) AS last WHERE %s", query, condition))
        return Domain('id', 'in', [row[0] for row in rows])

    @api.model
    def _search_dunned_level(self, query, operator, value):
        """Search for the level reached.

        :param query: SQL of columns id, level_id, date of all that was dunned
        :return: domain
        """
        if operator in Domain.NEGATIVE_OPERATORS:
            return NotImplemented
        if operator == 'any':
            value = self.env['dunning.level']._search(value)
        elif operator != 'in':
            value = self.env['dunning.level']._search([('display_name', operator, value)])
        level_ids = [level_id for level_id in value if level_id]
        domain = self._search_dunned(query, SQL("level_id = ANY(%s)", level_ids))
        if operator == 'in' and False in value:
            domain |= ~self._search_dunned(query, SQL("TRUE"))
        return domain

    @api.model
    def _search_dunned_date(self, query, operator, value):
        """Search for the day of the last notice; as `_search_dunned_level()`."""
        if operator == 'in':
            domain = self._search_dunned(query, SQL("date = ANY(%s)", [day for day in value if day]))
            return domain | ~self._search_dunned(query, SQL("TRUE")) if False in value else domain
        if operator not in ('<', '<=', '>', '>='):
            return NotImplemented
        comparison = {'<': SQL("date < %s", value), '<=': SQL("date <= %s", value),
                      '>': SQL("date > %s", value), '>=': SQL("date >= %s", value)}
        return self._search_dunned(query, comparison[operator])
