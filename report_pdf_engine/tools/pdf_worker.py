"""The helper process in which an HTML document becomes a PDF. Started by ``pdf.py``; nothing imports it.

It is a program of its own because PlutoPrint and WeasyPrint run a lot of native code over text that customers and
users wrote: whatever such a document does (an endless loop, a crash, all the memory), it does to this process alone.
It knows nothing of Odoo, inherits none of its files, sockets or secrets, and opens no address.

It reads requests from standard input and answers on standard output, one at a time, until its input ends. A frame is
the length of its JSON head (4 bytes, big endian), the head, and the data whose lengths the head names.
JSON, because unpickling would let a document that took over this process take over Odoo too.
"""

import contextlib
import io
import json
import math
import os
import re
import resource
import signal
import struct
import sys
from html import escape
from urllib.parse import quote, urlsplit, urlunsplit

# More than the caller's own time limit: that one speaks first, these end the process when the caller is gone.
GRACE_SECONDS = 5
# The largest file this process may write: it writes none but what the font library caches.
FILE_LIMIT = 8 * 1024 * 1024
PIXELS_PER_MM = 96 / 25.4
# What stands for itself in an address, and a letter that stands there as a number.
PLAIN = "%/:?#[]@!$&'()*+,;=~"
NUMBERED = re.compile('%[0-9a-fA-F]{2}')
# Which row of the table it is, for `find_carried()`; the caller puts such marks in, and they are not displayed.
CARRY_MARK = re.compile(r'<(\d+)>')
CARRY_MARK_STYLE = '.carry-mark { display: inline !important; position: absolute; font-size: 1pt; line-height: 1pt; }'


def read_exactly(stream, length):
    data = stream.read(length)
    if len(data) != length:
        # The caller is gone, or has no more work. Native libraries that are torn down in an orderly way may crash
        # over it, and the kernel's log would tell of that.
        os._exit(0)
    return data


def read_request(stream, remembered):
    """Read a request.

    :param dict remembered: contents of earlier requests by their numbers; takes up those of this one
    """
    head = json.loads(read_exactly(stream, struct.unpack('>I', read_exactly(stream, 4))[0]))
    html = read_exactly(stream, head['html']).decode()
    resources = {}
    for url, mimetype, number, length in head['resources']:
        data = remembered[number] if length is None else read_exactly(stream, length)
        if number is not None:
            remembered[number] = data
        resources[spell_plainly(url)] = (data, mimetype)
    return head, html, resources


def write_answer(stream, head, data=b''):
    encoded = json.dumps(head).encode()
    stream.write(struct.pack('>I', len(encoded)) + encoded)
    stream.write(data)
    stream.flush()


class Refused(ValueError):
    """An address that was not handed in together with the document."""


def spell_plainly(url):
    """Spell an address as every engine does in the end: each has its own way with blanks, braces and foreign letters,
    and with the host. What is spelled as a number stays so: a plus is not a blank.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    plain = quote(urlunsplit(parts._replace(netloc=parts.netloc.lower(), fragment='')), safe=PLAIN)
    return NUMBERED.sub(lambda match: match[0].upper(), plain)


def look_up(resources, url):
    try:
        return resources[spell_plainly(url)]
    except KeyError:
        raise Refused(f'not handed in with the document: {url[:100]}') from None


def find_tightest(lay_out, html, tighter, pages_after=0):
    """Lay out a document, tighter if that makes one page of two.

    :param lay_out: function of HTML that returns (layout, count of pages)
    :param tighter: names of classes, of which the first stands in the HTML
    :param int pages_after: pages at its end that are there in any case
    :return: (HTML, layout, count of pages)
    """
    layout, count = lay_out(html)
    for name in tighter[1:] if count == 2 + pages_after else ():
        closer = html.replace(tighter[0], name)
        other, pages = lay_out(closer)
        if pages == 1 + pages_after:
            return closer, other, pages
    return html, layout, count


def set_unscaled(data):
    """Ask whoever prints a PDF to leave it at 100 %: a code to pay by is measured in mm, and so is a window."""
    from pypdf import PdfWriter  # noqa: PLC0415
    from pypdf.generic import DictionaryObject, NameObject  # noqa: PLC0415

    try:
        writer = PdfWriter(io.BytesIO(data), incremental=True)
    except TypeError:  # pypdf before 5
        writer = PdfWriter(clone_from=io.BytesIO(data))
    writer._root_object[NameObject('/ViewerPreferences')] = DictionaryObject(
        {NameObject('/PrintScaling'): NameObject('/None')})
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def load_plutoprint():
    import plutoprint  # noqa: PLC0415  only the engine that is asked for is loaded

    class Fetcher(plutoprint.ResourceFetcher):
        def __init__(self, resources):
            super().__init__()
            self.resources = resources

        def fetch_url(self, url):
            try:
                data, mimetype = look_up(self.resources, url)
            except Refused:
                # An exception in here would be printed with its traceback; no data is a missing picture too.
                data, mimetype = b'', 'application/octet-stream'
            return plutoprint.ResourceData(data, mimetype, 'utf-8')

    metadata = (plutoprint.PDF_METADATA_TITLE, plutoprint.PDF_METADATA_AUTHOR, plutoprint.PDF_METADATA_SUBJECT,
                plutoprint.PDF_METADATA_KEYWORDS)

    def load(html, resources, base_url, style=''):
        book = plutoprint.Book(margins=plutoprint.PAGE_MARGINS_NONE)
        book.custom_resource_fetcher = Fetcher(resources)
        book.load_html(html, base_url=base_url, user_style=style)
        return book

    def find_carried(html, resources, base_url, sums):
        """Return what is carried over to each page, and the pages' texts: only the layout knows where a page ends."""
        # a layout of the same document, in which each row bears a mark that takes no room
        book = load(html, resources, base_url, style=CARRY_MARK_STYLE)
        stream = io.BytesIO()
        book.write_to_pdf_stream(stream)
        carried, last = [], -1
        texts = page_texts(stream.getvalue())
        for text in texts:
            carried.append(sums[last] if 0 <= last < len(sums) - 1 else None)
            last = max([last, *(int(mark) for mark in CARRY_MARK.findall(text.replace('\0', '')))])
        return carried, [CARRY_MARK.sub('', text) for text in texts]

    def draw_over(canvas, html, resources, base_url, **values):
        for name, value in values.items():
            html = html.replace(f'%{name.upper()}%', value)
        load(html, resources, base_url).render_page(canvas, 0)

    def render(html, resources, base_url, head):
        def lay_out(text):
            book = load(text, resources, base_url)
            return book, book.get_page_count()

        html, book, count = find_tightest(lay_out, html, head.get('tighter') or (), head.get('pages_after') or 0)
        if not count:
            # an empty document is an empty page, as by the other engines
            book, count = lay_out(html.replace('</body>', '\u00a0</body>'))
        known = {'pages': count, 'number': book.get_metadata(plutoprint.PDF_METADATA_KEYWORDS)}
        overlays, sums = head.get('overlays') or (), head.get('carried') if count > 1 else None
        stream = io.BytesIO()
        scale = head.get('scale') or 1
        if not overlays and not sums and scale == 1:
            book.write_to_pdf_stream(stream)
            return set_unscaled(stream.getvalue()), known
        carried = [None] * count
        if sums:
            carried, known['texts'] = find_carried(html, resources, base_url, sums)
        sizes = [
            plutoprint.PageSize(*(length * scale for length in book.get_page_size_at(page))) for page in range(count)]
        canvas = plutoprint.PDFCanvas.create_for_stream(stream, sizes[0])
        for name in metadata:
            if value := book.get_metadata(name):
                canvas.set_metadata(name, value)
        for page in range(count):
            size = sizes[page]
            number = page - count + len(overlays)
            canvas.set_size(size)
            # a page draws in CSS pixels
            canvas.reset_matrix()
            canvas.scale(plutoprint.UNITS_PX * scale, plutoprint.UNITS_PX * scale)
            canvas.save_state()
            if number >= 0:
                canvas.clip_rect(0, 0, size[0] / plutoprint.UNITS_PX, head['overlay_top'] * PIXELS_PER_MM)
            book.render_page(canvas, page)
            canvas.restore_state()
            if page < len(carried) and carried[page]:
                draw_over(canvas, head['carried_html'], resources, base_url, carried=escape(carried[page]))
            if number >= 0:
                draw_over(canvas, overlays[number], resources, base_url, page=str(page + 1), pages=str(count))
            canvas.show_page()
        canvas.finish()
        return set_unscaled(stream.getvalue()), known

    return render


def load_weasyprint():
    import logging  # noqa: PLC0415

    import weasyprint  # noqa: PLC0415

    # its warnings about every property that it does not know would fill the log
    logging.getLogger('weasyprint').setLevel(logging.CRITICAL)
    logging.getLogger('fontTools').setLevel(logging.CRITICAL)
    try:
        from weasyprint.urls import URLFetcher, URLFetcherResponse  # noqa: PLC0415
    except ImportError:  # WeasyPrint before 68
        URLFetcher = None

    if URLFetcher:

        class Fetcher(URLFetcher):
            def __init__(self, resources):
                super().__init__(allowed_protocols=['data'], allow_redirects=False)
                self.resources = resources

            def fetch(self, url, headers=None):
                if url.startswith('data:'):
                    return super().fetch(url, headers)
                data, mimetype = look_up(self.resources, url)
                return URLFetcherResponse(url, data, {'Content-Type': mimetype})

        def make_fetcher(resources):
            return Fetcher(resources)

    else:

        def make_fetcher(resources):
            def fetch(url, *args, **kwargs):
                if url.startswith('data:'):
                    return weasyprint.default_url_fetcher(url)
                data, mimetype = look_up(resources, url)
                return {'string': data, 'mime_type': mimetype}

            return fetch

    def render(html, resources, base_url, head):
        def lay_out(text):
            document = weasyprint.HTML(string=text, base_url=base_url, url_fetcher=make_fetcher(resources)).render()
            return document, len(document.pages)

        def finish(_document, pdf):
            pdf.catalog['ViewerPreferences'] = '<</PrintScaling /None>>'

        _html, document, _count = find_tightest(lay_out, html, head.get('tighter') or (), head.get('pages_after') or 0)
        return document.write_pdf(pdf_variant='pdf/a-3b', finisher=finish, zoom=head.get('scale') or 1), {}

    return render


LOADERS = {'plutoprint': load_plutoprint, 'weasyprint': load_weasyprint}


def page_texts(data):
    from pypdf import PdfReader  # noqa: PLC0415

    return [page.extract_text() for page in PdfReader(io.BytesIO(data)).pages]


def limit_time(seconds):
    """Let the kernel end this process if a document takes longer, even when nobody is left who would.

    :param float seconds: what the document may take
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds) + GRACE_SECONDS, resource.RLIM_INFINITY))
    signal.alarm(math.ceil(seconds) + GRACE_SECONDS)


def forget_log():
    """Keep of standard error what concerns the present document only."""
    with contextlib.suppress(OSError):
        os.lseek(2, 0, os.SEEK_SET)
        os.ftruncate(2, 0)


def answer(render, head, html, resources):
    """Render one document.

    :return: the head of the answer and the PDF
    """
    if not html.strip():
        return {'reason': 'invalid_html', 'detail': 'the document is empty'}, b''
    try:
        data, known = render(html, resources, head['base_url'], head)
        if not data.startswith(b'%PDF-'):
            return {'reason': 'failed', 'detail': 'the engine gave no PDF'}, b''
        texts = None
        # Reading a page takes longer than making it. One page that the engine knows to be of this number need not be,
        # and what was read already need not be again.
        is_known = head['texts'] == 'unless_known' and known.get('pages') == 1 and known.get('number')
        if head['texts'] and not is_known:
            texts = (head['texts'] == 'unless_known' and known.get('texts')) or page_texts(data)
    except MemoryError:
        return {'reason': 'memory', 'detail': ''}, b''
    except Exception as error:  # whatever the engine raises belongs to this document alone
        reason = 'memory' if 'out of memory' in str(error).lower() else 'failed'
        return {'reason': reason, 'detail': f'{type(error).__name__}: {error}'[:500]}, b''
    return {'length': len(data), 'texts': texts, 'number': known.get('number')}, data


def main(engine, memory_limit):
    # The modules beside this one would come before those of the same name elsewhere.
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != here]
    # What a library prints must not end up between two frames.
    requests = os.fdopen(os.dup(0), 'rb')
    answers = os.fdopen(os.dup(1), 'wb')
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    if memory_limit:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    render = None
    remembered = {}
    while True:
        head, html, resources = read_request(requests, remembered)
        forget_log()
        limit_time(head['seconds'])
        if render is None:
            try:
                render = LOADERS[engine]()
            except (ImportError, OSError) as error:  # OSError: a native library is missing
                reason = 'memory' if 'failed to map segment' in str(error) else 'engine_missing'
                write_answer(answers, {'reason': reason, 'detail': str(error)[:500]})
                continue
        write_answer(answers, *answer(render, head, html, resources))
        signal.alarm(0)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
