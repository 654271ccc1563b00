"""The helper processes that make PDFs, with the real engines and real faults. No database is used but by the runner."""

import html
import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import unittest
from unittest.mock import patch

from pypdf import PdfReader, PdfWriter

from odoo.tests import BaseCase, tagged

from ..tools import pdf, pdf_helper, pdf_pages

PAGE = """<!DOCTYPE html><html lang="de"><head><meta charset="utf-8"/><title>%(number)s</title><style>
@page { size: A4; margin: 20mm;
    @bottom-right { content: "%(number)s \\2013  Page " counter(page) " of " counter(pages) } }
</style></head><body>%(body)s</body></html>"""

# It keeps every engine busy for much longer than a test waits, whatever the machine.
ENDLESS = '<table>' + '<tr><td>x</td><td>y</td></tr>' * 400000 + '</table>'


def make_document(key, body='<p>Hallo</p>', number=None, **values):
    return pdf.Document(key, PAGE % {'number': number or f'N/{key}', 'body': body}, number=number, **values)


def page_texts(data):
    return [page.extract_text() for page in PdfReader(io.BytesIO(data)).pages]


def children():
    """Return the ids of this process's own children, those that nobody waited for included."""
    path = f'/proc/self/task/{threading.get_native_id()}/children'
    found = set()
    for task in os.listdir('/proc/self/task'):
        try:
            with open(path.replace(str(threading.get_native_id()), task)) as file:
                found |= set(file.read().split())
        except OSError:
            continue
    return found


class EngineCases:
    """What holds for each engine; the classes below say which."""

    engine = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not pdf.engine_available(cls.engine):
            raise unittest.SkipTest(f'{cls.engine} is not installed')

    def setUp(self):
        super().setUp()
        self.children_before = children()
        self.files_before = len(os.listdir('/proc/self/fd'))

    def tearDown(self):
        self.assertEqual(children() - self.children_before, set(), "a helper process was left behind")
        self.assertLessEqual(len(os.listdir('/proc/self/fd')), self.files_before, "open files were left behind")
        super().tearDown()

    def render(self, *documents, numbers=(), **limits):
        return pdf.render(self.engine, documents, numbers=numbers, **limits)

    def assertReason(self, result, reason):
        self.assertIsInstance(result, pdf.PdfError)
        self.assertEqual(result.reason, reason, result)

    # === THE GOOD CASE === #

    def test_one_document(self):
        result = self.render(make_document('a', '<p>Grüezi Zürich</p>'))['a']
        self.assertTrue(result.startswith(b'%PDF-'))
        [text] = page_texts(result)
        self.assertIn('Grüezi Zürich', text)
        self.assertIn('Page 1 of 1', text)

    def test_batch_uses_no_more_helpers_than_it_may(self):
        with pdf.Pool(self.engine, size=2) as pool:
            results = pool.render(make_document(i, number=f'R/{i}') for i in range(30))
            self.assertLessEqual(len(pool._helpers), 2)
        self.assertEqual(set(results), set(range(30)))
        for key, result in results.items():
            self.assertIn(f'R/{key} ', page_texts(result)[0])

    def test_one_document_starts_one_helper(self):
        with pdf.Pool(self.engine, size=4) as pool:
            pool.render([make_document('a')])
            self.assertEqual(len(pool._helpers), 1)

    def test_helper_is_kept_for_the_batch(self):
        with pdf.Pool(self.engine, size=1) as pool:
            pool.render([make_document('a')])
            [first] = [helper.pid for helper in pool._helpers]
            pool.render([make_document('b'), make_document('c')])
            self.assertEqual([helper.pid for helper in pool._helpers], [first])

    def test_helper_is_replaced_in_time(self):
        with patch.object(pdf, 'RETIRE_AFTER', 2), pdf.Pool(self.engine, size=1) as pool:
            results = pool.render([make_document(key) for key in 'abc'])
            self.assertEqual([helper.rendered for helper in pool._helpers], [1])
        self.assertEqual({type(result) for result in results.values()}, {bytes})

    def test_documents_are_taken_while_others_render(self):
        """The caller's generator may be slow, and may fail: what is finished is given first, and all helpers end."""
        def documents():
            yield make_document('a')
            time.sleep(1)
            yield make_document('b')
            raise KeyError('the caller\'s own')

        found = []
        with self.assertRaises(KeyError), pdf.Pool(self.engine, size=1) as pool:
            pool.render([make_document('warm')])
            found.extend(key for key, _result in pool.stream(documents()))
        self.assertIn('a', found)

    def test_leaving_early_ends_the_helpers(self):
        with pdf.Pool(self.engine, size=2) as pool:
            for _key, result in pool.stream(make_document(i) for i in range(20)):
                self.assertIsInstance(result, bytes)
                break

    def test_owners_helper_waits_for_the_next_batch(self):
        """One of them, for the same owner only, and not for ever."""
        with patch.object(pdf, 'SPARE_SECONDS', 30):
            with pdf.Pool(self.engine, size=2, owner='one') as pool:
                pool.render(make_document(i) for i in range(6))
            with pdf.Pool(self.engine, size=1, owner='two') as pool:
                self.assertFalse(pool._helpers)
            with pdf.Pool(self.engine, size=1, owner='one') as pool:
                [helper] = pool._helpers
                self.assertIsInstance(pool.render([make_document('a')])['a'], bytes)
                self.assertEqual(pool._helpers, {helper})
                # A dead one is no use to anybody.
                os.kill(helper.pid, signal.SIGKILL)
                helper._process.wait()
            with pdf.Pool(self.engine, size=1, owner='one') as pool:
                self.assertFalse(pool._helpers)
        with patch.object(pdf, 'SPARE_SECONDS', 0.01):
            with pdf.Pool(self.engine, size=1, owner='one') as pool:
                pool.render([make_document('a')])
                [helper] = pool._helpers
            helper._process.wait(timeout=30)

    # === FAULTS === #

    def test_endless_document_is_stopped_and_others_go_on(self):
        # It wants memory without end too: which of the two it runs into first would depend on the machine.
        with pdf.Pool(self.engine, size=1, memory_limit=0) as pool:
            pool.render([make_document('warm')])
            pool.timeout = 3
            start = time.monotonic()
            results = pool.render([make_document('endless', ENDLESS), make_document('b')])
        self.assertReason(results['endless'], 'timeout')
        self.assertIsInstance(results['b'], bytes)
        self.assertLess(time.monotonic() - start, 40)

    def test_killed_helper_costs_one_document(self):
        killed = threading.Event()

        def kill(pool):
            while not pool._helpers:
                time.sleep(0.01)
            time.sleep(0.5)
            for helper in list(pool._helpers):
                os.kill(helper.pid, signal.SIGKILL)
            killed.set()

        with pdf.Pool(self.engine, size=1) as pool:
            # Its helper is there, and can only be at work on the first one when it is killed.
            pool.render([make_document('warm')])
            killer = threading.Thread(target=kill, args=(pool,))
            killer.start()
            results = pool.render([make_document('victim', ENDLESS), make_document('b'), make_document('c')])
            killer.join()
        self.assertTrue(killed.is_set())
        self.assertReason(results['victim'], 'died')
        self.assertIn('SIGKILL', results['victim'].detail)
        self.assertIsInstance(results['b'], bytes)
        self.assertIsInstance(results['c'], bytes)

    def test_helper_that_died_between_two_documents_costs_none(self):
        with pdf.Pool(self.engine, size=1) as pool:
            pool.render([make_document('a')])
            [helper] = pool._helpers
            os.kill(helper.pid, signal.SIGKILL)
            helper._process.wait()
            self.assertIsInstance(pool.render([make_document('b')])['b'], bytes)

    def test_too_much_memory_is_that_documents_fault_alone(self):
        results = self.render(
            make_document('huge', ENDLESS), make_document('b'), memory_limit=400 * 1024**2, timeout=60)
        self.assertReason(results['huge'], 'memory')
        self.assertIsInstance(results['b'], bytes)

    def test_many_pictures_leave_room(self):
        """A helper does not keep every picture, or an innocent document would fail for want of memory."""
        with pdf.Pool(self.engine, size=1) as pool:
            for index in range(30):
                data = bytes([index]) * 30_000_000
                document = make_document(
                    index, '<img src="x.png"/>', resources={f'{pdf.BASE_URL}x.png': (data, 'image/png')})
                self.assertIsInstance(pool.render([document])[index], bytes)

    def test_memory_that_others_left_without(self):
        """Then the document is made once more, in a helper that has made none."""
        render, calls = pdf_helper.Helper.render, []

        def run_out(helper, document, seconds):
            calls.append(helper.pid)
            if document.key == 'large' or helper.rendered:
                raise pdf.PdfError('memory')
            return render(helper, document, seconds)

        with patch.object(pdf_helper.Helper, 'render', run_out), pdf.Pool(self.engine, size=1) as pool:
            for key in 'abc':
                self.assertIsInstance(pool.render([make_document(key)])[key], bytes)
            self.assertEqual([calls.count(pid) for pid in dict.fromkeys(calls)], [2, 2, 1])
            self.assertReason(pool.render([make_document('large')])['large'], 'memory')
            self.assertEqual(len(calls), 7)

    def test_modules_beside_the_helper_are_not_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            path = shutil.copy(pdf_helper.Path(pdf_helper.__file__).with_name('pdf_worker.py'), folder)
            pdf_helper.Path(folder, f'{self.engine}.py').write_text('raise ImportError("the wrong one")')
            with patch.object(pdf_helper, '__file__', path):
                self.assertIsInstance(self.render(make_document('a'))['a'], bytes)

    def test_addresses_as_engines_spell_them(self):
        """Blanks, braces, foreign letters, and large letters in the host."""
        picture = (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text y="20">Found</text></svg>')
        for address in (
            'a b.svg', 'ä.svg', '{a}|b.svg', 'a%20b.svg', 'a^b`c.svg', 'a.svg?x=[1]&amp;y=ü', "a'b.svg", '日本.svg',
            'a%2Fb.svg', 'HTTP://OWN.Example/a.svg',
        ):
            url = html.unescape(address)
            url = url if '://' in url else pdf.BASE_URL + url
            with self.subTest(address):
                result = self.render(make_document(
                    'a', f'<img src="{address}"/>', resources={url: (picture, 'image/svg+xml')}))['a']
                self.assertIn('Found', ''.join(page_texts(result)))

    def test_addresses_that_differ_by_their_spelling(self):
        """A plus in a query is a blank, and a plus that is spelled as a number is one: two codes, and each is shown."""
        pairs = (('code?value=A+B', 'code?value=A%2BB'), ('code?value=A&amp;x=B', 'code?value=A%26x=B'))
        for pair in pairs:
            resources = {
                pdf.BASE_URL + html.unescape(address): (
                    b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30">'
                    b'<text y="20">No%d</text></svg>' % index, 'image/svg+xml')
                for index, address in enumerate(pair)}
            with self.subTest(pair):
                result = self.render(make_document(
                    'a', ''.join(f'<p><img src="{address}"/></p>' for address in pair), resources=resources))['a']
                text = ''.join(page_texts(result))
                self.assertIn('No0', text)
                self.assertIn('No1', text)

    def test_empty_document(self):
        self.assertReason(self.render(pdf.Document('a', ' \n'))['a'], 'invalid_html')

    def test_broken_html_renders(self):
        bodies = ('<p>open <b>bold <table><tr><td>', '</div></body></html><p>after', '\x00\x01 &#0; &bogus;')
        for body in bodies:
            with self.subTest(body=body):
                self.assertIsInstance(self.render(make_document('a', body))['a'], bytes)

    def test_lone_surrogates_render(self):
        self.assertIsInstance(self.render(make_document('a', 'half a character: \ud83d'))['a'], bytes)

    # === TEXT THAT HURTS === #

    def test_script_does_not_run(self):
        result = self.render(make_document('a', '<p id="p">before</p><script>while(1);</script>'
                                                '<script>document.body.textContent = "ran"</script>'), timeout=20)['a']
        text = page_texts(result)[0]
        self.assertIn('before', text)
        self.assertNotIn('ran', text)

    def test_long_names_emoji_arabic(self):
        body = f'<p>{"Donaudampfschifffahrtsgesellschaft" * 9}</p><p>😀 مرحبا بالعالم 日本語 Привет</p>'
        result = self.render(make_document('a', body, number='R/7'), numbers=['R/7'])['a']
        self.assertIsInstance(result, bytes, result)

    # === NOTHING FROM OUTSIDE === #

    def test_fetches_nothing_that_was_not_handed_in(self):
        with socket.create_server(('127.0.0.1', 0)) as server:
            server.settimeout(0.2)
            url = f'http://127.0.0.1:{server.getsockname()[1]}'
            result = self.render(make_document('a', f"""
                <link rel="stylesheet" href="{url}/style.css"/>
                <style>@import url({url}/import.css); @font-face {{ font-family: F; src: url({url}/font.ttf) }}
                body {{ font-family: F; background: url({url}/background.png) }}
                li {{ list-style-image: url({url}/li.png) }}
                </style>
                <img src="{url}/picture.png"/><img src="file:///etc/passwd"/><iframe src="{url}/frame"></iframe>
                <object data="file:///etc/passwd" type="text/plain"></object><embed src="{url}/embedded"/>
                <svg width="9" height="9"><image href="{url}/svg.png" width="9" height="9"/></svg>
                <img src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'%3E%3Cimage
                 href='{url}/inner.png' width='9' height='9'/%3E%3C/svg%3E"/><ul><li>text</li></ul>"""))['a']
            with self.assertRaises(TimeoutError):
                server.accept()
        self.assertIsInstance(result, bytes, result)
        self.assertNotIn('root:', ''.join(page_texts(result)))

    def test_fetches_what_was_handed_in(self):
        resources = {
            f'{pdf.BASE_URL}style.css': (b'.hidden { display: none }', 'text/css'),
            'https://example.test/more.css': (b'.also { display: none }', 'text/css'),
        }
        body = ('<link rel="stylesheet" href="/style.css"/><link rel="stylesheet" href="https://example.test/more.css"/>'
                '<p class="hidden">one</p><p class="also">two</p><p>three</p>')
        with pdf.Pool(self.engine, size=1) as pool:
            # the second time they come from the helper's memory, and only for documents that may have them
            results = pool.render([
                make_document('a', body, resources=resources), make_document('b', body, resources=resources),
                make_document('c', body)])
        for key in ('a', 'b'):
            self.assertNotIn('one', page_texts(results[key])[0])
            self.assertNotIn('two', page_texts(results[key])[0])
        self.assertIn('one', page_texts(results['c'])[0])

    def test_helper_inherits_neither_files_nor_secrets(self):
        with (
            socket.create_server(('127.0.0.1', 0)) as server,
            patch.dict(os.environ, PGPASSWORD='secret'),
            pdf.Pool(self.engine, size=1) as pool,
        ):
            os.set_inheritable(server.fileno(), True)
            pool.render([make_document('a')])
            [helper] = pool._helpers
            with open(f'/proc/{helper.pid}/environ', 'rb') as file:
                self.assertNotIn(b'secret', file.read())
            targets = [os.readlink(f'/proc/{helper.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{helper.pid}/fd')]
        self.assertFalse([target for target in targets if target.startswith('socket:')], targets)

    # === THE RIGHT NUMBER ON EVERY PAGE === #

    def test_swapped_documents_are_found(self):
        one, two = make_document('one', number='R/1'), make_document('two', number='R/12')
        swapped = [pdf.Document('one', two.html, number='R/1'), pdf.Document('two', one.html, number='R/12')]
        results = self.render(*swapped, numbers=['R/1', 'R/12'])
        self.assertReason(results['one'], 'wrong_pages')
        self.assertReason(results['two'], 'wrong_pages')
        results = self.render(one, two, numbers=['R/1', 'R/12'])
        self.assertEqual({type(result) for result in results.values()}, {bytes})

    def test_foreign_number_on_a_page_is_found(self):
        document = make_document('one', '<p>See R/2.</p>', number='R/1')
        self.assertReason(self.render(document, numbers=['R/1', 'R/2'])['one'], 'wrong_pages')

    def test_check_pages_of_many_pages(self):
        body = '<div style="page-break-after: always">page</div>' * 3
        result = self.render(make_document('a', body, number='M/2026/00001'))['a']
        self.assertGreaterEqual(len(page_texts(result)), 3)
        self.assertIsNone(pdf_pages.check_pages(result, 'M/2026/00001', ['M/2026/00001', 'M/2026/000012']))
        self.assertIn('does not carry', pdf_pages.check_pages(result, 'M/2026/0000', []))


@tagged('post_install', '-at_install')
class TestPlutoPrint(EngineCases, BaseCase):
    engine = 'plutoprint'


@tagged('post_install', '-at_install')
class TestWeasyPrint(EngineCases, BaseCase):
    engine = 'weasyprint'

    def test_pdf_a_3b(self):
        result = self.render(make_document('a'))['a']
        metadata = PdfReader(io.BytesIO(result)).xmp_metadata
        content = metadata.stream.get_data() if hasattr(metadata.stream, 'get_data') else str(metadata).encode()
        self.assertRegex(content, rb'pdfaid:part(="|>)3')
        self.assertRegex(content, rb'pdfaid:conformance(="|>)B')


@tagged('post_install', '-at_install')
class TestPdfTools(BaseCase):

    def test_engine_available(self):
        self.assertFalse(pdf.engine_available('wkhtmltopdf'))
        self.assertFalse(pdf.engine_available('no such engine'))
        with patch('importlib.util.find_spec', return_value=None):
            self.assertFalse(pdf.engine_available('plutoprint'))

    def test_unknown_engine(self):
        with self.assertRaises(ValueError):
            pdf.Pool('wkhtmltopdf')

    def test_missing_engine(self):
        """Installed for this process, or so it seems, but not for the helper: each document says so."""
        with patch.object(pdf_helper, 'ENVIRONMENT', ['PATH']), patch.object(sys, 'executable', '/usr/bin/python3'):
            if os.system('/usr/bin/python3 -I -c "import plutoprint" 2>/dev/null') == 0:  # noqa: S605
                self.skipTest("the system's Python has PlutoPrint too")
            if os.system('/usr/bin/python3 -P -c "" 2>/dev/null'):  # noqa: S605
                self.skipTest("the system's Python is too old or missing")
            results = pdf.render('plutoprint', [make_document('a'), make_document('b')])
        self.assertEqual({result.reason for result in results.values()}, {'engine_missing'})

    def test_numbers_are_not_found_inside_longer_ones(self):
        def found(number, text):
            return not pdf_pages.check_texts([text], number, ())

        for text in ('No. M/1', 'M/1\nText', 'M/1Page 1 of 2', '(M/1)', 'M/1.', 'M/1, M/1 0', 'M /1', 'AGM/2 M/1'):
            self.assertTrue(found('M/1', text), text)
        for text in ('', 'M/10', 'M/1/2', 'XM/1', 'A/M/1', 'M/1-5', 'M/2'):
            self.assertFalse(found('M/1', text), text)

    def test_check_pages_of_what_is_no_pdf(self):
        self.assertIn('cannot be read', pdf_pages.check_pages(b'no PDF at all', 'M/1'))
        self.assertTrue(pdf_pages.check_pages(self._blank(1), 'M/1'))
        self.assertTrue(pdf_pages.check_pages(self._blank(1), ' '))

    def _blank(self, count):
        writer = PdfWriter()
        for _page in range(count):
            writer.add_blank_page(595, 842)
        stream = io.BytesIO()
        writer.write(stream)
        return stream.getvalue()

    def test_join(self):
        one, two = self._blank(1), self._blank(2)
        self.assertEqual(pdf_pages.join([one]), one)
        self.assertEqual(len(PdfReader(io.BytesIO(pdf_pages.join([one, two]))).pages), 3)
        both_sides = pdf_pages.join([one, two], each=lambda index, count: count % 2)
        self.assertEqual(len(PdfReader(io.BytesIO(both_sides)).pages), 4)
        with self.assertRaises(pdf.PdfError) as caught:
            pdf_pages.join([one, b'broken'])
        self.assertIn('document 1', caught.exception.detail)
