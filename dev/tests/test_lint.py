"""What lint.py has to find, and what it has to leave alone."""

import importlib.util
import pathlib

import pytest

from lint import Checker

# The package that these tests run with; dev/lint names the same one.
ODOO = pathlib.Path(importlib.util.find_spec("odoo").submodule_search_locations[0])
PO_HEAD = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'


def problems(tmp_path, check, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    checker = Checker(tmp_path, ODOO)
    getattr(checker, check)()
    return [problem.partition(": ")[2] for problem in checker.problems]


def view(arch, inherit=""):
    return (
        '<odoo><record id="x" model="ir.ui.view"><field name="name">x</field><field name="model">res.partner</field>'
        f'{inherit}<field name="arch" type="xml">{arch}</field></record></odoo>'
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (view('<list><field name="name"/></list>'), False),
        (view('<list><frob name="name"/></list>'), True),
        (view('<search><field name="name"/><filter name="f" domain="[]"/></search>'), False),
        # an inherited view holds places, not a view
        (view('<list position="inside"><frob/></list>', '<field name="inherit_id" ref="y"/>'), False),
        ('<odoo><recrod id="x" model="res.partner"/></odoo>', True),
        ("<odoo><record></odoo>", True),
        ("<templates><t t-name='x'/></templates>", False),
    ],
)
def test_xml(tmp_path, text, found):
    assert bool(problems(tmp_path, "xml", {"views/x.xml": text})) is found


def test_manifest(tmp_path):
    manifest = "{'version': %r, 'data': ['data/x.xml']}"
    files = {"data/x.xml": "<odoo/>", "static/src/y.xml": "<templates/>"}
    assert problems(tmp_path, "manifest", {"__manifest__.py": manifest % "19.0.1.0.0", **files}) == []
    assert problems(tmp_path, "manifest", {"__manifest__.py": manifest % "18.0.1.0.0", "views/z.xml": "<odoo/>"}) == [
        "version '18.0.1.0.0' is not 19.0.x.y.z",
        "does not name views/z.xml",
    ]
    assert problems(tmp_path, "manifest", {"__manifest__.py": "print('no')"})[0].startswith("is not a literal")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('msgid "One"\nmsgstr "Eins"\n', []),
        ('msgid "One"\nmsgstr ""\n', ["untranslated: 'One'"]),
        ('#, fuzzy\nmsgid "One"\nmsgstr "Eins"\n', ["fuzzy: 'One'"]),
        ('msgid "One"\nmsgstr "Eins"\n\n#~ msgid "Old"\n#~ msgstr "Alt"\n', ["obsolete: 'Old'"]),
        ("", ["missing: 'One'"]),
        ('msgid "One"\nmsgstr "Eins"\n\nmsgid "Two"\nmsgstr "Zwei"\n', ["not in the template: 'Two'"]),
        ('msgid "One"\nmsgstr "Eins %(name)s"\n', ["other placeholders than the source: 'One'"]),
    ],
)
def test_po(tmp_path, entry, expected):
    template = PO_HEAD + 'msgid "One"\nmsgstr ""\n'
    assert problems(tmp_path, "po", {"i18n/x.pot": template, "i18n/de.po": PO_HEAD + entry}) == expected


def test_po_of_a_variant_may_be_part(tmp_path):
    template = PO_HEAD + 'msgid "One"\nmsgstr ""\n'
    assert problems(tmp_path, "po", {"i18n/x.pot": template, "i18n/de_CH.po": PO_HEAD}) == []
