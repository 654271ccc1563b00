import io
import logging
from collections import OrderedDict

from PIL import Image

from odoo import api, fields, models
from odoo.exceptions import RedirectWarning, UserError

from odoo.addons.base.models.ir_actions_report import _wkhtml

from ..exceptions import RETRYABLE, CoreNeeded, DocumentError, ResourceError
from ..tools import pdf, pdf_pages

_logger = logging.getLogger(__name__)


class IrActionsReport(models.Model):
    """Which engine makes a report's PDFs, hooked in where all ways to a report pass."""
    _inherit = 'ir.actions.report'

    pdf_engine = fields.Selection(
        [('wkhtmltopdf', 'wkhtmltopdf'), ('plutoprint', 'PlutoPrint'), ('weasyprint', 'WeasyPrint (PDF/A-3b)')],
        string="PDF Engine", required=True, default='wkhtmltopdf',
        help="What turns the report into a PDF. wkhtmltopdf is Odoo's own. PlutoPrint is by far the fastest. "
             "WeasyPrint makes PDF/A-3b, for archives. The last two must be installed on the server: "
             "pip install plutoprint, pip install weasyprint. As long as neither is, wkhtmltopdf is used.")

    def _get_readable_fields(self):
        return super()._get_readable_fields() | {'pdf_engine'}

    # === WEB CLIENT === #

    @api.model
    def get_pdf_engine(self, report_name):
        """Tell the web client which engine makes a report, for actions that do not say so themselves.

        :param str report_name: name of the report's template
        :return: a value of `pdf_engine`
        """
        return self._get_report_from_name(report_name).pdf_engine or 'wkhtmltopdf'

    def report_action(self, docids, data=None, config=True):
        action = super().report_action(docids, data=data, config=config)
        if action.get('type') == 'ir.actions.report':
            action['pdf_engine'] = self.pdf_engine
        return action

    def _action_configure_external_report_layout(self, report_action, *args, **kwargs):
        report_action['pdf_engine'] = self.pdf_engine
        return super()._action_configure_external_report_layout(report_action, *args, **kwargs)

    # === ENGINE === #

    @api.private
    def find_pdf_engine(self):
        """Return the engine that makes this report's PDFs: the chosen one, or what stands in for it.

        :return: a value of `pdf_engine`
        :raise UserError: no engine is installed
        """
        self.ensure_one()
        report = self.sudo()
        chosen = report.pdf_engine
        if report.report_type == 'qweb-pdf' and chosen in pdf.ENGINES:
            for engine in (chosen, *(engine for engine in pdf.ENGINES if engine != chosen)):
                if pdf.engine_available(engine):
                    if engine != chosen:
                        _logger.warning("Report %s: %s is not installed, %s is used", report.name, chosen, engine)
                    return engine
            _logger.warning("Report %s: %s is not installed, wkhtmltopdf is used", report.name, chosen)
        if self.get_wkhtmltopdf_state() == 'install':
            raise UserError(self._describe_missing_engine(chosen))
        return 'wkhtmltopdf'

    def _describe_missing_engine(self, engine):
        package = engine if engine in pdf.ENGINES else 'plutoprint'
        return self.env._(
            "The PDF of “%(report)s” cannot be made: %(engine)s is not installed on the server. Ask your administrator "
            "to install it (pip install %(package)s), or choose another PDF engine for this report under Settings > "
            "Technical > Reports.",
            report=self.sudo().name, engine=self._get_engine_name(engine), package=package)

    def _get_engine_name(self, engine):
        return dict(self._fields['pdf_engine']._description_selection(self.env)).get(engine, engine)

    # === ALL WAYS TO A REPORT === #

    def _render_qweb_pdf_prepare_streams(self, report_ref, data, res_ids=None):
        report = self._get_report(report_ref)
        is_kept = report.keeps_documents()
        if not is_kept and report.pdf_engine not in pdf.ENGINES:
            return super()._render_qweb_pdf_prepare_streams(report_ref, data, res_ids=res_ids)
        try:
            is_core_needed = not (is_kept and res_ids) and report.find_pdf_engine() == 'wkhtmltopdf'
        except UserError:
            if not res_ids:
                raise
            # Those that are stored need none, and the others say why there is none.
            is_core_needed = False
        if is_core_needed:
            if report.pdf_engine in pdf.ENGINES:
                report_ref = report.with_context(report_pdf_own_only=True)
            return super()._render_qweb_pdf_prepare_streams(report_ref, data, res_ids=res_ids)
        # With the caller's rights, as core does.
        report_own = self.browse(report.id)
        if not res_ids:
            return report_own._prepare_streams_without_records(report_ref, data)
        streams = OrderedDict()
        records = self.env[report.model].browse(OrderedDict.fromkeys(res_ids))
        is_copied = len(records) != len(res_ids)
        kept = report_own.get_kept_documents(records) if is_kept else {}
        has_attachments = not (is_kept or is_copied or self.env.context.get('report_pdf_no_attachment'))
        for record in records:
            attachment = report.retrieve_attachment(record) if report.attachment and has_attachments else None
            stream = kept.get(record.id) or (attachment and report.attachment_use and self._read_attachment(attachment))
            streams[record.id] = {'stream': stream and io.BytesIO(stream), 'attachment': attachment}
        missing = records.filtered(lambda record: not streams[record.id]['stream'])
        if missing:
            together = () if is_kept or report.attachment else res_ids if is_copied else missing.ids
            documents = report_own._render_documents(missing, data, together)
            self._raise_errors([document for document in documents.values() if isinstance(document, Exception)])
            if False in documents:
                return {False: {'stream': io.BytesIO(documents[False]), 'attachment': None}}
            for record in missing:
                streams[record.id]['stream'] = io.BytesIO(documents[record.id])
        if is_copied:
            # As core does: copies that were asked for come in one piece, which belongs to no single record.
            joined = pdf_pages.join(streams[res_id]['stream'].getvalue() for res_id in res_ids)
            return {False: {'stream': io.BytesIO(joined), 'attachment': None}}
        return streams

    @api.model
    def _raise_errors(self, errors):
        """Raise what went wrong with documents; what the web client and the portal know by its kind, as that."""
        for error in errors:
            cause = None if isinstance(error, ResourceError) else error.__cause__
            if isinstance(cause, RedirectWarning) or (isinstance(cause, UserError) and len(errors) == 1):
                raise cause
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise DocumentError('\n\n'.join(list(dict.fromkeys(map(str, errors)))[:10]))

    @api.model
    def _read_attachment(self, attachment):
        """Return a stored document as PDF, as core does; None of what is neither a PDF nor a picture."""
        content = attachment.raw or b''
        if content.startswith(b'%PDF-'):
            return content
        if not (attachment.mimetype or '').startswith('image'):
            return None
        stream = io.BytesIO()
        with Image.open(io.BytesIO(content)) as picture:
            picture.convert('RGB').save(stream, format='pdf')
        return stream.getvalue()

    def _prepare_streams_without_records(self, report_ref, data):
        engine = self.find_pdf_engine()
        values = dict(data or {}, report_type='pdf', pdf_engine=engine)
        html = self.with_context(debug=False)._render_qweb_html(report_ref, [], data=dict(values, debug=False))[0]
        try:
            documents = self._make_documents(False, self.prepare_document_html(html.decode()).encode(), engine=engine)
        except CoreNeeded:
            return super()._render_qweb_pdf_prepare_streams(  # pylint: disable=super-method-mismatch
                self.with_context(report_pdf_own_only=True).sudo(), data)
        with pdf.borrow_pool(engine, owner=self.env.cr.dbname) as pool:
            results = pool.render(documents)
        for result in results.values():
            if isinstance(result, pdf.PdfError):
                raise self._make_document_error(None, result, engine)
        joined = pdf_pages.join(results[document.key] for document in documents)
        return {False: {'stream': io.BytesIO(joined), 'attachment': None}}

    def _render_by_wkhtmltopdf(self, records, data, numbers):
        """Render one record by core, one process each: core would else split a joined PDF by guesswork. Or render
        several of which the template makes one document.

        It stands here, since `super()` must be core's.
        """
        # Nothing is read from store.
        self = self.with_context(report_pdf_no_attachment=True)
        try:
            with self.env.cr.savepoint():
                # A key in the context instead would let any caller get round the kept documents.
                streams = super()._render_qweb_pdf_prepare_streams(  # pylint: disable=super-method-mismatch
                    self.with_context(report_pdf_own_only=True).sudo(),
                    dict(data or {}, report_type='pdf', pdf_engine='wkhtmltopdf'), res_ids=records.ids)
            # Where it cannot tell one record's from another's, core gives all in one, perhaps beside others.
            keys = [False] if False in streams else records.ids
            content = pdf_pages.join(streams[key]['stream'].getvalue() for key in keys)
        except RETRYABLE:
            raise
        except Exception as error:
            return self._make_document_error(records, error, 'wkhtmltopdf')
        if number := numbers.get(records.ids[0]):
            # Unpatched Qt knows no running footers: the pages after the first bear no number then.
            problem = pdf_pages.check_pages(
                content, number, numbers.values(), every_page=_wkhtml().is_patched_qt)
            if problem:
                return self._make_document_error(records, pdf.PdfError('wrong_pages', problem), 'wkhtmltopdf')
        return content
