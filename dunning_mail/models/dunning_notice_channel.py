import re

import idna

from odoo import api, models
from odoo.tools import email_normalize, email_split, format_date

from ..tools.addresses import clean_mail, find_odd_character


class DunningNotice(models.Model):
    """How a notice goes out: by mail or on paper, and to which addresses."""
    _inherit = 'dunning.notice'

    @api.depends('state', 'delivery_state', 'delivery_info', 'problem', 'level_id.send_by_mail',
                 'partner_id.dunning_channel', 'recipient_id.dunning_channel', 'recipient_id.email', 'partner_id.email',
                 'recipient_id.dunning_email_refused', 'partner_id.dunning_email_refused',
                 'recipient_id.dunning_refused_addresses', 'partner_id.dunning_refused_addresses',
                 'company_id.dunning_provider_id')
    def _compute_channel(self):
        for notice in self:
            if notice.state in ('draft', 'excluded'):
                channel, info, emails = notice._choose_channel()
                info = notice.problem or info
            else:
                channel = 'paper' if notice.delivery_state == 'paper' else 'mail' if notice.delivery_state else False
                # That all went well needs no words.
                info, emails = (notice.delivery_info if notice.delivery_state != 'sent' else ''), []
            notice.channel = channel
            notice.channel_info = info or ', '.join(emails)

    @api.depends('recipient_id.dunning_email_refused', 'partner_id.child_ids.dunning_email_refused')
    def _compute_is_email_refused(self):
        for notice in self:
            notice.is_email_refused = any(notice._get_mail_partners().mapped('dunning_email_refused'))

    def _get_mail_partners(self, contacts=None):
        """Return whose mail addresses count, in this order: the recipient's, then those it stands for.

        :param contacts: the customer's contacts, where they have been read already
        """
        self.ensure_one()
        # Where an address is kept is nothing that the clerk must be allowed to see.
        notice = self.sudo()
        contacts = (notice.partner_id.child_ids if contacts is None else contacts).filtered_domain(
            self.env['dunning.proposal']._get_recipients_domain(notice.partner_id, notice.company_id))
        return (
            notice.recipient_id
            | contacts.filtered(lambda partner: partner.type == 'dunning')
            | contacts.filtered(lambda partner: partner.type == 'invoice')
            | notice.partner_id)

    @api.model
    def _has_line_break(self, text):
        """Whether there is more than one line: nobody types that, and in a mail header it would start another one."""
        return len((text or '').strip().splitlines()) > 1

    @api.model
    def _parse_addresses(self, text):
        """Read the usable addresses out of a partner's e-mail field.

        :param str text: one or several addresses
        :return: list of normalized addresses that can stand in an SMTP envelope; none of a text with a line break
        """
        usable = []
        if self._has_line_break(text):
            return usable
        text = ' '.join(clean_mail(text).split())
        if '<' in text:
            candidates = email_split(text)
        else:
            # What is left of “hans. muster@example.com” or of “hans,muster@example.com” may be somebody else's address.
            candidates = re.split('[,; ]+', text.strip(',; '))
            if any((email_normalize(candidate) or '') != candidate.lower() for candidate in candidates):
                return usable
        for candidate in candidates:
            local, _at, domain = (email_normalize(candidate) or '').rpartition('@')
            if not local or not local.isascii():
                continue
            try:
                address = f'{local}@{idna.encode(domain).decode()}'
            except idna.IDNAError:
                continue
            if '.' in domain and address not in usable:
                usable.append(address)
        return usable

    def _mark_address_refused(self, answer, addresses=None):
        """The customer's next notice does not go to these addresses, until somebody corrects or clears them.

        :param str answer: the server's words
        :param addresses: which were refused, by default all that the notice went to
        """
        self.ensure_one()
        refused = set(addresses or (self.email_to or '').split(', '))
        for partner in self._get_mail_partners():
            if refused & set(self._parse_addresses(partner.email)):
                partner.sudo().with_company(self.company_id)._set_dunning_refused(answer, refused)

    def _wants_paper(self):
        """Whether customer or recipient want paper from the company."""
        self.ensure_one()
        # One by one: together they would not be read with those of other notices.
        return any(one._want_dunning_on_paper(self.company_id) for one in (self.partner_id, self.recipient_id))

    def _choose_channel(self, contacts=None):
        """Decide how the notice goes out.

        :param contacts: as for `_get_mail_partners()`
        :return: (`mail` or `paper`, reason in words where it is paper, list of addresses)
        """
        self.ensure_one()
        self = self.sudo()
        if self.kind == 'dunning' and not self.level_id.send_by_mail:
            return 'paper', self.env._("This dunning level goes on paper."), []
        if self._wants_paper():
            return 'paper', self.env._("The customer wants paper."), []
        refused, invalid = None, None
        for partner in self._get_mail_partners(contacts):
            if not (partner.email or '').strip():
                continue
            known = (partner.dunning_refused_addresses or '').split(', ')
            parsed = self._parse_addresses(partner.email)
            addresses = [address for address in parsed if address not in known]
            if not parsed:
                invalid = invalid or partner
            elif partner.dunning_email_refused or not addresses:
                refused = refused or partner
            elif (provider := self.company_id.dunning_provider_id) and not provider.active:
                return 'paper', self.env._(
                    "The service provider that is chosen in the settings, “%s”, has been archived.", provider.name), []
            elif not provider:
                return 'paper', self.env._("No service provider for dunning mail is chosen in the settings."), []
            else:
                return 'mail', '', addresses
        if refused:
            return 'paper', self.env._(
                "The address %(address)s refused mail on %(day)s: %(reason)s", address=refused.email,
                day=format_date(self.env, refused.dunning_email_refused_date),
                reason=refused.dunning_email_refused_reason or ''), []
        if invalid and self._has_line_break(invalid.email):
            return 'paper', self.env._("The mail address of %(partner)s holds a line break: “%(address)s”.",
                              address=' '.join(invalid.email.split()), partner=invalid.display_name), []
        if invalid:
            address = ' '.join(clean_mail(invalid.email).split())
            if odd := find_odd_character(address):
                return 'paper', self.env._(
                    "“%(address)s” of %(partner)s is not a usable mail address: it holds the character %(character)s.",
                    address=address, partner=invalid.display_name, character=odd), []
            return 'paper', self.env._("“%(address)s” of %(partner)s is not a usable mail address.",
                              address=address, partner=invalid.display_name), []
        return 'paper', self.env._("There is no mail address."), []

    def action_clear_refused(self):
        """Say that the mail addresses of these notices are good again."""
        self.check_access('write')
        for notice in self:
            notice._get_mail_partners().sudo().action_clear_dunning_refused()
