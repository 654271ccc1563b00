import logging
from datetime import UTC, timedelta

import psycopg2

from odoo import api, fields, models
from odoo.tools import SQL

from ..tools import pace
from .dunning_provider import RESUME_AFTER_MINUTES, SAFE_INTERVAL

_logger = logging.getLogger(__name__)

# How far ahead sending hours are looked for.
CALENDAR_DAYS = 21
# How far ahead is reckoned when a run's last mail leaves.
ESTIMATE_DAYS = 400
# What the handover of a mail takes beside the interval, as a rule.
HANDOVER_SECONDS = 1
# A clock that is put back by so little is not wrong.
CLOCK_SLACK = timedelta(minutes=1)


class DunningProvider(models.Model):
    """When a service provider may send its next mail, and that only one process sends for it."""
    _inherit = 'dunning.provider'

    # === THE ONE SENDER === #

    def _lock(self):
        """Try to become the one sender of this provider, over all processes and hosts.

        A session-level advisory lock of PostgreSQL: it survives commits and dies with its connection. Release it with
        `_unlock()` on the same cursor, since Odoo's connection pool would keep it.

        :return: whether the lock was taken
        """
        self.ensure_one()
        self.env.cr.execute("SELECT pg_try_advisory_lock(hashtext('dunning_mail.provider'), %s)", [self.id])
        return self.env.cr.fetchone()[0]

    def _get_lock_condition(self):
        """Return what says in a query whether the connection that runs it holds the lock.

        It is asked in the transaction that is to be committed before a handover: behind a pooler that may be on another
        connection than the one which took the lock.
        """
        self.ensure_one()
        return SQL(
            """
            EXISTS (
                SELECT 1
                  FROM pg_locks
                 WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND classid::bigint = hashtext('dunning_mail.provider')::bigint & 4294967295
                   AND objid::bigint = %s AND objsubid = 2)
            """, self.id)

    def _unlock(self):
        """Give the lock back. On a connection that is lost it has gone already."""
        for provider in self:
            try:
                self.env.cr.execute("SELECT pg_advisory_unlock(hashtext('dunning_mail.provider'), %s)", [provider.id])
            except psycopg2.Error as error:
                _logger.warning("Lock of dunning provider %s not given back: %s", provider.id, error)

    def _is_locked_elsewhere(self):
        """Whether another process is the provider's sender at this moment."""
        self.ensure_one()
        if self._lock():
            self._unlock()
            return False
        return True

    # === SLOTS === #

    @api.depends('send_interval')
    def _compute_is_interval_short(self):
        for provider in self:
            provider.is_interval_short = 0 <= provider.send_interval < SAFE_INTERVAL

    def _get_next_slot(self, now, recipient_count=1):
        """Return when the provider may send its next mail, as far as its pace and limits say.

        :param datetime now: naive UTC
        :param int recipient_count: recipients of that mail
        :return: naive UTC datetime, not before `now`
        """
        self.ensure_one()
        self._mend_moments(now)
        slot = max(now, self._get_stored_slot() or now, (self.state == 'paused' and self.resume_at) or now)
        for limit, window in self._get_windows():
            if limit:
                slot = max(slot, self.env['dunning.delivery.log']._get_limit_slot(
                    self, limit, window, now, recipient_count))
        return self._get_opening(slot) if self.calendar_id else slot

    def _get_opening(self, moment):
        """Return the first moment within the sending hours.

        :param datetime moment: naive UTC
        :return: naive UTC, not before `moment`
        """
        self.ensure_one()
        start = moment.replace(tzinfo=UTC)
        # Mostly the doors are open, or open soon.
        for days in (1, CALENDAR_DAYS):
            hours = self.sudo().calendar_id._work_intervals_batch(start, start + timedelta(days=days))[False]
            for opens, closes, _attendance in hours:
                if closes > start:
                    return max(opens, start).astimezone(UTC).replace(tzinfo=None)
        # Nothing in sight, for example a company holiday: looked at again then.
        return moment + timedelta(days=CALENDAR_DAYS)

    # === WHEN WILL IT BE DONE === #

    def _estimate_end(self, counts=(), now=None, run=None):
        """Reckon when the last mail will have left: behind those that wait already, by pace, limits and sending hours.

        :param counts: recipients of each mail that is to come
        :param datetime now: naive UTC, default the current time
        :param run: `dunning.run` whose last mail is asked for, in place of the last of all
        :return: naive UTC datetime; None where nobody can say, since a person has to see to the provider first, or its
            sending hours never come
        """
        self.ensure_one()
        provider, now = self.sudo(), now or fields.Datetime.now()
        if not provider._will_send():
            return None
        start = max(now, provider._get_stored_slot() or now, (provider.state == 'paused' and provider.resume_at) or now)
        limits = provider._get_windows()
        self.env['dunning.delivery.log'].flush_model(['provider_id', 'date', 'recipient_count'])
        history = self.env.execute_query(SQL(
            """
            SELECT date, recipient_count FROM dunning_delivery_log
             WHERE provider_id = %s AND recipient_count > 0 AND date > %s AND date <= %s ORDER BY date, id
            """, provider.id, now - max(window for _limit, window in limits), now)) if any(
                limit for limit, _window in limits) else []

        def reckon(mails):
            return pace.estimate_end(
                start, mails, provider.send_interval, limits, history,
                provider._make_opening() if provider.calendar_id else None, HANDOVER_SECONDS)
        waiting = provider._list_waiting_mails(run)
        if not counts:
            return reckon([(count, moment) for count, moment in waiting])
        # What waits for another attempt comes between, if its time comes before.
        due = [(count, None) for count, moment in waiting if not moment or moment <= now]
        new = [(count, None) for count in counts]
        end = reckon(due + new)
        if later := [(count, None) for count, moment in waiting if moment and end and now < moment <= end]:
            end = reckon(due + later + new)
        return end

    def _will_send(self):
        """Whether mail leaves through this provider without a person having to see to it first."""
        self.ensure_one()
        return not self._is_stranded() and (self.state != 'paused' or bool(self.resume_at))

    def _list_waiting_mails(self, run=None):
        """List the mails that wait already or are on their way; with a run, up to the last of it.

        :return: list of (recipients, when it is tried again or None), in the order of sending
        """
        self.ensure_one()
        self.env['dunning.notice'].flush_model(
            ['provider_id', 'run_id', 'state', 'delivery_state', 'email_to', 'rest_to', 'next_attempt_at'])
        rows = self.env.execute_query(SQL(
            """
            SELECT run_id, CASE WHEN %s THEN 1 ELSE
                   GREATEST(1, CARDINALITY(STRING_TO_ARRAY(COALESCE(rest_to, email_to, ''), ','))) END, next_attempt_at
              FROM dunning_notice
             WHERE provider_id = %s AND state = 'issued'
               AND (delivery_state IN ('released', 'sending') OR rest_to IS NOT NULL)
             ORDER BY next_attempt_at NULLS FIRST, id
            """, bool(self.redirect_to), self.id))
        last = max((index for index, (run_id, *_mail) in enumerate(rows) if run and run_id == run.id), default=-1)
        return [(count, moment) for _run_id, count, moment in (rows[:last + 1] if run else rows)]

    def _make_opening(self):
        """Return what `_get_opening()` says, as a function for many moments in ascending order."""
        self.ensure_one()
        hours, known_until, first = [], None, None

        def opening(moment):
            nonlocal known_until, first
            start = moment.replace(tzinfo=UTC)
            first = first or start
            while True:
                while hours and hours[0][1] <= start:
                    hours.pop(0)
                if hours:
                    return max(hours[0][0], start).astimezone(UTC).replace(tzinfo=None)
                begin = max(known_until or start, start)
                if begin > first + timedelta(days=ESTIMATE_DAYS):
                    return None
                known_until = begin + timedelta(days=CALENDAR_DAYS)
                hours.extend((opens, closes) for opens, closes, _attendance in self.sudo(
                    ).calendar_id._work_intervals_batch(begin, known_until)[False])
        return opening

    def _mend_moments(self, now):
        """What is stored further ahead than it can be was stored by a clock that was wrong, or with another interval.

        :param datetime now: naive UTC
        """
        self.ensure_one()
        if (self._get_stored_slot() or now) > self._get_latest_slot(now) + CLOCK_SLACK:
            self._store_slot(now + timedelta(seconds=self.send_interval))
        if self.resume_at and self.resume_at > now + timedelta(minutes=RESUME_AFTER_MINUTES[-1]) + CLOCK_SLACK:
            self.sudo().resume_at = now.replace(microsecond=0)

    def _get_latest_slot(self, now):
        """Return how late a slot can be that interval and limits ask for.

        :param datetime now: naive UTC
        """
        self.ensure_one()
        return now + max(
            timedelta(seconds=self.send_interval), *(window for limit, window in self._get_windows() if limit),
            timedelta())

    def _get_windows(self):
        """Return the limits, each with the window in which it holds."""
        self.ensure_one()
        return (self.hourly_limit, timedelta(hours=1)), (self.daily_limit, timedelta(days=1))

    def write(self, vals):
        result = super().write(vals)
        if {'send_interval', 'hourly_limit', 'daily_limit'} & vals.keys():
            for provider in self:
                provider._renew_slot()
        return result

    def _renew_slot(self):
        """Reckon the next slot by the present settings, from the end of the last handover."""
        self.ensure_one()
        if not self.next_send_at:
            return
        last = self.env['dunning.delivery.log'].sudo().search(
            [('provider_id', '=', self.id), ('stage', '!=', False), ('stage', '!=', 'bounce'),
             ('date', '<=', fields.Datetime.now())], order='date desc, id desc', limit=1)
        if last:
            # Dates are kept in whole seconds.
            self._store_slot(last.date + timedelta(seconds=self.send_interval + 1))
        else:
            self.sudo().write({'next_send_at': False, 'next_send_lead': 0})

    def _set_next_slot(self, ended_at):
        """Store the next slot, measured from the end of a handover.

        :param datetime ended_at: naive UTC, to the microsecond
        """
        self.ensure_one()
        # Without an interval it only says who among several providers has waited longest: full seconds will do, which
        # need not be written for each mail.
        self._store_slot(
            ended_at + timedelta(seconds=self.send_interval) if self.send_interval else ended_at.replace(microsecond=0))

    def _get_stored_slot(self):
        """Return the stored slot to the microsecond, False where there is none."""
        self.ensure_one()
        return self.next_send_at and self.next_send_at - timedelta(microseconds=self.next_send_lead)

    def _store_slot(self, slot):
        """Keep a slot to the microsecond: Odoo keeps datetimes in whole seconds.

        :param datetime slot: naive UTC
        """
        self.ensure_one()
        # Rounded up, so that whoever looks at the datetime alone does not send too early.
        rounded = slot.replace(microsecond=0) + timedelta(seconds=bool(slot.microsecond))
        lead = round((rounded - slot).total_seconds() * 1_000_000)
        # Odoo would write that somebody has written, for each mail of one second.
        if (self.next_send_at, self.next_send_lead) != (rounded, lead):
            self.sudo().write({'next_send_at': rounded, 'next_send_lead': lead})
