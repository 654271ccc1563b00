import contextlib
import dataclasses
import logging
import math
import time
from datetime import UTC, datetime, timedelta

import psycopg2

from odoo import api, fields, models
from odoo.tools import SQL, format_datetime

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
# Three different recipients refused in a row for policy: it is the sender who is not liked.
POLICY_REFUSALS_TO_PAUSE = 3
# How often the scheduler is told how many mails were sent.
REPORT_EVERY = 5


@dataclasses.dataclass
class Pass:
    """What a pass of the engine keeps from one mail to the next.

    :ivar budget: :class:`~..tools.budget.Budget`
    :ivar sessions: provider id -> (session, when it was used last)
    :ivar unreported: how many mails the scheduler does not know of
    :ivar reported_at: when it was told last
    """

    budget: Budget
    sessions: dict = dataclasses.field(default_factory=dict)
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

    # === ENTRY === #

    @api.model
    def _process(self):
        """Entry of the scheduled action: send what is due, wait for near slots, come back for later ones."""
        engine = self.env['ir.cron'].browse(self.env.context.get('cron_id'))
        work = Pass(self._get_budget())
        locked = self.env['dunning.provider']
        skipped = self.env['dunning.provider']
        busy = self.env['dunning.provider']
        conflicts = 0
        try:
            for provider in self._get_owners_of_sending():
                if provider._lock():
                    locked |= provider
                    self._find_orphans(provider)
                    if engine and provider.engine_id != engine:
                        # Its own engine may be switched off, or gone; if it is not, it is not to be kept waiting.
                        provider._unlock()
                        locked -= provider
            while True:
                left = work.budget.wait
                if left <= 0:
                    break
                provider, slot = self._get_next(engine, skipped | busy)
                wait = (slot - self._now()).total_seconds() if provider else WAIT_HORIZON + 1
                if busy and wait > 0:
                    wait = min(wait, LOOK_EVERY)
                    busy = busy.browse()
                if wait > WAIT_HORIZON:
                    break
                if wait > 0:
                    self._pause_pass(min(wait, left, LOOK_EVERY))
                    continue
                if provider not in locked:
                    if not provider._lock():
                        skipped |= provider
                        continue
                    locked |= provider
                    self._find_orphans(provider)
                try:
                    verdict = self._send_next(provider, work)
                    conflicts = 0
                except psycopg2.OperationalError:
                    # Somebody else wrote to the same rows. What was not handed over can simply be tried again; where
                    # the outcome of a handover could not be stored, the notice is an orphan now.
                    conflicts += 1
                    if self.env.cr.closed or conflicts > CONFLICTS_IN_A_ROW:
                        raise
                    self.env.cr.rollback()
                    self._find_orphans(provider)
                    continue
                if verdict == 'late':
                    break
                if verdict == 'done':
                    skipped |= provider
                elif verdict == 'busy':
                    # The others go on meanwhile.
                    busy |= provider
        except BaseException:
            # A failed transaction takes no further statement, not even the one that gives the locks back.
            with contextlib.suppress(psycopg2.Error):
                self.env.cr.rollback()
            raise
        finally:
            end = time.monotonic() + CLOSE_SECONDS
            for session, _used_at in work.sessions.values():
                session.close(timeout=min(2.0, max(0.1, end - time.monotonic())))
            locked._unlock()
        if work.unreported:
            self._report(work)
        self._finish()
        self._schedule(engine)

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

    @api.model
    def _get_next(self, engine, skipped):
        """Return the provider with the earliest slot that has something to send.

        :param engine: the `ir.cron` that runs, empty for all
        :param skipped: providers that are of no use in this pass
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
                    WHERE provider_id = p.id AND delivery_state = 'released' AND state = 'issued'
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
            # many notices would keep the others waiting.
            candidates.append((slot, provider._get_stored_slot() or datetime.min, provider))
        if not candidates:
            return self.env['dunning.provider'], None
        slot, _due_at, provider = min(candidates, key=lambda candidate: candidate[:2])
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
    def _get_owners_of_sending(self):
        """Return the providers of all engines, archived and paused ones too, that have notices in `sending`."""
        self.env['dunning.notice'].flush_model()
        rows = self.env.execute_query(SQL(
            "SELECT DISTINCT provider_id FROM dunning_notice WHERE delivery_state = 'sending' AND state = 'issued'"))
        return self.env['dunning.provider'].sudo().browse([row[0] for row in rows if row[0]])

    @api.model
    def _find_orphans(self, provider):
        """With the provider's lock in hand, nothing can be on its way: what says so is orphaned."""
        orphans = self.env['dunning.notice'].sudo().search([
            ('provider_id', '=', provider.id), ('delivery_state', '=', 'sending'), ('state', '=', 'issued')])
        if orphans:
            # Nobody knows when that handover ended: the pace counts from now.
            provider._set_next_slot(self._now())
            orphans._mark_orphans_unclear()
            orphans.run_id._update_state()
        self.env['ir.cron']._commit_progress()

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
        now = self._now()
        slot = provider._get_next_slot(now, notice._count_recipients(contacts))
        if slot > now:
            # A mail to several recipients may have to wait where one to a single one would not.
            provider._store_slot(slot)
            self.env['ir.cron']._commit_progress()
            return 'next'
        try:
            mail = notice._claim(fields.Datetime.now(), contacts)
            # What PostgreSQL refuses, it refuses before anything is promised.
            self.env.flush_all()
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            raise
        except Exception as error:
            # This notice cannot be sent; the others can.
            _logger.exception("Dunning notice %s cannot be sent", notice.id)
            self.env.cr.rollback()
            notice._stop(self.env._("The mail could not be made: %s", error))
            mail = None
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
            self.env.cr.rollback()
            raise psycopg2.InterfaceError(
                "The engine's lock is on another connection to PostgreSQL: does a pooler share them by transaction?")
        sender = provider._get_smtp_from()
        # From here on the world may have the mail. This commit also proves that the lock is still ours.
        self._commit()
        outcome = session.send(sender, mail.addresses, mail.content, **budget.get_handover_limits())
        ended_at = self._now()
        if session.is_dead:
            work.sessions.pop(provider.id, None)
        else:
            work.sessions[provider.id] = (session, time.monotonic())
        is_useful = self._record_outcome(notice, provider, outcome, mail, ended_at)
        work.unreported += 1
        if time.monotonic() - work.reported_at > REPORT_EVERY:
            self._report(work)
        return 'next' if is_useful else 'done'

    @api.model
    def _record_outcome(self, notice, provider, outcome, mail, ended_at):
        """Write down what became of a handover and what follows from it, and commit it.

        Others may write to the notice, its run or the provider at the same moment, and PostgreSQL then refuses the
        later one. What the server said must not get lost over it, so it is written down again. Nor over what follows:
        if that fails, the outcome is written down alone, and what follows after it, each for itself.

        :return: whether the provider is of further use in this pass
        """
        conflicts, is_alone = 0, False
        while True:
            try:
                is_useful, steps = self._apply_outcome(notice, provider, outcome, mail, ended_at)
                if not is_alone:
                    for step in steps:
                        step()
                self._commit()
                break
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                conflicts += 1
                if self.env.cr.closed or conflicts > CONFLICTS_IN_A_ROW:
                    # The last trace of it: the notice stays in `sending`, and becomes `unclear`.
                    _logger.error(
                        "Dunning notice %s: the outcome could not be stored: %s, %s", notice.id, outcome.kind,
                        outcome.answer)
                    raise
                self.env.cr.rollback()
            except Exception:
                if is_alone:
                    raise
                _logger.info("Dunning notice %s: the outcome is stored alone", notice.id, exc_info=True)
                self.env.cr.rollback()
                is_alone = True
        if is_alone:
            self._follow_up(*steps)
            self._commit()
        return is_useful

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
             WHERE provider_id = %s AND delivery_state = 'released' AND state = 'issued'
               AND (next_attempt_at IS NULL OR next_attempt_at <= %s)
             ORDER BY next_attempt_at NULLS FIRST, id
             LIMIT 1
               FOR NO KEY UPDATE SKIP LOCKED
            """, provider._get_lock_condition(), provider.id, fields.Datetime.now()))
        notice = self.env['dunning.notice'].sudo().browse([notice_id for notice_id, _has_lock in rows])
        notice.invalidate_recordset()
        return notice.with_company(notice.company_id) if notice else notice, bool(rows and rows[0][1])

    @api.model
    def _apply_outcome(self, notice, provider, outcome, mail, ended_at):
        """Write down what became of a handover.

        A recipient's fault is the notice's, a provider's fault is the provider's.

        :param notice: `dunning.notice` in `sending`
        :param outcome: :class:`~..tools.smtp.Outcome`
        :param mail: the :class:`~.dunning_notice_mail.Handover`
        :param datetime ended_at: end of the handover, naive UTC
        :return: (whether the provider is of further use in this pass, list of functions that do what follows: the state
            is true without it)
        """
        notice._fetch_for_outcome()
        kind = outcome.kind
        now = ended_at.replace(microsecond=0)
        answer = self._describe_answer(outcome)
        accepted = len(mail.addresses) - len(outcome.refused)
        log = {
            'stage': str(outcome.stage), 'code': ' '.join(filter(None, [str(outcome.code or ''), outcome.enhanced])),
            'host': outcome.host, 'tls_version': outcome.tls_version, 'queue_id': outcome.queue_id,
            'recipient_count': accepted if kind in (smtp.Kind.ACCEPTED, smtp.Kind.UNCLEAR) else 0,
        }
        values = {}
        if outcome.handed_over and not notice.handover_at:
            values['handover_at'] = notice.claimed_at
        if kind != smtp.Kind.PROVIDER:
            provider._after_handover(ended_at)
            provider._count_policy_refusal(notice.email_to if outcome.is_policy else False)

        if kind == smtp.Kind.ACCEPTED:
            info = self.env._("Taken by the mail server: %s", answer)
            if outcome.refused:
                info += '\n' + self.env._("Refused: %s", '; '.join(
                    f'{address} ({code} {text})' for address, (code, text) in outcome.refused.items()))
            # What the computing of the day would say: but for that, company and clerk would have to be read again.
            left = False if notice.redirected_to else self._get_day(now, mail.tz)
            notice._set_delivery('sent', info, log, sent_at=now, date_left=left, **values)
            return True, [lambda: notice._log_mail(now, mail.author_id)]
        if kind == smtp.Kind.UNCLEAR:
            words = self.env._(
                "The connection broke after the mail was handed over (%s). The customer may or may not have it: "
                "ask the mail provider before you send again.", answer)
            notice._set_delivery('unclear', words, log, handover_at=notice.handover_at or notice.claimed_at)
            return True, [
                lambda: notice._log_mail(now, mail.author_id),
                lambda: notice._ask_person('dunning_mail.mail_activity_unclear', words), notice.run_id._update_state]
        if kind == smtp.Kind.RECIPIENT and provider.policy_refusal_count < POLICY_REFUSALS_TO_PAUSE:
            steps = self._fail(
                notice, self.env._("The mail server refused the recipient: %s", answer), log, **values)
            if outcome.blames_address and not notice.redirected_to:
                steps.append(lambda: notice._mark_address_refused(answer))
            return True, steps
        if kind == smtp.Kind.TRANSIENT:
            return True, self._try_later(notice, answer, now, log, values)
        # The provider's fault: the notice waits, and nothing more is tried with this login.
        words = provider._describe_fault(outcome)
        notice._set_delivery('released', words, log, attempt_count=notice.attempt_count - 1, **values)
        provider._pause(words, passing=outcome.passing and kind == smtp.Kind.PROVIDER, now=now)
        return False, []

    @api.model
    def _get_day(self, moment, tz):
        """Return the day of a moment.

        :param datetime moment: naive UTC
        :param str tz: name of the time zone
        """
        return fields.Date.context_today(self.with_context(tz=tz), moment)

    @api.model
    def _describe_answer(self, outcome):
        """Return the server's own words, or ours where it had none that decided."""
        if outcome.code is not None:
            return outcome.answer
        Reason = smtp.Reason
        words = {
            Reason.DISCONNECTED: self.env._("the connection was cut"),
            Reason.TIMEOUT: self.env._("the mail server kept silent for too long"),
            Reason.ANSWER_MISSING: self.env._("the mail server did not confirm that it took the mail"),
            Reason.GARBAGE: self.env._("the mail server's answer could not be understood"),
            Reason.ADDRESS_INVALID: self.env._("this is no valid e-mail address"),
            Reason.SMTPUTF8_MISSING: self.env._("the address has characters that this mail server cannot take"),
        }
        return words.get(outcome.reason) or outcome.answer or str(outcome.reason)

    @api.model
    def _follow_up(self, *steps):
        """Do what belongs to an outcome, but must never stand in its way: the state is true without it."""
        for step in steps:
            try:
                with self.env.cr.savepoint():
                    step()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                raise
            except Exception:
                _logger.exception("A step after the delivery of a dunning notice failed")

    @api.model
    def _finish(self):
        """Do at the end of a pass what would cost each mail a statement: runs that are done, documents that are not to
        be kept. There is a next pass, so that nothing of it may hold up what comes after it."""
        for step in (self._update_runs, self.env['dunning.notice']._drop_unarchived_documents):
            try:
                step()
                self.env['ir.cron']._commit_progress()
            except Exception:
                if self.env.cr.closed:
                    raise
                _logger.info("The end of a dunning pass is left to the next one", exc_info=True)
                self.env.cr.rollback()

    @api.model
    def _update_runs(self):
        """Derive the states of the runs of which nothing is on its way any more."""
        Run = self.env['dunning.run'].sudo()
        for run in Run.search([('state', '=', 'processing'), ('notice_ids', 'not any', Run._UNFINISHED)]):
            try:
                run._update_state()
                self.env['ir.cron']._commit_progress()
            except Exception:
                # There is a next pass, and what was sent is stored.
                if self.env.cr.closed:
                    raise
                _logger.info("The state of dunning run %s is derived in the next pass", run.id, exc_info=True)
                self.env.cr.rollback()

    @api.model
    def _fail(self, notice, words, log, **values):
        notice._set_delivery('failed', words, log, **values)
        return [lambda: notice._ask_person('dunning_mail.mail_activity_failed', words), notice.run_id._update_state]

    @api.model
    def _try_later(self, notice, answer, now, log, values):
        """Release a notice again after a passing fault, with growing delays, and give up after the last one."""
        delays = notice._RETRY_AFTER_MINUTES
        if notice.attempt_count > len(delays):
            return self._fail(notice, self.env._(
                "Given up after %(count)s attempts: %(answer)s", count=notice.attempt_count, answer=answer),
                log, **values)
        next_attempt_at = now + timedelta(minutes=delays[notice.attempt_count - 1])
        notice._set_delivery(
            'released', self.env._(
                "Passing fault, tried again on %(time)s: %(answer)s", answer=answer,
                time=format_datetime(self.env, next_attempt_at, tz=notice.user_id.tz, dt_format='short')),
            log, next_attempt_at=next_attempt_at, **values)
        return []
