"""Style sheets, less what a document has no use for. Plain Python: it knows nothing of Odoo.

Core's style sheet for reports is some 400 kB of rules, most of which are for pages of the web. No engine here runs
scripts, so the classes that stand in a document are all it will ever have; to leave out the rules of others makes
WeasyPrint ten times as fast.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

_TOKEN = re.compile(r'''/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\([^)"']*\)|[{};]''', re.S)
_NESTED = ('@media', '@supports', '@layer', '@container')
_FAMILY = re.compile(r'''font-family\s*:\s*["']?([^;"'}]+)''', re.I)
_CLASS = re.compile(r'\.(-?[A-Za-z_][\w-]*)')
_IN_BRACKETS = re.compile(r'''\[(?:"[^"]*"|'[^']*'|[^\]"'])*\]''')
_NOT = re.compile(r':not\([^()]*\)')
_COMMENTS = re.compile(r'/\*.*?\*/', re.S)
_STRING = r'''"((?:\\.|[^"\\\n])*)(?:"|\n|\Z)|'((?:\\.|[^'\\\n])*)(?:'|\n|\Z)'''
_BARE_URL = r'''url\(\s*(?!["'\s])((?:\\.|[^)\\])*)(?:\)|\Z)'''
_COMMENT = r'/\*.*?(?:\*/|\Z)'
_ADDRESS = re.compile(rf'(?:url\(|@import)\s*(?:{_STRING})|{_BARE_URL}', re.S | re.I)
_MAY_BE_ADDRESS = re.compile(rf'{_COMMENT}|{_STRING}|{_BARE_URL}', re.S | re.I)
# A text beside addresses is "Page: ", or "and/or".
_LIKE_ADDRESS = re.compile(r'//|\\|^[a-z][a-z0-9+.-]*:\S', re.I)
_UNCLEAR = re.compile(r'''[\s"'(]''')
_ESCAPE = re.compile(r'\\(?:([0-9a-f]{1,6})\s?|(.))', re.S | re.I)


@lru_cache(maxsize=8)
def _read_rules(css):
    """Return the rules of a style sheet: (head, body); a statement without a body has None."""
    rules, depth, start, body_start = [], 0, 0, 0
    for token in _TOKEN.finditer(css):
        mark = token[0]
        if mark == '{':
            if not depth:
                body_start = token.end()
            depth += 1
        elif mark == '}':
            depth -= 1
            if depth == 0:
                rules.append((css[start:body_start - 1].strip(), css[body_start:token.start()]))
                start = token.end()
            depth = max(depth, 0)
        elif mark == ';' and not depth:
            rules.append((css[start:token.start()].strip(), None))
            start = token.end()
    # What is not closed, its end closes.
    if depth:
        rules.append((css[start:body_start - 1].strip(), css[body_start:]))
    elif _COMMENTS.sub('', css[start:]).strip():
        rules.append((css[start:].strip(), None))
    return tuple(rules)


@lru_cache(maxsize=20000)
def _get_needs(head):
    """Return for each selector of a rule the classes without which it finds nothing."""
    needs = []
    for selector in _NOT.sub('', _IN_BRACKETS.sub('', head)).split(','):
        # What is not understood is kept: selectors in parentheses, escaped names.
        known = '(' not in selector and ')' not in selector and '\\' not in selector
        needs.append(frozenset(_CLASS.findall(selector)) if known else frozenset())
    return tuple(needs)


def _keep(css, classes):
    for head, body in _read_rules(css):
        name = _COMMENTS.sub('', head).strip()
        if body is None:
            yield '', f'{head};'
        elif name.startswith('@font-face'):
            family = _FAMILY.search(body)
            yield family[1].strip().lower() if family else '', f'{head}{{{body}}}'
        elif name.startswith(_NESTED):
            inner = ''.join(text for _family, text in _keep(body, classes))
            if inner:
                yield '', f'{head}{{{inner}}}'
        elif name.startswith('@') or any(need <= classes for need in _get_needs(name)):
            yield '', f'{head}{{{body}}}'


@lru_cache(maxsize=32)
def _shorten(css, classes, styles):
    kept = list(_keep(css, classes))
    rest = (''.join(text for family, text in kept if not family) + styles).lower()
    return ''.join(text for family, text in kept if not family or family in rest)


def shorten(css: str, classes: Iterable[str], styles: str = '') -> str:
    """Leave out the rules that find nothing in a document, and the fonts that nothing asks for.

    :param css: the style sheet
    :param classes: all that stand in the document
    :param styles: the document's own styles, which may ask for fonts too
    :return: the style sheet, its rules in their order
    """
    styles = styles.lower()
    families = sorted({family for family in _get_families(css) if family in styles})
    return _shorten(css, frozenset(classes), ' '.join(families))


@lru_cache(maxsize=8)
def _get_families(css):
    return frozenset(family.strip().lower() for family in _FAMILY.findall(css))


def _unescape(text):
    def replace(match):
        if match[1]:
            return chr(min(int(match[1], 16), 0x10ffff))
        return '' if match[2] == '\n' else match[2]

    return _ESCAPE.sub(replace, text)


@lru_cache(maxsize=8)
def find_addresses(css: str) -> frozenset:
    """Return the addresses of what a style sheet asks for."""
    return frozenset(
        _unescape(next(filter(None, groups), '')).strip() for groups in _ADDRESS.findall(css))


def leave_out_addresses(css: str, is_own: Callable[[str], bool]) -> str:
    """Take out of a style sheet what may be an address, wherever it stands, and is not to be asked for.

    :param css: the style sheet, or a piece of one
    :param is_own: tells of an address whether it may stay
    """
    def spell_out(match):
        # A letter that is written as its number is still that letter: of url, of import.
        letter = _unescape(match[0])
        return letter if letter.isascii() and letter.isalpha() else match[0]

    def replace(match):
        text = match[0]
        address = _unescape(next(filter(None, match.groups()), '')).strip()
        if text.startswith('/*'):
            return ' '
        if text[0] in '"\'':
            return text if not _LIKE_ADDRESS.search(address) or is_own(address) else '"data:,"'
        return text if is_own(address) and not _UNCLEAR.search(address) else 'none'

    return _MAY_BE_ADDRESS.sub(replace, _ESCAPE.sub(spell_out, css))
