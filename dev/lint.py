"""Checks what ruff and pylint-odoo do not: lint.py ADDON ODOO_PACKAGE

manifest   can be read, and leaves no data file out (pylint-odoo looks whether what it names is there)
XML        is well formed; data files follow Odoo's schema, and views that of their type
PO         nothing untranslated, fuzzy or obsolete, no message more or less than in the template,
           and the same placeholders on both sides
"""

import ast
import pathlib
import re
import sys

import polib
from lxml import etree

# Folders whose files the manifest has to name. Others (static/, i18n/) are found by Odoo itself.
DATA_FOLDERS = ("data", "demo", "reports", "security", "views", "wizard", "wizards")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ 0#]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]|\$\{[^}]*\}|\{\{[^}]*\}\}|\{\w*\}")


class Checker:
    def __init__(self, addon, odoo):
        self.addon, self.odoo = addon, odoo
        self.problems = []
        self.schemas = {}

    def report(self, path, line, text):
        self.problems.append(f"{path}:{line or 1}: {text}")

    def schema(self, path):
        if path not in self.schemas:
            self.schemas[path] = etree.RelaxNG(etree.parse(path)) if path.is_file() else None
        return self.schemas[path]

    def validate(self, path, element, schema):
        if schema is not None and not schema.validate(element):
            for error in schema.error_log:
                # the last of the messages names the place; the others say that something inside is wrong
                self.report(path, error.line, error.message)

    # === MANIFEST === #

    def manifest(self):
        path = self.addon / "__manifest__.py"
        if not path.is_file():
            return
        try:
            manifest = ast.literal_eval(path.read_text())
        except (SyntaxError, ValueError) as error:
            self.report(path, getattr(error, "lineno", 1), f"is not a literal: {error}")
            return
        if not re.fullmatch(r"19\.0(\.\d+){3}", manifest.get("version", "")):
            self.report(path, 1, f"version {manifest.get('version')!r} is not 19.0.x.y.z")
        named = [*manifest.get("data", []), *manifest.get("demo", [])]
        for folder in DATA_FOLDERS:
            for file in sorted((self.addon / folder).rglob("*")):
                name = file.relative_to(self.addon).as_posix()
                if file.suffix in (".xml", ".csv") and name not in named:
                    self.report(path, 1, f"does not name {name}")

    # === XML === #

    def xml(self):
        for path in sorted(self.addon.rglob("*.xml")):
            try:
                tree = etree.parse(path)
            except etree.XMLSyntaxError as error:
                self.report(path, error.lineno, error.msg)
                continue
            root = tree.getroot()
            if root.tag == "odoo":
                self.validate(path, root, self.schema(self.odoo / "import_xml.rng"))
                for field in root.iterfind(".//record[@model='ir.ui.view']/field[@name='arch']"):
                    inherits = field.getparent().find("field[@name='inherit_id']") is not None
                    for view in field.iterchildren(etree.Element):
                        if not inherits:
                            schema = self.odoo / "addons" / "base" / "rng" / f"{view.tag}_view.rng"
                            self.validate(path, view, self.schema(schema))

    # === PO === #

    def po(self):
        folder = self.addon / "i18n"
        templates = sorted(folder.glob("*.pot"))
        known = {(e.msgctxt, e.msgid) for t in templates for e in polib.pofile(str(t)) if not e.obsolete}
        for path in sorted(folder.glob("*.po")):
            entries = polib.pofile(str(path), check_for_duplicates=False)
            seen = set()
            for entry in entries:
                text = entry.msgid if len(entry.msgid) < 60 else entry.msgid[:57] + "..."
                if entry.obsolete:
                    self.report(path, entry.linenum, f"obsolete: {text!r}")
                    continue
                key = (entry.msgctxt, entry.msgid)
                if key in seen:
                    self.report(path, entry.linenum, f"twice: {text!r}")
                seen.add(key)
                if entry.fuzzy:
                    self.report(path, entry.linenum, f"fuzzy: {text!r}")
                elif not entry.translated():
                    self.report(path, entry.linenum, f"untranslated: {text!r}")
                elif sorted(PLACEHOLDER.findall(entry.msgid)) != sorted(PLACEHOLDER.findall(entry.msgstr)):
                    self.report(path, entry.linenum, f"other placeholders than the source: {text!r}")
            if templates:
                for _context, msgid in sorted(seen - known, key=str):
                    self.report(path, 1, f"not in the template: {msgid[:60]!r}")
                # a variant such as de_CH holds only what differs from its language
                if "_" not in path.stem:
                    for _context, msgid in sorted(known - seen, key=str):
                        self.report(path, 1, f"missing: {msgid[:60]!r}")


def main(addon, odoo):
    checker = Checker(pathlib.Path(addon), pathlib.Path(odoo))
    checker.manifest()
    checker.xml()
    checker.po()
    for problem in checker.problems:
        print(problem)
    return 1 if checker.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
