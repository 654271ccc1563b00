import base64
import binascii
import itertools
import logging
import re
from functools import lru_cache
from mimetypes import guess_type
from urllib.parse import parse_qs, unquote, urljoin, urlsplit, urlunsplit

from odoo import api, models
from odoo.exceptions import UserError
from odoo.tools import file_open, ormcache
from odoo.tools.image import image_guess_size_from_field_name, image_process
from odoo.tools.mimetypes import guess_mimetype

from ..exceptions import ResourceError
from ..tools import css_rules, html_parts, pdf

_logger = logging.getLogger(__name__)

# PostgreSQL's integer: what is larger is no id.
MAX_ID = 2**31 - 1
STATIC_EXTENSIONS = ('.css', '.gif', '.jpeg', '.jpg', '.otf', '.png', '.svg', '.ttf', '.webp', '.woff', '.woff2')
STATIC_PATH = re.compile(r'/[a-z0-9_]+/static/[^?#]+')
# Attributes by which an element fetches something.
ADDRESSES = frozenset(
    'action archive background cite classid codebase data dynsrc formaction href longdesc lowsrc manifest ping poster '
    'profile src usemap xlink:href'.split())
IMAGE_PATHS = (
    re.compile(r'/web/(?:image|content)/(?P<id>\d+)(?:-[^/]+)?(?P<rest>/.*)?'),
    re.compile(r'/web/(?:image|content)/(?P<model>[a-z0-9_.]+)/(?P<id>\d+)/(?P<field>\w+)(?P<rest>/.*)?'),
)
IMAGE_SIZE = re.compile(r'/(?P<width>\d+)x(?P<height>\d+)(?:/.*)?')
# What of a company is on its letters, whoever prints them.
COMPANY_PICTURES = frozenset(('logo', 'logo_web', 'layout_background_image'))
# Browsers take it for a slash, or for nothing: so what follows may be a host.
UNCLEAR = re.compile(r'[\\\x00-\x1f\x7f]')
# What shows a picture or a font, and nothing that fetches another.
EMBEDDED = re.compile(r'data:(?:image/|font/|application/(?:x-)?font)|#', re.I)


class IrActionsReport(models.Model):
    """What a document refers to, pictures, styles and fonts: read here, so that an engine needs no network."""
    _inherit = 'ir.actions.report'

    @api.private
    def collect_resources(self, *roots, classes=()):
        """Read what a document refers to, so that the engine need fetch nothing: styles, fonts, pictures of this Odoo.

        :param roots: the root elements of a document's parts; a style sheet is shortened to what finds something there
        :param classes: names of classes that may come in besides
        :return: dict address -> (content, MIME type); whatever is not Odoo's own is left out
        :raise ResourceError: it refers to something of Odoo's own that can never be shown
        """
        resources = {}
        classes = {*classes, *(name for root in roots for value in root.xpath('.//@class') for name in value.split())}
        classes.update(*((root.get('class') or '').split() for root in roots))
        styles = ' '.join(text for root in roots for text in root.xpath('.//@style | .//style/text()'))
        for element in itertools.chain(*(root.iter('link', 'img', 'style', 'image') for root in roots)):
            if element.tag == 'style':
                self._collect_css_resources(element.text or '', pdf.BASE_URL, resources)
            elif element.tag == 'link':
                if 'stylesheet' in (element.get('rel') or ''):
                    url = _join(pdf.BASE_URL, element.get('href') or '')
                    if self._collect_resource(url, resources) and resources[url][1] == 'text/css':
                        css = css_rules.shorten(resources[url][0].decode(errors='replace'), classes, styles)
                        resources[url] = (css.encode(), 'text/css')
                        self._collect_css_resources(css, url, resources)
            else:
                self._collect_resource(
                    _join(pdf.BASE_URL, element.get('src') or element.get('href') or ''), resources)
        for element in itertools.chain(*(root.xpath("//*[contains(@style, 'url(')]") for root in roots)):
            self._collect_css_resources(element.get('style'), pdf.BASE_URL, resources)
        return resources

    def _collect_css_resources(self, css, base_url, resources):
        for address in css_rules.find_addresses(css):
            url = _join(base_url, address)
            if url not in resources and self._collect_resource(url, resources) and resources[url][1] == 'text/css':
                self._collect_css_resources(resources[url][0].decode(errors='replace'), url, resources)

    def _collect_resource(self, url, resources):
        """Read one resource.

        :return: whether there is one
        :raise ResourceError: names the address of something of Odoo's own that can never be shown
        """
        if url in resources:
            return True
        path = self._get_own_path(url)
        if path is None:
            return False
        try:
            resource = self._read_resource(path)
        except (KeyError, TypeError, AttributeError, binascii.Error, ResourceError) as error:
            # Malformed, and no mere absence.
            if not isinstance(error, ResourceError):
                error = ResourceError(self.env._("“%s” is no picture that can be shown.", path), path)
            # A code that should be paid by must not be missing unnoticed. (Without a report, texts are checked.)
            if not self or self.keeps_documents():
                raise error
            _logger.warning("Report %s: %s", self.sudo().name, error)
            return False
        except (UserError, OSError, ValueError):
            # as in the browser: a picture is missing where the user may not see it
            _logger.debug("Report %s: %s is left out", self.sudo().name, path)
            return False
        if resource:
            resources[url] = resource
        return bool(resource)

    @api.model
    def _get_own_path(self, url):
        """Return the path that an address has in this Odoo, None if it is not this Odoo's."""
        if url.startswith(pdf.BASE_URL):
            return url[len(pdf.BASE_URL.rstrip('/')):]
        parameters = self.env['ir.config_parameter'].sudo()
        for base_url in (parameters.get_param('report.url'), parameters.get_param('web.base.url')):
            # A host's name is the same in large letters.
            base_url = _join(base_url or '', '').rstrip('/') + '/'
            if base_url != '/' and url.startswith(base_url):
                return url[len(base_url) - 1:]
        return None

    def _prepare_html(self, html, report_model=False):
        """Extends it where this addon calls core's engine, which would fetch what is not this Odoo's own."""
        if self.env.context.get('report_pdf_own_only'):
            html = self._leave_out_foreign(self.prepare_document_html(html.decode()))
        return super()._prepare_html(html, report_model=report_model)

    def _leave_out_foreign(self, html):
        def is_own(address):
            return bool(EMBEDDED.match(address.strip())) or (
                self._get_own_path(_join(pdf.BASE_URL, address)) is not None)

        def clean(css):
            return css_rules.leave_out_addresses(css, is_own)

        root = html_parts.parse(html)
        for element in root.xpath('//base | //meta[@http-equiv]'):
            element.drop_tree()
        for element in root.iter():
            if not isinstance(element.tag, str):
                continue
            for name, value in element.attrib.items():
                if name in ADDRESSES:
                    # a link leads to where it does
                    if element.tag != 'a' and not is_own(value):
                        del element.attrib[name]
                elif name in ('srcdoc', 'srcset'):
                    del element.attrib[name]
                elif name == 'style' or '(' in value:
                    element.set(name, clean(value))
            if element.tag == 'style' and element.text:
                element.text = clean(element.text)
        return html_parts.to_html(root).encode()

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
            return self._read_style_bundle(path), 'text/css'
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if path.startswith('/report/barcode'):
            names = path.removeprefix('/report/barcode').strip('/').partition('/')
            kind = query.pop('barcode_type', None) or names[0]
            value = query.pop('value', None) or names[2]
            try:
                return self.barcode(kind, value, **query), 'image/png'
            except Exception as error:  # whatever the library makes of it
                raise ResourceError(self.env._("The barcode “%s” cannot be made.", path), path) from error
        for pattern in IMAGE_PATHS:
            if match := pattern.fullmatch(path):
                query.update(match.groupdict())
                break
        if not (path.startswith(('/web/image', '/web/content')) and str(query.get('id', '')).isdigit()):
            return None
        field = query.get('field') or 'raw'
        model = self.env[query.get('model') or 'ir.attachment']
        if model._abstract or model._fields[field].type != 'binary':
            raise KeyError(field)
        if int(query['id']) > MAX_ID:
            return None
        record = self._find_picture(model.browse(int(query['id'])), field, query.get('access_token'))
        # A caller's list may want nothing but the sizes of pictures.
        record = record.with_context(**{'bin_size': False, 'bin_size_raw': False, f'bin_size_{field}': False})
        if record._name == 'ir.attachment':
            content, mimetype = record.raw, record.mimetype
        else:
            content = base64.b64decode(record[field] or b'')
            mimetype = guess_mimetype(content)
        if not path.startswith('/web/image'):
            return content, mimetype
        if match := IMAGE_SIZE.fullmatch(query.get('rest') or ''):
            query.update(match.groupdict())
        size = int(query.get('width') or 0), int(query.get('height') or 0)
        if size == (0, 0):
            size = image_guess_size_from_field_name(field)
        return image_process(content, size=size, crop=query.get('crop')), mimetype

    @api.model
    @ormcache('path', cache='assets')
    def _read_style_bundle(self, path):
        bundle, rtl, _type, autoprefix = self.env['ir.asset']._parse_bundle_name(path.rpartition('/')[2], False)
        return self.env['ir.qweb'].sudo()._get_asset_bundle(
            bundle, css=True, js=False, rtl=rtl, autoprefix=autoprefix).css().raw

    @api.model
    def _find_picture(self, record, field, access_token=None):
        """Return a record whose picture may stand in a document, in an environment that may read it.

        Documents are made by the superuser too, so the superuser's rights mean nothing: what is public, what belongs to
        the texts and layouts themselves, and what the user in person may read.

        :param record: `ir.attachment`, or the record that holds the picture
        :param str field: its field
        :param access_token: the token in the picture's address, if any
        :raise AccessError: it may not be shown
        :raise MissingError: there is none
        """
        if record._name == 'ir.attachment':
            attachment = record.sudo().exists()
            if attachment.res_model in self.get_picture_models() or (
                    attachment.res_model == 'res.company' and attachment.res_field in COMPANY_PICTURES):
                return attachment
        elif record._name == 'res.company' and field in COMPANY_PICTURES:
            return record.sudo().exists()
        binary = self.env['ir.binary'].sudo(False)
        if binary.env.su:
            binary = binary.with_user(self.env.ref('base.public_user'))
        record = binary._find_record(res_model=record._name, res_id=record.id, access_token=access_token, field=field)
        record._check_field_access(record._fields[field], 'read')
        return record.sudo()


def _join(base_url, address):
    """Return a full address, none of what is no address or not understood alike by all."""
    address = address.strip()
    if UNCLEAR.search(address):
        return ''
    try:
        parts = urlsplit(urljoin(base_url, address))
    except ValueError:
        return ''
    return urlunsplit(parts._replace(netloc=parts.netloc.lower()))


@lru_cache(maxsize=64)
def _read_static(path):
    # The same few fonts and pictures are on every letter; what an addon ships does not change while Odoo runs.
    with file_open(path.lstrip('/'), 'rb', filter_ext=STATIC_EXTENSIONS) as file:
        return file.read(), guess_type(path)[0] or 'application/octet-stream'
