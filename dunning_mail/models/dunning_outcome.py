import logging
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg2

from odoo import api, fields, models
from odoo.tools import SQL, LazyTranslate, format_datetime

from ..tools import smtp
from ..tools.smtp import Kind, Reason, Stage
from .dunning_engine import CONFLICTS_IN_A_ROW
from .dunning_notice_mail import Handover
from .dunning_provider import WAIT_HOURS
from .dunning_refusal import RECIPIENT_STAGES

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)


class Facts(NamedTuple):
    """What is known of a handover.

    :ivar provider: `dunning.provider`
    :ivar outcome: what came of it
    :ivar answer: that in words, the server's where it has any
    :ivar mail: what was handed over
    :ivar now: its end, naive UTC in whole seconds
    :ivar log: values for the delivery log
    :ivar values: values of the notice, whatever its state becomes
    """
    provider: models.BaseModel
    outcome: smtp.Outcome
    answer: str
    mail: Handover
    now: datetime
    log: dict
    values: dict


class DunningEngine(models.AbstractModel):
    """How the outcome of a handover becomes a state of its notice, also where a crash left it unknown.

    ========= ====================== =============================================================================
    outcome   method                 the notice becomes
    ========= ====================== =============================================================================
    accepted  `_set_sent()`          *sent*
    unclear   `_set_unclear()`       *unclear*: a person decides
    recipient `_set_refused()`       *failed*
    transient `_try_later()`         *released* again, *failed* after the last attempt
    provider  `_pause_provider()`    *released* again, and the provider pauses
    ========= ====================== =============================================================================

    Whose the fault is, where the outcome alone does not say: `_find_blame()` in `dunning_refusal.py`.

    Each of them writes the state, and returns a list of functions that do what follows from it. The state is true
    without them, so they never stand in its way.
    """
    _inherit = 'dunning.engine'

    _OUTCOME_METHODS = {
        Kind.ACCEPTED: '_set_sent',
        Kind.UNCLEAR: '_set_unclear',
        Kind.RECIPIENT: '_set_refused',
        Kind.TRANSIENT: '_try_later',
        Kind.PROVIDER: '_pause_provider',
    }
    # Where the server said nothing that decided.
    _ANSWER_WORDS = {
        Reason.DISCONNECTED: _lt("the connection was cut"),
        Reason.TIMEOUT: _lt("the mail server kept silent for too long"),
        Reason.ANSWER_MISSING: _lt("the mail server did not confirm that it took the mail"),
        Reason.GARBAGE: _lt("the mail server's answer could not be understood"),
        Reason.ADDRESS_INVALID: _lt("this is no valid e-mail address"),
        Reason.SMTPUTF8_MISSING: _lt("the address has characters that this mail server cannot take"),
    }
    # What was found out before a server was asked: it has refused nothing.
    _OWN_WORDS = {
        Reason.MESSAGE_TOO_LARGE: _lt(
            "The mail is larger than the mail server takes: %(size)s, at most %(limit)s. It was not sent. Put the "
            "notice on paper, or cancel it and have the next run send fewer copies of invoices along."),
        Reason.MESSAGE_MALFORMED: _lt("The mail cannot be sent as it is: %(answer)s"),
    }
    _OTHER_OWN_WORDS = _lt("The mail was not sent: %(answer)s")

    # === WRITING IT DOWN === #

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
                is_useful, follow_up = self._apply_outcome(notice, provider, outcome, mail, ended_at)
                if not is_alone:
                    for step in follow_up:
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
            self._follow_up(*follow_up)
            self._commit()
        return is_useful

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
    def _apply_outcome(self, notice, provider, outcome, mail, ended_at):
        """Turn an outcome into a state.

        A recipient's fault is the notice's, a provider's fault is the provider's.

        :param notice: `dunning.notice` in `sending`, or `sent` and being handed over for the addresses that are left
        :param outcome: :class:`~..tools.smtp.Outcome`
        :param mail: the :class:`~.dunning_notice_mail.Handover`
        :param datetime ended_at: end of the handover, naive UTC
        :return: (whether the provider is of further use in this pass, list of functions that do what follows)
        """
        notice._fetch_for_outcome()
        facts = Facts(
            provider, outcome, self._describe_answer(outcome), mail, ended_at.replace(microsecond=0),
            self._prepare_outcome_log(outcome, mail), {})
        if outcome.handed_over and not notice.handover_at:
            facts.values['handover_at'] = notice.claimed_at
        if mail.is_rest and not notice.is_rest_sending:
            return self._note_late_rest(notice, facts, ended_at)
        kind, is_alone, refusals = self._find_blame(notice, facts)
        if kind != Kind.PROVIDER or is_alone:
            provider._after_handover(ended_at)
        if kind == Kind.PROVIDER and mail.is_rest and not (is_alone and outcome.passing):
            return self._apply_rest_fault(notice, facts, is_alone, refusals, ended_at)
        if mail.is_rest:
            return self._apply_rest(notice, facts)
        if kind == Kind.PROVIDER and is_alone:
            return True, self._set_aside(notice, facts)
        if refusals:
            return False, self._pause_for_refusals(notice, facts, refusals)
        if kind == Kind.PROVIDER and self._is_left_to_the_next(notice, facts):
            provider._set_next_slot(ended_at)
            return True, self._release_waiting(notice, facts, provider._describe_fault(outcome))
        follow_up = getattr(self, self._OUTCOME_METHODS[kind])(notice, facts)
        return kind != Kind.PROVIDER, follow_up

    @api.model
    def _prepare_outcome_log(self, outcome, mail):
        """Values for the delivery log."""
        may_have_it = outcome.kind in (Kind.ACCEPTED, Kind.UNCLEAR)
        return {
            'stage': str(outcome.stage), 'code': ' '.join(filter(None, [str(outcome.code or ''), outcome.enhanced])),
            'host': outcome.host, 'tls_version': outcome.tls_version, 'queue_id': outcome.queue_id,
            'recipient_count': len(mail.addresses) - len(outcome.refusals) if may_have_it else 0,
        }

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
        words = self._ANSWER_WORDS.get(outcome.reason)
        return (words and self.env._(words)) or outcome.answer or str(outcome.reason)

    # === ONE METHOD A KIND OF OUTCOME === #

    @api.model
    def _set_sent(self, notice, facts):
        """The server took the mail, for some of the recipients at least."""
        info = self.env._("Taken by the mail server: %s", facts.answer)
        if facts.outcome.refusals:
            info += '\n' + self.env._("Refused: %s", self._describe_refused(facts))
        # What the computing of the day would say: but for that, company and clerk would have to be read again.
        left = False if notice.redirected_to else self._get_day(facts.now, facts.mail.tz)
        rest = self._prepare_rest(notice, facts)
        notice._set_sent(
            info, facts.now, facts.log, date_left=left, is_suspect=False, waiting_since=False, **rest, **facts.values)
        return [lambda: notice._log_mail(facts.now, facts.mail.author_id), *self._tell_refused(notice, facts)]

    @api.model
    def _describe_refused(self, facts):
        """Name the addresses that were refused, with the server's words."""
        return '; '.join(
            f'{address} ({self._describe_answer(outcome)})' for address, outcome in facts.outcome.refusals.items())

    @api.model
    def _set_unclear(self, notice, facts):
        """Nobody can tell whether the server took the mail: it is not sent again without a person's decision."""
        words = self.env._(
            "The connection broke after the mail was handed over (%s). The customer may or may not have it: "
            "ask the mail provider before you send again.", facts.answer)
        notice._set_unclear(words, facts.log)
        return [
            lambda: notice._log_mail(facts.now, facts.mail.author_id),
            lambda: notice._ask_person('dunning_mail.mail_activity_unclear', words), notice.run_id._update_state]

    @api.model
    def _set_refused(self, notice, facts):
        """The recipient, or this mail to it, was refused for good."""
        if facts.outcome.code is None:
            words = self.env._(self._OWN_WORDS.get(facts.outcome.reason, self._OTHER_OWN_WORDS))
            words = words % {
                'answer': facts.answer, 'size': f'{(facts.outcome.message_size or 0) / 1e6:.3g} MB',
                'limit': f'{(facts.outcome.size_limit or 0) / 1e6:.3g} MB'}
        else:
            words = self.env._("The mail server refused the recipient: %s", facts.answer)
            if not facts.outcome.blames_address and (
                    facts.outcome.stage != Stage.RCPT or facts.outcome.reason == Reason.MESSAGE_TOO_LARGE):
                words = self.env._("The mail server refused the mail: %s", facts.answer)
        return self._fail(notice, words, facts) + self._mark_refused(notice, facts)

    @api.model
    def _find_gone(self, notice, facts):
        """Return dict of the addresses of which the server says for sure that they do not exist or are closed -> its
        words."""
        outcome = facts.outcome
        if notice.redirected_to:
            return {}
        gone = {
            address: self._describe_answer(refusal) for address, refusal in outcome.refusals.items()
            if refusal.blames_address}
        if not gone and outcome.blames_address and len(facts.mail.addresses) == 1:
            # Refused later, when its address was not the question any more.
            gone = {facts.mail.addresses[0]: facts.answer}
        return gone

    @api.model
    def _mark_refused(self, notice, facts):
        """Remember the addresses that are gone.

        :return: list of functions that do it
        """
        return [
            lambda address=address, answer=answer: notice._mark_address_refused(answer, [address])
            for address, answer in self._find_gone(notice, facts).items()]

    @api.model
    def _try_later(self, notice, facts):
        """Release a notice again after a passing fault, with growing delays, and give up after the last one."""
        delays = notice._RETRY_AFTER_MINUTES
        if notice.attempt_count > len(delays):
            words = self.env._(
                "Given up after %(count)s attempts: %(answer)s", count=notice.attempt_count, answer=facts.answer)
            return self._fail(notice, words, facts)
        # Of several addresses all were refused, one of them for good: the next attempt goes to the others.
        follow_up = self._mark_refused(notice, facts)
        next_attempt_at = facts.now + timedelta(minutes=delays[notice.attempt_count - 1])
        notice._set_released(
            self.env._(
                "Passing fault, tried again on %(time)s: %(answer)s", answer=facts.answer,
                time=format_datetime(self.env, next_attempt_at, tz=notice.user_id.tz, dt_format='short')),
            facts.log, next_attempt_at=next_attempt_at, waiting_since=False, **facts.values)
        return follow_up

    @api.model
    def _pause_provider(self, notice, facts):
        """The provider's fault: the notice waits, and nothing more is tried with this login."""
        words = facts.provider._describe_fault(facts.outcome)
        follow_up = self._release_waiting(notice, facts, words)
        facts.provider._pause(words, passing=facts.outcome.passing, now=facts.now)
        return follow_up

    @api.model
    def _pause_for_refusals(self, notice, facts, refusals):
        """So many refusals in a row are the provider's fault."""
        words = self._describe_refusals(facts, refusals)
        short = self._describe_refusal_in_row(facts)
        follow_up = self._release_waiting(notice, facts, short)
        # What looked like the recipients' fault does not pass by itself.
        facts.provider._pause(words, passing=facts.outcome.kind == Kind.TRANSIENT, now=facts.now)
        return [*follow_up, lambda: self._take_back(refusals, short, notice)]

    @api.model
    def _release_waiting(self, notice, facts, words):
        """Release a notice again without an attempt, or give up where that has gone on for too long. What may be its
        own fault after all goes last."""
        is_suspect = facts.outcome.stage in RECIPIENT_STAGES
        if is_suspect and self._has_waited_enough(notice, facts):
            return self._fail(notice, self.env._(
                "It has waited for %(hours)s hours and did not get through: %(words)s", hours=WAIT_HOURS, words=words),
                facts)
        notice._set_released(
            words, facts.log, attempt_count=notice.attempt_count - 1, is_suspect=is_suspect or notice.is_suspect,
            next_attempt_at=facts.now if is_suspect or notice.is_suspect else False,
            waiting_since=notice.waiting_since or facts.now, **facts.values)
        return []

    @api.model
    def _fail(self, notice, words, facts):
        """The mail will not get there: a person has to see to the notice."""
        notice._set_failed(words, facts.log, is_suspect=False, waiting_since=False, **facts.values)
        return [lambda: notice._ask_person('dunning_mail.mail_activity_failed', words), notice.run_id._update_state]

    # === AT THE END OF A PASS === #

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

    # === WHAT A CRASH LEFT === #

    @api.model
    def _find_orphans_of_all(self, work):
        """See at the beginning of a pass what was left in `sending`, by whichever engine: its providers may be archived
        or paused now."""
        self.env['dunning.notice'].flush_model()
        rows = self.env.execute_query(SQL(
            """
            SELECT DISTINCT provider_id
              FROM dunning_notice
             WHERE (delivery_state = 'sending' OR is_rest_sending) AND state = 'issued'
            """))
        for provider in self.env['dunning.provider'].sudo().browse([row[0] for row in rows if row[0]]):
            if provider._lock():
                work.locked |= provider
                self._find_orphans(provider)
                if work.engine and provider.engine_id != work.engine:
                    # Its own engine may be switched off, or gone; if it is not, it is not to be kept waiting.
                    provider._unlock()
                    work.locked -= provider

    @api.model
    def _find_orphans(self, provider):
        """With the provider's lock in hand, nothing can be on its way: what says so is orphaned."""
        orphans = self.env['dunning.notice'].sudo().search([
            ('provider_id', '=', provider.id), ('delivery_state', '=', 'sending'), ('state', '=', 'issued')])
        self._mark_rest_orphans(provider)
        if orphans:
            # Nobody knows when that handover ended: the pace counts from now.
            provider._set_next_slot(self._now())
            orphans._mark_orphans_unclear()
            orphans.run_id._update_state()
        self.env['ir.cron']._commit_progress()
