"""What a template gave, taken apart. Nobody's page may get to somebody else."""

from odoo.tests import BaseCase, tagged

from ..tools import html_parts

PAGE = (
    '<!DOCTYPE html><html data-report-margin-top="9"><head><title>t</title></head><body class="b"><main>%s</main>'
    '</body></html>')


def document(number, header=True, footer=True, model='res.partner'):
    return (
        (f'<div class="header o_x">Head {number}</div>' if header else '')
        + f'<div class="article o_y" data-oe-model="{model}" data-oe-id="{number}">Text <div>{number}</div></div>tail'
        + (f'<div class="footer">Foot {number}</div>' if footer else ''))


def split(*documents, ids=None):
    ids = ids or list(range(1, len(documents) + 1))
    return html_parts.split((PAGE % ''.join(documents)).encode(), 'res.partner', ids)


@tagged('post_install', '-at_install')
class TestHtmlParts(BaseCase):

    def test_split(self):
        for header, footer in ((True, True), (True, False), (False, True), (False, False)):
            parts = split(*(document(number, header, footer) for number in (1, 2, 3)), ids=[3, 1, 2])
            self.assertEqual(parts.keys(), {1, 2, 3})
            for number, page in parts.items():
                root = html_parts.parse(page)
                self.assertEqual(root.get('data-report-margin-top'), '9')
                self.assertEqual(root.body.get('class'), 'b')
                words = ' '.join(root.body.text_content().split())
                expected = f'Text {number}'
                if header:
                    expected = f'Head {number}{expected}'
                if footer:
                    expected = f'{expected}Foot {number}'
                self.assertEqual(words, expected)

    def test_empty_ends_are_dropped(self):
        """A page break that nothing stands before, or after, makes no page."""
        place, end = '<div class="oe_structure"></div>', '<p style="page-break-before:always;"> </p>'
        for html, expected in (
            (f'<div>{place}<b>1</b>{end}</div>', '<div><b>1</b></div>'),
            (f'{place}<div>{place} <b>1</b></div> {end} ', '<div> <b>1</b></div> '),
            (f'<div>1{place}</div>{end}2', f'<div>1{place}</div>{end}2'),
            ('<b>1</b><div class="mark"></div>', '<b>1</b><div class="mark"></div>'),
            ('<b>1</b><p style="height: 9mm"></p>', '<b>1</b><p style="height: 9mm"></p>'),
            (f'{place}{end}', ''),
        ):
            root = html_parts.parse(f'<html><body>{html}</body></html>')
            html_parts.drop_empty_ends(root.body)
            wanted = html_parts.parse(f'<html><body>{expected}</body></html>')
            self.assertEqual(
                *(''.join(html_parts.to_html(page).split()) for page in (root, wanted)))

    def test_own_pages(self):
        articles = ''.join(
            f'<div class="article" data-own-page="1" data-oe-model="res.partner" data-oe-id="{number}">{number}</div>'
            for number in (1, 2))
        parts = split(articles, ids=[1, 2])
        self.assertEqual({number: element.text for number, element in parts.items()}, {1: '1', 2: '2'})

    def test_what_is_not_beyond_doubt_is_not_taken_apart(self):
        for documents, ids in (
            ([document(1), document(2, header=False)], [1, 2]),
            ([document(1, footer=False), document(2)], [1, 2]),
            ([document(1), document(1)], [1, 2]),
            ([document(1), document(2)], [1, 3]),
            ([document(1), document(2)], [1, 2, 3]),
            ([document(1), document(2), document(2)], [1, 2]),
            ([document(1), document(2, model='res.users')], [1, 2]),
            ([document(1), '<div class="article">no record</div>'], [1, 2]),
            (['<div class="header">one for all</div>', document(1, False), document(2, False)], [1, 2]),
            (['<div class="footer">first</div>', document(1, True, False), document(2, True, False),
              '<div class="header">last</div>'], [1, 2]),
            (['<p>nothing</p>'], [1, 2]),
        ):
            with self.subTest(documents=documents), self.assertRaises(ValueError):
                split(*documents, ids=ids)

    def test_one_document_of_all(self):
        """Only where not each article is one record's, and each record's."""
        nobody = '<div class="article">all</div>'
        for documents in ([nobody], ['<p>all</p>'], [document(1)], [document(1), document(2), nobody],
                          [document(1), document(2), document(3)], [document(1), document(2, model='res.users')]):
            html = (PAGE % ''.join(documents)).encode()
            self.assertEqual(html_parts.split(html, 'res.partner', [1, 2], may_be_one=True), {False: html})
        for ids in ([1, 2], [2, 1]):
            html = (PAGE % (document(1) + document(2))).encode()
            self.assertEqual(html_parts.split(html, 'res.partner', ids, may_be_one=True).keys(), {1, 2})
        html = (PAGE % (document(1) + document(2) + document(1))).encode()
        self.assertEqual(html_parts.split(html, 'res.partner', [1, 2, 1], may_be_one=True).keys(), {1, 2})
        # Each is a record's, but some have two.
        with self.assertRaises(ValueError):
            html_parts.split(html, 'res.partner', [1, 2], may_be_one=True)

    def test_find_unshown(self):
        for html, found in (
            ('<p>text <b>bold</b></p><table><tr><td>1</td></tr></table><svg><lineargradient/><path/></svg>', None),
            ('<p><script>write()</script></p>', 'script'), ('<canvas></canvas>', 'canvas'),
            ('<iframe src="x"></iframe>', 'iframe'), ('<math><mi>x</mi></math>', 'math'),
            ('<svg><foreignObject><p>x</p></foreignObject></svg>', 'foreignobject'), ('<o-chart/>', 'o-chart'),
            ('<!-- <script/> --><p/>', None),
        ):
            for engine in ('plutoprint', 'weasyprint'):
                self.assertEqual(html_parts.find_unshown(html_parts.parse(PAGE % html).body, engine), found, html)
        for html, found in (
            ('<svg fill="none"><rect width="9"/></svg>', 'rect'),
            ('<svg fill="none"><g><path d=""/></g></svg>', 'path'),
            ('<svg class="tinted"><circle r="9"/></svg>', 'circle'),
            ('<svg fill="none"><rect fill="red"/></svg>', None),
            ('<svg fill="none"><rect stroke="red"/></svg>', None), ('<svg><rect width="9"/></svg>', None),
            ('<svg class="x" fill="none"><path d="" fill-opacity=".1"/></svg>', None),
            ('<svg fill="none"><rect style="fill: red"/></svg>', None), ('<svg fill="blue"><rect/></svg>', None),
        ):
            body = html_parts.parse(PAGE % html).body
            self.assertEqual(html_parts.find_unshown(body, 'weasyprint'), found, html)
            self.assertIsNone(html_parts.find_unshown(body, 'plutoprint'))
