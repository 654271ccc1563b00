from odoo import fields, models


class DunningNotice(models.Model):
    """What names said when the letter was made: contacts are renamed, moved and merged, levels and users renamed, and
    the evidence still has to say who was dunned, and by whom.

    It is written together with letter and mail, and so is what they say; nothing else writes it.
    """
    _inherit = 'dunning.notice'

    snapshot = fields.Json(
        "Names at Issue", readonly=True, copy=False, prefetch=False,
        help="Names and address as they were when the letter was made.")

    def _prepare_snapshot(self, mail=None, source='issue'):
        """Return the names as they are now; a hook for other addons, which add keys of their own.

        :param mail: the :class:`~.dunning_notice_mail.MadeMail` that goes along, None for none
        :param str source: `issue`, or `upgrade` where they were not kept when it was issued
        :return: dict of str, but for `address`, the list of the lines on the letter
        """
        self.ensure_one()
        notice = self.sudo().with_context(lang=self.lang)
        provider = notice.provider_id
        return {
            'source': source,
            'taken_at': fields.Datetime.to_string(fields.Datetime.now()),
            'company': notice.company_id.name,
            'customer': notice.partner_id.display_name,
            'customer_number': notice.partner_id.ref or '',
            'recipient': notice.recipient_id.display_name,
            'address': self.env['report.dunning_mail.letter'].sudo()._get_address_lines(notice),
            'procedure': notice.level_id.procedure_id.name or '',
            'level': notice.level_id.name or '',
            'currency': notice.currency_id.name,
            'clerk': notice.user_id.name or '',
            'provider': provider.name or '',
            'sender': provider._get_from_header(notice.company_id) if provider else '',
            'to_name': notice._get_to_name() if provider else '',
            'subject': mail.subject if mail else notice.mail_subject or '' if provider else '',
        }

    def _get_snapshot(self):
        """Return what names said when the letter was made, or now where nothing was kept."""
        self.ensure_one()
        return self.snapshot or self._prepare_snapshot(source='now')
