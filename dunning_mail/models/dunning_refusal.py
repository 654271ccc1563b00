from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import SQL

from ..tools.smtp import Kind, Reason, Stage
from .dunning_provider import WAIT_HOURS

# Different recipients refused in a row, none accepted between, from which on the sender is likely to be meant: in the
# same words, or for no reason that lies in the address ...
REFUSALS_TO_PAUSE = 3
# ... and such that each say in words of their own that there is no such address.
UNKNOWN_TO_PAUSE = 5
# From where on a refusal can be about the recipient.
RECIPIENT_STAGES = frozenset({Stage.RCPT, Stage.DATA, Stage.BODY, Stage.EOD})
# What nobody can take for a fault of the sender.
OWN_REASONS = frozenset({
    Reason.MESSAGE_TOO_LARGE, Reason.GREYLISTED, Reason.MAILBOX_BUSY, Reason.MAILBOX_FULL, Reason.TOO_MANY_RECIPIENTS})


class DunningProvider(models.Model):
    """What a service provider's server has refused in a row."""
    _inherit = 'dunning.provider'

    refusals = fields.Json(
        readonly=True, copy=False, help="The refusals since a mail was accepted last, as `dunning.engine` keeps them.")

    def _forget_refusals(self):
        """A mail was accepted: what was refused before were the recipients'."""
        if self.refusals:
            self.sudo().refusals = False


class DunningEngine(models.AbstractModel):
    """Whose fault is a refusal? Where one answer does not say, the next ones do.

    ================================================ ==================================================================
    what is refused                                  is taken for
    ================================================ ==================================================================
    one recipient                                    its own fault
    several different ones in a row, none accepted   the provider's: it pauses. Those that had failed are released
                                                     again without an attempt, marks they set are taken back
    one with words that speak of the sender          undecided: it is released again without an attempt, and the next
                                                     one decides. Another one so, or nobody else: the provider pauses
    one that was refused so, and again after         its own: it is set aside, and holds up nobody
    others were accepted
    ================================================ ==================================================================

    A notice that was refused for a fault which may be the provider's (`is_suspect`) goes last: the others decide.
    """
    _inherit = 'dunning.engine'

    @api.model
    def _find_blame(self, notice, facts):
        """Say whose the fault is, after what happened before.

        :param notice: `dunning.notice` in `sending`
        :param facts: :class:`~.dunning_outcome.Facts`
        :return: (the :class:`~..tools.smtp.Kind` as which it is to be treated; whether this notice alone meets it; the
            refusals that make it the provider's fault, empty where they do not)
        """
        outcome, provider = facts.outcome, facts.provider
        if outcome.kind == Kind.ACCEPTED:
            provider._forget_refusals()
        if outcome.kind in (Kind.ACCEPTED, Kind.UNCLEAR) or outcome.stage not in RECIPIENT_STAGES:
            return outcome.kind, False, []
        if notice.is_suspect and notice.waiting_since and self._has_accepted_since(notice):
            return outcome.kind, True, []
        if outcome.kind == Kind.PROVIDER or outcome.reason in OWN_REASONS or (
                outcome.kind == Kind.RECIPIENT and outcome.code is None):
            return outcome.kind, False, []
        refusals = self._add_refusal(notice, facts)
        if self._is_in_a_row(refusals):
            # What may pass goes on counting until something is accepted.
            provider.sudo().refusals = [
                {**refusal, 'marked': [], 'notices': dict.fromkeys(refusal['notices'], False)}
                for refusal in refusals if not refusal['is_final']] or False
            return Kind.PROVIDER, False, refusals
        return outcome.kind, False, []

    @api.model
    def _is_left_to_the_next(self, notice, facts):
        """Whether the next notice is to decide if what a server says of the sender is about this one mail only. A
        second fault of that kind pauses the provider."""
        if facts.outcome.passing or facts.outcome.stage not in RECIPIENT_STAGES or any(
                refusal['is_fault'] for refusal in facts.provider.refusals or []):
            return False
        self._add_refusal(notice, facts, is_fault=True)
        return True

    @api.model
    def _add_refusal(self, notice, facts, is_fault=False):
        """Keep a refusal with its provider.

        :param bool is_fault: it speaks of the sender
        :return: list of dict, those since a mail was accepted last, one a recipient. Each names the notices, whether
            they have failed by it, and the addresses that are marked by it
        """
        outcome, to = facts.outcome, set(facts.mail.addresses)
        refusals, notices, marked = [], {}, set(self._find_gone(notice, facts))
        for refusal in facts.provider.refusals or []:
            if to & set(refusal['to'].split(', ')):
                notices |= refusal['notices']
                marked.update(refusal['marked'])
            else:
                refusals.append(refusal)
        refusals.append({
            'to': ', '.join(sorted(to)), 'stage': str(outcome.stage), 'name': notice._get_full_name(),
            'notices': {**notices, str(notice.id): outcome.kind == Kind.RECIPIENT}, 'marked': sorted(marked),
            'is_fault': is_fault, 'is_final': outcome.kind == Kind.RECIPIENT,
            'is_unknown': outcome.blames_address, 'answer': facts.answer,
            'words': outcome.pattern if outcome.code else str(outcome.reason)})
        facts.provider.sudo().refusals = refusals
        return refusals

    @api.model
    def _is_in_a_row(self, refusals):
        """Whether so many refusals mean the sender."""
        counts = {}
        for refusal in refusals:
            if refusal['is_fault']:
                continue
            key = refusal['is_final'], refusal['words']
            counts[key] = counts.get(key, 0) + 1
        final = [refusal for refusal in refusals if refusal['is_final']]
        unfounded = [refusal for refusal in final if not refusal['is_unknown']]
        return (max(counts.values(), default=0) >= REFUSALS_TO_PAUSE or len(unfounded) >= REFUSALS_TO_PAUSE
                or len(final) >= UNKNOWN_TO_PAUSE)

    @api.model
    def _has_accepted_since(self, notice):
        """Whether the server has accepted mail for others since this notice was first released again as a suspect, or
        what is left of its addresses was kept as one."""
        if notice.delivery_state == 'sent':
            return bool(self.env['dunning.delivery.log'].sudo().search_count([
                ('provider_id', '=', notice.provider_id.id), ('recipient_count', '>', 0), ('state_to', '=', 'sent'),
                ('notice_id', '!=', notice.id), ('date', '>', notice.waiting_since)], limit=1))
        return bool(self.env.execute_query(SQL(
            """
            SELECT 1
              FROM dunning_delivery_log l,
                   LATERAL (SELECT id, date
                              FROM dunning_delivery_log
                             WHERE notice_id = %s AND state_to = 'released'
                               AND date >= %s::timestamp - INTERVAL '1 hour'
                               AND stage IN ('rcpt', 'data', 'body', 'eod')
                             ORDER BY id
                             LIMIT 1) released
             WHERE l.provider_id = %s AND l.recipient_count > 0 AND l.state_to = 'sent' AND l.id > released.id
               -- Clocks are put back.
               AND l.date >= released.date - INTERVAL '1 hour'
             LIMIT 1
            """, notice.id, notice.waiting_since, notice.provider_id.id)))

    @api.model
    def _is_worth_another_session(self, session, was_used, outcome, work):
        """Whether a refusal may be the session's: servers close what was idle, and take so many mails in one session.

        :param bool was_used: whether the session had taken mail before
        """
        if outcome.handed_over or outcome.kind not in (Kind.TRANSIENT, Kind.PROVIDER) \
                or outcome.reason == Reason.TIMEOUT or work.budget.left < work.budget.handover:
            return False
        if was_used:
            return outcome.stage == Stage.MAIL or session.is_dead or outcome.reason == Reason.QUOTA
        # It may have died while the letter was made.
        return session.is_dead and outcome.stage == Stage.MAIL and outcome.code is None

    # === WHAT FOLLOWS === #

    @api.model
    def _describe_refusals(self, facts, refusals):
        """Say why a provider pauses after several refusals, and what to do."""
        return self.env._(
            "%(where)s has refused %(count)s recipients in a row and accepted none between, so the sender may be "
            "meant: its account may be stopped, its limit used up. Ask the mail provider before you resume. None of "
            "these notices has failed; they go last. If it is the addresses after all, put the notices on paper:\n"
            "%(notices)s",
            where=facts.provider._get_where(), count=len(refusals),
            notices='\n'.join(f"{refusal['name']}: {refusal['answer']}" for refusal in refusals))

    @api.model
    def _describe_refusal_in_row(self, facts):
        """The same for one of the notices."""
        return self.env._("Refused in a row with others, so the sender may be meant: %s", facts.answer)

    @api.model
    def _take_back(self, refusals, words, present):
        """Release again what has failed in a row with others, as if it had not been tried, and take back what was
        concluded from it.

        :param present: `dunning.notice` with which the row became one; it is released by itself
        """
        Notice = self.env['dunning.notice'].sudo()
        for refusal, number, has_failed in [
                (one, number, has_failed) for one in refusals for number, has_failed in one['notices'].items()]:
            notice = Notice.browse(int(number)).exists()
            if notice and refusal['marked']:
                # Whatever has become of the notice since.
                notice._take_back_refused(set(refusal['marked']))
            if has_failed and notice != present and notice.state == 'issued' and notice.delivery_state == 'failed' \
                    and not notice.is_held_back and not notice._find_reservation():
                notice._set_released(
                    words, {'stage': refusal['stage']}, is_suspect=True, attempt_count=max(notice.attempt_count - 1, 0),
                    next_attempt_at=fields.Datetime.now(), waiting_since=notice.waiting_since or fields.Datetime.now())
                notice.activity_unlink(['dunning_mail.mail_activity_failed'])
                notice.run_id._update_state()

    @api.model
    def _set_aside(self, notice, facts):
        """Others get through, this notice meets what looks like a fault of the provider: it waits by itself."""
        if facts.outcome.passing and not self._has_waited_enough(notice, facts):
            since = notice.waiting_since or facts.now
            delay = min(max(facts.now - since, timedelta(minutes=1)), timedelta(hours=1))
            notice._set_released(
                self.env._("Others get through; this one is tried again later: %s", facts.answer), facts.log,
                attempt_count=notice.attempt_count - 1, waiting_since=since, is_suspect=True,
                next_attempt_at=facts.now + delay, **facts.values)
            return []
        words = self.env._(
            "Set aside: the mail server takes other mail of this sender, and refuses this one: %s", facts.answer)
        return self._fail(notice, words, facts)

    @api.model
    def _has_waited_enough(self, notice, facts):
        """Whether waiting without attempts has to end at a person."""
        return bool(notice.waiting_since) and facts.now - notice.waiting_since >= timedelta(hours=WAIT_HOURS)


class DunningNotice(models.Model):
    """What is known of a notice that was refused and may not be to blame."""
    _inherit = 'dunning.notice'

    is_suspect = fields.Boolean(
        readonly=True, copy=False, help="Was refused for what may be the service provider's fault, or its own. It goes "
        "last: what becomes of the others decides.")
    waiting_since = fields.Datetime(
        readonly=True, copy=False, help="Since when it has been released again without an attempt.")

    def _take_back_refused(self, addresses):
        """It was not the addresses after all.

        :param addresses: set of those that were marked
        """
        self.ensure_one()
        for partner in self._get_mail_partners().sudo():
            if cleared := partner._clear_dunning_refused(addresses):
                partner._message_log(body=self.env._(
                    "The mark of mail address %s as refused was taken back: others were refused in a row with it.",
                    ', '.join(cleared)))
