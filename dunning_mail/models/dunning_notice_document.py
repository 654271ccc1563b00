import hashlib
import logging

from odoo import api, fields, models
from odoo.exceptions import UserError

_logger = logging.getLogger(__name__)


class DunningNotice(models.Model):
    """The PDF of a notice: made, kept, verified, dropped."""
    _inherit = 'dunning.notice'

    @api.depends('level_id.attach_invoices', 'state', 'delivery_state', 'line_ids.move_line_id')
    def _compute_attachment_warning(self):
        for notice in self:
            is_open = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state in ('released', 'paper') and not notice._is_frozen())
            missing = notice._get_invoices_without_pdf() if is_open else None
            notice.attachment_warning = self.env._(
                "No PDF is stored of %s, so no copy goes along. “Send” on the invoice stores one.",
                ', '.join(missing.mapped('name'))) if missing else False

    def _prepare_making_values(self):
        """Return what a notice whose letter is about to be made writes down: what is on it and may change later.

        :return: dict of values
        """
        self.ensure_one()
        return {**self._prepare_payment_values(), 'address_key': self._get_address_key()}

    def _get_address_key(self):
        """Return name and address on the letter, in a form that can be compared."""
        self.ensure_one()
        recipient, address = self.recipient_id.sudo(), self._get_addressee()
        values = [recipient.id, recipient.name, self.partner_id.sudo().name]
        for fname in recipient._formatting_address_fields():
            value = address[fname]
            values.append(value.id if isinstance(value, models.BaseModel) else value)
        return '|'.join(str(value or '') for value in values)

    def _make_documents(self):
        """Render the letters, one rendering a notice.

        :return: dict notice id -> PDF as bytes, or the exception that says why there is none
        """
        documents = {}
        for report, notices in self.grouped(lambda notice: notice._get_report()).items():
            documents.update(report._render_documents(notices))
        return documents

    def _store_documents(self, documents, mails):
        """Keep letters and mails with their notices, in place of earlier ones.

        :param dict documents: notice id -> PDF as bytes
        :param dict mails: notice id -> :class:`~.dunning_notice_mail.MadeMail`; a notice without one has none any more
        """
        old = self.env['ir.attachment'].sudo()
        values = []
        for notice in self:
            old |= notice._get_own_attachment('document_id') | notice._get_own_attachment('mail_document_id')
            values.append(notice._prepare_document_values(documents[notice.id]))
            if notice.id in mails:
                values.append(notice._prepare_mail_document_values(mails[notice.id].content))
        attachments = iter(self.env['ir.attachment']._create_dunning_documents(values))
        for notice in self.sudo():
            mail = mails.get(notice.id)
            notice.write({
                'document_id': next(attachments).id,
                'document_sha256': hashlib.sha256(documents[notice.id]).hexdigest(),
                'letter_opened_at': False,
                **notice._prepare_mail_values(mail, next(attachments) if mail else None)})
        old.unlink()

    def _prepare_document_values(self, content):
        """Values of the attachment that keeps the PDF; a hook for other addons."""
        self.ensure_one()
        return {
            'name': f'{self._get_file_name()}.pdf',
            'raw': content,
            'mimetype': 'application/pdf',
            'res_model': self._name,
            'res_id': self.id,
        }

    def _get_file_name(self):
        self.ensure_one()
        return (self.name or self.env._("Draft")).replace('/', '-')

    def _is_frozen(self):
        """Whether document and mail must not be made again: they were handed over, but for a trial, or printed."""
        self.ensure_one()
        return bool(
            (self.handover_at and not self.redirected_to) or self.printed_at
            or self.delivery_state in ('sending', 'sent', 'unclear'))

    def _get_document_bytes(self):
        """Return the kept PDF.

        :raise UserError: there is none, or it is not what was made
        """
        self.ensure_one()
        return self._get_kept_bytes('document_id', self.document_sha256)

    def _get_mail_bytes(self):
        """Return the kept mail.

        :raise UserError: there is none, or it is not what was made
        """
        self.ensure_one()
        return self._get_kept_bytes('mail_document_id', self.mail_sha256)

    def _get_kept_bytes(self, fname, sha256):
        """Return what is kept, if it is what was made.

        :param str fname: field of the attachment
        :param str sha256: of what was made; empty where none was noted down
        :raise UserError: there is none, or it is another one
        """
        content = self._get_own_attachment(fname).raw
        if not content:
            raise UserError(self._describe_missing_document())
        if sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(self.env._(
                "The kept document of dunning notice %s is damaged: it is not what was made (SHA-256 differs). "
                "Restore the file from your backup.", self.display_name))
        return content

    def _describe_bad_document(self):
        """Say what is wrong with the kept PDF or the kept mail; empty where they are what was made."""
        self.ensure_one()
        try:
            self._get_document_bytes()
            if self.mail_document_id:
                self._get_mail_bytes()
        except UserError as error:
            return str(error)
        return ''

    def _describe_missing_document(self):
        self.ensure_one()
        if self.document_id:
            return self.env._(
                "The kept document of dunning notice %s is gone. Restore the file from your backup.", self.display_name)
        if self.state == 'issued' and not self._is_frozen():
            return self.env._(
                "The letter of dunning notice %(notice)s could not be made. “Send Again” and “Put on Paper” try once "
                "more. %(reason)s", notice=self.display_name, reason=self.delivery_info or '')
        return self.env._(
            "Dunning notice %s has no document any more: its letter is set not to be archived, or your company's time "
            "for keeping documents is over.", self.display_name)

    def _check_has_document(self):
        """Check that there is still something to send or print. What nobody has yet can be made again.

        :raise UserError: the documents were removed
        """
        for notice in self.filtered(lambda notice: notice._is_frozen()):
            if not notice._get_own_attachment('document_id') or (
                    notice.handover_at and not notice._get_own_attachment('mail_document_id')):
                raise UserError(notice._describe_missing_document())

    def _get_report(self):
        self.ensure_one()
        return self.sudo().level_id.report_id or self.env.ref('dunning_mail.report_letter').sudo()

    def _get_attached_invoices(self):
        """Return the due invoices of which the level wants a copy attached."""
        self.ensure_one()
        if not self.level_id.attach_invoices:
            return self.env['account.move']
        return self.due_line_ids.move_id.sudo().filtered(lambda move: move.is_sale_document(include_receipts=True))

    def _get_invoices_key(self):
        """Return which copies of invoices go along, in a form that can be compared; empty where none are wanted."""
        return ' '.join(self._get_attached_invoices().invoice_pdf_report_id.sorted('id').mapped(
            lambda attachment: f'{attachment.id}:{attachment.checksum}'))

    def _get_invoices_without_pdf(self):
        return self._get_attached_invoices().filtered(lambda move: not move.invoice_pdf_report_id)

    def _get_invoice_documents(self):
        """Return the stored PDFs of the due invoices, where the level says so.

        :return: list of (file name, bytes, MIME type)
        """
        return [
            (attachment.name, attachment.raw, 'application/pdf')
            for attachment in self._get_attached_invoices().invoice_pdf_report_id if attachment.raw]

    def _report_damage(self, is_there):
        """Tell whoever answers for the notice that its kept document is not what was made.

        :param bool is_there: False if the file is gone
        """
        self.ensure_one()
        notice = self.with_context(lang=self._get_responsible_user().lang)
        if is_there:
            words = notice.env._(
                "The kept document is damaged: it is not what was made (SHA-256 differs). Restore file %s of the file "
                "store from your backup.", notice.document_id.store_fname or '-')
        else:
            words = notice.env._(
                "The kept document is gone. Restore file %s of the file store from your backup.",
                notice.document_id.store_fname or '-')
        _logger.error("Dunning notice %s: the kept document %s is damaged or gone", notice.name, notice.document_id.id)
        notice._ask_person('dunning_mail.mail_activity_damaged', words)

    def _remove_documents(self, words):
        """Remove the kept documents and mails.

        :param str words: why, for the chatter; empty for none
        """
        for notice in self.sudo():
            notice._drop_attachments(
                'document_id', 'mail_document_id', is_document_damaged=False,
                document_removed_at=fields.Datetime.now())
            if words:
                notice._message_log(body=words)

    def _drop_documents(self):
        """Let go of letters and mails that nobody has and nobody is to get."""
        for notice in self.sudo():
            notice._drop_attachments(
                'document_id', 'mail_document_id', document_sha256=False, mail_sha256=False, letter_opened_at=False)

    def _drop_mails(self):
        """Let go of mails that were not handed over, for notices that do not go by mail."""
        for notice in self.sudo().filtered(lambda notice: (
                not notice._is_frozen() and (notice.provider_id or notice.mail_document_id))):
            notice._drop_attachments('mail_document_id', mail_sha256=False, provider_id=False, email_to=False)

    def _drop_attachments(self, *fnames, **values):
        """Delete attachments of one notice.

        :param fnames: names of the fields that point to them
        :param values: further values of the notice
        """
        self.ensure_one()
        old = self.env['ir.attachment'].sudo().union(*(self._get_own_attachment(fname) for fname in fnames))
        self.write({**dict.fromkeys(fnames, False), **values})
        old.unlink()

    @api.model
    def _drop_unarchived_documents(self):
        """Remove documents of delivered or printed notices whose letter is set not to be archived."""
        reports = self.env['ir.actions.report'].sudo().search(
            [('model', '=', self._name), ('archive_generated', '=', False)])
        if not reports:
            return
        self.sudo().search([
            ('state', '=', 'issued'), '|', ('document_id', '!=', False), ('mail_document_id', '!=', False),
            '|', ('delivery_state', '=', 'sent'), ('printed_at', '!=', False),
        ]).filtered(lambda notice: notice._get_report() in reports)._remove_documents('')
