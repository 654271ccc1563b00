import logging
from collections import defaultdict

from odoo import api, models
from odoo.exceptions import RedirectWarning, UserError
from odoo.tools.misc import split_every

from ..exceptions import RETRYABLE, CoreNeeded, DocumentError, ResourceError
from ..tools import html_parts, pdf, pdf_pages

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
        return self._render_documents(records, data)

    def _render_documents(self, records, data=None, together=()):
        """Render as `render_documents()` does, or as core does: by one call of the template for all records.

        :param together: ids of the records, perhaps several times, for which the template is called once. If it makes
            one document of them all, that is what is returned, for the key False
        """
        self.ensure_one()
        self = self.with_env(records.env).with_context(webp_as_jpg=True, debug=False)
        # What is left to be written is refused here or not at all, and not as a fault of some document.
        self.env.flush_all()
        results = {}
        try:
            engine = self.find_pdf_engine()
        except UserError as error:
            return {record.id: DocumentError(str(error)) for record in records}
        numbers = self.get_document_numbers(records)
        if engine == 'wkhtmltopdf':
            return {record.id: self._render_by_wkhtmltopdf(record, data, numbers) for record in records}
        pieces = defaultdict(dict)
        with pdf.borrow_pool(engine, owner=self.env.cr.dbname) as pool:
            documents = self._iter_documents(records, engine, data, numbers, results, () if numbers else together)
            for (record_id, index), result in pool.stream(documents, numbers=numbers.values()):
                if isinstance(result, pdf.PdfError):
                    results[record_id] = self._make_document_error(records.browse(record_id or ()), result, engine)
                pieces[record_id][index] = result
        for record_id, found in pieces.items():
            if record_id not in results:
                results[record_id] = pdf_pages.join(found[index] for index in sorted(found))
        for record_id, result in results.items():
            if isinstance(result, CoreNeeded):
                results[record_id] = self._render_by_wkhtmltopdf(
                    records.browse(record_id or together), data, numbers)
        return results

    def _iter_documents(self, records, engine, data, numbers, failures, together=()):
        """Make the documents' HTML, several at a time since that is faster.

        :param dict numbers: record id -> number
        :param dict failures: takes up record id -> `DocumentError` of those whose HTML cannot be made, `CoreNeeded` of
            those that are core's
        :param together: as of `_render_documents()`
        :return: iterator of `pdf.Document`, by keys (record id, index)
        """
        data = dict(data or {}, report_type='pdf', pdf_engine=engine, debug=False)
        for batch in [together] if together else split_every(QWEB_BATCH, records.ids):
            for record_id, html in self._render_parts(records, batch, data, failures, bool(together)).items():
                try:
                    documents = self._make_documents(record_id, html, numbers.get(record_id), engine)
                except RETRYABLE:
                    raise
                except CoreNeeded as error:
                    failures[record_id] = error
                except Exception as error:
                    failures[record_id] = self._make_document_error(records.browse(record_id or ()), error, engine)
                else:
                    yield from documents

    def _render_parts(self, records, record_ids, data, failures, together=False):
        """Call the template for several records, and if that fails, for fewer and for each.

        :return: dict record id -> HTML, see `html_parts.split()`
        """
        try:
            # It keeps the others' transaction alive when a template runs into a database error.
            with self.env.cr.savepoint():
                html = self._render_qweb_html(self, list(record_ids), data=data)[0]
            html = self.prepare_document_html(html.decode()).encode()
            if len(record_ids) == 1:
                return {record_ids[0]: html}
            return html_parts.split(html, self.sudo().model, record_ids, may_be_one=together)
        except RETRYABLE:
            raise
        except Exception as error:  # a broken template or text can raise anything
            if len(record_ids) == 1:
                failures[record_ids[0]] = self._make_document_error(
                    records.browse(record_ids[0]), error, data['pdf_engine'])
                return {}
        parts = {}
        size = QWEB_BATCH if len(record_ids) > QWEB_BATCH else 1
        for batch in split_every(size, dict.fromkeys(record_ids)):
            parts.update(self._render_parts(records, batch, data, failures))
        return parts

    def _make_documents(self, key, html, number=None, engine='plutoprint'):
        """Make self-contained HTML documents of what QWeb gave, one of each article, as core does.

        :param key: by what the caller knows it
        :param html: bytes of a page, or the element of an article
        :param str number: what each page must carry
        :param str engine: which engine it is for
        :return: list of `pdf.Document`, whose keys are (`key`, index)
        :raise CoreNeeded: it holds what the engine cannot show
        """
        root = html_parts.parse(html) if isinstance(html, bytes) else html
        articles = html_parts.find_articles(root)
        if len(articles) == 1 and articles[0].get('data-own-page'):
            values = self._take_drawn_over(articles[0])
            values['tighter'] = tuple(articles[0].attrib.pop('data-tighter', '').split())
            values['pages_after'] = int(articles[0].attrib.pop('data-pages-after', 0))
            root = self._wrap_article(articles[0])
            values['text'] = self._get_text(root)
            pages = [(root, values)]
        else:
            pages = [(page, {'scale': scale}) for page, scale in self._wrap_core_layout(html, engine)]
        return [
            self._make_document((key, index), page, number, engine, values)
            for index, (page, values) in enumerate(pages)]

    def _make_document(self, key, root, number, engine, values):
        """Make a document of a page: with all that it refers to, and without what is not shown.

        :param dict values: further values of the `pdf.Document`; the `overlays` are elements
        """
        overlays = values.get('overlays', ())
        for part in (root, *overlays):
            self._check_all_is_shown(part.body, engine)
            for element in list(part.iter('script', 'iframe', 'object', 'embed', 'base')):
                element.drop_tree()
        resources = self.collect_resources(root, *overlays, classes=values.get('tighter', ()))
        if overlays:
            values['overlay_texts'] = tuple(map(self._get_text, overlays))
            values['overlays'] = tuple(map(html_parts.to_html, overlays))
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
            rows with `data-carry` are marked by their number. Of several overlays the last one is drawn over the last
            page, the one before over the page before, and so on
        :return: dict, part of the values of a `pdf.Document`; `overlays` are still elements
        """
        values, overlays = {}, []
        for element in article.xpath('.//*[@data-overlay]'):
            values['overlay_top'] = float(element.attrib.pop('data-overlay'))
            element.drop_tree()
            element.tail = None
            overlay = html_parts.make_page(article)
            overlay.body.append(element)
            overlays.append(overlay)
            for name, token in (('page', '%PAGE%'), ('topage', '%PAGES%')):
                for place in element.find_class(name):
                    place.text = token
        if overlays:
            values['overlays'] = tuple(overlays)
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

        :param record: whose document it is; None, none or several for a report without records, or one of all
        :param Exception error: what happened
        :param str engine: a value of `pdf_engine`
        :return: `DocumentError`, its `__cause__` is what happened
        """
        report_name = self.sudo().name
        has_record = record is not None and len(record) == 1
        name = self._get_record_name(record) if has_record else report_name
        if isinstance(error, ResourceError) and has_record:
            error = self.explain_resource_error(record, error)
        if isinstance(error, (UserError, RedirectWarning)):
            # It says already what is wrong and what to do.
            _logger.info("Report %s, %s: %s", report_name, name, error)
            if isinstance(error, DocumentError):
                return error
            document_error = DocumentError(str(error.args[0]))
            document_error.__cause__ = error
            return document_error
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

    @api.model
    def _get_record_name(self, record):
        """Return the name of a record, also of one that is gone or may not be read."""
        try:
            return record.display_name
        except RETRYABLE:
            raise
        except Exception:
            _logger.debug("%s cannot be named", record, exc_info=True)
            return f'{record._name},{record.id}'
