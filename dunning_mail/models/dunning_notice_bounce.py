import re

from odoo import api, models


class DunningNotice(models.Model):
    """What comes back for a mail that the server had taken."""
    _inherit = 'dunning.notice'

    @api.model
    def _receive_report(self, report, guessed):
        """A report came back for a mail that the server had taken.

        It counts for the notice whose very Message-ID it returns, if it is about one of the addresses that the mail
        went to: a permanent failure ends as `failed`. A report without the returned mail counts for the one notice that
        it mentions. Everything else, forged ones among it, is only noted.

        :param report: :class:`~..tools.bounce.Report`
        :param guessed: the notice to which Odoo would assign it, if any
        """
        certain = self._find_by_message_ids(report.original_ids)
        if not report.original_ids:
            certain = self._find_by_message_ids(report.mentioned_ids)
            if len(certain) > 1:
                guessed |= certain
                certain = self.browse()
        for notice in certain | guessed:
            notice = notice.with_context(lang=notice.user_id.lang)
            own = notice._get_envelope_addresses()
            steps = [step for step in report.recipients if notice in certain and step.address.lower() in own]
            failed = [step for step in steps if step.is_failed]
            if failed:
                notice._apply_bounce(failed)
            elif steps:
                notice._message_log(body=notice.env._("The mail server reports: %s", steps[0].describe()))
            else:
                notice._message_log(body=notice.env._(
                    "An undelivered-mail report came for this notice, but it does not say that the mail to %(address)s "
                    "has failed. It is about: %(other)s", address=notice.email_to or '-',
                    other=', '.join(step.describe() for step in report.recipients) or '-'))

    @api.model
    def _find_by_message_ids(self, message_ids):
        return self.search([('message_id', 'in', list(message_ids))]) if message_ids else self.browse()

    def _get_envelope_addresses(self):
        """Return the addresses that the last mail went to, in small letters."""
        self.ensure_one()
        return set((self.redirected_to or self.email_to or '').lower().split(', '))

    def _apply_bounce(self, steps):
        """Write down that the mail came back. Of several addresses, all have to: as long as one has it, it is sent.

        :param steps: :class:`~..tools.bounce.RecipientReport` of this notice's addresses that failed
        """
        self.ensure_one()
        step = steps[0]
        words = self.env._("The mail came back: %s", '; '.join(step.describe() for step in steps))
        log = {'stage': 'bounce', 'code': step.status, 'host': step.remote_mta}
        earlier = self.delivery_log_ids.filtered(
            lambda line: line.stage == 'bounce' and line.message_id == self.message_id)
        if self.state == 'issued' and self.delivery_state == 'paper':
            # It goes, or went, by post since.
            self._log_step(words, **log)
            self._message_log(body=words)
            self._mark_refused_by_report(step)
            return
        gone = {step.address.lower() for step in steps} | {
            word for text in earlier.mapped('text') for word in re.split(r'[\s;,<>()]+', text.lower())}
        if self.delivery_state in ('sent', 'unclear') and self.state == 'issued' \
                and self._get_envelope_addresses() - gone:
            self._log_step(words, **log)
            self._message_log(body=words)
            return
        moved = self._set_failed(words, log)
        if not moved:
            self._message_log(body=words)
            return
        self._ask_person('dunning_mail.mail_activity_failed', words)
        self.run_id._update_state()
        self._mark_refused_by_report(step)

    def _mark_refused_by_report(self, step):
        if step.blames_address and not self.redirected_to:
            self._mark_address_refused(step.describe())

    @api.private
    def message_update(self, msg_dict, update_vals=None):
        # An answer is for the person who answers for the run.
        for notice in self.sudo():
            notice.message_subscribe(partner_ids=notice.user_id.partner_id.ids)
        return super().message_update(msg_dict, update_vals)
