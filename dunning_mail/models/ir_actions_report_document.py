import logging

import lxml.html

from odoo import api, models
from odoo.exceptions import UserError
from odoo.tools.misc import split_every

from ..tools import pdf
from ..tools.addresses import strip_emoji
from .ir_actions_report import RETRYABLE, DocumentError, ResourceError

_logger = logging.getLogger(__name__)

# Letters for which QWeb is called once: enough to share what it costs to start, and few enough that helpers get work
# soon and that a fault costs little when they are made one by one.
QWEB_BATCH = 50


class IrActionsReport(models.Model):
    """From records to PDFs: QWeb for many, then one document after the other to the engine."""
    _inherit = 'ir.actions.report'

    def _render_documents(self, records, data=None):
        """Render the PDF of each record by itself, by this report's engine. Nothing is stored, nothing read from store.

        A document that cannot be made does not stop the others. Of a dunning letter, it is checked that each page
        carries its own number, and that of no other letter of the batch.

        :param records: records of the report's model, rendered with their environment's rights
        :param dict data: further values for the template
        :return: dict id of the record -> PDF as bytes, or a `DocumentError` that says why there is none
        """
        self.ensure_one()
        self = self.with_env(records.env).with_context(webp_as_jpg=True)
        results = {}
        try:
            engine = self._get_pdf_engine()
        except UserError as error:
            return {record.id: DocumentError(str(error)) for record in records}
        numbers = self._get_document_numbers(records)
        if engine == 'wkhtmltopdf':
            for record in records:
                results[record.id] = self._render_by_wkhtmltopdf(record, data, numbers)
            return results
        with pdf.borrow_pool(engine) as pool:
            documents = self._iter_documents(records, engine, data, numbers, results)
            for record_id, result in pool.stream(documents, numbers=numbers.values()):
                if isinstance(result, pdf.PdfError):
                    result = self._make_document_error(records.browse(record_id), result, engine)
                results[record_id] = result
        return results

    def _get_document_numbers(self, records):
        """Return the number that each page of a record's document must carry; nothing for reports without numbers."""
        if not self._is_dunning_letter():
            return {}
        return {notice.id: notice.name for notice in records if notice.name}

    def _iter_documents(self, records, engine, data, numbers, failures):
        """Make the documents' HTML, several at a time where that is faster.

        :param dict numbers: record id -> number
        :param dict failures: takes up record id -> `DocumentError` of those whose HTML cannot be made
        :return: iterator of `pdf.Document`
        """
        data = dict(data or {}, report_type='pdf', pdf_engine=engine)
        batch_size = QWEB_BATCH if self._is_dunning_letter() else 1
        for batch in split_every(batch_size, records.ids):
            try:
                documents = self._make_html_documents(batch, data, numbers)
            except RETRYABLE:
                raise
            except Exception as error:  # a broken template or text can raise anything
                if len(batch) == 1:
                    failures[batch[0]] = self._make_document_error(records.browse(batch[0]), error, engine)
                    continue
                documents = []
                for record_id in batch:
                    try:
                        documents += self._make_html_documents([record_id], data, numbers)
                    except RETRYABLE:
                        raise
                    except Exception as own_error:
                        failures[record_id] = self._make_document_error(
                            records.browse(record_id), own_error, engine)
            yield from documents

    def _make_html_documents(self, record_ids, data, numbers):
        # The savepoint keeps the others' transaction alive when a template runs into a database error.
        with self.env.cr.savepoint(flush=False):
            html = self._render_qweb_html(self, list(record_ids), data=data)[0]
        if self._is_dunning_letter():
            html = strip_emoji(html.decode()).encode()
        if len(record_ids) == 1:
            return [self._make_document(record_ids[0], html, numbers.get(record_ids[0]))]
        model = self.sudo().model
        articles = {
            int(article.get('data-oe-id')): article
            for article in _parse(html).iter('div')
            if article.get('data-oe-model') == model and 'article' in (article.get('class') or '').split()
        }
        if articles.keys() != set(record_ids):
            raise ValueError("the template does not mark each document by an article")
        return [
            self._make_document(record_id, articles[record_id], numbers.get(record_id)) for record_id in record_ids
        ]

    def _make_document(self, key, html, number=None):
        """Make one self-contained HTML document of what QWeb gave.

        :param key: by what the caller knows it
        :param html: bytes of a page, or the element of an article
        :param str number: what each page must carry
        :return: `pdf.Document`
        """
        root = _parse(html) if isinstance(html, bytes) else html
        articles = [element for element in root.iter('div') if 'article' in (element.get('class') or '').split()]
        values = {}
        if len(articles) == 1 and articles[0].get('data-own-page'):
            values = self._take_drawn_over(articles[0])
            values['tighter'] = tuple(articles[0].attrib.pop('data-tighter', '').split())
            root = self._wrap_article(articles[0])
            values['text'] = self._get_text(root)
        elif isinstance(html, bytes):
            root = self._wrap_core_layout(html)
        for element in list(root.iter('script', 'iframe', 'object', 'embed', 'base')):
            element.drop_tree()
        resources = self._collect_resources(root)
        overlay = values.get('overlay')
        if overlay is not None:
            for element in list(overlay.iter('script', 'iframe', 'object', 'embed', 'base')):
                element.drop_tree()
            resources.update(self._collect_resources(overlay))
            values['overlay_text'] = self._get_text(overlay)
            values['overlay'] = _to_html(overlay)
        return pdf.Document(key, _to_html(root), resources=resources, number=number, **values)

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
            values['overlay'] = _make_page(article)
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
                f'<body><div class="{article.get("class")}"><div class="dl-carried">%CARRIED%</div></div></body>'
                '</html>')
        return values

    @api.model
    def _get_text(self, root):
        """Return what can be read in a document, a space between any two elements."""
        return ' '.join(root.body.xpath('.//text()[not(parent::style)]'))

    @api.model
    def _wrap_article(self, article):
        """Make a page of an article that brings styles and page rules of its own."""
        page = _make_page(article)
        page.head.find('title').text = article.get('title')
        if number := article.get('data-number'):
            # kept in the PDF, and told by the engine: so it is known whose document it is
            page.head.append(page.makeelement('meta', {'name': 'keywords', 'content': number}))
        article.attrib.pop('title', None)
        article.tail = None
        page.body.append(article)
        return page

    def _wrap_core_layout(self, html):
        """Make a page of a report in core's layout, as core does for wkhtmltopdf: but header and footer run."""
        bodies, _ids, header, footer, arguments = self._prepare_html(html, report_model=self.sudo().model)
        page = _parse(str(bodies[0]))
        if not isinstance(page, lxml.html.HtmlElement) or page.tag != 'html':
            page = lxml.html.document_fromstring(f'<html><body>{bodies[0]}</body></html>')
        # Meant for wkhtmltopdf's view of a screen: a page without height that hides what does not fit.
        page.attrib.pop('style', None)
        page.body.set('class', (page.body.get('class') or '').replace('overflow-hidden', ''))
        for body in bodies[1:]:
            for child in _parse(str(body)).body:
                page.body.append(child)
        for place, running in (('footers', footer), ('headers', header)):
            nodes = _parse(str(running)).xpath(f"//div[@id='minimal_layout_report_{place}']/*[1]")
            for node in nodes:
                node.set('style', f'{node.get("style") or ""};position:running({place});width:100%')
                page.body.insert(0, node)
        style = page.makeelement('style')
        style.text = self._get_page_css(arguments)
        page.head.append(style)
        return page

    def _get_page_css(self, arguments):
        """Return the page rules that say what core tells wkhtmltopdf by its arguments: paper, margins, page numbers.

        :param dict arguments: `data-report-*` attributes of the report, which come before the paper format's
        """
        paper = self.get_paperformat()
        size = f'{paper.page_width or 210}mm {paper.page_height or 297}mm' if paper.format == 'custom' else (
            paper.format or 'A4')
        landscape = arguments.get('data-report-landscape') or paper.orientation == 'Landscape'
        top = arguments.get('data-report-margin-top', paper.margin_top)
        bottom = arguments.get('data-report-margin-bottom', paper.margin_bottom)
        return (
            f'@page {{size: {size}{" landscape" if landscape else ""}; '
            f'margin: {float(top)}mm {float(paper.margin_right)}mm {float(bottom)}mm {float(paper.margin_left)}mm; '
            '@top-center {content: element(headers); width: 100%; vertical-align: bottom} '
            '@bottom-center {content: element(footers); width: 100%; vertical-align: top}} '
            'span.page::before {content: counter(page)} span.topage::before {content: counter(pages)} '
            # core fills wkhtmltopdf's page by these
            'html, body, .article {height: auto !important; min-height: 0 !important; overflow: visible !important}'
        )

    def _make_document_error(self, record, error, engine):
        """Say in words what went wrong with a document.

        :param record: whose document it is; None or empty for a report without records
        :param Exception error: what happened
        :param str engine: a value of `pdf_engine`
        :return: `DocumentError`
        """
        report_name = self.sudo().name
        name = record.display_name if record else report_name
        if isinstance(error, ResourceError) and record and self._is_dunning_letter():
            error = record._find_faulty_text(error) or error
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
                "Not every page carries the number of its own notice and no other's, so it is held back."),
        }
        return DocumentError(self.env._(
            "The document of %(name)s cannot be made. %(reason)s Try again; if it happens once more, ask your "
            "administrator, who finds the details in the server's log and can choose another PDF engine for report "
            "“%(report)s”.",
            name=name, reason=messages.get(error.reason) or self.env._("%s refused the document.", engine_name),
            report=report_name))


def _make_page(article):
    """Make an empty page in the language and direction of an article."""
    page = lxml.html.fromstring('<html><head><meta charset="utf-8"/><title></title></head><body></body></html>')
    page.set('lang', article.get('lang') or 'en')
    page.set('dir', article.get('dir') or 'ltr')
    return page


def _to_html(root):
    return '<!DOCTYPE html>' + lxml.html.tostring(root, encoding='unicode')


def _parse(html):
    parser = lxml.html.HTMLParser(encoding='utf-8') if isinstance(html, bytes) else None
    return lxml.html.document_fromstring(html, parser=parser)
