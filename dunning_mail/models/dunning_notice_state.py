import logging

from odoo import fields, models
from odoo.tools import SQL, plaintext2html

from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)


class DunningNotice(models.Model):
    """The two funnels through which all states go, the delivery log, and what hangs on a state: the items that are
    reserved, and the person who is asked."""
    _inherit = 'dunning.notice'

    _STATE_TRANSITIONS = {
        'draft': ('excluded', 'issued', 'cancelled'),
        'excluded': ('draft', 'cancelled'),
        'issued': ('cancelled',),
    }
    _DELIVERY_TRANSITIONS = {
        False: ('released', 'paper'),
        'released': ('sending', 'paper', 'failed', 'released'),
        'paper': ('released', 'failed'),
        'sending': ('sent', 'failed', 'unclear', 'released'),
        'sent': ('failed',),
        'failed': ('released', 'paper'),
        'unclear': ('released', 'paper', 'failed', 'sent'),
    }

    # === FUNNELS === #

    def _set_state(self, target, **values):
        """Move notices to another state; those that may not go there are left alone and logged.

        :param str target: the state to reach
        :param values: further values to write
        :return: the notices that were moved
        """
        allowed = self.filtered(lambda notice: target in self._STATE_TRANSITIONS.get(notice.state, ()))
        for notice in self - allowed:
            _logger.info("Dunning notice %s: no way from state %s to %s", notice.id, notice.state, target)
        allowed.sudo().write({'state': target, **values})
        return allowed

    def _set_delivery(self, target, info, log=None, **values):
        """Move notices to another delivery state and write the delivery log.

        Issued notices only, and only along `_DELIVERY_TRANSITIONS`; the others are left alone and logged.

        :param str target: the delivery state to reach
        :param str info: what happened, in words for a clerk
        :param dict log: further values for the delivery log: stage, code, host ..., text where it says more than `info`
        :param values: further values of the notices
        :return: the notices that were moved
        """
        allowed = self.filtered(lambda notice: (
            notice.state == 'issued' and target in self._DELIVERY_TRANSITIONS[notice.delivery_state]))
        for notice in self - allowed:
            _logger.info("Dunning notice %s (%s): no way from delivery state %s to %s",
                         notice.id, notice.state, notice.delivery_state, target)
        taken = {fname: values[name] for fname, name in (
            ('provider_id', 'provider_id'), ('attempt', 'attempt_count'), ('message_id', 'message_id'),
            ('mail_sha256', 'mail_sha256'))
            if name in values}
        allowed._log_step(**{'text': info, 'state_to': target, **taken, **(log or {})})
        # The chatter is for outcomes, and shows a mail that was sent itself; the delivery log has all steps.
        is_step = target in ('sending', 'sent') or bool(self.env.context.get('tracking_disable'))
        allowed.sudo().with_context(tracking_disable=is_step).write({
            'delivery_state': target, 'delivery_info': info, 'is_held_back': False, 'rest_to': False,
            'is_rest_sending': False, **values})
        return allowed

    # === NAMED SETTERS === #

    def _set_released(self, info, log=None, **values):
        """Give notices to the process engine.

        :param str info: what happened, in words for a clerk
        :param dict log: as for :meth:`_set_delivery`
        :param values: further values of the notices
        :return: the notices that were moved
        """
        return self._set_delivery('released', info, log, **values)

    def _set_paper(self, info):
        """Put notices on paper; mails that nobody has yet are not needed any more.

        :param str info: why, in words for a clerk
        """
        moved = self._set_delivery('paper', info, {'text': self.env._("On paper. %s", info)})
        moved._drop_mails()

    def _set_sending(self, message_id, now, addresses, **values):
        """Say that the mail of one notice is being handed to the server; to be committed before its first byte is.

        :param str message_id: under which it goes
        :param datetime now: when
        :param list addresses: to whom
        :param values: further values of the notice
        """
        self.ensure_one()
        self._set_delivery(
            'sending', self.env._("Is being handed to the mail server."), {'recipients': ', '.join(addresses)},
            message_id=message_id, claimed_at=now, attempt_count=self.attempt_count + 1, next_attempt_at=False,
            **values)

    def _set_sent(self, info, sent_at, log=None, **values):
        """Say that the server has taken the mail of one notice.

        :param str info: the server's words, or who says so
        :param datetime sent_at: when
        :param dict log: as for :meth:`_set_delivery`
        :param values: further values of the notice
        """
        self.ensure_one()
        self._set_delivery('sent', info, log, sent_at=sent_at, **values)

    def _set_failed(self, info, log=None, **values):
        """Say that notices do not leave, or came back.

        :param str info: why, in words for a clerk
        :param dict log: as for :meth:`_set_delivery`
        :param values: further values of the notices
        :return: the notices that were moved
        """
        return self._set_delivery('failed', info, log, **values)

    def _set_unclear(self, info, log=None):
        """Say that the server may have the mail of one notice, or may not.

        :param str info: what is known, in words for a clerk
        :param dict log: as for :meth:`_set_delivery`
        :return: the notice, if it was moved
        """
        self.ensure_one()
        return self._set_delivery(
            'unclear', info, log, handover_at=self.handover_at or self.claimed_at or fields.Datetime.now())

    # === LOG === #

    def _log_step(self, text, **values):
        """Write a step into the delivery log.

        :param str text: what happened, in words for a clerk
        :param values: of the entry, where they are not what the notice says: by default it stays in its state
        """
        self.env['dunning.delivery.log'].sudo().create([{
            'notice_id': notice.id, 'company_id': notice.company_id.id, 'provider_id': notice.provider_id.id,
            'attempt': notice.attempt_count, 'message_id': notice.message_id, 'state_from': notice.delivery_state,
            'state_to': notice.delivery_state, 'text': text, 'document_sha256': notice.document_sha256,
            'mail_sha256': notice.mail_sha256, **values} for notice in self])

    def _log_note(self, words):
        """Leave words of several lines in the chatter."""
        self._message_log_batch(bodies=dict.fromkeys(self.ids, plaintext2html(words)))

    # === RESERVED ITEMS === #

    def _update_reserved(self):
        """Reserve the items of these notices as long as they are open, and let go of them when they are not.

        In one statement, since each mail that is sent lets go of items.

        :raise psycopg2.errors.UniqueViolation: another open notice has one of the items
        """
        if not self.ids:
            return
        self.flush_model(['is_open', 'kind'])
        self.env['dunning.notice.line'].flush_model(['kind', 'move_line_id', 'notice_id', 'is_past'])
        self.env.execute_query(SQL(
            """
            UPDATE dunning_notice_line l
               SET is_reserved = NOT COALESCE(l.is_reserved, FALSE),
                   -- What leaves once more, counts once more.
                   is_past = CASE WHEN l.is_reserved THEN l.is_past END
              FROM dunning_notice n
             WHERE n.id = l.notice_id AND n.id = ANY(%s)
               AND COALESCE(l.is_reserved, FALSE) <> (
                   n.is_open AND n.kind = 'dunning' AND l.kind = 'due' AND l.move_line_id IS NOT NULL)
         RETURNING l.id
            """, self.ids))
        self.env['dunning.notice.line'].invalidate_model(['is_reserved', 'is_past'], flush=False)

    # === WHO IS ASKED === #

    def _ask_person(self, activity_xmlid, note, user=None):
        """Give a person something to do, by default who answers for the run; what is open already is brought up to
        date.

        The states of the notices are true without it: what hinders it is only logged.
        """
        # What is still to be written must not be refused in there.
        self.env.flush_all()
        for notice in self:
            try:
                with self.env.cr.savepoint():
                    notice._schedule_or_update_activity(activity_xmlid, note, user)
            except RETRYABLE:
                raise
            except Exception:
                _logger.exception("Dunning notice %s: nobody can be asked to see to it", notice.id)

    def _schedule_or_update_activity(self, activity_xmlid, note, user=None):
        self.ensure_one()
        kind = self.env.ref(activity_xmlid)
        user = user or self._get_responsible_user()
        if activity := self.activity_ids.filtered(lambda a: a.activity_type_id == kind)[:1]:
            activity.note = plaintext2html(note)
            return
        user_env = self.env(context=dict(self.env.context, lang=user.lang))
        self.activity_schedule(
            activity_xmlid, user_id=user.id, note=plaintext2html(note),
            summary=user_env._("Dunning notice to %s", self.partner_id.display_name))

    def _get_responsible_user(self):
        """Return who answers for the notice: see `res.company._get_dunning_responsible()`."""
        self.ensure_one()
        return self.company_id._get_dunning_responsible(self.user_id)
