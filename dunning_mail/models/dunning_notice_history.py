from datetime import date
from typing import NamedTuple

from odoo import api, models
from odoo.tools import SQL


class History(NamedTuple):
    """A notice on which an item stands: the last one that counted, or an open one that holds it."""
    move_line_id: int
    is_counted: bool
    level_id: int
    level_sequence: int
    date_left: date
    date_deadline: date
    notice_id: int
    name: str


class DunningNoticeLine(models.Model):
    """What notices say of items: the last one that counted, and an open one that holds them."""
    _inherit = 'dunning.notice.line'

    @api.model
    def _get_history(self, move_line_ids, replaced_run=None):
        """Return what notices say of items: for each the last one that counted, and the open one that holds it.

        :param list move_line_ids: ids of `account.move.line`
        :param replaced_run: `dunning.run` whose drafts hold nothing
        :return: list of :class:`History`
        """
        return [History(*row) for row in self.env.execute_query(self._get_history_query(SQL(
            """
            l.move_line_id = ANY(%s) AND (n.is_counted OR l.is_reserved)
            AND NOT (n.state = 'draft' AND n.run_id IS NOT DISTINCT FROM %s)
            """, list(move_line_ids), replaced_run.id if replaced_run else 0)))]

    @api.model
    def _get_history_query(self, condition):
        """Return the query of what notices say of items, of which the last one that counted is told here only.

        :param condition: :class:`~odoo.tools.SQL` on the line `l` and its notice `n`
        :return: :class:`~odoo.tools.SQL`, its columns those of :class:`History`
        """
        self.env['dunning.notice'].flush_model()
        self.env['dunning.level'].flush_model(['sequence'])
        self.flush_model()
        return SQL(
            """
            SELECT DISTINCT ON (l.move_line_id, n.is_counted)
                   l.move_line_id, n.is_counted, l.level_id, v.sequence, n.date_left, n.date_deadline,
                   n.id AS notice_id, n.name
              FROM dunning_notice_line l
              JOIN dunning_notice n ON n.id = l.notice_id
              LEFT JOIN dunning_level v ON v.id = l.level_id
             WHERE l.kind = 'due' AND (l.is_past IS NOT TRUE OR l.is_reserved) AND %s
             ORDER BY l.move_line_id, n.is_counted, n.date_left DESC, n.id DESC
            """, condition)

    @api.model
    def _get_last_counted(self, move_line_ids):
        """Return the last notice that counted for items: its level is the one that they have reached.

        :param move_line_ids: ids of `account.move.line`
        :return: list of :class:`History`
        """
        return [entry for entry in self._get_history(move_line_ids) if entry.is_counted]

    @api.model
    def _get_first_counted_query(self, move_line_ids):
        """Return the query of the first notice that counted for items, of those that have not started again since.

        :param list move_line_ids: ids of `account.move.line`
        :return: :class:`~odoo.tools.SQL`, its columns: item, day on which it left, deadline
        """
        self.env['dunning.notice'].flush_model()
        self.flush_model()
        return SQL(
            """
            SELECT DISTINCT ON (l.move_line_id) l.move_line_id, n.date_left, n.date_deadline
              FROM dunning_notice_line l
              JOIN dunning_notice n ON n.id = l.notice_id
             WHERE n.is_counted AND n.date_left IS NOT NULL AND l.kind = 'due' AND l.is_past IS NOT TRUE
               AND l.move_line_id = ANY(%s)
             ORDER BY l.move_line_id, n.date_left, n.id
            """, list(move_line_ids))
