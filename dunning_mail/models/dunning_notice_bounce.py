import itertools
import re

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL, LazyTranslate, hmac

from ..tools.smtp import Reason

_lt = LazyTranslate(__name__)

# Characters of a server's name for a mail.
MIN_UNIQUE = 20
# Of a payment reference; shorter ones could be anything.
MIN_REFERENCE = 8
# What became of a mail that is still under way, or has arrived.
UNDER_WAY = ('delayed', 'delivered', 'relayed', 'expanded')


class DunningNotice(models.Model):
    """What comes back for a mail that the server had taken.

    A report says that a mail came back, and whoever has the mail can write one: he knows its Message-ID, all of its
    headers, and the names that servers gave it. So a report undoes a level by itself only if it

    - names an address that the mail went to, as the one that failed, and
    - proves that it is no forgery: it bears the number that was given to the server outside of the mail
      (`_get_envelope_id()`), which no reader sees; or it lay in the provider's own mailbox and was demonstrably written
      by the mail system of that mailbox (`tools/mail_trace.py`).

    Of any other report about a known notice a person says whether it is true. It is kept as data in either case
    (`dunning.notice.report`).
    """
    _inherit = 'dunning.notice'

    is_return_reported = fields.Boolean(
        "Reported as Returned", readonly=True, copy=False,
        help="A report says that the mail came back, and a person has to say whether that is true.")
    return_info = fields.Text("What the Report Says", readonly=True, copy=False)
    report_ids = fields.One2many('dunning.notice.report', 'notice_id', readonly=True)

    # Why a mail came back, for a clerk.
    _RETURN_WORDS = {
        Reason.RECIPIENT_UNKNOWN: _lt("there is no such address"),
        Reason.ADDRESS_INVALID: _lt("this is no valid e-mail address"),
        Reason.MAILBOX_DISABLED: _lt("the mailbox is switched off"),
        Reason.MAILBOX_FULL: _lt("the mailbox is full"),
        Reason.MESSAGE_TOO_LARGE: _lt("the mail is too large for this mailbox"),
        Reason.POLICY_BLOCK: _lt("the rules of the recipient's mail server do not let it through"),
        Reason.CONTENT_REFUSED: _lt("the recipient's mail server does not like its content"),
        Reason.SENDER_AUTHENTICATION: _lt("the recipient's mail server does not trust the sender (SPF, DKIM, DMARC)"),
        Reason.TEMPORARY: _lt("the recipient's mail server could not be reached, or put it off, for too long"),
    }
    _OTHER_RETURN = _lt("the report does not say clearly why")

    # === WHICH NOTICE === #

    def _get_envelope_id(self):
        """Return the number that the mail's envelope bears beside the mail itself (ENVID, RFC 3461).

        Servers that know of it repeat it in their reports; it is in no header, so that a reader of the mail cannot know
        it. It names the notice, and proves that the report is about the mail with the present Message-ID.
        """
        self.ensure_one()
        code = hmac(self.env(su=True), 'dunning_mail.envelope', (self.id, self.message_id))
        return f'dunning-{self.id}-{code[:32]}'

    def _get_envelope_addresses(self):
        """Return the addresses that the last mail went to, in small letters."""
        self.ensure_one()
        return set(filter(None, (self.redirected_to or self.email_to or '').lower().split(', ')))

    @api.model
    def _find_by_envelope_ids(self, envelope_ids):
        """Return the notices whose number, and the code in it, a report bears."""
        numbers = {envelope_id: envelope_id.split('-')[1] for envelope_id in envelope_ids if (
            envelope_id.startswith('dunning-') and envelope_id.count('-') == 2)}
        found = self.browse(
            int(number) for number in numbers.values() if number.isascii() and number.isdigit() and len(number) < 10)
        return found.exists().filtered(lambda notice: notice._get_envelope_id() in envelope_ids)

    @api.model
    def _find_by_message_ids(self, message_ids):
        """Return the notices whose mail, the last one or an earlier one, has one of these Message-IDs."""
        if not message_ids:
            return self.browse()
        earlier = self.env['dunning.delivery.log'].search([('message_id', 'in', list(message_ids))])
        return self.search([('message_id', 'in', list(message_ids))]) | earlier.notice_id

    @api.model
    def _find_by_queue_ids(self, queue_ids):
        """Return the notices whose mail our server took under one of these names."""
        if not queue_ids:
            return self.browse()
        return self.env['dunning.delivery.log'].search([('queue_id', 'in', list(queue_ids))]).notice_id

    @api.model
    def _find_customers(self, addresses):
        """Return the customers of whom somebody has one of these addresses, be it that she or they have left since."""
        return self.env['res.partner'].with_context(active_test=False).search(
            [('email_normalized', 'in', list(addresses))]).commercial_partner_id

    def _filter_addressed(self, addresses):
        """Return those of these notices that went to one of the addresses, or whose customer has it."""
        partners = self._find_customers(addresses)
        return self.filtered(lambda notice: (
            notice._get_envelope_addresses() & addresses or notice.partner_id.commercial_partner_id in partners))

    @api.model
    def _get_relay_ids(self, report):
        """Return what may be a server's name for a mail: some relays replace the Message-ID, and put it there."""
        return {*report.queue_ids, *(
            message_id.strip('<>').partition('@')[0] for message_id in (*report.original_ids, *report.mentioned_ids))}

    @api.model
    def _filter_unique(self, relay_ids):
        """Return those that are too long for two servers to have made the same."""
        return {relay_id for relay_id in relay_ids if len(relay_id) >= MIN_UNIQUE}

    @api.model
    def _find_reported(self, report):
        """Return the notices that a report is about.

        The envelope's number and the returned mail's Message-ID speak for themselves. Of what else it bears (our own
        number in a header, the server's name for the mail, a Message-ID that is mentioned) that counts first which fits
        an address that the report names.

        :param report: :class:`~..tools.bounce.Report`
        """
        certain = self._find_by_envelope_ids(report.envelope_ids) | self._find_by_message_ids(report.original_ids)
        if certain:
            return certain
        objects = self.browse(int(name.rpartition('-')[2]) for name in report.objects).exists()
        mentioned = self._find_by_message_ids(report.mentioned_ids) if not report.original_ids else self.browse()
        relay_ids = self._get_relay_ids(report)
        fitting = (objects | mentioned | self._find_by_queue_ids(relay_ids))._filter_addressed(
            report.addresses)
        return fitting or objects | mentioned | self._find_by_queue_ids(self._filter_unique(relay_ids))

    @api.model
    def _find_answered(self, report, sender):
        """Return the notice that a letter answers, by the mail that it refers to.

        :param report: :class:`~..tools.bounce.Report`
        :param str sender: its bare address
        """
        if notices := self._find_by_message_ids(report.mentioned_ids):
            return notices.sorted('id')[-1:]
        ids = self._get_relay_ids(report)
        notices = self._find_by_queue_ids(self._filter_unique(ids)) or self._find_by_queue_ids(
            ids)._filter_addressed({sender})
        return notices.sorted('id')[-1:]

    @api.model
    def _find_named(self, text, addresses, company):
        """Return the notice whose number or payment reference a mail names, if it is about or from its customer.

        :param str text: subject and body
        :param addresses: set of bare addresses: of the sender, or of which a report says something
        :param company: `res.company` whose mailbox it came into, empty for that of several
        """
        if not addresses:
            return self.browse()
        partners = self._find_customers(addresses)
        packed = ''.join(text.split()).replace('\0', '')
        text = text.replace('\0', '')
        self.flush_model(['name', 'payment_reference', 'partner_id', 'email_to', 'company_id', 'state'])
        # What is named is looked for in the text, so that no pattern of numbers has to be known here.
        rows = self.env.execute_query(SQL(
            """
            SELECT id, name, replace(payment_reference, ' ', '')
              FROM dunning_notice
             WHERE state IN ('issued', 'cancelled')
               AND (partner_id = ANY(%(partners)s)
                    OR string_to_array(lower(email_to), ', ') && %(addresses)s::text[])
               AND (strpos(%(text)s, name) > 0 OR strpos(%(packed)s, replace(payment_reference, ' ', '')) > 0)
               AND (%(company)s IS NULL OR company_id = %(company)s)
             ORDER BY id DESC
             LIMIT 100
            """,
            partners=partners.ids, addresses=list(addresses), text=text, packed=packed, company=company.id or None))
        # Not what is only the beginning of a longer one.
        by_number = (row[0] for row in rows if row[1] and re.search(
            rf'(?<!\w){re.escape(row[1])}(?!\w)', text))
        by_reference = (row[0] for row in rows if len(row[2] or '') >= MIN_REFERENCE and re.search(
            rf'{re.escape(row[2])}(?!\d)', packed))
        return self.browse(next(itertools.chain(by_number, by_reference), ()))

    # === A REPORT === #

    def _receive_report(self, report, incoming=None, is_own_system=False):
        """Take up what a report says of these notices.

        ===================================== ==================================================================
        the report says                       the notice
        ===================================== ==================================================================
        failed, and proves itself             becomes *failed*, once that is proven of all of its addresses
        failed, without proof; of an address  stays as it is; a person is asked
        that it was passed on to; of one of
        several; nothing that can be read
        late, passed on, arrived              stays as it is; noted
        ===================================== ==================================================================

        :param report: :class:`~..tools.bounce.Report`
        :param incoming: `dunning.incoming.mail` that keeps it
        :param is_own_system: whether it was written by the mail system whose mailbox it lay in
        """
        for notice in self:
            notice = notice.with_context(lang=notice.user_id.lang)
            own = notice._get_envelope_addresses()
            mailbox = notice.provider_id.sudo().incoming_server_id
            is_proven = notice._get_envelope_id() in report.envelope_ids or (
                is_own_system and mailbox and incoming.sudo().server_id == mailbox)
            steps = [step for step in report.recipients if step.addresses & own]
            notice._keep_steps(report.recipients, own, is_proven, incoming)
            if failed := [step for step in steps if step.is_failed]:
                notice._apply_bounce(failed, is_proven and all(step.address in own for step in failed))
            elif steps and all(step.action in UNDER_WAY for step in steps):
                notice._message_log(body=notice.env._(
                    "The mail server reports: %s", '; '.join(step.describe() for step in steps)))
            else:
                notice._ask_about_return(notice.env._(
                    "An undelivered-mail report came for this notice, but it does not say that the mail to %(address)s "
                    "has failed. It is about: %(other)s", address=notice.email_to or '-',
                    other='; '.join(step.describe() for step in report.recipients) or '-'))

    def _keep_steps(self, steps, own, is_proven, incoming):
        """Keep as data what a report says of each address."""
        self.env['dunning.notice.report'].sudo().create([{
            'notice_id': self.id, 'incoming_id': incoming and incoming.id, 'message_id': self.message_id,
            'address': step.address, 'original_address': step.original, 'action': step.action or False,
            'status': step.status, 'diagnostic': step.diagnostic, 'remote_mta': step.remote_mta,
            'blames_address': step.blames_address, 'is_ours': bool(step.addresses & own),
            'is_proven': is_proven and step.address in own} for step in steps])

    def _describe_return(self, steps):
        """Say why a mail came back: in a clerk's words, and the report's own behind them."""
        words = '; '.join(
            f'{step.address}: {self.env._(self._RETURN_WORDS.get(step.reason, self._OTHER_RETURN))}' for step in steps)
        return self.env._(
            "The mail came back. %(words)s.\nThe report's own words: %(report)s", words=words,
            report='; '.join(step.describe() for step in steps))

    def _apply_bounce(self, steps, is_proven):
        """Write down that the mail came back. Of several addresses, all have to: as long as one has it, it is sent.

        :param steps: :class:`~..tools.bounce.RecipientReport` of this notice's addresses that failed
        :param is_proven: whether the report is no forgery
        """
        self.ensure_one()
        step = steps[0]
        words = self._describe_return(steps)
        log = {'stage': 'bounce', 'code': step.status, 'host': step.remote_mta}
        if self.state != 'issued' or self.delivery_state not in ('sent', 'unclear'):
            # It goes, or went, by post since; or is known to have failed.
            self._log_step(words, **log)
            self._log_note(words)
            if is_proven and self.state == 'issued' and self.delivery_state == 'paper':
                self._mark_refused_by_report(steps)
            return
        returned = self._get_present_reports().filtered(lambda report: report.action == 'failed')
        gone = set(returned.mapped('address')) | set(returned.mapped('original_address'))
        if self._get_envelope_addresses() - gone:
            self._ask_about_return(self.env._(
                "%(words)s\nIt went to %(addresses)s: whoever is not named here has it, as far as is known.",
                words=words, addresses=self.email_to), log)
            return
        # One that is proven does not prove the others.
        proven = set(returned.filtered('is_proven').mapped('address'))
        if not is_proven or self._get_envelope_addresses() - proven:
            self._ask_about_return(words, log)
            return
        self._set_failed(words, log)
        self._ask_person('dunning_mail.mail_activity_failed', words)
        self.run_id._update_state()
        self._mark_refused_by_report(steps)

    def _get_present_reports(self):
        """Return the reports about the last handover of the mail that nobody has denied: who sends it again, sends it
        under the same Message-ID."""
        self.ensure_one()
        return self.report_ids.filtered(lambda report: (
            report.is_ours and not report.is_denied and report.message_id == self.message_id
            and (not self.claimed_at or report.date >= self.claimed_at)))

    def _ask_about_return(self, words, log=None):
        """Have a person say whether it is true that the mail came back.

        :param str words: what the report says
        :param dict log: as for `_set_delivery()`
        """
        self.ensure_one()
        self._log_step(words, **(log or {'stage': 'bounce'}))
        self._log_note(words)
        if self.state != 'issued' or self.delivery_state not in ('sent', 'unclear'):
            return
        self.sudo().write({'is_return_reported': True, 'return_info': words})
        self._ask_person('dunning_mail.mail_activity_returned', self.env._(
            "A report says that the mail of this notice came back. Is it genuine? Whoever has the mail can write such "
            "a report: ask the customer, or compare with your mail provider's. Then press “It Came Back” or “It Has "
            "Arrived” on the notice.\n\n%s", words))

    def _mark_refused_by_report(self, steps):
        blaming = [step for step in steps if step.blames_address]
        if blaming and not self.redirected_to:
            self._mark_address_refused(blaming[0].describe())

    def _set_delivery(self, target, info, log=None, **values):
        # Whatever it becomes: the question whether the earlier mail came back is no question any more.
        asked = self.filtered('is_return_reported')
        moved = super()._set_delivery(target, info, log, **values)
        if answered := moved & asked:
            answered.sudo().write({'is_return_reported': False})
            answered.sudo().activity_unlink(['dunning_mail.mail_activity_returned'])
        return moved

    # === WHAT A PERSON SAYS OF IT === #

    def _check_return_reported(self):
        for notice in self:
            if notice.state != 'issued' or not notice.is_return_reported:
                raise UserError(self.env._(
                    "No report about dunning notice %s waits for an answer.", notice.display_name))

    def action_confirm_returned(self):
        """Say that the mails of these notices did come back: they are *failed*, and do not count.

        :raise UserError: there is no report that waits for it
        """
        self.check_access('write')
        self._check_return_reported()
        for notice in self:
            words = notice.env._(
                "It came back, says %(user)s.\n%(words)s", user=self.env.user.name, words=notice.return_info or '')
            reports = notice._get_present_reports()
            notice._set_failed(words, {'stage': 'bounce', 'code': reports[:1].status})
            notice.sudo()._ask_person('dunning_mail.mail_activity_failed', words)
            blaming = reports.filtered(lambda report, notice=notice: (
                report.blames_address and report.address in notice._get_envelope_addresses()))
            if blaming and not notice.redirected_to:
                notice._mark_address_refused(blaming[0]._describe())
        self.run_id._update_state()

    def action_deny_returned(self):
        """Say that the mails of these notices have arrived, whatever a report says.

        :raise UserError: there is no report that waits for it
        """
        self.check_access('write')
        self._check_return_reported()
        for notice in self:
            notice._log_step(self.env._(
                "It has arrived, whatever the report says: says %s.", self.env.user.name), stage='bounce')
            notice.sudo()._get_present_reports().is_denied = True
        self.sudo().write({'is_return_reported': False})
        self.sudo().activity_feedback(['dunning_mail.mail_activity_returned'])

    # === WHAT A READER'S PROGRAM OR PROVIDER SAYS === #

    def _receive_receipt(self, detail):
        """Note a read receipt. It says what somebody's program was told to do, and changes nothing.

        :param str detail: the disposition (RFC 8098, 3.2.6)
        """
        for notice in self:
            notice = notice.with_context(lang=notice.user_id.lang)
            words = notice.env._("A read receipt says that the mail was opened.")
            if 'displayed' not in detail:
                words = notice.env._(
                    "A read receipt came that does not say that the mail was read: %s", detail or '-')
            notice._message_log(body=words)

    def _receive_complaint(self, detail):
        """Have a person look at what a reader told his mail provider.

        :param str detail: the type of feedback (RFC 5965, 3.1)
        """
        for notice in self:
            notice = notice.with_context(lang=notice.user_id.lang)
            if detail == 'not-spam':
                notice._message_log(body=notice.env._("The recipient has taken the mail out of the spam folder."))
                continue
            words = notice.env._(
                "The recipient has told the mail provider that this mail is unwanted (complaint, “%s”). It has "
                "arrived. Complaints spoil the sender's reputation: speak with the customer, or put the next notice on "
                "paper.",
                detail or '-')
            notice._log_note(words)
            notice._ask_person('dunning_mail.mail_activity_returned', words)

    @api.private
    def message_update(self, msg_dict, update_vals=None):
        # An answer is for the person who answers for the run.
        for notice in self.sudo():
            notice.message_subscribe(partner_ids=notice.user_id.partner_id.ids)
        return super().message_update(msg_dict, update_vals)
