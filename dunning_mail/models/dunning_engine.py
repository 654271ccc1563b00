import contextlib
import dataclasses
import logging
import math
import time
from datetime import UTC, datetime, timedelta

import psycopg2

from odoo import api, fields, models
from odoo.tools import SQL

from ..tools import smtp
from ..tools.budget import Budget, make_budget

_logger = logging.getLogger(__name__)

# Slots up to here are waited for, since a trigger in the future may fire up to a minute late.
WAIT_HORIZON = 120
# How often a waiting pass looks for what was released meanwhile.
LOOK_EVERY = 1
# Seconds for one step of a session, and for the answer after the final dot (RFC 5321 4.5.3.2.6). Both can be set as
# system parameters, `dunning_mail.smtp_timeout` and `dunning_mail.answer_timeout`, and both are cut to what the
# scheduler's limit allows.
SMTP_TIMEOUT = 30
ANSWER_TIMEOUT = 600
# For taking leave of all servers together.
CLOSE_SECONDS = 4
# A kept session is tested before it is used again after this.
SESSION_IDLE_SECONDS = 5
# How often an outcome is written down anew, and how many steps in a row may collide with what others write.
CONFLICTS_IN_A_ROW = 5
# How often the scheduler is told how many mails were sent.
REPORT_EVERY = 5


@dataclasses.dataclass
class Pass:
    """What a pass of the engine keeps from one mail to the next.

    :ivar engine: the `ir.cron` that runs, empty for all
    :ivar budget: :class:`~..tools.budget.Budget`
    :ivar locked: providers whose lock is held
    :ivar skipped: providers that are of no use in this pass any more
    :ivar busy: providers whose notices are in other hands right now
    :ivar sessions: provider id -> (session, when it was used last)
    :ivar turns: provider id -> number of its last turn
    :ivar conflicts: how many steps in a row collided with what others write
    :ivar unreported: how many mails the scheduler does not know of
    :ivar reported_at: when it was told last
    """

    engine: models.BaseModel
    budget: Budget
    locked: models.BaseModel
    skipped: models.BaseModel
    busy: models.BaseModel
    sessions: dict = dataclasses.field(default_factory=dict)
    turns: dict = dataclasses.field(default_factory=dict)
    conflicts: int = 0
    unreported: int = 0
    reported_at: float = -math.inf


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

    # === THE PASS === #

    @api.model
    def _process(self):
        """Entry of the scheduled action: send what is due, wait for near slots, come back for later ones."""
        engine = self.env['ir.cron'].browse(self.env.context.get('cron_id'))
        nobody = self.env['dunning.provider']
        work = Pass(engine, self._get_budget(), locked=nobody, skipped=nobody, busy=nobody)
        try:
            if not self._check_database():
                self.env['ir.cron']._commit_progress()
                return
            self._find_orphans_of_all(work)
            self._mend_attempts()
            while self._take_turn(work):
                pass
        except BaseException:
            # A failed transaction takes no further statement, not even the one that gives the locks back.
            with contextlib.suppress(psycopg2.Error):
                self.env.cr.rollback()
            raise
        finally:
            end = time.monotonic() + CLOSE_SECONDS
            for session, _used_at in work.sessions.values():
                session.close(timeout=min(2.0, max(0.1, end - time.monotonic())))
            work.locked._unlock()
        if work.unreported:
            self._report(work)
        self._finish()
        self._schedule(engine)

    @api.model
    def _take_turn(self, work):
        """Send the next mail if its slot has come, else wait for it a little.

        :param work: :class:`Pass`
        :return: whether the pass goes on
        """
        left = work.budget.wait
        if left <= 0:
            return False
        provider, slot = self._get_next(work.engine, work.skipped | work.busy, work.turns)
        wait = (slot - self._now()).total_seconds() if provider else WAIT_HORIZON + 1
        if work.busy and wait > 0:
            wait = min(wait, LOOK_EVERY)
            work.busy = work.busy.browse()
        if wait > WAIT_HORIZON:
            return False
        if wait > 0:
            self._pause_pass(min(wait, left, LOOK_EVERY))
            return True
        work.turns[provider.id] = max(work.turns.values(), default=0) + 1
        if not self._become_sender(provider, work):
            return True
        verdict = self._try_to_send(provider, work)
        if verdict == 'done':
            work.skipped |= provider
        elif verdict == 'busy':
            # The others go on meanwhile.
            work.busy |= provider
        return verdict != 'late'

    @api.model
    def _become_sender(self, provider, work):
        """Take a provider's lock, and see what a sender before left behind.

        :return: whether it is held; who else has it needs no help
        """
        if provider in work.locked:
            return True
        if not provider._lock():
            work.skipped |= provider
            return False
        work.locked |= provider
        self._find_orphans(provider)
        return True

    @api.model
    def _try_to_send(self, provider, work):
        """Send one notice. Where somebody else wrote to the same rows, it is the next turn's.

        :return: what `_send_next()` returned
        """
        try:
            verdict = self._send_next(provider, work)
        except psycopg2.OperationalError:
            # What was not handed over can simply be tried again; where the outcome of a handover could not be stored,
            # the notice is an orphan now.
            work.conflicts += 1
            if self.env.cr.closed or work.conflicts > CONFLICTS_IN_A_ROW:
                raise
            self.env.cr.rollback()
            self._find_orphans(provider)
            return 'next'
        work.conflicts = 0
        return verdict

    # === TIME AND COMMITS === #

    @api.model
    def _get_budget(self):
        """Return the :class:`~..tools.budget.Budget` of this pass."""
        limit, used = self.env['ir.cron']._get_dunning_pass()
        return make_budget(
            limit, used, step=self._get_seconds('dunning_mail.smtp_timeout', SMTP_TIMEOUT),
            answer=self._get_seconds('dunning_mail.answer_timeout', ANSWER_TIMEOUT))

    @api.model
    def _get_seconds(self, parameter, default):
        """Return a system parameter in seconds, or the default where it is no positive number."""
        text = self.env['ir.config_parameter'].sudo().get_param(parameter)
        if not text:
            return default
        with contextlib.suppress(ValueError):
            if 0 < (seconds := float(text)) <= default:
                return seconds
        _logger.warning("System parameter %s: “%s” is not between 0 and %s seconds", parameter, text, default)
        return default

    @api.model
    def _pause_pass(self, seconds):
        """Wait without an open transaction, and see afterwards what others did."""
        self.env['ir.cron']._commit_progress()
        self._wait(seconds)
        self.env.invalidate_all()

    @api.model
    def _commit(self):
        """Commit a claim or an outcome. To tell the scheduler of it costs as much again, and is left to `_report()`."""
        self.env.cr.commit()  # pylint: disable=invalid-commit

    @api.model
    def _report(self, work):
        """Tell the scheduler what was done, and commit."""
        work.reported_at = time.monotonic()
        done, work.unreported = work.unreported, 0
        self.env['ir.cron']._commit_progress(done, remaining=0)

    @api.model
    def _now(self):
        """Return the current time as naive UTC, to the microsecond: the pace is not measured in whole seconds."""
        return datetime.now(UTC).replace(tzinfo=None)

    @api.model
    def _wait(self, seconds):
        """Wait; a method of its own so that tests can turn the clock instead."""
        time.sleep(seconds)

    # === WHO IS NEXT === #

    @api.model
    def _get_next(self, engine, skipped, turns=None):
        """Return the provider with the earliest slot that has something to send.

        :param engine: the `ir.cron` that runs, empty for all
        :param skipped: providers that are of no use in this pass
        :param dict turns: provider id -> number of its last turn in this pass
        :return: (`dunning.provider`, slot as naive UTC), or (empty, None)
        """
        now = fields.Datetime.now()
        providers = self.env['dunning.provider'].sudo()
        providers.flush_model()
        self.env['dunning.notice'].flush_model()
        rows = self.env.execute_query(SQL(
            """
            SELECT p.id, COALESCE(n.next_attempt_at, %(now)s)
              FROM dunning_provider p
             CROSS JOIN LATERAL (
                   SELECT next_attempt_at
                     FROM dunning_notice
                    WHERE provider_id = p.id
                      AND (delivery_state = 'released' OR rest_to IS NOT NULL) AND state = 'issued'
                    ORDER BY next_attempt_at NULLS FIRST
                    LIMIT 1) n
             WHERE p.active AND (p.state = 'ready' OR p.resume_at IS NOT NULL) AND p.id <> ALL(%(skipped)s)
               %(of_engine)s
             ORDER BY p.name, p.id
            """, now=now, skipped=skipped.ids,
            of_engine=SQL("AND p.engine_id = %s", engine.id) if engine else SQL()))
        candidates = []
        for provider_id, attempt_at in rows:
            provider = providers.browse(provider_id)
            slot = max(provider._get_next_slot(now), attempt_at)
            # Of several that may send now, the one whose turn came first: without that, one with a short interval and
            # many notices would keep the others waiting. Slots without an interval may be in the same second.
            turn = (turns or {}).get(provider_id, 0)
            candidates.append((slot, provider._get_stored_slot() or datetime.min, turn, provider))
        if not candidates:
            return self.env['dunning.provider'], None
        slot, _due_at, _turn, provider = min(candidates, key=lambda candidate: candidate[:3])
        return provider, slot

    @api.model
    def _schedule(self, engine):
        """Come back at once for what is near, and in time for what is later."""
        if not engine:
            return
        provider, slot = self._get_next(engine, self.env['dunning.provider'])
        if not provider:
            return
        start = slot - timedelta(seconds=WAIT_HORIZON)
        if start > fields.Datetime.now():
            engine._trigger(at=start)
        elif not provider._is_locked_elsewhere():
            # Another sender comes back by itself.
            engine._trigger()

    @api.model
    def _mend_attempts(self):
        """What is to be tried again later than it can be was put off by a clock that was wrong."""
        Notice = self.env['dunning.notice'].sudo()
        latest = fields.Datetime.now() + timedelta(minutes=max(Notice._RETRY_AFTER_MINUTES) + 1)
        Notice.search([
            ('next_attempt_at', '>', latest), ('state', '=', 'issued'), '|', ('delivery_state', '=', 'released'),
            ('rest_to', '!=', False)]).next_attempt_at = fields.Datetime.now()

    # === SENDING === #

    @api.model
    def _send_next(self, provider, work):
        """Send one notice of a provider whose lock is held.

        :param provider: `dunning.provider`
        :param work: :class:`Pass`
        :return: `next` when the provider may have more to send, `busy` when what it has is in other hands right now,
            `done` when it is of no more use in this pass, `late` when there is no time for a handover
        """
        budget = work.budget
        try:
            session = self._get_session(provider, work)
        except smtp.DeliveryFault as fault:
            provider = provider.with_context(lang=provider.create_uid.lang)
            provider._pause(provider._describe_fault(fault.outcome), passing=fault.outcome.passing)
            self.env['ir.cron']._commit_progress()
            return 'done'
        if budget.left < budget.handover / 2:
            # The resolver, or a login over OAuth, took longer than anyone can limit.
            return 'late'
        notice, has_lock = self._lock_next_notice(provider)
        if not notice:
            return 'busy'
        contacts = notice._fetch_for_claim()
        # What the engine says is for the person who answers for the run.
        lang = notice.user_id.lang
        self, notice, provider = (records.with_context(lang=lang) for records in (self, notice, provider))
        if self._has_to_wait(provider, notice, contacts):
            return 'next'
        mail = self._claim_or_stop(notice, contacts)
        if not mail:
            notice.run_id._update_state()
            work.unreported += 1
            self._report(work)
            return 'next'
        if budget.left < budget.handover / 2:
            # The letter was made again, and took its time. Nothing is promised yet.
            self.env.cr.rollback()
            return 'late'
        if not has_lock:
            raise psycopg2.InterfaceError(
                "The engine's lock is on another connection to PostgreSQL: does a pooler share them by transaction?")
        outcome, ended_at = self._hand_over(provider, session, mail, work)
        is_useful = self._record_outcome(notice, provider, outcome, mail, ended_at)
        work.unreported += 1
        if time.monotonic() - work.reported_at > REPORT_EVERY:
            self._report(work)
        return 'next' if is_useful else 'done'

    @api.model
    def _has_to_wait(self, provider, notice, contacts):
        """Whether a mail to several recipients has to wait where one to a single one would not; then until when is
        stored."""
        now = self._now()
        slot = provider._get_next_slot(now, notice._count_recipients(contacts))
        if slot <= now:
            return False
        provider._store_slot(min(slot, provider._get_latest_slot(now)))
        self.env['ir.cron']._commit_progress()
        return True

    @api.model
    def _claim_or_stop(self, notice, contacts):
        """Claim a notice; one that cannot be sent is stopped, and the others can.

        :return: :class:`~.dunning_notice_mail.Handover`, or None where it must not or cannot be sent
        """
        try:
            mail = notice._claim(fields.Datetime.now(), contacts)
            # What PostgreSQL refuses, it refuses before anything is promised.
            self.env.flush_all()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            raise
        except Exception as error:
            _logger.exception("Dunning notice %s cannot be sent", notice.id)
            self.env.cr.rollback()
            notice._stop_claim(self.env._("The mail could not be made: %s", error))
            return None
        return mail

    @api.model
    def _hand_over(self, provider, session, mail, work):
        """Commit the claim, and hand the mail over.

        :return: (:class:`~..tools.smtp.Outcome`, end of the handover as naive UTC)
        """
        def send(session):
            return session.send(
                provider._get_smtp_from(), mail.addresses, mail.content, envelope_id=mail.envelope_id,
                **work.budget.get_handover_limits())

        # From here on the world may have the mail. This commit also proves that the lock is still ours.
        self._commit()
        was_used = session.is_used
        outcome = send(session)
        if self._is_worth_another_session(session, was_used, outcome, work):
            # Nothing of the message was handed over.
            session.close(timeout=1.0)
            work.sessions.pop(provider.id, None)
            try:
                session = provider._open_session(timeout=work.budget.step, total_timeout=work.budget.connect)
            except smtp.DeliveryFault as fault:
                return fault.outcome, self._now()
            outcome = send(session)
        ended_at = self._now()
        if session.is_dead:
            work.sessions.pop(provider.id, None)
        else:
            work.sessions[provider.id] = (session, time.monotonic())
        return outcome, ended_at

    @api.model
    def _get_session(self, provider, work):
        """Return a live session, opened anew where the kept one has died.

        :raise smtp.DeliveryFault: with an outcome of kind `provider`
        """
        session, used_at = work.sessions.pop(provider.id, (None, 0))
        is_fresh = session and time.monotonic() - used_at <= SESSION_IDLE_SECONDS
        if session and not is_fresh and not session.is_alive():
            session.close()
            session = None
        if not session:
            session = provider._open_session(timeout=work.budget.step, total_timeout=work.budget.connect)
        if not is_fresh:
            # That may take long: what follows is to see the data as they are now. An OAuth login stores a token.
            self.env['ir.cron']._commit_progress()
            self.env.invalidate_all()
        work.sessions[provider.id] = (session, time.monotonic())
        return session

    @api.model
    def _lock_next_notice(self, provider):
        """Lock the next notice of a provider; one that a person is working on is left for later.

        In the same statement it is seen whether this connection holds the provider's lock.

        :param provider: `dunning.provider`
        :return: (`dunning.notice`, empty where none is free; whether the lock is held)
        """
        rows = self.env.execute_query(SQL(
            """
            SELECT id, %s
              FROM dunning_notice
             WHERE provider_id = %s
               AND (delivery_state = 'released' OR rest_to IS NOT NULL) AND state = 'issued'
               AND (next_attempt_at IS NULL OR next_attempt_at <= %s)
             ORDER BY next_attempt_at NULLS FIRST, id
             LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED
            """, provider._get_lock_condition(), provider.id, fields.Datetime.now()))
        notice = self.env['dunning.notice'].sudo().browse([notice_id for notice_id, _has_lock in rows])
        notice.invalidate_recordset()
        return notice.with_company(notice.company_id) if notice else notice, bool(rows and rows[0][1])
