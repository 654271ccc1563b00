import base64
import io
import logging
import re
from collections import OrderedDict
from functools import lru_cache
from mimetypes import guess_type
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import lxml.html
from psycopg2 import OperationalError
from psycopg2.errors import ReadOnlySqlTransaction

from odoo import api, fields, models
from odoo.exceptions import AccessError, MissingError, UserError
from odoo.tools import consteq, file_open
from odoo.tools.mimetypes import guess_mimetype
from odoo.tools.misc import split_every

from odoo.addons.base.models.ir_actions_report import _wkhtml

from ..tools import pdf

_logger = logging.getLogger(__name__)

# Letters for which QWeb is called once: enough to share what it costs to start, and few enough that helpers get work
# soon and that a fault costs little when they are made one by one.
QWEB_BATCH = 50
STATIC_EXTENSIONS = ('.css', '.gif', '.jpeg', '.jpg', '.otf', '.png', '.svg', '.ttf', '.webp', '.woff', '.woff2')
STATIC_PATH = re.compile(r'/[a-z0-9_]+/static/[^?#]+')
CSS_URL = re.compile(r'''url\(\s*(?:"([^"]*)"|'([^']*)'|([^'")\s]+))\s*\)''')
IMAGE_PATHS = (
    re.compile(r'/web/(?:image|content)/(?P<id>\d+)(?:-[^/]+)?(?:/.*)?'),
    re.compile(r'/web/(?:image|content)/(?P<model>[a-z0-9_.]+)/(?P<id>\d+)/(?P<field>\w+)(?:/.*)?'),
)
# The database may want the whole request again: that is no fault of a document.
RETRYABLE = (OperationalError, ReadOnlySqlTransaction)


class DocumentError(UserError):
    """Why one document could not be made, in words for a person, who also learns what to do about it."""


class IrActionsReport(models.Model):
    _inherit = 'ir.actions.report'

    pdf_engine = fields.Selection(
        [('wkhtmltopdf', 'wkhtmltopdf'), ('plutoprint', 'PlutoPrint'), ('weasyprint', 'WeasyPrint (PDF/A-3b)')],
        string="PDF Engine", required=True, default='wkhtmltopdf',
        help="What turns the report into a PDF. wkhtmltopdf is Odoo's own. PlutoPrint is by far the fastest. "
             "WeasyPrint makes PDF/A-3b, for archives. The last two must be installed on the server: "
             "pip install plutoprint, pip install weasyprint. As long as neither is, wkhtmltopdf is used.")
    archive_generated = fields.Boolean(
        "Archive Generated Documents",
        help="Dunning letters: keep every PDF that was sent or printed for good, unchanged, with its notice. "
             "When this is off, a PDF is removed as soon as it has been delivered or printed.")

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

    def _is_dunning_letter(self):
        """Whether the report makes the document of dunning notices: one rendering each, and kept."""
        self.ensure_one()
        return self.sudo().model == 'dunning.notice'

    def _get_pdf_engine(self):
        """Return the engine that makes this report's PDF: the chosen one, or what stands in for it.

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
        is_letter = report._is_dunning_letter()
        if not is_letter and report.pdf_engine not in pdf.ENGINES:
            return super()._render_qweb_pdf_prepare_streams(report_ref, data, res_ids=res_ids)
        if not res_ids:
            if report._get_pdf_engine() == 'wkhtmltopdf':
                return super()._render_qweb_pdf_prepare_streams(report_ref, data, res_ids=res_ids)
            return self._prepare_streams_without_records(report, data)
        streams = OrderedDict()
        records = self.env[report.model].browse(OrderedDict.fromkeys(res_ids))
        if is_letter:
            records._check_may_be_read()
        is_copied = len(records) != len(res_ids)
        for record in records:
            stream = attachment = None
            if is_letter:
                stream = self._get_kept_document(record)
            elif report.attachment and not is_copied and not self.env.context.get('report_pdf_no_attachment'):
                attachment = report.retrieve_attachment(record)
                if attachment and report.attachment_use and attachment.mimetype == 'application/pdf':
                    stream = attachment.raw
            streams[record.id] = {'stream': stream and io.BytesIO(stream), 'attachment': attachment}
        missing = records.filtered(lambda record: not streams[record.id]['stream'])
        if missing:
            documents = self.browse(report.id)._render_documents(missing, data=data)
            errors = [document for document in documents.values() if isinstance(document, Exception)]
            if len(errors) == 1:
                raise errors[0]
            if errors:
                raise DocumentError('\n\n'.join(str(error) for error in errors[:10]))
            for record in missing:
                streams[record.id]['stream'] = io.BytesIO(documents[record.id])
        if is_copied:
            # As core does: copies that were asked for come in one piece, which belongs to no single record.
            joined = pdf.join(streams[res_id]['stream'].getvalue() for res_id in res_ids)
            return {False: {'stream': io.BytesIO(joined), 'attachment': None}}
        return streams

    def _get_kept_document(self, notice):
        """Return the document of a notice that must not be made again.

        :param notice: `dunning.notice`, one record
        :return: its kept PDF, None when there is none yet
        :raise UserError: the document was handed over and has been removed since, or it is damaged
        """
        if notice.document_id or notice._is_frozen():
            # what the user may not read is not printed either
            notice.check_access('read')
            return notice._get_document_bytes()
        return None

    def _prepare_streams_without_records(self, report, data):
        engine = report._get_pdf_engine()
        html = self._render_qweb_html(report, [], data=dict(data or {}, report_type='pdf', pdf_engine=engine))[0]
        document = self.browse(report.id)._make_document(False, html)
        result = pdf.render(engine, [document])[False]
        if isinstance(result, pdf.PdfError):
            raise self.browse(report.id)._make_document_error(None, result, engine)
        return {False: {'stream': io.BytesIO(result), 'attachment': None}}

    # === MAKING DOCUMENTS === #

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

    def _render_by_wkhtmltopdf(self, record, data, numbers):
        """Render one record by core, one process each: core would else split a joined PDF by guesswork."""
        try:
            with self.env.cr.savepoint(flush=False):
                # A key in the context instead would let any caller get round the kept documents.
                streams = super()._render_qweb_pdf_prepare_streams(  # pylint: disable=super-method-mismatch
                    self.sudo(), dict(data or {}, report_type='pdf', pdf_engine='wkhtmltopdf'), res_ids=record.ids)
            content = streams[record.id]['stream'].getvalue()
        except RETRYABLE:
            raise
        except Exception as error:
            return self._make_document_error(record, error, 'wkhtmltopdf')
        if number := numbers.get(record.id):
            # Unpatched Qt knows no running footers: the pages after the first bear no number then.
            problem = pdf.check_pages(
                content, number, numbers.values(), every_page=_wkhtml().is_patched_qt)
            if problem:
                return self._make_document_error(record, pdf.PdfError('wrong_pages', problem), 'wkhtmltopdf')
        return content

    def _make_document_error(self, record, error, engine):
        """Say in words what went wrong with a document.

        :param record: whose document it is; None or empty for a report without records
        :param Exception error: what happened
        :param str engine: a value of `pdf_engine`
        :return: `DocumentError`
        """
        report_name = self.sudo().name
        name = record.display_name if record else report_name
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

    # === WHAT A DOCUMENT REFERS TO === #

    def _collect_resources(self, root):
        """Read what a document refers to, so that the engine need fetch nothing: styles, fonts, pictures of this Odoo.

        :param root: the document's root element
        :return: dict address -> (content, MIME type); whatever is not Odoo's own is left out
        """
        resources = {}
        for element in root.iter('link', 'img', 'style', 'image'):
            if element.tag == 'style':
                self._collect_css_resources(element.text or '', pdf.BASE_URL, resources)
            elif element.tag == 'link':
                if 'stylesheet' in (element.get('rel') or ''):
                    url = urljoin(pdf.BASE_URL, element.get('href') or '')
                    if self._collect_resource(url, resources) and resources[url][1] == 'text/css':
                        self._collect_css_resources(resources[url][0].decode(errors='replace'), url, resources)
            else:
                self._collect_resource(
                    urljoin(pdf.BASE_URL, element.get('src') or element.get('href') or ''), resources)
        for element in root.xpath("//*[contains(@style, 'url(')]"):
            self._collect_css_resources(element.get('style'), pdf.BASE_URL, resources)
        return resources

    def _collect_css_resources(self, css, base_url, resources):
        for address in _find_css_addresses(css):
            self._collect_resource(urljoin(base_url, address), resources)

    def _collect_resource(self, url, resources):
        if url in resources:
            return True
        if not url.startswith(('http:', 'https:')):
            return False
        path = url
        parameters = self.env['ir.config_parameter'].sudo()
        for base_url in (pdf.BASE_URL, parameters.get_param('report.url'), parameters.get_param('web.base.url')):
            if base_url and url.startswith(base_url.rstrip('/') + '/'):
                path = url[len(base_url.rstrip('/')):]
                break
        else:
            return False
        try:
            resource = self._read_resource(path)
        except (AccessError, MissingError, OSError, ValueError):
            # as in the browser: a picture is missing where the user may not see it
            _logger.debug("Report %s: %s is left out", self.sudo().name, path)
            return False
        if resource:
            resources[url] = resource
        return bool(resource)

    @api.model
    def _read_resource(self, path):
        """Read something that Odoo serves under an address, if it may stand in a document.

        :param str path: address without the host
        :return: content and MIME type, None when it is nothing that documents may show
        """
        parts = urlsplit(path)
        path = unquote(parts.path)
        if STATIC_PATH.fullmatch(path):
            return _read_static(path)
        if path.startswith('/web/assets/') and path.endswith('.css'):
            bundle, rtl, _type, autoprefix = self.env['ir.asset']._parse_bundle_name(path.rpartition('/')[2], False)
            css = self.env['ir.qweb'].sudo()._get_asset_bundle(
                bundle, css=True, js=False, rtl=rtl, autoprefix=autoprefix).css()
            return css.raw, 'text/css'
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if path.startswith('/report/barcode'):
            names = path.removeprefix('/report/barcode').strip('/').partition('/')
            kind = query.pop('barcode_type', None) or names[0]
            value = query.pop('value', None) or names[2]
            return self.barcode(kind, value, **query), 'image/png'
        for pattern in IMAGE_PATHS:
            if match := pattern.fullmatch(path):
                query.update(match.groupdict())
                break
        if not (path.startswith(('/web/image', '/web/content')) and str(query.get('id', '')).isdigit()):
            return None
        field = query.get('field') or 'raw'
        record = self.env[query.get('model') or 'ir.attachment'].browse(int(query['id'])).exists()
        if not record or not self._may_show(record, field, query.get('access_token')):
            return None
        if record._name == 'ir.attachment':
            return record.sudo().raw, record.sudo().mimetype
        content = base64.b64decode(record.sudo()[field] or b'')
        return content, guess_mimetype(content)

    @api.model
    def _may_show(self, record, field, access_token=None):
        """Whether a picture may stand in a document.

        Documents are made by the superuser too, so the superuser's rights mean nothing: what is public, what belongs to
        the texts and layouts themselves, and what the user in person may read.

        :param record: `ir.attachment`, or the record that holds the picture
        :param str field: its field
        :param access_token: the token in the picture's address, if any
        """
        if record._name == 'ir.attachment':
            attachment = record.sudo()
            if attachment.public or attachment.res_model in ('dunning.level.text', 'ir.ui.view', 'res.company'):
                return True
            if access_token and attachment.access_token and consteq(attachment.access_token, access_token):
                return True
        elif record._name == 'res.company':
            return field in ('logo', 'logo_web')
        person = record.sudo(False)
        if person.env.su:
            return False
        person.check_access('read')
        return True


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


@lru_cache(maxsize=8)
def _find_css_addresses(css):
    return frozenset(next(filter(None, groups), '') for groups in CSS_URL.findall(css))


@lru_cache(maxsize=64)
def _read_static(path):
    # The same few fonts and pictures are on every letter; what an addon ships does not change while Odoo runs.
    with file_open(path.lstrip('/'), 'rb', filter_ext=STATIC_EXTENSIONS) as file:
        return file.read(), guess_type(path)[0] or 'application/octet-stream'
