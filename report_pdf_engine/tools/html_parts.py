"""What a template gave, taken apart and put together again. Plain Python: it knows nothing of Odoo."""

import copy
import re
from collections import Counter
from collections.abc import Iterable

import lxml.html

# What an engine without scripts and without other documents can show. An element that is not among them may be what a
# report consists of, and nobody would see that it is missing.
SHOWN = frozenset(
    # HTML
    'a abbr address article aside b bdi bdo big blockquote body br caption center cite code col colgroup data dd del '
    'details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hgroup hr i img ins kbd label '
    'li main mark menu nav ol p picture pre q rp rt ruby s samp section small source span strike strong style sub '
    'summary sup table tbody td tfoot th thead time tr tt u ul var wbr link meta template noscript '
    # what Odoo's own templates leave in a page
    't o-mail button '
    # SVG
    'circle clippath defs desc ellipse fegaussianblur feoffset filter g image line lineargradient marker mask path '
    'pattern polygon polyline radialgradient rect stop svg symbol text textpath title tspan use'.split())

_BREAK = re.compile(r'(\s*page-break-(before|after|inside)\s*:[^;]*;?\s*)*')
SVG_SHAPES = frozenset('circle ellipse path polygon rect'.split())


def parse(html):
    """Parse a page.

    :param html: str, or bytes in UTF-8
    :return: its root
    """
    parser = lxml.html.HTMLParser(encoding='utf-8') if isinstance(html, bytes) else None
    return lxml.html.document_fromstring(html, parser=parser)


def to_html(root) -> str:
    return '<!DOCTYPE html>' + lxml.html.tostring(root, encoding='unicode')


def make_page(article):
    """Make an empty page in the language and direction of an article."""
    page = lxml.html.fromstring('<html><head><meta charset="utf-8"/><title></title></head><body></body></html>')
    page.set('lang', article.get('lang') or 'en')
    page.set('dir', article.get('dir') or 'ltr')
    return page


def has_class(element, name: str) -> bool:
    return name in (element.get('class') or '').split()


def find_articles(root) -> list:
    return [element for element in root.iter('div') if has_class(element, 'article')]


def split(html: bytes, model: str, ids: Iterable[int], may_be_one: bool = False) -> dict:
    """Take apart what a template gave for several records.

    Each must be marked as core wants it: an `article` with `data-oe-model` and `data-oe-id`, its header before it, its
    footer after it. What is not so beyond doubt is not taken apart: nobody's page must get to somebody else.

    :param html: the page
    :param model: of the records
    :param ids: of the records
    :param may_be_one: whether the template may have made one document of them all, such as a table. It has, if not each
        article is one record's, and each record's
    :return: id -> element of an article that brings its own page, or a page (bytes) with header, article and footer;
        of one document, False -> ``html``
    :raises ValueError: it cannot be taken apart
    """
    ids = list(ids)
    root = parse(html)
    parts = []
    for element in root.iter('div'):
        kind = next((name for name in ('header', 'article', 'footer') if has_class(element, name)), None)
        if kind and not any(element in part.iterdescendants() for _kind, part in parts[-1:]):
            parts.append((kind, element))
    articles = [element for kind, element in parts if kind == 'article']
    found = [(element.get('data-oe-model'), int(element.get('data-oe-id') or 0)) for element in articles]
    wanted = [(model, record_id) for record_id in ids]
    if may_be_one and set(found) != set(wanted):
        return {False: html}
    if Counter(found) != Counter(wanted):
        raise ValueError('the template does not mark each document by an article')
    if all(element.get('data-own-page') for element in articles):
        return {int(element.get('data-oe-id')): element for element in articles}
    kinds = [kind for kind, _element in parts]
    size = len(kinds) // len(ids)
    if kinds[:size] not in (
            ['article'], ['header', 'article'], ['article', 'footer'], ['header', 'article', 'footer'],
    ) or kinds != kinds[:size] * len(ids):
        raise ValueError('the template does not give each document its own header and footer')
    pages = {}
    for start in range(0, len(parts), size):
        elements = [copy.deepcopy(element) for _kind, element in parts[start:start + size]]
        page = lxml.html.Element('html', dict(root.attrib))
        page.append(copy.deepcopy(root.find('head')))
        body = lxml.html.Element('body', dict(root.find('body').attrib))
        main = lxml.html.Element('main')
        page.append(body)
        body.append(main)
        for element in elements:
            element.tail = None
            main.append(element)
        [article] = find_articles(main)
        pages[int(article.get('data-oe-id'))] = to_html(page).encode()
    return pages


def drop_empty_ends(body):
    """Drop what shows nothing at the begin and at the end of a page's body: places that an editor keeps for texts, and
    the break behind the last record. A page that begins before or after it would be blank; wkhtmltopdf makes none.
    """
    for index in (0, -1):
        parent = body
        while len(parent):
            child = parent[index]
            outer_text = parent.text if index == 0 else child.tail
            if (outer_text or '').strip():
                break
            if _is_empty(child):
                child.drop_tree()
            else:
                parent = child


def _is_empty(element) -> bool:
    return (
        element.tag in ('div', 'p', 'span', 't') and not len(element) and not (element.text or '').strip()
        and (element.get('class') or 'oe_structure') == 'oe_structure'
        and _BREAK.fullmatch(element.get('style') or '') is not None)


def find_unshown(root, engine: str) -> str | None:
    """Return the name of an element that an engine cannot show, None if there is none."""
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue
        name = element.tag.lower()
        if name not in SHOWN or (engine == 'weasyprint' and name in SVG_SHAPES and _is_coloured_by_css(element)):
            return name
    return None


def _is_coloured_by_css(shape) -> bool:
    """Whether a shape of an SVG would not be seen, were it not for a style sheet: WeasyPrint applies none to SVG."""
    if shape.get('fill-opacity'):
        # its colour was to come from an attribute, and nobody has chosen one
        return False
    for element in (shape, *shape.iterancestors()):
        style = (element.get('style') or '').replace(' ', '')
        if (element.get('stroke') or 'none') != 'none' or 'stroke:' in style or 'fill:' in style:
            return False
        if fill := element.get('fill'):
            return fill == 'none'
        if element.tag == 'svg':
            return bool(element.get('class') or shape.get('class'))
    return False
