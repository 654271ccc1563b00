import logging
import time
from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import SQL

from ..tools import smtp

_logger = logging.getLogger(__name__)

# A pass of a scheduled action may take 120 s by default; other actions want their turn.
PASS_SECONDS = 50
# Slots up to here are waited for, since a trigger in the future may fire up to a minute late.
WAIT_HORIZON = 120
# How often a waiting pass looks for what was released meanwhile.
LOOK_EVERY = 1
# How long the answer after the final dot may take. RFC 5321 4.5.3.2.6 says 10 minutes; the job's limit allows less.
ANSWER_TIMEOUT = 60
# A kept session is tested before it is used again after this.
SESSION_IDLE_SECONDS = 5
# Three different recipients refused in a row for policy: it is the sender who is not liked.
POLICY_REFUSALS_TO_PAUSE = 3


class DunningEngine(models.AbstractModel):
    """The process engine: works through what is released, one mail per interval and provider.

    The order of its steps is what makes a mail go out at most once::

        provider's lock -> session -> claim: `sending`, Message-ID -> COMMIT -> handover -> outcome -> COMMIT

    The lock is a session-level advisory lock on the job's own connection, so it lives through the commits and dies with
    the process. The commit before the handover goes over that same connection: if it succeeds, the lock is still held.
    Whoever gets the lock next knows that what it finds in `sending` is orphaned.
    """
    _name = 'dunning.engine'
    _description = 'Dunning Process Engine'

    # === ENTRY === #

    @api.model
    def _process(self):
        """Entry of the scheduled action: send what is due, wait for near slots, come back for later ones."""
        engine = self.env['ir.cron'].browse(self.env.context.get('cron_id'))
        end = time.monotonic() + PASS_SECONDS
        locked = self.env['dunning.provider']
        skipped = self.env['dunning.provider']
        sessions = {}
        try:
            while True:
                provider, slot = self._get_next(engine, skipped)
                if not provider:
                    break
                wait = (slot - fields.Datetime.now()).total_seconds()
                left = end - time.monotonic()
                if wait > WAIT_HORIZON or left <= 0:
                    break
                if wait > 0:
                    # No transaction stays open while the pass waits.
                    self.env['ir.cron']._commit_progress()
                    self._wait(min(wait, left, LOOK_EVERY))
                    self.env.invalidate_all()
                    continue
                if provider not in locked:
                    if not provider._lock():
                        skipped |= provider
                        continue
                    locked |= provider
                    self._find_orphans(provider)
                if not self._send_next(provider, sessions):
                    skipped |= provider
        finally:
            for session, _used_at in sessions.values():
                session.close()
            if not self.env.cr.closed:
                locked._unlock()
        self._schedule(engine)

    @api.model
    def _wait(self, seconds):
        """Wait; a method of its own so that tests can turn the clock instead."""
        time.sleep(seconds)

    @api.model
    def _get_next(self, engine, skipped):
        """Return the provider with the earliest slot that has something to send.

        :param engine: the `ir.cron` that runs, empty for all
        :param skipped: providers that are of no use in this pass
        :return: (`dunning.provider`, slot as naive UTC), or (empty, None)
        """
        now = fields.Datetime.now()
        domain = [('state', '=', 'ready')]
        providers = self.env['dunning.provider'].sudo().search(
            ['|', *domain, '&', ('state', '=', 'paused'), ('resume_at', '!=', False)]
            + ([('engine_id', '=', engine.id)] if engine else [])) - skipped
        if not providers:
            return providers, None
        self.env['dunning.notice'].flush_model()
        rows = self.env.execute_query(SQL(
            """
            SELECT provider_id, MIN(COALESCE(next_attempt_at, %s))
              FROM dunning_notice
             WHERE delivery_state = 'released' AND state = 'issued' AND provider_id IN %s
             GROUP BY provider_id
            """, now, tuple(providers.ids)))
        best = (self.env['dunning.provider'], None)
        for provider_id, attempt_at in rows:
            provider = providers.browse(provider_id)
            slot = max(provider._get_next_slot(now), attempt_at)
            if best[1] is None or slot < best[1]:
                best = (provider, slot)
        return best

    @api.model
    def _schedule(self, engine):
        """Come back at once for what is near, and in time for what is later."""
        if not engine:
            return
        provider, slot = self._get_next(engine, self.env['dunning.provider'])
        if not provider:
            return
        start = slot - timedelta(seconds=WAIT_HORIZON)
        if start <= fields.Datetime.now():
            if provider.id and not self._is_locked_elsewhere(provider):
                engine._trigger()
            return
        engine._trigger(at=start)

    @api.model
    def _is_locked_elsewhere(self, provider):
        """Whether another process is the provider's sender; it comes back by itself, we need not hurry."""
        if provider._lock():
            provider._unlock()
            return False
        return True

    @api.model
    def _find_orphans(self, provider):
        """With the provider's lock in hand, nothing can be on its way: what says so is orphaned."""
        self.env['dunning.notice'].sudo().search([
            ('provider_id', '=', provider.id), ('delivery_state', '=', 'sending')])._mark_orphans_unclear()
        self.env['ir.cron']._commit_progress()

    # === SENDING === #

    @api.model
    def _send_next(self, provider, sessions):
        """Send one notice of a provider whose lock is held.

        :param provider: `dunning.provider`
        :param dict sessions: provider id -> (session, when it was used last), kept over several mails
        :return: whether the provider is of further use in this pass
        """
        try:
            session = self._get_session(provider, sessions)
        except smtp.DeliveryFault as fault:
            provider._pause(provider._describe_fault(fault.outcome), passing=fault.outcome.passing)
            self.env['ir.cron']._commit_progress()
            return False
        notice = self._lock_next_notice(provider)
        if not notice:
            return False
        try:
            with self.env.cr.savepoint():
                claim = notice._claim(fields.Datetime.now())
        except Exception as error:
            # This notice cannot be made into a mail; the others can.
            _logger.exception("Dunning notice %s cannot be sent", notice.id)
            words = self.env._("The mail could not be made: %s", error)
            notice._set_delivery('failed', words)
            notice._ask_person('dunning_mail.mail_activity_failed', words)
            claim = None
        if not claim:
            notice.run_id._update_state()
            self.env['ir.cron']._commit_progress(1, remaining=0)
            return True
        # From here on the world may have the mail. This commit also proves that the lock is still ours.
        self.env['ir.cron']._commit_progress()
        addresses, content = claim
        outcome = session.send(
            provider._get_smtp_from(), addresses, content, answer_timeout=ANSWER_TIMEOUT)
        now = fields.Datetime.now()
        if session.is_dead:
            sessions.pop(provider.id, None)
        else:
            sessions[provider.id] = (session, time.monotonic())
        goes_on = self._apply_outcome(notice, provider, outcome, len(addresses), now)
        self.env['ir.cron']._commit_progress(1, remaining=0)
        return goes_on

    @api.model
    def _get_session(self, provider, sessions):
        """Return a live session, opened anew where the kept one has died.

        :raise smtp.DeliveryFault: with an outcome of kind `provider`
        """
        session, used_at = sessions.pop(provider.id, (None, 0))
        if session and time.monotonic() - used_at > SESSION_IDLE_SECONDS and not session.is_alive():
            session.close()
            session = None
        if not session:
            session = provider._open_session()
        sessions[provider.id] = (session, time.monotonic())
        return session

    @api.model
    def _lock_next_notice(self, provider):
        """Return the next notice of a provider, its row locked; one that a person is working on is left for later."""
        now = fields.Datetime.now()
        rows = self.env.execute_query(SQL(
            """
            SELECT id
              FROM dunning_notice
             WHERE provider_id = %s AND delivery_state = 'released' AND state = 'issued'
               AND (next_attempt_at IS NULL OR next_attempt_at <= %s)
             ORDER BY next_attempt_at NULLS FIRST, id
             LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED
            """, provider.id, now))
        notice = self.env['dunning.notice'].sudo().browse([row[0] for row in rows])
        notice.invalidate_recordset()
        return notice.with_company(notice.company_id) if notice else notice

    @api.model
    def _apply_outcome(self, notice, provider, outcome, recipient_count, now):
        """Write down what became of a handover.

        A recipient's fault is the notice's, a provider's fault is the provider's.

        :param notice: `dunning.notice` in `sending`
        :param outcome: :class:`~..tools.smtp.Outcome`
        :param int recipient_count: recipients in the envelope
        :param datetime now: end of the handover, naive UTC
        :return: whether the provider is of further use in this pass
        """
        _ = self.env._
        kind = outcome.kind
        answer = outcome.answer or str(outcome.reason)
        accepted = recipient_count - len(outcome.refused)
        log = {
            'stage': str(outcome.stage), 'code': ' '.join(filter(None, [str(outcome.code or ''), outcome.enhanced])),
            'host': outcome.host, 'tls_version': outcome.tls_version, 'queue_id': outcome.queue_id,
            'recipient_count': accepted if kind in (smtp.Kind.ACCEPTED, smtp.Kind.UNCLEAR) else 0,
        }
        values = {}
        if outcome.handed_over and not notice.handover_at:
            values['handover_at'] = notice.claimed_at
        if kind != smtp.Kind.PROVIDER:
            provider._after_handover(now)
            provider.sudo().policy_refusal_count = provider.policy_refusal_count + 1 if outcome.is_policy else 0

        if kind == smtp.Kind.ACCEPTED:
            info = _("Taken by the mail server: %s", answer)
            if outcome.refused:
                info += '\n' + _("Refused: %s", '; '.join(
                    f'{address} ({code} {text})' for address, (code, text) in outcome.refused.items()))
            notice._set_delivery('sent', info, log, sent_at=now, **values)
            notice._log_mail(now)
            notice._drop_unarchived_documents()
            notice.run_id._update_state()
            return True
        if kind == smtp.Kind.UNCLEAR:
            words = _(
                "The connection broke after the mail was handed over (%s). The customer may or may not have it: "
                "ask the mail provider before you send again.", answer)
            notice._set_delivery('unclear', words, log, handover_at=notice.handover_at or notice.claimed_at)
            notice._ask_person('dunning_mail.mail_activity_unclear', words)
            notice.run_id._update_state()
            return True
        if kind == smtp.Kind.RECIPIENT and provider.policy_refusal_count < POLICY_REFUSALS_TO_PAUSE:
            self._fail(notice, _("The mail server refused the recipient: %s", answer), log, **values)
            if outcome.blames_address:
                self._mark_address_refused(notice, answer)
            return True
        if kind == smtp.Kind.TRANSIENT:
            self._try_later(notice, answer, now, log, values)
            return True
        # The provider's fault: the notice waits, and nothing more is tried with this login.
        words = provider._describe_fault(outcome)
        notice._set_delivery('released', words, log, attempt_count=notice.attempt_count - 1, **values)
        provider._pause(words, passing=outcome.passing and kind == smtp.Kind.PROVIDER, now=now)
        return False

    @api.model
    def _fail(self, notice, words, log, **values):
        notice._set_delivery('failed', words, log, **values)
        notice._ask_person('dunning_mail.mail_activity_failed', words)
        notice.run_id._update_state()

    @api.model
    def _try_later(self, notice, answer, now, log, values):
        """Release a notice again after a passing fault, with growing delays, and give up after the last one."""
        delays = notice._RETRY_AFTER_MINUTES
        if notice.attempt_count > len(delays):
            self._fail(notice, self.env._(
                "Given up after %(count)s attempts: %(answer)s", count=notice.attempt_count, answer=answer),
                log, **values)
            return
        minutes = delays[notice.attempt_count - 1]
        notice._set_delivery(
            'released', self.env._(
                "Passing fault, tried again in %(minutes)s minutes: %(answer)s", minutes=minutes, answer=answer),
            log, next_attempt_at=now + timedelta(minutes=minutes), **values)

    @api.model
    def _mark_address_refused(self, notice, answer):
        """The customer's next notice goes on paper, until somebody corrects or clears the address."""
        sent_to = set((notice.email_to or '').split(', '))
        for partner in notice._get_mail_partners():
            if sent_to & set(notice._parse_addresses(partner.email)):
                partner.sudo()._set_dunning_refused(answer)
