import email.policy
import email.utils
import hashlib
import logging
from datetime import UTC
from typing import NamedTuple

from odoo import fields, models
from odoo.exceptions import UserError, ValidationError
from odoo.fields import Domain
from odoo.tools import email_normalize, formataddr, html2plaintext
from odoo.tools.mail import generate_tracking_message_id

from ..tools import mail_header
from ..tools.mail_text import flatten_tables
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# What of a notice's texts is in the mail itself; the others are in the letter.
MAIL_TEXTS = ('mail_subject', 'mail_body')
# What a claim needs of companies and partners.
COMPANY_FIELDS = (
    'name', 'active', 'parent_path', 'partner_id', 'currency_id', 'dunning_provider_id', 'dunning_min_amount',
    'dunning_payment_part', 'dunning_account_grouping')
PARTNER_FIELDS = (
    'name', 'email', 'lang', 'tz', 'parent_id', 'type', 'active', 'commercial_partner_id', 'company_id', 'is_company',
    'dunning_channel', 'dunning_email_refused', 'dunning_refused_addresses', 'dunning_hold_until',
    'dunning_hold_reason')
ATTACHMENT_FIELDS = ('res_model', 'res_id', 'res_field', 'store_fname', 'db_datas', 'mimetype', 'checksum')
# What is known when the mail leaves, and not before. (To whom it goes can change until then.)
STAMPED = ('Message-ID', 'Date')


class MadeMail(NamedTuple):
    """A mail as it is composed together with its letter.

    :ivar subject: as the customer reads it
    :ivar body: HTML, the text without the layout around it
    :ivar content: the message in bytes, less the headers in `STAMPED`
    :ivar invoices_key: which copies of invoices go along, see `_get_invoices_key()`
    """
    subject: str
    body: str
    content: bytes
    invoices_key: str


class Handover(NamedTuple):
    """A mail as it is handed over.

    :ivar addresses: of the envelope
    :ivar content: the message as it goes over the wire
    :ivar tz: name of the time zone in which the company reckons the day on which it left
    :ivar author_id: id of the `res.partner` in whose name it is
    :ivar envelope_id: what reports of it prove themselves with
    :ivar is_rest: it goes to the addresses that are left; the notice is *sent* already
    """
    addresses: list[str]
    content: bytes
    tz: str
    author_id: int
    envelope_id: str = ''
    is_rest: bool = False


class DunningNotice(models.Model):
    """How a notice becomes a mail.

    It is composed together with the letter (`_make_mails()`), kept, and can be read before it leaves. `_claim()` is the
    only way to a mail that is handed over: it asks the rules again, has letter and mail made anew where they are not
    true any more, and stamps receiver, date and Message-ID into the kept bytes.
    """
    _inherit = 'dunning.notice'

    # === COMPOSING === #

    def _make_mails(self, documents):
        """Compose the mails of those notices that go by mail.

        :param dict documents: notice id -> the PDF that goes along; where it is an exception, no mail is composed
        :return: dict notice id -> :class:`MadeMail`, or the exception that says why there is none
        """
        notices = self.filtered(lambda notice: notice.provider_id and isinstance(documents.get(notice.id), bytes))
        try:
            with self.env.cr.savepoint():
                return notices._make_mails_together(documents)
        except RETRYABLE:
            raise
        except Exception:
            _logger.info("Dunning mails are composed one by one, since together they cannot be", exc_info=True)
        mails = {}
        for notice in notices:
            try:
                with self.env.cr.savepoint():
                    mails.update(notice._make_mails_together(documents))
            except RETRYABLE:
                raise
            except (UserError, ValidationError) as error:
                mails[notice.id] = error
            except Exception as error:
                _logger.exception("The mail of dunning notice %s cannot be composed", notice.id)
                mails[notice.id] = UserError(self.env._("The mail could not be made: %s", error))
        return mails

    def _make_mails_together(self, documents):
        texts = self._render_all_texts(MAIL_TEXTS)
        return {notice.id: notice._make_mail(texts[notice.id], documents[notice.id]) for notice in self}

    def _make_mail(self, texts, document):
        """Compose one mail: text in the customer's language, plain-text part, the PDF, the invoices where wanted.

        :param dict texts: the rendered `MAIL_TEXTS`
        :param bytes document: the PDF
        :return: :class:`MadeMail`
        """
        self.ensure_one()
        notice = self.with_context(lang=self.lang)
        provider = notice.provider_id
        logo = notice.company_id.sudo()._get_dunning_mail_logo()
        body = self.env['ir.qweb'].with_context(lang=self.lang)._render('dunning_mail.mail_layout', {
            'notice': notice, 'company': notice.company_id, 'body': texts['mail_body'],
            'subject': texts['mail_subject'], 'logo': logo})
        headers = {'Auto-Submitted': 'auto-generated', 'X-Odoo-Objects': f'{self._name}-{self.id}'}
        subject = texts['mail_subject']
        if provider.redirect_to:
            headers['X-Original-To'] = notice.email_to
            subject = self.env._("[Trial for %(addresses)s] %(subject)s", addresses=notice.email_to, subject=subject)
        attachments = [(f'{notice._get_file_name()}.pdf', document, 'application/pdf')]
        attachments += notice._get_invoice_documents()
        message = self.env['ir.mail_server']._build_email__(
            email_from=provider._get_from_header(notice.company_id), email_to='',
            reply_to=notice._get_reply_to(), subject=subject, body=body, subtype='html', headers=headers,
            body_alternative=html2plaintext(flatten_tables(body)).replace('\ufeff', ''), attachments=attachments)
        for name in STAMPED:
            del message[name]
        del message['To']
        message['To'] = self._format_to(notice.email_to.split(', '))
        if logo:
            # Part of the mail: what would have to be fetched, mail readers do not show, and it tells who reads.
            message.get_body(('html',)).add_related(
                logo['content'], 'image', logo['subtype'], cid=f"<{logo['cid']}>", disposition='inline')
        # Lines of 7 bits only: the message is the same on every server, whether or not it offers 8BITMIME.
        content = message.as_bytes(policy=email.policy.SMTP.clone(cte_type='7bit'))
        return MadeMail(texts['mail_subject'], texts['mail_body'], content, notice._get_invoices_key())

    def _format_to(self, addresses):
        """Return the addresses with the recipient's name, as they stand in the header."""
        self.ensure_one()
        name = self._get_to_name()
        return ', '.join(formataddr((name, address)) for address in addresses)

    def _get_to_name(self):
        self.ensure_one()
        return ' '.join((self.recipient_id.name or self.partner_id.name or '').split())

    def _prepare_mail_document_values(self, content):
        """Values of the attachment that keeps the mail."""
        self.ensure_one()
        return {
            'name': f'{self._get_file_name()}.eml', 'raw': content, 'mimetype': 'message/rfc822',
            'res_model': self._name, 'res_id': self.id}

    def _prepare_mail_values(self, mail, attachment):
        """Values of a notice whose mail was composed.

        :param mail: :class:`MadeMail`, None for none
        :param attachment: the `ir.attachment` that keeps it
        """
        if not mail:
            return {'mail_document_id': False, 'mail_sha256': False}
        return {
            'mail_document_id': attachment.id, 'mail_sha256': hashlib.sha256(mail.content).hexdigest(),
            'mail_subject': mail.subject, 'mail_body': mail.body, 'mail_invoices_key': mail.invoices_key}

    def _get_reply_to(self):
        """Answers go to the address that Odoo reads, where there is one, else to the clerk, else to the company."""
        self.ensure_one()
        owner = self.user_id if self.user_id.active else self._get_responsible_user()
        if self.company_id.sudo().alias_domain_id.catchall_email:
            # In the name of who answers, whoever or whatever job has it made.
            return self.with_user(owner).sudo()._notify_get_reply_to(author_id=owner.partner_id.id)[self.id]
        address = email_normalize(owner.email) or email_normalize(self.company_id.email)
        name = ' '.join((owner.name if email_normalize(owner.email) else self.company_id.name or '').split())
        return formataddr((name, address)) if address else False

    # === LEAVING === #

    def _claim(self, now, contacts=None):
        """Make one released notice ready to be handed over and say so before anything goes over the wire.

        The caller commits. What a crash leaves in `sending` becomes `unclear` with the next holder of the provider's
        lock.

        :param datetime now: naive UTC
        :param contacts: what `_fetch_for_claim()` returned
        :return: :class:`Handover`, or None where it must not be sent; then the notice says why
        :raise UserError: a document is missing or damaged
        """
        self.ensure_one()
        notice = self._as_system()
        if notice.delivery_state == 'sent':
            return notice._claim_rest(now)
        redirect = notice.provider_id.redirect_to
        if notice.redirected_to:
            # What was made for a trial never reached the customer, and must not.
            notice.handover_at = False
        elif redirect and notice.handover_at:
            notice._stop(self.env._(
                "This mail was handed over for the customer before, and the service provider is in trial mode now. "
                "Send it again when the trial is over, or put it on paper."))
            return None
        if notice._make_true(is_handover=True).stopped:
            return None
        channel, info, addresses = notice._choose_channel(contacts)
        if channel == 'paper':
            notice._set_paper(info)
            return None
        if notice.handover_at and not set(addresses) <= set((notice.email_to or '').split(', ')):
            notice._stop(notice._describe_other_address(addresses))
            return None
        # What the letter says is what the mail has along.
        (notice.document_id | notice.mail_document_id).fetch(ATTACHMENT_FIELDS)
        notice._get_document_bytes()
        values = {}
        if notice.handover_at:
            # What was handed over once is sent with the same bytes, or not at all.
            message_id, content = notice.message_id, notice._get_mail_bytes()
            old, new = notice._get_senders(content)
            if [one.addr_spec for one in old] != [one.addr_spec for one in new]:
                notice._stop(self.env._(
                    "It was handed over from %(old)s and goes out unchanged or not at all; the service provider sends "
                    "from %(new)s now. Put it on paper, or cancel it.",
                    old=', '.join(one.addr_spec for one in old), new=', '.join(one.addr_spec for one in new)))
                return None
        else:
            if notice.email_to != ', '.join(addresses):
                notice.email_to = ', '.join(addresses)
            message_id, content = notice._stamp_mail(notice._parse_addresses(redirect) if redirect else addresses)
            if not content:
                return None
            values['mail_sha256'] = hashlib.sha256(content).hexdigest()
            notice._get_own_attachment('mail_document_id')._replace_dunning_mail(content)
        addresses = notice._parse_addresses(redirect) if redirect else addresses
        notice._set_sending(message_id, now, addresses, redirected_to=redirect, **values)
        return Handover(
            addresses, content, notice._get_tz(), notice.user_id.partner_id.id, notice._get_envelope_id())

    def _fetch_for_outcome(self):
        """Read in one statement what an outcome is written to."""
        self.fetch([
            fname for fname, field in self._fields.items()
            if field.store and field.column_type and (field.prefetch or fname == 'mail_body')])

    def _fetch_for_claim(self):
        """Read what a claim needs of the widest tables: each by itself would be read with all of its columns, and a
        statement of its own.

        :return: the customer's contacts, for `_choose_channel()`
        """
        self.company_id.fetch(COMPANY_FIELDS)
        self.user_id.fetch(['partner_id', 'active'])
        own = self.partner_id | self.recipient_id | self.user_id.partner_id | self.company_id.partner_id
        # What is said of a customer is the company's.
        partners = own.with_company(self.company_id).with_context(active_test=False).search_fetch(
            Domain('id', 'in', own.ids)
            | (Domain('parent_id', '=', self.partner_id.id) & Domain('type', 'in', ('dunning', 'invoice'))),
            [*PARTNER_FIELDS, *own._formatting_address_fields()])
        return own.browse(partners.ids).filtered_domain(Domain('parent_id', '=', self.partner_id.id))

    def _stamp_mail(self, addresses):
        """Stamp into the kept mail what is known now: to whom, when and under which Message-ID it leaves.

        Letter and mail are made anew where there is no mail yet, where the sender or a copy of an invoice has changed,
        or where trial mode was switched on or off.

        :param list addresses: to whom it goes
        :return: (Message-ID, message in bytes); the latter is empty where it could not be made, and the notice says why
        :raise UserError: the kept mail is damaged
        """
        self.ensure_one()
        # Of what bears no SHA-256 nobody can tell whether it is what was made.
        is_current = self.mail_document_id and self.mail_sha256 and self._is_mail_current(self._get_mail_bytes())
        if not is_current and self._make_anew()[0]:
            return None, b''
        # Under the sender's domain: the name of this machine is nobody's business, and spam filters compare the two.
        message_id = '{}@{}>'.format(
            generate_tracking_message_id(f'{self.id}-{self._name}').rpartition('@')[0],
            self.provider_id._get_smtp_from().rpartition('@')[2])
        return message_id, mail_header.stamp(self._get_mail_bytes(), {
            'Message-ID': message_id,
            'Date': email.utils.format_datetime(fields.Datetime.now().replace(tzinfo=UTC)),
            'To': self._format_to(addresses)})

    def _is_mail_current(self, content):
        """Whether a composed mail has the present sender, address for answers and copies of invoices, and was made for
        trial mode only if it is on.

        :param bytes content: the kept mail
        """
        self.ensure_one()
        old, new = self._get_senders(content)
        is_for_trial = mail_header.get(content, 'X-Original-To') is not None
        if old != new or is_for_trial != bool(self.provider_id.redirect_to) \
                or (self.mail_invoices_key or '') != self._get_invoices_key():
            return False
        if self.user_id.active:
            return True
        # Answers must not go to a clerk who has left.
        reply_to = mail_header.get(content, 'Reply-To')
        return not reply_to or email_normalize(self.user_id.partner_id.email) not in {
            address.addr_spec.lower() for address in reply_to.addresses}

    def _get_senders(self, content):
        """Return the addresses in the `From` of a kept mail, and those that it would have now.

        :param bytes content: the kept mail
        """
        self.ensure_one()
        # Both as they are read from a mail: encoding and folding may not give back what was put in.
        sender = mail_header.stamp(mail_header.END, {'From': self.provider_id._get_from_header(self.company_id)})
        return tuple(
            header.addresses if (header := mail_header.get(mail, 'From')) else () for mail in (content, sender))

    def _count_recipients(self, contacts=None):
        """Return how many recipients the next handover has.

        :param contacts: what `_fetch_for_claim()` returned
        """
        self.ensure_one()
        if self.rest_to:
            return len(self.rest_to.split(', '))
        if self.provider_id.redirect_to:
            return 1
        if not self._is_frozen() and (addresses := self._choose_channel(contacts)[2]):
            return len(addresses)
        return len((self.email_to or '').split(', '))

    def _mark_orphans_unclear(self):
        """Whatever a dead sender left in `sending` waits for a person: the server may have the mail."""
        for notice in self.sudo():
            notice = notice.with_context(lang=notice.user_id.lang)
            words = notice.env._(
                "The sending process ended while the mail was being handed over. The customer may or may not have it: "
                "ask the mail provider for Message-ID %s before you send again.", notice.message_id)
            for orphan in notice._set_unclear(words, {'recipient_count': notice._count_recipients()}):
                # That the state is true comes first: what tells people of it must not hold up the engine.
                self.env['dunning.engine']._follow_up(
                    lambda orphan=orphan, words=words: orphan._ask_person('dunning_mail.mail_activity_unclear', words),
                    lambda orphan=orphan: orphan._log_mail(orphan.handover_at))

    # === CHATTER === #

    def _prepare_mail_message_values(self, author_id):
        """Values of the message that shows the mail in the chatter.

        :param int author_id: id of the `res.partner` in whose name it is
        """
        self.ensure_one()
        return {
            'model': self._name, 'res_id': self.id, 'message_type': 'email_outgoing',
            'subtype_id': self.env['ir.model.data']._xmlid_to_res_id('mail.mt_comment'),
            'subject': self.mail_subject, 'body': self.mail_body, 'message_id': self.message_id,
            'author_id': author_id, 'email_from': self.provider_id.email_from,
            # Nothing is sent from here: what an answer would go to need not be worked out.
            'reply_to': self.provider_id.email_from,
            'record_name': self.display_name,
        }

    def _log_mail(self, sent_at, author_id=None):
        """Show the mail in the chatter, under its own Message-ID: answers and bounces find the notice by it.

        :param datetime sent_at: naive UTC
        :param int author_id: id of the `res.partner` in whose name it is, default the clerk
        """
        self.ensure_one()
        if self.handover_at != self.claimed_at and self.env['mail.message'].sudo().search_count(
                [('message_id', '=', self.message_id)], limit=1):
            # Retried with the same Message-ID.
            return
        values = self._prepare_mail_message_values(author_id or self.user_id.partner_id.id)
        self.env['mail.message'].sudo().create({**values, 'date': sent_at})
