from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_datetime, plaintext2html

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
        moved.sudo().delivery_info = words
        moved._log_note(words)
        moved.sudo().activity_unlink(
            ['dunning_mail.mail_activity_failed', 'dunning_mail.mail_activity_unclear',
             'dunning_mail.mail_activity_returned'])
        moved._judge_fees_anew()
        moved.run_id._update_state()

    def _confirm(self, action):
        """Do something to many notices, after a question where a single one's button would ask.

        :param str action: of `dunning.notice.confirm`
        :return: action for the web client
        """
        if action in ('retry', 'set_paper') and 'unclear' not in self.mapped('delivery_state'):
            return getattr(self, f'action_{action}')()
        confirm = self.env['dunning.notice.confirm'].create({'notice_ids': self.ids, 'action': action})
        return {
            'type': 'ir.actions.act_window',
            'name': dict(confirm._fields['action']._description_selection(self.env))[action],
            'res_model': confirm._name,
            'res_id': confirm.id,
            'view_mode': 'form',
            'target': 'new',
        }

    def _get_standing(self):
        return {notice.id: (notice.state, notice.delivery_state) for notice in self}

    def _name_each(self, words):
        """Put number and customer in front of what is said of these notices.

        :param dict words: notice id -> what is said of it
        :return: list of str, in the order of the notices
        """
        return [f'{notice._get_full_name()}: {words[notice.id]}' for notice in self if words.get(notice.id)]

    def _get_full_name(self):
        """Return number and customer: on an envelope stands the customer."""
        self.ensure_one()
        return f'{self.name}, {self.partner_id.display_name}' if self.name else self.display_name

    @api.model
    def _notify(self, words, following=None):
        """Return a notification that stays until it was read, each line by itself.

        :param words: list of str
        :param dict following: action for the web client that follows, by default the view is read anew
        """
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {
                'type': 'warning', 'sticky': True, 'message': '\n'.join(words), 'className': 'o_dunning_lines',
                'next': following or {'type': 'ir.actions.client', 'tag': 'soft_reload'}},
        }

    def _report_stopped(self, words, standing):
        """Tell whoever pressed a button what it did not do as usual, and why.

        :param dict words: notice id -> what is to be said
        :param dict standing: what `_get_standing()` returned before
        :return: notification for the web client, None where there is nothing to say
        :raise UserError: nothing at all was done
        """
        lines = self._name_each(words)
        if not lines:
            return None
        if self._get_standing() == standing:
            raise UserError('\n\n'.join(lines))
        return self._notify(lines)

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
        leaving, told = self._make_true(needs_mail=True), {}
        stopped = leaving.stopped
        for notice in leaving.ready:
            # Where the address refused before, a person retries because it was corrected or cleared.
            channel, info, addresses = notice._choose_channel()
            if channel == 'paper':
                stopped[notice.id] = self.env._("It cannot go by mail. %s", info)
                if notice.is_email_refused:
                    stopped[notice.id] += '\n' + self.env._(
                        "Correct the customer's address, or press “Address Is Good Again”.")
            elif notice._is_frozen() and notice.handover_at and ', '.join(addresses) != notice.email_to:
                stopped[notice.id] = notice._describe_other_address(addresses)
            elif fault := notice._find_reservation():
                stopped[notice.id] = fault
            else:
                told[notice.id] = notice._describe_hand_out()
                notice._release_again(addresses)
        self.run_id._update_state()
        return self._report_stopped({**told, **stopped}, standing)

    def _find_reservation(self):
        """Say which other notice has an item of this one, which is about to be open again; empty where none has."""
        self.ensure_one()
        try:
            self._check_not_reserved(self.due_line_ids.move_line_id)
        except UserError as error:
            return str(error)
        return ''

    def _describe_other_address(self, addresses):
        """Say why a mail that was handed over does not go to another address."""
        self.ensure_one()
        return self.env._(
            "It was handed over for %(old)s and may not be sent to another address any more; the customer's address is "
            "%(new)s now. Put it on paper, or cancel it and let the next run dun to the new address.",
            old=self.email_to, new=', '.join(addresses))

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
        """Give one notice to the process engine again.

        :param list addresses: to which it goes
        """
        self.ensure_one()
        provider = self.provider_id.sudo()
        if not provider or provider._is_stranded():
            provider = self.company_id.sudo().dunning_provider_id
        self._set_released(
            self.env._("Released again by %s.", self.env.user.name), email_to=', '.join(addresses),
            provider_id=provider.id, next_attempt_at=False, attempt_count=0, letter_opened_at=False, is_suspect=False,
            waiting_since=False)
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
            notice._set_sent(self.env._("Has arrived, says %s.", self.env.user.name), notice.claimed_at)
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
        # What cannot be mailed is put on paper: its mail is not made again first.
        self._drop_mails()
        leaving = self._make_true()
        stopped = leaving.stopped
        words = self.env._("Put on paper by %s.", self.env.user.name)
        for notice in leaving.ready:
            if fault := notice._find_reservation():
                stopped[notice.id] = fault
            else:
                notice._set_paper(words)
        leaving.ready.filtered(lambda notice: notice.id not in stopped).sudo().activity_feedback(
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
        damaged = {notice.id: notice._describe_bad_document() for notice in handed_out}
        handed_out = handed_out.filtered(lambda notice: not damaged[notice.id])
        told = handed_out._describe_changes_since_hand_out()
        leaving = (unprinted - handed_out)._make_true()
        for notice in leaving.anew:
            told[notice.id] = self.env._(
                "Not marked as printed: its letter was made anew just now. Print that one, and mark it then. %s",
                leaving.news[notice.id])
        marked = (handed_out | (leaving.ready - leaving.anew)).sudo()
        marked.write({'printed_at': fields.Datetime.now(), 'printed_by': self.env.user.id})
        marked._log_step(self.env._("Printed by %s.", self.env.user.name), stage='print')
        self._drop_unarchived_documents()
        self.run_id._update_state()
        return self._report_stopped({**damaged, **leaving.stopped, **told}, {} if marked or leaving.anew else standing)

    def _describe_changes_since_hand_out(self):
        """Say what has changed in claims whose letters were handed out already, and leave it to be seen to.

        :return: dict notice id -> words
        """
        words = {}
        verdicts = self._recheck(keep_dates=True)
        for notice in self:
            if verdicts[notice.id].code != 'same':
                words[notice.id] = self.env._(
                    "The letter was handed out on %(time)s, and this has happened since: %(words)s\nIs it still in the "
                    "house? Take it out, and press “Not Printed After All” on the notice. If it has been posted, there "
                    "is nothing to do.",
                    time=format_datetime(self.env, notice.letter_opened_at, dt_format='short'),
                    words=verdicts[notice.id].words)
                notice._log_note(words[notice.id])
                notice.sudo()._ask_person('dunning_mail.mail_activity_letter', words[notice.id])
        for run, notices in self.grouped('run_id').items():
            if lines := notices._name_each(words):
                run.sudo()._message_log(body=plaintext2html('\n'.join(lines)))
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
        printed.sudo().activity_feedback(['dunning_mail.mail_activity_letter'])
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
            self._note_letter_seen()
            return self._get_report().report_action(self, config=False)
        if self._is_unprinted_letter() and self.has_access('write'):
            standing = self._get_standing()
            leaving = self._make_true()
            if leaving.stopped:
                return self._report_stopped(leaving.stopped, standing)
            news = self._name_each(leaving.news)
            self._note_hand_out()
        else:
            news = []
        self._get_document_bytes()
        self._note_letter_seen()
        action = {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.document_id.id}?filename={self._get_file_name()}.pdf',
            'target': 'new',
        }
        return self._notify(news, action) if news else action

    def _note_letter_seen(self):
        """Note that a letter was looked at, by somebody who works with it: whoever only reads leaves no trace."""
        if self.has_access('write'):
            self.company_id._note_dunning_letter_seen()

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
            self._log_note(self._apply_verdict(verdict))

    def _check_may_be_read(self):
        """Check that notices which have not left say what is true: who reads their letters may print and post them.

        Nothing is changed; that is what “Open Document” does.

        :raise UserError: names those that do not
        """
        if not self.has_access('write'):
            return
        waiting = self.filtered(lambda notice: notice.state == 'draft' or (
            notice.state in ('issued', 'cancelled') and not notice._has_left() and notice.delivery_state != 'sending'))
        words = {notice.id: self.env._("It has been cancelled and never goes out.")
                 for notice in waiting if notice.state == 'cancelled'}
        alive = waiting.filtered(lambda notice: notice.state != 'cancelled')
        drafts = alive.filtered(lambda notice: notice.state == 'draft')
        verdicts = {**drafts._recheck(keep_dates=True), **(alive - drafts)._recheck()}
        words.update({notice_id: verdict.words for notice_id, verdict in verdicts.items() if verdict.code != 'same'})
        if words:
            raise UserError('\n\n'.join([
                self.env._("These notices do not say what is true any more. “Open Document” on the notice brings what "
                           "has not left up to date."), *waiting._name_each(words)]))
        alive.filtered(lambda notice: notice._is_unprinted_letter())._note_hand_out()

    def _note_hand_out(self):
        """Note that whoever may print these letters has them now."""
        # Once: whoever opens them again at the same moment writes nothing, and so collides with nobody.
        fresh = self.filtered(lambda notice: not (notice.letter_opened_at or notice.printed_at)).sudo()
        fresh.write({'letter_opened_at': fields.Datetime.now()})
        fresh._log_step(self.env._("Letter handed out to %s.", self.env.user.name))

    def action_open_mail(self):
        """Download the mail: as it was handed to the server, or before that as it is kept for it.

        :return: action for the web client; it says so where nobody can tell whether the mail is what was made
        :raise UserError: there is none, or it is damaged
        """
        self.ensure_one()
        action = {
            'type': 'ir.actions.act_url',
            'url': f'/web/content/{self.mail_document_id.id}?download=true',
            'target': 'download',
        }
        if self._read_kept('mail_document_id')[1] == 'unverified':
            return self._notify([self.env._(
                "An earlier version kept this mail without its SHA-256: nobody can tell whether it is what was made.")],
                action)
        self._get_mail_bytes()
        return action
