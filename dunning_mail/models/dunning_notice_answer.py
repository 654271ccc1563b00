from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import SQL, format_date

from ..tools import robot
from ..tools.debt import Rest

# Of an answer, as much as is shown beside the buttons.
SHOWN = 2000


class DunningNotice(models.Model):
    """What the customer answers: the items of the notice rest until somebody has handled it, or some days are over."""
    _name = 'dunning.notice'
    _inherit = ['dunning.notice', 'dunning.resting']

    answer_state = fields.Selection(
        [('open', 'Answered'), ('handled', 'Answer Handled')], string="Answer", readonly=True, copy=False,
        tracking=True, index='btree_not_null')
    answered_at = fields.Datetime(readonly=True, copy=False)
    answer_rest_until = fields.Date(
        "Rests Until", readonly=True, copy=False,
        help="The customer has answered: until then its items are not dunned, unless the answer is handled before. "
             "Once for each notice.")
    answer_has_rested = fields.Boolean(readonly=True, copy=False)
    answer_from = fields.Char(readonly=True, copy=False)
    answer_text = fields.Text("What the Customer Writes", readonly=True, copy=False)
    promise_ids = fields.Many2many('dunning.promise', compute='_compute_agreements')
    dispute_ids = fields.Many2many('dunning.dispute', compute='_compute_agreements')

    def _compute_agreements(self):
        for notice in self:
            items = notice.sudo().due_line_ids.move_line_id
            for fname, model in (('promise_ids', 'dunning.promise'), ('dispute_ids', 'dunning.dispute')):
                notice[fname] = items and self.env[model].search([('item_ids', 'in', items.ids)])

    # === WHAT RESTS === #

    @api.model
    def _get_resting(self, items, day):
        self.flush_model(['answer_state', 'answer_rest_until', 'state', 'date'])
        self.env['dunning.notice.line'].flush_model(['kind', 'move_line_id', 'notice_id'])
        found = self.env.execute_query(SQL(
            """
            SELECT DISTINCT ON (l.move_line_id) l.move_line_id, n.answer_rest_until, n.name
              FROM dunning_notice n
              JOIN dunning_notice_line l ON l.notice_id = n.id AND l.kind = 'due'
             WHERE n.answer_state = 'open' AND n.answer_rest_until >= %s AND l.move_line_id = ANY(%s)
             ORDER BY l.move_line_id, n.answer_rest_until DESC
            """, day, items.ids))
        return [Rest(line_id, None, until, self.env._(
            "The customer has answered %(notice)s: rests until %(day)s, or until the answer is handled.",
            notice=name or '', day=format_date(self.env, until))) for line_id, until, name in found]

    # === AN ANSWER COMES === #

    def _receive_answer(self, message, sender, text):
        """Take up a letter that was posted on these notices.

        ======== ============================================================================
        author   the notice
        ======== ============================================================================
        person   *answered*; its items rest, once; a person is asked
        unsure   *answered*; nothing more rests; a person is asked, and sees what a person has
                 written before
        robot    nothing
        ======== ============================================================================

        :param message: :class:`~email.message.EmailMessage`
        :param str sender: its bare address
        :param str text: its text
        """
        author = robot.find_author(message, text)
        users = self.env['res.users'].sudo().search([('email_normalized', '=', sender), ('share', '=', False)], limit=1)
        if author == robot.Author.ROBOT or not sender or users:
            return
        said = robot.strip_quoted(text)[:SHOWN] or text[:SHOWN]
        for notice in self.sudo().filtered(lambda notice: notice.state in ('issued', 'cancelled')):
            company = notice.company_id
            is_person, is_waiting = author == robot.Author.PERSON, notice.answer_state == 'open'
            values = {'answer_state': 'open'}
            if is_person or not is_waiting:
                values.update(answered_at=fields.Datetime.now(), answer_from=sender, answer_text=said)
            if is_person and not notice.answer_has_rested and company.dunning_answer_days:
                values.update(
                    answer_has_rested=True,
                    answer_rest_until=notice._get_today() + timedelta(days=company.dunning_answer_days))
            notice.write(values)
            user = notice._get_responsible_user()
            notice = notice.with_context(lang=user.lang)
            if notice._rests_by_answer():
                words = notice.env._(
                    "%(sender)s has answered. The items of this notice rest until %(day)s: press “Handled”, “Promise”, "
                    "“Record Dispute” or “Hold” on the notice.", sender=sender,
                    day=format_date(notice.env, notice.answer_rest_until))
            else:
                words = notice.env._(
                    "%(sender)s has answered. Nothing rests by it: read it, and press “Handled”, “Promise”, “Record "
                    "Dispute” or “Hold” on the notice.", sender=sender)
            notice._ask_person('dunning_mail.mail_activity_answered', f'{words}\n\n{said}')

    def _rests_by_answer(self):
        self.ensure_one()
        until = self.answer_rest_until
        return bool(self.answer_state == 'open' and until and until >= self._get_today())

    # === WHAT A PERSON DOES ABOUT IT === #

    def action_answer_handled(self):
        """Say that answers were seen to: what rested by them does so no more."""
        self.check_access('write')
        answered = self.sudo().filtered(lambda notice: notice.answer_state == 'open')
        answered.write({'answer_state': 'handled', 'answer_rest_until': False})
        answered.activity_feedback(['dunning_mail.mail_activity_answered'])
        for notice in answered:
            notice._message_log(body=self.env._("Answer handled by %s.", self.env.user.name))

    @api.model
    def _handle_answers_of_context(self, items=None):
        """What was agreed on from notices that were answered, is what was to be done about the answers.

        :param items: `account.move.line` that it is about, None for all of a customer's
        """
        context = self.env.context
        ids = context.get('dunning_answered_ids') or (
            context.get('active_model') == self._name and context.get('active_ids')) or ()
        self.browse(ids).exists().filtered(lambda notice: notice.answer_state == 'open' and (
            items is None or notice.sudo().due_line_ids.move_line_id & items.sudo())).action_answer_handled()

    def action_dunning_promise(self):
        """Open the dialog for a promise to pay what these notices claim."""
        return self.env['dunning.promise.make']._get_action(self)

    def action_dunning_dispute(self):
        """Open the form of a dispute about what these notices claim."""
        return self.env['dunning.dispute']._get_new_action(self)

    def action_dunning_hold(self):
        """Open the dialog that puts the customer on hold."""
        self.ensure_one()
        return self.env['dunning.hold']._get_action(self)
