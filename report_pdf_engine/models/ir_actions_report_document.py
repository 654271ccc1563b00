import logging

from odoo import api, models
from odoo.exceptions import UserError
from odoo.tools.misc import split_every

from ..exceptions import RETRYABLE, CoreNeeded, DocumentError, ResourceError
from ..tools import html_parts, pdf

_logger = logging.getLogger(__name__)

# Documents for which QWeb is called once: enough to share what it costs to start, and few enough that helpers get work
# soon and that a fault costs little when they are made one by one.
QWEB_BATCH = 50


class IrActionsReport(models.Model):
    """From records to PDFs: QWeb for many, then one document after the other to the engine."""
    _inherit = 'ir.actions.report'

    @api.private
    def render_documents(self, records, data=None):
        """Render the PDF of each record by itself, by this report's engine. Nothing is stored, nothing read from store.

        A document that cannot be made does not stop the others. Where `get_document_numbers()` gives it a number, it is
        checked that each of its pages carries it, and that of no other document of the batch.

        :param records: records of the report's model, rendered with their environment's rights
        :param dict data: further values for the template
        :return: dict id of the record -> PDF as bytes, or a `DocumentError` that says why there is none
        """
        self.ensure_one()
        self = self.with_env(records.env).with_context(webp_as_jpg=True, debug=False)
        results = {}
        try:
            engine = self.find_pdf_engine()
        except UserError as error:
            return {record.id: DocumentError(str(error)) for record in records}
        numbers = self.get_document_numbers(records)
        if engine == 'wkhtmltopdf':
            for record in records:
                results[record.id] = self._render_by_wkhtmltopdf(record, data, numbers)
            return results
        with pdf.borrow_pool(engine, owner=self.env.cr.dbname) as pool:
            documents = self._iter_documents(records, engine, data, numbers, results)
            for record_id, result in pool.stream(documents, numbers=numbers.values()):
                if isinstance(result, pdf.PdfError):
                    result = self._make_document_error(records.browse(record_id), result, engine)
                results[record_id] = result
        for record_id, result in results.items():
            if isinstance(result, CoreNeeded):
                results[record_id] = self._render_by_wkhtmltopdf(records.browse(record_id), data, numbers)
        return results

    def _iter_documents(self, records, engine, data, numbers, failures):
        """Make the documents' HTML, several at a time since that is faster.

        :param dict numbers: record id -> number
        :param dict failures: takes up record id -> `DocumentError` of those whose HTML cannot be made, `CoreNeeded` of
            those that are core's
        :return: iterator of `pdf.Document`
        """
        data = dict(data or {}, report_type='pdf', pdf_engine=engine, debug=False)
        for batch in split_every(QWEB_BATCH, records.ids):
            try:
                documents = self._make_html_documents(batch, data, numbers)
            except RETRYABLE:
                raise
            except Exception as error:  # a broken template or text can raise anything
                if len(batch) == 1:
                    failures[batch[0]] = self._explain_failure(records, batch[0], error, engine)
                    continue
                documents = []
                for record_id in batch:
                    try:
                        documents += self._make_html_documents([record_id], data, numbers)
                    except RETRYABLE:
                        raise
                    except Exception as own_error:
                        failures[record_id] = self._explain_failure(records, record_id, own_error, engine)
            yield from documents

    def _explain_failure(self, records, record_id, error, engine):
        if isinstance(error, CoreNeeded):
            return error
        return self._make_document_error(records.browse(record_id), error, engine)

    def _make_html_documents(self, record_ids, data, numbers):
        # The savepoint keeps the others' transaction alive when a template runs into a database error.
        with self.env.cr.savepoint(flush=False):
            html = self._render_qweb_html(self, list(record_ids), data=data)[0]
        html = self.prepare_document_html(html.decode()).encode()
        engine = data['pdf_engine']
        if len(record_ids) == 1:
            return [self._make_document(record_ids[0], html, numbers.get(record_ids[0]), engine)]
        parts = html_parts.split(html, self.sudo().model, record_ids)
        return [
            self._make_document(record_id, parts[record_id], numbers.get(record_id), engine)
            for record_id in record_ids]

    def _make_document(self, key, html, number=None, engine='plutoprint'):
        """Make one self-contained HTML document of what QWeb gave.

        :param key: by what the caller knows it
        :param html: bytes of a page, or the element of an article
        :param str number: what each page must carry
        :param str engine: which engine it is for
        :return: `pdf.Document`
        :raise CoreNeeded: it holds what the engine cannot show
        """
        root = html_parts.parse(html) if isinstance(html, bytes) else html
        articles = html_parts.find_articles(root)
        values = {}
        if len(articles) == 1 and articles[0].get('data-own-page'):
            values = self._take_drawn_over(articles[0])
            values['tighter'] = tuple(articles[0].attrib.pop('data-tighter', '').split())
            root = self._wrap_article(articles[0])
            values['text'] = self._get_text(root)
        else:
            root, values['scale'] = self._wrap_core_layout(html, engine)
        overlay = values.get('overlay')
        for part in (root, overlay):
            if part is None:
                continue
            self._check_all_is_shown(part.body, engine)
            for element in list(part.iter('script', 'iframe', 'object', 'embed', 'base')):
                element.drop_tree()
        resources = self.collect_resources(*(part for part in (root, overlay) if part is not None))
        if overlay is not None:
            values['overlay_text'] = self._get_text(overlay)
            values['overlay'] = html_parts.to_html(overlay)
        return pdf.Document(key, html_parts.to_html(root), resources=resources, number=number, **values)

    def _check_all_is_shown(self, body, engine):
        """Make sure that nothing of a document would be missing: what an engine cannot show is left to core's.

        :param body: element
        :raise CoreNeeded: it cannot be shown, and core's engine is installed
        """
        name = html_parts.find_unshown(body, engine)
        if not name:
            return
        report = self.sudo()
        if self.get_wkhtmltopdf_state() == 'install':
            _logger.warning(
                "Report %s: <%s> is left out: %s cannot show it, and wkhtmltopdf is not installed",
                report.name, name, engine)
            return
        _logger.warning("Report %s: %s cannot show <%s>, wkhtmltopdf is used", report.name, engine, name)
        raise CoreNeeded(name)

    @api.model
    def _take_drawn_over(self, article):
        """Take out of an article what is drawn over its pages, for engines whose style sheets cannot say it.

        :param article: element; what is marked by `data-overlay` (millimetres from the top) is removed from it, and
            rows with `data-carry` are marked by their number
        :return: dict, part of the values of a `pdf.Document`; `overlay` is still an element
        """
        values = {}
        for element in article.xpath('.//*[@data-overlay]'):
            values['overlay_top'] = float(element.attrib.pop('data-overlay'))
            element.drop_tree()
            element.tail = None
            values['overlay'] = html_parts.make_page(article)
            values['overlay'].body.append(element)
            for name, token in (('page', '%PAGE%'), ('topage', '%PAGES%')):
                for place in element.find_class(name):
                    place.text = token
        if rows := article.xpath('.//tr[@data-carry]'):
            values['carried'] = tuple(row.get('data-carry') for row in rows)
            for index, row in enumerate(rows):
                mark = row.makeelement('i', {'class': 'carry-mark'})
                mark.text = f'<{index}>'
                # after the last word of the row, which is on the page where the row ends
                row[-1].append(mark)
            style = article.find('.//style')
            values['carried_html'] = (
                f'<!DOCTYPE html><html dir="{article.get("dir") or "ltr"}"><head><style>'
                f'{style.text if style is not None else ""} @page {{margin: 0}}</style></head>'
                f'<body><div class="{article.get("class")}"><div class="carried">%CARRIED%</div></div></body>'
                '</html>')
        return values

    @api.model
    def _get_text(self, root):
        """Return what can be read in a document, a space between any two elements."""
        return ' '.join(root.body.xpath('.//text()[not(parent::style)]'))

    @api.model
    def _wrap_article(self, article):
        """Make a page of an article that brings styles and page rules of its own."""
        page = html_parts.make_page(article)
        page.head.find('title').text = article.get('title')
        if number := article.get('data-number'):
            # kept in the PDF, and told by the engine: so it is known whose document it is
            page.head.append(page.makeelement('meta', {'name': 'keywords', 'content': number}))
        article.attrib.pop('title', None)
        article.tail = None
        page.body.append(article)
        return page

    def _make_document_error(self, record, error, engine):
        """Say in words what went wrong with a document.

        :param record: whose document it is; None or empty for a report without records
        :param Exception error: what happened
        :param str engine: a value of `pdf_engine`
        :return: `DocumentError`
        """
        report_name = self.sudo().name
        name = record.display_name if record else report_name
        if isinstance(error, ResourceError) and record:
            error = self.explain_resource_error(record, error)
        if isinstance(error, UserError):
            # It says already what is wrong and what to do.
            _logger.info("Report %s, %s: %s", report_name, name, error)
            return error if isinstance(error, DocumentError) else DocumentError(str(error))
        if not isinstance(error, pdf.PdfError):
            _logger.warning("Report %s, %s: the template cannot be rendered", report_name, name, exc_info=error)
            lines = str(error).strip().splitlines() or [type(error).__name__]
            detail = lines[1].strip() if hasattr(error, 'qweb') and len(lines) > 1 else lines[0]
            return DocumentError(self.env._(
                "The document of %(name)s cannot be made: template “%(template)s” has a fault (%(detail)s). Ask your "
                "administrator to correct it.", name=name, template=self.sudo().report_name, detail=detail[:300]))
        _logger.warning("Report %s, %s, %s: %s", report_name, name, engine, error)
        if error.reason == 'engine_missing':
            return DocumentError(self._describe_missing_engine(engine))
        engine_name = self._get_engine_name(engine)
        messages = {
            'died': self.env._("%s broke down while it made the document.", engine_name),
            'timeout': self.env._("%s took too long for the document and was stopped.", engine_name),
            'memory': self.env._("%s needed more memory for the document than it may use.", engine_name),
            'invalid_html': self.env._("The template gave an empty document."),
            'wrong_pages': self.env._(
                "Not every page carries the number of its own document and no other's, so it is held back."),
        }
        return DocumentError(self.env._(
            "The document of %(name)s cannot be made. %(reason)s Try again; if it happens once more, ask your "
            "administrator, who finds the details in the server's log and can choose another PDF engine for report "
            "“%(report)s”.",
            name=name, reason=messages.get(error.reason) or self.env._("%s refused the document.", engine_name),
            report=report_name))
