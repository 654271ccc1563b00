import hashlib
import logging

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import LazyTranslate

_logger = logging.getLogger(__name__)
_lt = LazyTranslate(__name__)

# What is kept, and the SHA-256 of it.
KEPT = {'document_id': 'document_sha256', 'mail_document_id': 'mail_sha256'}


class DunningNotice(models.Model):
    """The PDF of a notice: made, kept, verified, dropped."""
    _inherit = 'dunning.notice'

    # What is wrong with what is kept, for whoever has to see to it.
    _STANDING_WORDS = {
        'document_id': {
            'damaged': _lt(
                "The kept PDF of dunning notice %(notice)s is damaged: it is not what was made (SHA-256 differs). "
                "Restore file %(file)s of the file store from your backup."),
            'unverified': _lt(
                "No SHA-256 was kept of the PDF of dunning notice %(notice)s: nobody can tell whether it is what was "
                "made."),
            'gone': _lt(
                "The kept PDF of dunning notice %(notice)s is gone. Restore file %(file)s of the file store from your "
                "backup."),
        },
        'mail_document_id': {
            'damaged': _lt(
                "The kept mail of dunning notice %(notice)s is damaged: it is not what was made (SHA-256 differs). "
                "Restore file %(file)s of the file store from your backup."),
            'unverified': _lt(
                "An earlier version kept the mail of dunning notice %(notice)s without its SHA-256: nobody can tell "
                "whether it is what was made, so it is not sent. Put the notice on paper, or cancel it."),
            'gone': _lt(
                "The kept mail of dunning notice %(notice)s is gone. Restore file %(file)s of the file store from your "
                "backup."),
        },
    }

    damage_info = fields.Text("Damage", readonly=True, copy=False)

    @api.depends('level_id.attach_invoices', 'state', 'delivery_state', 'line_ids.move_line_id')
    def _compute_attachment_warning(self):
        for notice in self:
            is_open = notice.state == 'draft' or (
                notice.state == 'issued' and notice.delivery_state in ('released', 'paper') and not notice._is_frozen())
            notice.attachment_warning = (is_open and '\n'.join(notice._describe_missing_copies())) or False

    def _describe_missing_copies(self):
        """Say of which invoices no copy goes along though the level wants one.

        :return: list of str
        """
        self.ensure_one()
        invoices = self._get_attached_invoices()
        broken = invoices.filtered(lambda move: (
            move.invoice_pdf_report_id and not move.invoice_pdf_report_id._is_dunning_pdf()))
        return [words % ', '.join(moves.mapped('name')) for words, moves in (
            (self.env._("No PDF is stored of %s, so no copy goes along. “Send” on the invoice stores one."),
             invoices.filtered(lambda move: not move.invoice_pdf_report_id)),
            (self.env._("The stored PDF of %s cannot be read, so no copy goes along. Store a good one on the invoice."),
             broken)) if moves]

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
            documents.update(report.render_documents(notices))
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
                'snapshot': notice._prepare_snapshot(mail),
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
        return self._get_kept_bytes('document_id')

    def _get_mail_bytes(self):
        """Return the kept mail.

        :raise UserError: there is none, or it is not what was made, or nobody can tell
        """
        return self._get_kept_bytes('mail_document_id')

    def _get_kept_bytes(self, fname):
        """Return what is kept, if it is what was made.

        :param str fname: field of the attachment
        :raise UserError: there is none, it is another one, or nobody can tell
        """
        content, standing = self._read_kept(fname)
        if standing == 'verified':
            return content
        if standing in ('damaged', 'unverified'):
            raise UserError(self._describe_standing(fname, standing))
        raise UserError(self._describe_missing_document())

    def _read_kept(self, fname):
        """Read what is kept, and compare it with its SHA-256.

        :param str fname: field of the attachment
        :return: (bytes as they are kept, how they stand)

            ========== ==============================================================
            verified   it is what was made
            damaged    it is not
            unverified nobody can tell: an earlier version kept no SHA-256 of it
            gone       there was one, and it is not there
            removed    there was one, and it was removed by the rules for keeping
            none       there was none
            ========== ==============================================================
        """
        self.ensure_one()
        notice = self.sudo()
        content, sha256 = notice._get_own_attachment(fname).raw or b'', notice[KEPT[fname]]
        if content:
            if not sha256:
                return content, 'unverified'
            return content, 'verified' if hashlib.sha256(content).hexdigest() == sha256 else 'damaged'
        if notice[fname] or (sha256 and not notice.document_removed_at):
            return content, 'gone'
        return content, 'removed' if sha256 else 'none'

    def _describe_standing(self, fname, standing):
        """Say what is wrong with what is kept; empty where nothing is.

        :param str fname: field of the attachment
        :param str standing: what `_read_kept()` returned
        """
        words = self._STANDING_WORDS[fname].get(standing)
        if not words:
            return ''
        file = self._get_own_attachment(fname).store_fname or '-'
        return self.env._(words._source, notice=self.display_name, file=file)

    def _check_kept_file(self, attachment):
        """Check that a file which somebody opens is what was made, as far as anybody can tell.

        :param attachment: `ir.attachment` that this notice refers to
        :raise UserError: it is not, or it is gone
        """
        self.ensure_one()
        for fname in KEPT:
            if self[fname] == attachment and (standing := self._read_kept(fname)[1]) in ('damaged', 'gone'):
                raise UserError(self._describe_standing(fname, standing))

    def _describe_bad_document(self, needs_mail=False):
        """Say what is wrong with the kept PDF; empty where it is what was made.

        :param bool needs_mail: with the kept mail too, where there is one
        """
        self.ensure_one()
        try:
            self._get_document_bytes()
            if needs_mail and self.mail_document_id:
                self._get_mail_bytes()
        except UserError as error:
            return str(error)
        return ''

    def _describe_missing_document(self):
        self.ensure_one()
        for fname in KEPT:
            if self._read_kept(fname)[1] == 'gone':
                return self._describe_standing(fname, 'gone')
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
        return ' '.join(self._get_invoice_copies().sorted('id').mapped(
            lambda attachment: f'{attachment.id}:{attachment.checksum}'))

    def _get_invoice_copies(self):
        """Return the stored PDFs of the due invoices, where the level says so; what cannot be read helps nobody."""
        self.ensure_one()
        return self._get_attached_invoices().invoice_pdf_report_id.filtered(
            lambda attachment: attachment._is_dunning_pdf())

    def _get_invoice_documents(self):
        """Return the copies of invoices that go along.

        :return: list of (file name, bytes, MIME type)
        """
        return [
            (attachment.name, attachment.raw, 'application/pdf') for attachment in self._get_invoice_copies()]

    def _check_kept(self):
        """Read PDF and mail again and compare them with their SHA-256: whoever answers for the notice hears of damage,
        and which of the two has it."""
        self.ensure_one()
        notice = self.with_context(lang=self._get_responsible_user().lang)
        words = '\n'.join(filter(None, (
            notice._describe_standing(fname, standing) for fname in KEPT
            if (standing := notice._read_kept(fname)[1]) in ('damaged', 'gone'))))
        # The files need not stay in memory.
        (self.document_id | self.mail_document_id).invalidate_recordset(['raw'])
        if (words, bool(words)) == (self.damage_info or '', self.is_document_damaged):
            return
        if words:
            _logger.error("Dunning notice %s: %s", self.name, words)
            self._ask_person('dunning_mail.mail_activity_damaged', words)
        else:
            self.activity_feedback(['dunning_mail.mail_activity_damaged'])
        self.write({'damage_info': words, 'is_document_damaged': bool(words)})

    def _remove_documents(self, words):
        """Remove the kept documents and mails.

        :param str words: why, for the chatter; empty for none
        """
        for notice in self.sudo():
            notice._drop_attachments(
                'document_id', 'mail_document_id', is_document_damaged=False, damage_info=False,
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
        # What is kept by its level's own letter need not be read; which of the others are, `_get_report()` says.
        kept = self.env['dunning.level'].sudo().with_context(active_test=False).search(
            [('report_id', '!=', False), ('report_id', 'not in', reports.ids)])
        self.sudo().search([
            ('state', '=', 'issued'), ('rest_to', '=', False),
            '|', ('document_id', '!=', False), ('mail_document_id', '!=', False),
            '|', ('delivery_state', '=', 'sent'), ('printed_at', '!=', False), ('level_id', 'not in', kept.ids),
        ]).filtered(lambda notice: notice._get_report() in reports)._remove_documents('')
