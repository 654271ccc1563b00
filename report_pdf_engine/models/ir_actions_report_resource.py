import base64
import binascii
import itertools
import logging
import re
from functools import lru_cache
from mimetypes import guess_type
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from odoo import api, models
from odoo.exceptions import AccessError, MissingError
from odoo.tools import consteq, file_open, ormcache
from odoo.tools.mimetypes import guess_mimetype

from ..exceptions import ResourceError
from ..tools import css_rules, html_parts, pdf

_logger = logging.getLogger(__name__)

# PostgreSQL's integer: what is larger is no id.
MAX_ID = 2**31 - 1
STATIC_EXTENSIONS = ('.css', '.gif', '.jpeg', '.jpg', '.otf', '.png', '.svg', '.ttf', '.webp', '.woff', '.woff2')
STATIC_PATH = re.compile(r'/[a-z0-9_]+/static/[^?#]+')
CSS_URL = re.compile(r'''url\(\s*(?:"([^"]*)"|'([^']*)'|([^'")\s]+))\s*\)''')
CSS_IMPORT = re.compile(r'''@import\s+(?:"([^"]*)"|'([^']*)')[^;]*;?''')
# Attributes by which an element fetches something.
ADDRESSES = frozenset(
    'action archive background cite classid codebase data dynsrc formaction href longdesc lowsrc manifest ping poster '
    'profile src srcdoc srcset usemap xlink:href'.split())
IMAGE_PATHS = (
    re.compile(r'/web/(?:image|content)/(?P<id>\d+)(?:-[^/]+)?(?:/.*)?'),
    re.compile(r'/web/(?:image|content)/(?P<model>[a-z0-9_.]+)/(?P<id>\d+)/(?P<field>\w+)(?:/.*)?'),
)


class IrActionsReport(models.Model):
    """What a document refers to, pictures, styles and fonts: read here, so that an engine needs no network."""
    _inherit = 'ir.actions.report'

    @api.private
    def collect_resources(self, *roots):
        """Read what a document refers to, so that the engine need fetch nothing: styles, fonts, pictures of this Odoo.

        :param roots: the root elements of a document's parts; a style sheet is shortened to what finds something there
        :return: dict address -> (content, MIME type); whatever is not Odoo's own is left out
        :raise ResourceError: it refers to something of Odoo's own that can never be shown
        """
        resources = {}
        classes = {name for root in roots for value in root.xpath('.//@class') for name in value.split()}
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
        for address in _find_css_addresses(css):
            self._collect_resource(_join(base_url, address), resources)

    def _collect_resource(self, url, resources):
        """Read one resource.

        :raise UserError: names the address of something of Odoo's own that can never be shown
        """
        if url in resources:
            return True
        path = self._get_own_path(url)
        if path is None:
            return False
        try:
            resource = self._read_resource(path)
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            # Malformed, and no mere absence: a code that should be paid by must not be missing unnoticed.
            raise ResourceError(self.env._("“%s” is no picture that can be shown.", path), path) from error
        except (AccessError, MissingError, OSError, ValueError):
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
            if base_url and url.startswith(base_url.rstrip('/') + '/'):
                return url[len(base_url.rstrip('/')):]
        return None

    def _prepare_html(self, html, report_model=False):
        """Extends it where this addon calls core's engine, which would fetch what is not this Odoo's own."""
        if self.env.context.get('report_pdf_own_only'):
            html = self._leave_out_foreign(html)
        return super()._prepare_html(html, report_model=report_model)

    def _leave_out_foreign(self, html):
        def is_own(address):
            address = address.strip()
            return address.startswith(('data:', '#')) or self._get_own_path(_join(pdf.BASE_URL, address)) is not None

        def clean(css):
            css = CSS_IMPORT.sub(lambda match: match[0] if is_own(match[1] or match[2]) else '', css)
            return CSS_URL.sub(
                lambda match: match[0] if is_own(next(filter(None, match.groups()), '')) else 'none', css)

        root = html_parts.parse(html)
        for element in root.xpath('//base | //meta[@http-equiv]'):
            element.drop_tree()
        for element in root.iter():
            if not isinstance(element.tag, str):
                continue
            for name, value in element.attrib.items():
                if name == 'style':
                    element.set(name, clean(value))
                # a link leads to where it does
                elif name in ADDRESSES and element.tag != 'a' and not is_own(value):
                    del element.attrib[name]
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
        if model._abstract or model._fields[field].type not in ('binary', 'image'):
            raise KeyError(field)
        if int(query['id']) > MAX_ID:
            return None
        record = model.browse(int(query['id'])).exists()
        if not record or not self._may_show(record, field, query.get('access_token')):
            return None
        if record._name == 'ir.attachment':
            return record.sudo().raw, record.sudo().mimetype
        content = base64.b64decode(record.sudo()[field] or b'')
        return content, guess_mimetype(content)

    @api.model
    @ormcache('path', cache='assets')
    def _read_style_bundle(self, path):
        bundle, rtl, _type, autoprefix = self.env['ir.asset']._parse_bundle_name(path.rpartition('/')[2], False)
        return self.env['ir.qweb'].sudo()._get_asset_bundle(
            bundle, css=True, js=False, rtl=rtl, autoprefix=autoprefix).css().raw

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
            if attachment.public or attachment.res_model in self.get_picture_models():
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


def _join(base_url, address):
    """Return a full address, none of what is no address."""
    try:
        return urljoin(base_url, address)
    except ValueError:
        return ''


@lru_cache(maxsize=8)
def _find_css_addresses(css):
    return frozenset(next(filter(None, groups), '') for groups in CSS_URL.findall(css))


@lru_cache(maxsize=64)
def _read_static(path):
    # The same few fonts and pictures are on every letter; what an addon ships does not change while Odoo runs.
    with file_open(path.lstrip('/'), 'rb', filter_ext=STATIC_EXTENSIONS) as file:
        return file.read(), guess_type(path)[0] or 'application/octet-stream'
