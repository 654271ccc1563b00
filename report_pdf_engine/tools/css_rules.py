"""Style sheets, less what a document has no use for. Plain Python: it knows nothing of Odoo.

Core's style sheet for reports is some 400 kB of rules, most of which are for pages of the web. No engine here runs
scripts, so the classes that stand in a document are all it will ever have; to leave out the rules of others makes
WeasyPrint ten times as fast.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

_TOKEN = re.compile(r'''/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\([^)"']*\)|[{};]''', re.S)
_NESTED = ('@media', '@supports', '@layer', '@container')
_FAMILY = re.compile(r'''font-family\s*:\s*["']?([^;"'}]+)''')
_CLASS = re.compile(r'\.(-?[A-Za-z_][\w-]*)')
_IN_BRACKETS = re.compile(r'''\[(?:"[^"]*"|'[^']*'|[^\]"'])*\]''')
_NOT = re.compile(r':not\([^()]*\)')


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
        name = re.sub(r'/\*.*?\*/', '', head, flags=re.S).strip()
        if body is None:
            yield '', f'{head};'
        elif name.startswith('@font-face'):
            family = _FAMILY.search(body)
            yield family[1].strip() if family else '', f'{head}{{{body}}}'
        elif name.startswith(_NESTED):
            inner = ''.join(text for _family, text in _keep(body, classes))
            if inner:
                yield '', f'{head}{{{inner}}}'
        elif name.startswith('@') or any(need <= classes for need in _get_needs(name)):
            yield '', f'{head}{{{body}}}'


@lru_cache(maxsize=32)
def _shorten(css, classes, styles):
    kept = list(_keep(css, classes))
    rest = ''.join(text for family, text in kept if not family) + styles
    return ''.join(text for family, text in kept if not family or family in rest)


def shorten(css: str, classes: Iterable[str], styles: str = '') -> str:
    """Leave out the rules that find nothing in a document, and the fonts that nothing asks for.

    :param css: the style sheet
    :param classes: all that stand in the document
    :param styles: the document's own styles, which may ask for fonts too
    :return: the style sheet, its rules in their order
    """
    families = sorted({family for family in _get_families(css) if family in styles})
    return _shorten(css, frozenset(classes), ' '.join(families))


@lru_cache(maxsize=8)
def _get_families(css):
    return frozenset(family.strip() for family in _FAMILY.findall(css))
