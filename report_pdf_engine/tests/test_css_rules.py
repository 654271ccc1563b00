"""Style sheets, less what a document has no use for. What is not understood must stay."""

from odoo.tests import BaseCase, tagged

from ..tools import css_rules


@tagged('post_install', '-at_install')
class TestCssRules(BaseCase):

    def test_rules_that_stay(self):
        for css in (
            'p{a:b}', '*{a:b}', '.x{a:b}', 'p.x{a:b}', '.y .x,.x{a:b}', '.x:not(.y){a:b}', '.x:not(.y):hover{a:b}',
            ':is(.y,.z){a:b}', ':where(.y) p{a:b}', r'.y\:z{a:b}', '[class*="y"]{a:b}', '[href$=".pdf"]{a:b}',
            '#y{a:b}', '@page{a:b}',
            '@page :first{margin:0;@top-left{content:"x"}}', '@import url(y.css);', '@charset "utf-8";',
            '@keyframes y{from{a:b}to{a:c}}', '@media print{.x{a:b}}', '@supports (a:b){@media print{p{a:b}}}',
            '.x{content:"}.y{"}', ".x{content:'\\'}'}", '.x::before{content:"{"}', '.x{background:url(data:x;y})}',
        ):
            with self.subTest(css):
                self.assertEqual(css_rules.shorten(css, {'x'}), css)

    def test_rules_that_go(self):
        for css, left in (
            ('.y{a:b}', ''), ('p.y{a:b}', ''), ('.x .y{a:b}', ''), ('.x.y{a:b}p{c:d}', 'p{c:d}'),
            ('@media print{.y{a:b}}', ''), ('@media print{.y{a:b}.x{a:b}}', '@media print{.x{a:b}}'),
            ('.y{content:"}"}.x{a:b}', '.x{a:b}'), ('/* .x { */.y{a:b}', ''), ('.xx{a:b}', ''), ('.x-y{a:b}', ''),
        ):
            with self.subTest(css):
                self.assertEqual(css_rules.shorten(css, {'x'}), left)

    def test_what_is_not_closed(self):
        """The end of the sheet closes it, as in a browser."""
        for css, left in (
            ('.x{a:b', '.x{a:b}'), ('.y{a:b', ''), ('@import "y.css"', '@import "y.css";'),
            ('.x{a:b}@import url(y)', '.x{a:b}@import url(y);'),
            ('@media print{.y{a:b}.x{a:b', '@media print{.x{a:b}}'),
            ('.x{a:b}/* end */', '.x{a:b}'), ('.x{a:b} ', '.x{a:b}'),
        ):
            with self.subTest(css):
                self.assertEqual(css_rules.shorten(css, {'x'}), left)

    def test_addresses(self):
        for css, addresses in (
            ('a{b:url(x.png) c url("y.png")}', {'x.png', 'y.png'}),
            ('@import "x.css"; @import\'y.css\'', {'x.css', 'y.css'}),
            ('a{b:URL( x.png )}', {'x.png'}), (r'a{b:url(x\20y.png)}', {'x y.png'}), ('a{content: "x.png"}', set()),
        ):
            with self.subTest(css):
                self.assertEqual(css_rules.find_addresses(css), addresses)

    def test_texts_are_no_addresses(self):
        for css in ('.a{content: "Page: "}', ".a{content: 'and/or'}", r'.a\:b{content: "\201c Tel: "}'):
            self.assertEqual(css_rules.leave_out_addresses(css, lambda _address: False), css)

    def test_fonts(self):
        fonts = "@font-face{font-family:'One';src:url(1)}@font-face{font-family:Two;src:url(2)}"
        self.assertEqual(css_rules.shorten(f'{fonts}.x{{font-family:One}}', {'x'}),
                         "@font-face{font-family:'One';src:url(1)}.x{font-family:One}")
        self.assertEqual(css_rules.shorten(f'{fonts}.y{{font-family:One}}', {'x'}), '')
        self.assertEqual(css_rules.shorten(fonts, {'x'}, 'font-family: Two, serif'),
                         '@font-face{font-family:Two;src:url(2)}')
        # a family's name is the same in small letters
        self.assertIn('url(2)', css_rules.shorten(f'{fonts}.x{{FONT-FAMILY: two}}', {'x'}))
        self.assertIn('url(1)', css_rules.shorten(fonts, {'x'}, 'font-family: ONE'))

    def test_order_stays(self):
        css = ''.join(f'.{name}{{a:{index}}}' for index, name in enumerate('xyxyxx'))
        self.assertEqual(css_rules.shorten(css, {'x'}), '.x{a:0}.x{a:2}.x{a:4}.x{a:5}')
