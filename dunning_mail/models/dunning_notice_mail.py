import email.policy
from datetime import date
from typing import NamedTuple

from odoo import fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL, email_normalize, formataddr, html2plaintext
from odoo.tools.mail import generate_tracking_message_id

from ..tools.mail_text import flatten_tables

# What of a level's texts is in the mail itself; the others are in the letter.
MAIL_TEXTS = ('mail_subject', 'mail_body')
# What a mail needs of the widest tables. After each commit everything is read anew, and the ORM would read all of their
# columns.
COMPANY_FIELDS = (
    'name', 'parent_path', 'partner_id', 'alias_domain_id', 'dunning_provider_id', 'email', 'phone', 'primary_color',
    'uses_default_logo')
PARTNER_FIELDS = (
    'name', 'email', 'lang', 'tz', 'parent_id', 'active', 'commercial_partner_id', 'street', 'street2', 'zip', 'city',
    'website', 'dunning_channel', 'dunning_email_refused', 'dunning_hold_until')
# Bytes of mails that are made ahead of their turn together.
MAX_PREPARED = 10_000_000


class Mail(NamedTuple):
    """A mail as it is handed over.

    :ivar message_id: its Message-ID
    :ivar addresses: of the envelope
    :ivar content: the message as it goes over the wire
    :ivar message_values: of the chatter's message for it, made while all that it needs is at hand; None where the mail
        was made for an earlier attempt
    :ivar is_archived: whether document and mail are kept after they were sent
    """

    message_id: str
    addresses: list[str]
    content: bytes
    message_values: dict | None
    is_archived: bool


class PreparedMail(NamedTuple):
    """A mail that was made ahead of its turn, and what it rests on.

    :ivar mail: :class:`Mail`
    :ivar day: for which it was made
    :ivar fingerprint: what `_get_fingerprints()` said then; the mail counts as long as it says the same
    :ivar clerk_lang: language of the person who answers for the run
    """

    mail: Mail
    day: date
    fingerprint: str
    clerk_lang: str | bool


class DunningNotice(models.Model):
    """How a notice becomes a mail.

    `_claim()` is the only way to one that is handed over. It takes a mail that was prepared a moment ago in a set, if
    nothing has changed that the mail or the decision to send it rests on, and else decides and makes it there and then.
    """
    _inherit = 'dunning.notice'

    def _claim(self, now, prepared=None):
        """Make one released notice ready to be handed over and say so before anything goes over the wire.

        The caller commits. What a crash leaves in `sending` becomes `unclear` with the next holder of the provider's
        lock.

        :param datetime now: naive UTC
        :param prepared: :class:`PreparedMail`, where there is one
        :return: :class:`Mail`, or None where it must not be sent
        :raise UserError: a text or a document is missing, or damaged
        """
        self.ensure_one()
        notice = self.sudo()
        today = fields.Date.context_today(self)
        if prepared and prepared.day == today and prepared.fingerprint == notice._get_fingerprints()[notice.id]:
            mail = prepared.mail
        else:
            mail = notice._make_mail(today)
        if not mail:
            return None
        if mail.message_values:
            old = notice.mail_document_id
            # Whatever is written with tracking would show the step to `sending` in the chatter.
            notice.with_context(tracking_disable=True).mail_document_id = self.env['ir.attachment'].sudo().create({
                'name': f'{notice._get_file_name()}.eml', 'raw': mail.content, 'mimetype': 'message/rfc822',
                'res_model': self._name, 'res_id': notice.id})
            old.unlink()
        notice._set_delivery(
            'sending', self.env._("Is being handed to the mail server."),
            message_id=mail.message_id, attempt_count=notice.attempt_count + 1, claimed_at=now, next_attempt_at=False,
            redirected_to=notice.provider_id.redirect_to)
        return mail

    def _make_mail(self, today):
        """Look again whether a notice is to be sent, and make its mail.

        :param date today: for holds and deadlines
        :return: :class:`Mail`, or None where it must not be sent; then the notice says why
        :raise UserError: a text or a document is missing, or damaged
        """
        self.ensure_one()
        self._fetch_for_mail()
        notice = self
        redirect = notice.provider_id.redirect_to
        if notice.handover_at and bool(notice.redirected_to) != bool(redirect):
            if redirect:
                words = self.env._(
                    "This mail was handed over for the customer before, and the service provider is in trial mode now. "
                    "Send it again when the trial is over, or put it on paper.")
                notice._set_delivery('failed', words)
                notice._ask_person('dunning_mail.mail_activity_failed', words)
                return None
            # What was made for the trial never reached the customer, and must not.
            notice.handover_at = False
        # What was handed over once is sent with the same bytes, or not at all.
        is_frozen = bool(notice.handover_at or notice.printed_at)
        if notice.run_id.state == 'cancelled':
            notice._cancel(self.env._("The dunning run was cancelled."))
            return None
        verdict, words, line_values = notice._get_verdict(today)
        if verdict in ('settled', 'held'):
            notice._cancel(words)
            return None
        channel, info, current = notice._choose_channel()
        if channel == 'paper':
            notice._set_delivery('paper', info, provider_id=False)
            return None
        if not notice.handover_at and notice.email_to != ', '.join(current):
            notice.with_context(tracking_disable=True).email_to = ', '.join(current)
        if verdict == 'changed' and is_frozen:
            notice._cancel(self.env._("Open amounts have changed since the document was sent or printed first."))
            return None
        if not is_frozen and (fault := notice._make_current(today, verdict, line_values)):
            notice._set_delivery('failed', fault)
            notice._ask_person('dunning_mail.mail_activity_failed', fault)
            return None
        if not notice.handover_at:
            return notice._build_mail(notice._render_texts(MAIL_TEXTS))
        content = notice.mail_document_id.raw
        if not content:
            raise UserError(notice._describe_missing_document())
        addresses = self._parse_addresses(redirect) if redirect else notice.email_to.split(', ')
        return Mail(notice.message_id, addresses, content, None, notice._is_archived())

    # === AHEAD OF THEIR TURN === #

    def _prepare_mails(self):
        """Make the mails of released notices ahead of their turn: together it takes a third of the time.

        Writes nothing. Left out is what takes more than to be sent, for example where the open amounts have changed:
        `_claim()` sees to it when its turn comes.

        :return: dict notice id -> :class:`PreparedMail`
        :raise UserError: the text or document of one of them is missing or damaged
        """
        today = fields.Date.context_today(self)
        fingerprints = self._get_fingerprints()
        prepared, size = {}, 0
        for company, notices in self.sudo().grouped('company_id').items():
            notices = notices.with_company(company)
            notices._fetch_for_mail()
            plain = notices._filter_ready_to_send(today)
            texts = plain._render_all_texts(MAIL_TEXTS)
            for notice in plain:
                lang = notice.user_id.lang
                mail = notice.with_context(lang=lang)._build_mail(texts[notice.id])
                prepared[notice.id] = PreparedMail(mail, today, fingerprints[notice.id], lang)
                size += len(mail.content)
                if size > MAX_PREPARED:
                    return prepared
        return prepared

    def _filter_ready_to_send(self, today):
        """Return the notices of which `_make_mail()` would find nothing to write, cancel or make again.

        :param date today: for holds and deadlines
        """
        debts = self.env['dunning.proposal'].sudo().with_company(self.company_id)._load_for_recheck(self, today)

        def is_ready(notice):
            if notice.handover_at or notice.printed_at or notice.run_id.state == 'cancelled':
                return False
            # Copies of invoices are large. A customer who has become a contact of another one is a rare case.
            if notice.level_id.attach_invoices or notice.partner_id.commercial_partner_id != notice.partner_id:
                return False
            # What becomes of what is left over of a payment hangs on which items are read with it.
            debt = debts.get((notice.partner_id.id, notice.currency_id.id))
            if debt and any(credit.is_left_over for credit in debt.credits):
                return False
            if notice._get_verdict(today, debts)[0] != 'same' or notice._is_out_of_date(today):
                return False
            channel, _info, addresses = notice._choose_channel()
            return channel == 'mail' and notice.email_to == ', '.join(addresses)
        return self.filtered(is_ready)

    def _get_fingerprints(self):
        """Return what changes whenever anything does on which the mail of a notice rests, or that it is sent at all.

        PostgreSQL marks each version of a row with the transaction that wrote it (`xmin`). Asked for are the versions
        of the notice with its lines, of the other notices that claim the same items or fees, of the customer's
        addresses and open items with their entries, and of run, level, texts, company and clerk. Of the provider, to
        which each handover writes, it is the values. Not covered are the wording of the layouts, the settings of
        journals, accounts, currencies and languages, the tree of branches, and the archive flag of the report.

        :return: dict notice id -> str
        """
        self.env.flush_all()
        return dict(self.env.execute_query(SQL(
            """
            SELECT n.id, concat_ws('|', n.xmin,
                   (SELECT string_agg(concat_ws(',', l.xmin, o.xmin, m.xmin), ';' ORDER BY l.id, o.id)
                      FROM dunning_notice_line l
                      LEFT JOIN dunning_notice_line o ON o.move_line_id = l.move_line_id AND o.id <> l.id
                      LEFT JOIN dunning_notice m ON m.id = o.notice_id
                     WHERE l.notice_id = n.id),
                   (SELECT string_agg(concat_ws(',', f.id, f.xmin), ';' ORDER BY f.id)
                      FROM dunning_notice f
                     WHERE f.is_counted AND f.amount_fee > 0 AND f.partner_id IN (
                           SELECT id FROM res_partner WHERE commercial_partner_id = n.partner_id)),
                   (SELECT string_agg(concat_ws(',', p.id, p.xmin), ';' ORDER BY p.id)
                      FROM res_partner p
                     WHERE p.commercial_partner_id = n.partner_id OR p.parent_id = n.partner_id
                        OR p.id IN (n.partner_id, n.recipient_id)),
                   (SELECT string_agg(concat_ws(',', aml.id, aml.xmin, am.xmin), ';' ORDER BY aml.id)
                      FROM res_partner p
                      JOIN account_move_line aml ON aml.partner_id = p.id
                      JOIN account_account aa ON aa.id = aml.account_id
                      JOIN account_move am ON am.id = aml.move_id
                     WHERE p.commercial_partner_id = n.partner_id AND aa.account_type = 'asset_receivable'
                       AND aml.reconciled IS NOT TRUE AND aml.parent_state = 'posted'),
                   (SELECT xmin FROM dunning_run WHERE id = n.run_id),
                   (SELECT xmin FROM dunning_level WHERE id = n.level_id),
                   (SELECT string_agg(t.xmin::text, ';' ORDER BY t.id)
                      FROM dunning_level_text t
                     WHERE t.level_id = n.level_id),
                   (SELECT concat_ws(',', c.xmin, cp.xmin, ad.xmin, pr.id, pr.active)
                      FROM res_company c
                      JOIN res_partner cp ON cp.id = c.partner_id
                      LEFT JOIN mail_alias_domain ad ON ad.id = c.alias_domain_id
                      LEFT JOIN dunning_provider pr ON pr.id = c.dunning_provider_id
                     WHERE c.id = n.company_id),
                   (SELECT concat_ws(',', u.xmin, up.xmin)
                      FROM res_users u
                      JOIN res_partner up ON up.id = u.partner_id
                     WHERE u.id = n.user_id),
                   (SELECT concat_ws(',', pr.email_from, pr.redirect_to)
                      FROM dunning_provider pr
                     WHERE pr.id = n.provider_id))
              FROM dunning_notice n
             WHERE n.id = ANY(%s)
            """, self.ids)))

    # === THE MAIL === #

    def _fetch_for_mail(self):
        self.company_id.fetch(COMPANY_FIELDS)
        self.user_id.fetch(['partner_id', 'active'])
        (self.partner_id | self.recipient_id | self.user_id.partner_id | self.company_id.partner_id).fetch(
            PARTNER_FIELDS)

    def _build_mail(self, texts):
        """Build the mail of a first attempt.

        :param dict texts: the rendered `MAIL_TEXTS`
        :return: :class:`Mail`
        """
        return Mail(*self._build_message(texts), self._prepare_mail_message_values(texts), self._is_archived())

    def _build_message(self, texts):
        """Build the mail: text in the customer's language, plain-text part, the PDF, the invoices where wanted.

        :param dict texts: the rendered `MAIL_TEXTS`
        :return: (Message-ID, list of addresses for the envelope, bytes as they go over the wire)
        """
        self.ensure_one()
        notice = self.with_context(lang=self.lang)
        provider = notice.provider_id
        logo = notice.company_id.sudo()._get_dunning_mail_logo()
        body = self.env['ir.qweb'].with_context(lang=self.lang)._render('dunning_mail.mail_layout', {
            'notice': notice, 'company': notice.company_id, 'body': texts['mail_body'],
            'subject': texts['mail_subject'], 'logo': logo})
        addresses = notice.email_to.split(', ')
        name = ' '.join((notice.recipient_id.name or notice.partner_id.name or '').split())
        headers = {'Auto-Submitted': 'auto-generated', 'X-Odoo-Objects': f'{self._name}-{self.id}'}
        subject = texts['mail_subject']
        if provider.redirect_to:
            headers['X-Original-To'] = notice.email_to
            subject = self.env._("[Trial for %(addresses)s] %(subject)s", addresses=notice.email_to, subject=subject)
            addresses = self._parse_addresses(provider.redirect_to)
        # Under the sender's domain: the name of this machine is nobody's business, and spam filters compare the two.
        message_id = '{}@{}>'.format(
            generate_tracking_message_id(f'{self.id}-{self._name}').rpartition('@')[0],
            provider._get_smtp_from().rpartition('@')[2])
        attachments = [(f'{notice._get_file_name()}.pdf', notice._get_document_bytes(), 'application/pdf')]
        attachments += notice._get_invoice_documents()
        message = self.env['ir.mail_server']._build_email__(
            email_from=provider._get_from_header(notice.company_id),
            email_to=', '.join(formataddr((name, address)) for address in addresses),
            reply_to=notice._get_reply_to(),
            subject=subject, body=body, subtype='html', message_id=message_id, headers=headers,
            body_alternative=html2plaintext(flatten_tables(body)).replace('\ufeff', ''), attachments=attachments)
        if logo:
            # Part of the mail: what would have to be fetched, mail readers do not show, and it tells who reads.
            message.get_body(('html',)).add_related(
                logo['content'], 'image', logo['subtype'], cid=f"<{logo['cid']}>", disposition='inline')
        # Lines of 7 bits only: the message is the same on every server, whether or not it offers 8BITMIME.
        return message_id, addresses, message.as_bytes(policy=email.policy.SMTP.clone(cte_type='7bit'))

    def _count_recipients(self):
        """Return how many recipients the next handover has."""
        self.ensure_one()
        return 1 if self.provider_id.redirect_to else len((self.email_to or '').split(', '))

    def _get_reply_to(self):
        """Answers go to the address that Odoo reads, where there is one, else to the clerk, else to the company."""
        self.ensure_one()
        owner = self.user_id
        if self.company_id.sudo().alias_domain_id.catchall_email:
            return self._notify_get_reply_to()[self.id]
        address = email_normalize(owner.email) or email_normalize(self.company_id.email)
        name = ' '.join((owner.name if email_normalize(owner.email) else self.company_id.name or '').split())
        return formataddr((name, address)) if address else False

    def _is_archived(self):
        """Whether document and mail are kept after they were sent."""
        self.ensure_one()
        report = self._get_report()
        report.fetch(['archive_generated'])
        return report.archive_generated

    # === CHATTER === #

    def _prepare_mail_message_values(self, texts):
        """Values of the message that shows the mail in the chatter, less those of the attempt.

        :param dict texts: the rendered `MAIL_TEXTS`
        """
        self.ensure_one()
        return {
            'model': self._name, 'res_id': self.id, 'message_type': 'email_outgoing',
            'subtype_id': self.env['ir.model.data']._xmlid_to_res_id('mail.mt_comment'),
            'subject': texts['mail_subject'], 'body': texts['mail_body'],
            'author_id': self.user_id.partner_id.id, 'email_from': self.provider_id.email_from,
            # Nothing is sent from here: what an answer would go to need not be worked out.
            'reply_to': self.provider_id.email_from,
            'record_name': self.display_name,
        }

    def _log_mail(self, sent_at, values=None):
        """Show the mail in the chatter, under its own Message-ID: answers and bounces find the notice by it.

        :param datetime sent_at: naive UTC
        :param dict values: what `_prepare_mail_message_values()` returned, where it is at hand
        """
        self.ensure_one()
        if not values and self.env['mail.message'].sudo().search_count(
                [('message_id', '=', self.message_id)], limit=1):
            # Retried with the same Message-ID.
            return
        values = values or self._prepare_mail_message_values(self._render_texts(MAIL_TEXTS))
        self.env['mail.message'].sudo().create({**values, 'message_id': self.message_id, 'date': sent_at})
