import logging

from odoo import api, models, tools
from odoo.exceptions import UserError
from odoo.tools import SQL
from odoo.tools.misc import clean_context
from odoo.tools.sql import existing_tables

from odoo.addons.base.models.ir_model import MODULE_UNINSTALL_FLAG
from odoo.addons.report_pdf_engine.tools import pdf_pages

_logger = logging.getLogger(__name__)

# Which fields refer to what nobody may touch. They are indexed: each change of any attachment asks.
REFERENCES = (
    ('dunning.notice', 'document_id'), ('dunning.notice', 'mail_document_id'), ('dunning.run', 'letters_id'))


class IrAttachment(models.Model):
    """What a dunning notice or run refers to belongs to the system, from the moment on at which it is referred to.

    It is the reference that protects, whatever the attachment says of itself, and it protects from everybody: code that
    runs as superuser comes past here too. What this addon does goes round it by taking the reference away first, or by
    `_replace_dunning_mail()`.
    """
    _inherit = 'ir.attachment'

    # What may be written to an attachment that is referred to: the small picture of its first page that the chatter
    # shows, which a browser draws. It is in no evidence.
    _DUNNING_PASSING = frozenset({'thumbnail', *models.MAGIC_COLUMNS})

    def _get_dunning_owners(self):
        """Return which notices and runs refer to these attachments.

        :return: dict attachment id -> `dunning.notice` or `dunning.run`, one record as superuser
        """
        owners = {}
        tables = {self.env[model]._table for model, _fname in REFERENCES}
        if not self.ids or (
                # While this addon is being uninstalled: its notices are gone then, and one table goes after the other.
                MODULE_UNINSTALL_FLAG in self.env.context and len(existing_tables(self.env.cr, tables)) < len(tables)):
            return owners
        for model, fname in REFERENCES:
            self.env[model].flush_model([fname])
        for index, owner_id, attachment_id in self.env.execute_query(SQL(" UNION ALL ").join(
                SQL("SELECT %s, id, %s FROM %s WHERE %s = ANY(%s)", index, SQL.identifier(fname),
                    SQL.identifier(self.env[model]._table), SQL.identifier(fname), self.ids)
                for index, (model, fname) in enumerate(REFERENCES))):
            owners[attachment_id] = self.env[REFERENCES[index][0]].sudo().browse(owner_id)
        return owners

    def _raise_if_kept(self):
        """:raise UserError: a dunning notice or run refers to one of these attachments"""
        for attachment_id, owner in self._get_dunning_owners().items():
            name = self.browse(attachment_id).sudo().name
            if owner._name == 'dunning.run':
                raise UserError(self.env._(
                    "“%(file)s” holds the letters of dunning run %(run)s that are to be printed. It is kept as it is "
                    "and cannot be changed, shared or deleted; it goes by itself when the run is done or cancelled.",
                    file=name, run=owner.display_name))
            raise UserError(self.env._(
                "“%(file)s” belongs to dunning notice %(notice)s. It is kept as it is and cannot be changed, shared or "
                "deleted. If the notice is not to go out, cancel it; documents are removed when the time is over for "
                "which your company keeps them (see the settings). To work with the file, download a copy.",
                file=name, notice=owner.display_name))

    def write(self, vals):
        closed = vals.keys() - self._DUNNING_PASSING
        if any(not (field := self._fields.get(fname)) or not field.manual for fname in closed):
            self._raise_if_kept()
        return super().write(vals)

    def unlink(self):
        # Not `@api.ondelete`: what a context says decides over that, and callers make the context.
        self._raise_if_kept()
        return super().unlink()

    def _migrate(self):
        # Another place for the same bytes. What is not there, or is not what it was, must stay to be seen as such.
        kept = self.browse(self._get_dunning_owners())
        for attachment in kept:
            content = attachment.raw
            if content and self._compute_checksum(content) == attachment.checksum:
                attachment._set_attachment_data(lambda _attachment, content=content: content)
            else:
                _logger.error("Attachment %s of a dunning notice is damaged or gone: it is not moved", attachment.id)
        return super(IrAttachment, self - kept)._migrate()

    # === WHO SEES IT === #

    def _can_return_content(self, field_name=None, access_token=None):
        # Only who may read the notice: no token opens it, and no sharing.
        if (access_token or self.sudo().public) and self._get_dunning_owners():
            return False
        return super()._can_return_content(field_name, access_token)

    def _has_attachments_ownership(self, attachment_tokens):
        # A token that somebody has been given is worth nothing here.
        if attachment_tokens and any(attachment_tokens) and (owners := self._get_dunning_owners()) \
                and len(attachment_tokens) == len(self):
            attachment_tokens = [
                None if attachment.id in owners else token
                for attachment, token in zip(self, attachment_tokens, strict=True)]
        return super()._has_attachments_ownership(attachment_tokens)

    def _to_http_stream(self):
        # Whichever way it is opened: what is not what was made does not pass for it.
        if self.res_model == 'dunning.notice' and (owner := self._get_dunning_owners().get(self.id)):
            owner._check_kept_file(self)
        return super()._to_http_stream()

    # === WHAT THE SYSTEM ITSELF DOES === #

    def _is_dunning_pdf(self):
        """Whether the file can be read as a PDF, so that it can go along with a letter."""
        self.ensure_one()
        try:
            return self._count_dunning_pages(self.checksum) > 0
        except pdf_pages.PdfError:
            return False

    @tools.ormcache('self.id', 'checksum')
    def _count_dunning_pages(self, checksum):
        """Return how many pages the file has; the checksum makes a changed file another one.

        :raise PdfError: it is no PDF, which is not remembered
        """
        return pdf_pages.count_pages(self.raw or b'')

    @api.model
    def _create_dunning_documents(self, vals_list):
        """Create what notices keep: as superuser, whatever the caller's context or anybody's own defaults say.

        :param list vals_list: values of the attachments
        :return: `ir.attachment`
        """
        context = clean_context(self.env.context)
        blank = {fname: False for fname, field in self._fields.items() if field.store and field.column_type and not (
            field.manual or field.compute or field.required or fname in models.MAGIC_COLUMNS)}
        blank.update(type='binary', company_id=self.env.company.id)
        return self.sudo().with_context(context).create(  # pylint: disable=context-overridden
            [{**blank, **vals} for vals in vals_list])

    def _replace_dunning_mail(self, content):
        """Keep a mail as it is about to be handed over: the one thing that changes in it are its stamped headers.

        :param bytes content: the mail
        """
        # As core's own inverse of `raw` does. The notice refers to it: `write()` would refuse.
        self._set_attachment_data(lambda _attachment: content)
