from datetime import timedelta

from odoo import api, fields, models

from ..tools.smtp import Kind
from .dunning_notice_mail import Handover
from .dunning_refusal import RECIPIENT_STAGES


class DunningNotice(models.Model):
    """Of several addresses the server took some: the notice is *sent*, and those that it may take later are tried again
    for themselves, with the same bytes. Each of them gets it at most once, and only as long as the claim is true."""
    _inherit = 'dunning.notice'

    rest_to = fields.Char(
        "Still to Be Sent To", readonly=True, copy=False,
        help="Addresses that the mail server could not take yet. The others have the mail.")
    is_rest_sending = fields.Boolean(
        readonly=True, copy=False, help="Is being handed to the mail server for the addresses that are left.")

    def _claim_rest(self, now):
        """Make a sent notice ready to be handed over for the addresses that are left; the caller commits.

        :param datetime now: naive UTC
        :return: :class:`~.dunning_notice_mail.Handover`, or None where it must not be sent any more
        :raise UserError: the kept mail is damaged
        """
        self.ensure_one()
        verdict = self._recheck()[self.id]
        if verdict.code != 'same':
            self._end_rest(verdict.words)
            return None
        content = self._get_mail_bytes()
        old, new = self._get_senders(content)
        if self.provider_id.redirect_to or [one.addr_spec for one in old] != [one.addr_spec for one in new]:
            self._end_rest(self.env._("The service provider does not send as it did any more."))
            return None
        self.sudo().write({'is_rest_sending': True, 'next_attempt_at': False, 'attempt_count': self.attempt_count + 1})
        self._log_step(self.env._("Is being handed to the mail server for %s.", self.rest_to))
        return Handover(
            self.rest_to.split(', '), content, self._get_tz(), self.user_id.partner_id.id, self._get_envelope_id(),
            is_rest=True)

    def _stop_claim(self, words):
        """It could not be made ready to be handed over: a person has to see to it. Who has the mail has it.

        :param str words: why, in words for a clerk
        """
        self.ensure_one()
        if self.delivery_state == 'sent':
            self._end_rest(words, is_told=True)
        else:
            self._stop(words)

    def _end_rest(self, words, log=None, is_told=False):
        """The addresses that are left do not get this mail.

        :param str words: why, in words for a clerk
        :param dict log: further values for the delivery log
        :param bool is_told: a person is told
        """
        self.ensure_one()
        words = self.env._(
            "Not sent to %(addresses)s; the others have it. %(words)s", addresses=self.rest_to, words=words)
        left = [address for address in (self.email_to or '').split(', ') if address not in self.rest_to.split(', ')]
        self._log_step(words, **(log or {}))
        self.sudo().write({
            'rest_to': False, 'is_rest_sending': False, 'next_attempt_at': False, 'is_suspect': False,
            'waiting_since': False, 'email_to': ', '.join(left) or self.email_to,
            'delivery_info': f'{self.delivery_info or ""}\n{words}'.strip()})
        if is_told:
            self._ask_person('dunning_mail.mail_activity_address', words)


class DunningEngine(models.AbstractModel):
    """What becomes of the addresses that are left."""
    _inherit = 'dunning.engine'

    @api.model
    def _prepare_rest(self, notice, facts):
        """Values of a notice that the server took for some of its addresses."""
        refusals = facts.outcome.refusals
        if not refusals or notice.redirected_to:
            return {}
        rest = [address for address, outcome in refusals.items() if outcome.passing]
        values = {'email_to': ', '.join(
            address for address in facts.mail.addresses if address not in refusals or address in rest)}
        if rest:
            values['rest_to'] = ', '.join(rest)
            values['next_attempt_at'] = facts.now + timedelta(minutes=notice._RETRY_AFTER_MINUTES[0])
        return values

    @api.model
    def _tell_refused(self, notice, facts):
        """A person is told which of several addresses were refused for good; those that are closed are marked.

        :return: list of functions that do it
        """
        final = {
            address: outcome for address, outcome in facts.outcome.refusals.items() if not outcome.passing}
        if not final:
            return []
        words = self.env._(
            "The mail server took the mail, but not for: %s. Correct the addresses of the customer.",
            '; '.join(f'{address} ({self._describe_answer(outcome)})' for address, outcome in final.items()))
        return [
            *self._mark_refused(notice, facts),
            lambda: notice._ask_person('dunning_mail.mail_activity_address', words)]

    @api.model
    def _apply_rest_fault(self, notice, facts, is_alone, refusals, ended_at):
        """What hinders the addresses that are left is the provider's fault: they wait as notices do.

        :param is_alone: whether others get through meanwhile
        :param refusals: those in a row that make it the provider's fault
        :param datetime ended_at: end of the handover, naive UTC
        :return: (whether the provider is of further use in this pass, list of functions that do what follows)
        """
        outcome, provider = facts.outcome, facts.provider
        is_suspect = outcome.stage in RECIPIENT_STAGES
        if is_alone or (is_suspect and self._has_waited_enough(notice, facts)):
            return True, self._drop_rest(notice, facts, facts.answer)
        words = short = provider._describe_fault(outcome)
        if refusals:
            words = self._describe_refusals(facts, refusals)
            short = self._describe_refusal_in_row(facts)
        is_left = not refusals and self._is_left_to_the_next(notice, facts)
        if is_left:
            provider._set_next_slot(ended_at)
        else:
            provider._pause(words, passing=outcome.passing, now=facts.now)
        notice.sudo().write({
            'attempt_count': notice.attempt_count - 1, 'waiting_since': notice.waiting_since or facts.now,
            'is_suspect': is_suspect or notice.is_suspect})
        self._keep_rest(notice, facts, short, notice.rest_to)
        return is_left, [lambda: self._take_back(refusals, short, notice)]

    @api.model
    def _note_late_rest(self, notice, facts, ended_at):
        """While the mail was handed over for the addresses that are left, it came back or the like: what the server
        said of them is noted, and nothing of it is tried again.

        :param datetime ended_at: end of the handover, naive UTC
        :return: (whether the provider is of further use in this pass, no functions that do what follows)
        """
        notice._log_step(self.env._(
            "The notice had become something else while the mail was handed over for %(addresses)s: %(answer)s",
            addresses=', '.join(facts.mail.addresses), answer=facts.answer), **facts.log)
        if facts.outcome.kind == Kind.PROVIDER:
            words = facts.provider._describe_fault(facts.outcome)
            facts.provider._pause(words, passing=facts.outcome.passing, now=facts.now)
            return False, []
        facts.provider._after_handover(ended_at)
        return True, []

    @api.model
    def _apply_rest(self, notice, facts):
        """Write down what became of a handover for the addresses that are left.

        :return: (whether the provider is of further use in this pass, list of functions that do what follows)
        """
        outcome = facts.outcome
        if outcome.kind == Kind.ACCEPTED:
            rest = self._prepare_rest(notice, facts).get('rest_to', '').split(', ')
            taken = [address for address in facts.mail.addresses if address not in outcome.refusals]
            info = self.env._(
                "Taken by the mail server for %(addresses)s: %(answer)s", addresses=', '.join(taken),
                answer=facts.answer)
            if outcome.refusals:
                info += '\n' + self.env._("Refused: %s", self._describe_refused(facts))
            gone = set(outcome.refusals) - set(rest)
            self._keep_rest(notice, facts, info, ', '.join(filter(None, rest)), gone)
            return True, self._tell_refused(notice, facts)
        if outcome.kind == Kind.UNCLEAR:
            words = self.env._("Nobody can tell whether the mail server took it: %s", facts.answer)
            return True, self._drop_rest(notice, facts, words)
        if not outcome.passing:
            return True, self._drop_rest(notice, facts, facts.answer) + self._mark_refused(notice, facts)
        if notice.attempt_count > len(notice._RETRY_AFTER_MINUTES):
            return True, self._drop_rest(notice, facts, facts.answer)
        self._keep_rest(notice, facts, self.env._("Passing fault, tried again: %s", facts.answer), notice.rest_to)
        return True, []

    @api.model
    def _keep_rest(self, notice, facts, info, rest, gone=()):
        notice._log_step(info, **facts.log)
        delays = notice._RETRY_AFTER_MINUTES
        delay = delays[min(notice.attempt_count, len(delays)) - 1]
        notice.sudo().write({
            'rest_to': rest or False, 'is_rest_sending': False,
            'next_attempt_at': facts.now + timedelta(minutes=delay) if rest else False,
            'is_suspect': bool(rest) and notice.is_suspect, 'waiting_since': bool(rest) and notice.waiting_since,
            'email_to': ', '.join(a for a in notice.email_to.split(', ') if a not in gone) or notice.email_to,
            'delivery_info': f'{notice.delivery_info or ""}\n{info}'.strip()})

    @api.model
    def _drop_rest(self, notice, facts, words):
        """:return: list of functions that tell a person"""
        log = facts.log
        return [lambda: notice._end_rest(words, log, is_told=True)]

    @api.model
    def _mark_rest_orphans(self, provider):
        """With the provider's lock in hand, nothing can be on its way."""
        for notice in self.env['dunning.notice'].sudo().search([
                ('provider_id', '=', provider.id), ('is_rest_sending', '=', True)]):
            notice = notice.with_context(lang=notice.user_id.lang)
            notice._end_rest(notice.env._(
                "The sending process ended while the mail was being handed over: nobody can tell whether it got "
                "there."),
                {'recipient_count': len(notice.rest_to.split(', '))}, is_told=True)
