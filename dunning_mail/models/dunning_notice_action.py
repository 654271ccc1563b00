from datetime import timedelta

from odoo import fields, models
from odoo.exceptions import UserError
from odoo.tools import format_datetime

RETRY_UNCLEAR_AFTER = timedelta(minutes=10)


class DunningNotice(models.Model):
    """What a person may press once a notice has been issued.

    Whatever sends a notice on its way again asks first whether its claim is still true (`_make_true()`). Of several
    notices, one that may not go does not stop the others: whoever pressed the button is told.
    """
    _inherit = 'dunning.notice'

    def action_cancel(self):
        """Cancel issued notices: they do not count and never go out. Their delivery state stays what it was.

        :raise UserError: a notice is being handed over right now
        """
        self.check_access('write')
        for notice in self:
            if notice.delivery_state == 'sending':
                raise UserError(self.env._(
                    "Dunning notice %s is being handed to the mail server right now. Wait for the outcome.",
                    notice.display_name))
        self._cancel(self.env._("Cancelled by %s.", self.env.user.name))

    def _cancel(self, words):
        """Cancel notices and say why, in the notice and in its log.

        :param str words: the reason
        """
        moved = self._set_state('cancelled', problem=False)
        moved._log_step(words, state_to='cancelled')
        for notice in moved.sudo():
            notice.delivery_info = words
            notice._message_log(body=words)
        moved.sudo().activity_unlink(
            ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
        moved.run_id._update_state()

    def _get_standing(self):
        return {notice.id: (notice.state, notice.delivery_state) for notice in self}

    def _report_stopped(self, stopped, standing):
        """Tell whoever pressed a button which notices did not go, and why.

        :param dict stopped: notice id -> why
        :param dict standing: what `_get_standing()` returned before
        :return: notification for the web client, None where all went
        :raise UserError: nothing at all was done
        """
        if not stopped:
            return None
        words = '\n'.join(f'{notice.display_name}: {stopped[notice.id]}' for notice in self if notice.id in stopped)
        if self._get_standing() == standing:
            raise UserError(words)
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {
                'type': 'warning', 'sticky': True, 'message': words,
                'next': {'type': 'ir.actions.client', 'tag': 'soft_reload'}},
        }

    # === SENDING AGAIN === #

    def action_retry(self):
        """Release notices again that failed, are unclear, or wait as unprinted paper.

        What was handed over once goes out with the same bytes and Message-ID, and only as long as it is true.

        :return: notification for the web client where some did not go
        :raise UserError: nothing to send, an unclear notice younger than ten minutes, or none of them may go
        """
        self.check_access('write')
        for notice in self:
            notice._check_may_retry()
        standing = self._get_standing()
        as_they_were, anew, stopped = self._make_true()
        for notice in as_they_were:
            # Nobody has it yet, so it can be made again where the kept one is damaged.
            if not notice._is_frozen() and not notice._is_document_good():
                stopped.update(notice._make_anew())
        for notice in (as_they_were | anew).filtered(lambda notice: notice.id not in stopped):
            # Where the address refused before, a person retries because it was corrected or cleared.
            channel, info, current = notice._choose_channel()
            addresses = ', '.join(current)
            if channel == 'paper':
                stopped[notice.id] = self.env._(
                    "It cannot go by mail. %s\nCorrect the customer's address, or say that it is good again.", info)
            elif notice.handover_at and not notice.redirected_to and addresses != notice.email_to:
                stopped[notice.id] = self.env._(
                    "It was handed over for %(old)s, and goes out unchanged or not at all; the address is %(new)s now. "
                    "Put it on paper, or cancel it and make a new run.", old=notice.email_to, new=addresses)
            else:
                notice._release_again(addresses)
        self.run_id._update_state()
        return self._report_stopped(stopped, standing)

    def _check_may_retry(self):
        """Check that a notice is one that can be sent again.

        :raise UserError: it is not, or not yet
        """
        self.ensure_one()
        is_stranded = self.delivery_state == 'released' and self.provider_id._is_stranded()
        if self.state != 'issued' or not (is_stranded or self.delivery_state in ('failed', 'unclear', 'paper')):
            raise UserError(self.env._(
                "Dunning notice %(notice)s cannot be sent again: only what failed, is unclear or waits on paper can.",
                notice=self.display_name))
        if self.printed_at:
            raise UserError(self.env._("Dunning notice %s has been printed.", self.display_name))
        if self.delivery_state == 'unclear' and (
                self.claimed_at and fields.Datetime.now() < self.claimed_at + RETRY_UNCLEAR_AFTER):
            raise UserError(self.env._(
                "It is unclear whether dunning notice %s has reached the mail server. A second mail may reach your "
                "customer: ask the mail provider first. Sending again is possible 10 minutes after the attempt.",
                self.display_name))
        self._check_has_document()

    def _release_again(self, addresses):
        self.ensure_one()
        provider = self.provider_id.sudo()
        if not provider or provider._is_stranded():
            provider = self.company_id.sudo().dunning_provider_id
        self._set_delivery(
            'released', self.env._("Released again by %s.", self.env.user.name), email_to=addresses,
            provider_id=provider.id, next_attempt_at=False, attempt_count=0)
        self.sudo().activity_feedback(['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
        provider.engine_id._trigger()

    def action_confirm_arrived(self):
        """Say that notices whose sending is unclear have arrived, as the customer or the mail provider says.

        :raise UserError: a notice is not unclear
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state != 'unclear':
                raise UserError(self.env._(
                    "Only of a notice whose sending is unclear it can be said that it has arrived; %s is not.",
                    notice.display_name))
            notice._set_delivery(
                'sent', self.env._("Has arrived, says %s.", self.env.user.name), sent_at=notice.claimed_at)
        self.sudo().activity_feedback(['dunning_mail.mail_activity_unclear'])
        self.run_id._update_state()

    # === PAPER === #

    def action_set_paper(self):
        """Take released, failed or unclear notices off the mail and put them on paper.

        :return: notification for the web client where some did not go
        :raise UserError: a notice is elsewhere on its way, or none of them may go
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state not in ('released', 'failed', 'unclear'):
                raise UserError(self.env._(
                    "Dunning notice %s cannot be put on paper in its present state.", notice.display_name))
            notice._check_has_document()
        standing = self._get_standing()
        as_they_were, anew, stopped = self._make_true()
        for notice in as_they_were:
            if not notice._is_frozen() and not notice._is_document_good():
                stopped.update(notice._make_anew())
        moved = (as_they_were | anew).filtered(lambda notice: notice.id not in stopped)
        moved._set_delivery('paper', self.env._("Put on paper by %s.", self.env.user.name))
        moved.sudo().activity_feedback(
            ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear'])
        self.run_id._update_state()
        return self._report_stopped(stopped, standing)

    def _is_unprinted_letter(self):
        self.ensure_one()
        return self.state == 'issued' and self.delivery_state == 'paper' and not self.printed_at

    def action_mark_printed(self):
        """Say that letters were printed by the current user: from now on they count.

        A letter that was handed out has left: if its claim has changed since, it is told, and the mark stands. One that
        nobody has opened yet is asked for first: what is not true any more is not printed.

        :return: notification for the web client where something is to be said
        :raise UserError: a notice is not on paper, or none of them can be marked
        """
        self.check_access('write')
        for notice in self:
            if notice.state != 'issued' or notice.delivery_state != 'paper':
                raise UserError(self.env._("Dunning notice %s is not on paper.", notice.display_name))
            if not notice.printed_at:
                notice._check_has_document()
        standing = self._get_standing()
        unprinted = self.filtered(lambda notice: not notice.printed_at)
        handed_out = unprinted.filtered('letter_opened_at')
        told = handed_out._describe_changes_since_hand_out()
        as_they_were, anew, stopped = (unprinted - handed_out)._make_true()
        for notice in anew:
            stopped[notice.id] = self.env._(
                "What it claims has changed, and its letter was made anew just now: print that one.")
        marked = (handed_out | as_they_were).sudo()
        marked.write({'printed_at': fields.Datetime.now(), 'printed_by': self.env.user.id})
        marked._log_step(self.env._("Printed by %s.", self.env.user.name))
        self._drop_unarchived_documents()
        self.run_id._update_state()
        return self._report_stopped({**told, **stopped}, {} if marked or anew else standing)

    def _describe_changes_since_hand_out(self):
        """Say what has changed in claims whose letters were handed out already.

        :return: dict notice id -> words
        """
        words = {}
        verdicts = self._recheck(keep_dates=True)
        for notice in self:
            if verdicts[notice.id].code != 'same':
                words[notice.id] = self.env._(
                    "The letter was handed out on %(time)s, and this has happened since: %(words)s\nIf it has not been "
                    "posted yet, take it out and press “Not Printed After All”.",
                    time=format_datetime(self.env, notice.letter_opened_at, dt_format='short'),
                    words=verdicts[notice.id].words)
                notice.sudo()._message_log(body=words[notice.id])
        return words

    def action_unmark_printed(self):
        """Take back that letters were printed; their items have the level again that other notices say."""
        self.check_access('write')
        printed = self.filtered(lambda notice: notice.printed_at and notice.state == 'issued')
        for notice in printed:
            notice._check_has_document()
            notice._check_items_free()
        # What has not been printed after all has to be opened again first.
        printed.sudo().write({'printed_at': False, 'printed_by': False, 'letter_opened_at': False})
        printed._log_step(self.env._("Not printed, says %s.", self.env.user.name))
        printed.run_id._update_state()

    # === READING === #

    def action_open_document(self):
        """Open the PDF: the kept one, or of a draft what it would look like.

        A draft, or a letter that has not been printed, may be on its way out by this: it is asked for first whether its
        claim is still true. What has left is only read.

        :return: action for the web client
        :raise UserError: the kept document is gone or damaged, or there is nothing to claim any more
        """
        self.ensure_one()
        if self.state in ('draft', 'excluded'):
            if self.state == 'draft' and self.has_access('write'):
                self._mend_draft()
            return self._get_report().report_action(self, config=False)
        if self._is_unprinted_letter() and self.has_access('write'):
            standing = self._get_standing()
            _as_they_were, _anew, stopped = self._make_true()
            if stopped:
                return self._report_stopped(stopped, standing)
            self._note_hand_out()
        self._get_document_bytes()
        return {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.document_id.id}?filename={self._get_file_name()}.pdf',
            'target': 'new',
        }

    def _mend_draft(self):
        """Bring a draft to what is true now; its dates are those of its run until it is issued.

        :raise UserError: there is nothing to claim any more
        """
        self.ensure_one()
        verdict = self._recheck(keep_dates=True)[self.id]
        if verdict.code not in ('same', 'changed'):
            raise UserError(self.env._(
                "%s\nExclude the notice, or generate the notices of its run again.", verdict.words))
        if verdict.code == 'changed':
            self._apply_verdict(verdict)

    def _note_hand_out(self):
        """Note that whoever may print these letters has them now."""
        # Once: whoever opens them again at the same moment writes nothing, and so collides with nobody.
        self.filtered(lambda notice: not (notice.letter_opened_at or notice.printed_at)).sudo().write(
            {'letter_opened_at': fields.Datetime.now()})

    def action_open_mail(self):
        """Download the mail: as it was handed to the server, or before that as it is kept for it.

        :raise UserError: there is none, or it is damaged
        """
        self.ensure_one()
        self._get_mail_bytes()
        return {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.mail_document_id.id}?download=true',
            'target': 'download',
        }
