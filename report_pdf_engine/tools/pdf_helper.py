"""One document, and one helper process that renders one after the other. Plain Python: it knows nothing of Odoo.

The process is of its own because the engines run a lot of native code over text that anybody wrote; ``pdf.py`` keeps
several of them at work.
"""

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .pdf_pages import PdfError

# Seconds more for the first document of a helper, which has to load the engine first, perhaps on a busy machine.
START_TIMEOUT = 20.0
# The largest answer that is believed, in bytes.
ANSWER_LIMIT = 512 * 1024**2

# What relative addresses in a document refer to. No host has this name (RFC 2606).
BASE_URL = 'http://document.invalid/'
# Bytes of fonts, style sheets and pictures that a helper remembers, so that they go over the pipe once and not with
# every document. It must leave room for the documents.
REMEMBERED = 32 * 1024**2

# What a helper needs of the environment to find Python's packages and the system's fonts. No more: Odoo's
# environment may hold passwords.
ENVIRONMENT = (
    'DYLD_FALLBACK_LIBRARY_PATH FONTCONFIG_FILE FONTCONFIG_PATH HOME LANG LC_ALL LC_CTYPE LD_LIBRARY_PATH PATH '
    'PYTHONHOME PYTHONPATH TMPDIR TZ VIRTUAL_ENV XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_DIRS XDG_DATA_HOME'
).split()


@dataclass(frozen=True, slots=True)
class Document:
    """One document to render.

    :param key: by what the caller knows it
    :param str html: the whole HTML document
    :param resources: what it may fetch: full address (``BASE_URL`` and what the document says, if that is relative)
        -> content and MIME type. Everything else but ``data:`` addresses is refused.
    :param str number: when given, every page must carry it, and none of the batch's other numbers
    :param str text: what can be read in ``html``. Given that, a document of one page is checked by it and by the number
        that the engine read in the document (``<meta name="keywords">``), which is faster than reading the page
    :param overlays: pages (HTML) that PlutoPrint draws over the last ones, the last over the last; ``%PAGE%`` and
        ``%PAGES%`` in them become numbers. WeasyPrint's style sheets can say all that by themselves
    :param overlay_texts: what can be read in each of them; it must carry the number too
    :param float overlay_top: millimetres from the top below which nothing but the overlay is drawn
    :param tighter: names of classes, of which the first stands in ``html``: each other one is tried in its place, in
        this order, if that makes one page of two
    :param int pages_after: pages at the end that are there in any case: those before them are the two
    :param carried: what PlutoPrint writes at the head of the next page if a page ends after this row of the table; rows
        are marked by ``<i class="carry-mark">&lt;0&gt;</i>``, which the document's style must hide
    :param str carried_html: the page (HTML) to draw that with, ``%CARRIED%`` in it
    :param float scale: how large everything is drawn, the page itself included
    """

    key: Hashable
    html: str
    resources: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    number: str | None = None
    text: str | None = None
    overlays: tuple[str, ...] = ()
    overlay_texts: tuple[str, ...] = ()
    overlay_top: float = 0
    tighter: tuple[str, ...] = ()
    pages_after: int = 0
    carried: tuple[str, ...] = ()
    carried_html: str = ''
    scale: float = 1.0


class Helper:
    """One helper process. Used by one thread at a time."""

    def __init__(self, engine: str, memory_limit: int):
        # A file, not a pipe: nobody need read it, and it cannot block the helper.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable or 'python3',
                    str(Path(__file__).with_name('pdf_worker.py')),
                    engine,
                    str(memory_limit),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                env={
                    'PYTHONDONTWRITEBYTECODE': '1',
                    **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                },
                close_fds=True,  # it must inherit neither Odoo's sockets nor the pipes of the other helpers
                start_new_session=True,  # Ctrl-C in Odoo's terminal is Odoo's, which then closes its helpers
            )
        except BaseException:
            self._log.close()
            raise
        self._remembered: dict[bytes, int] = {}
        self._remembered_size = 0
        self._is_loaded = False
        self.rendered = 0
        os.set_blocking(self._process.stdin.fileno(), False)
        os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def render(self, document: Document, seconds: float) -> tuple[bytes, dict]:
        """Render one document. After an exception the process is gone, or says so by ``alive()``.

        :param document: what to render
        :param float seconds: how long that may take
        :return: the PDF; and for a document with a number either the ``texts`` of its pages or, if it has one page
            only, the ``number`` that the engine read in it
        :raises PdfError: with the reason
        """
        allowed = seconds if self._is_loaded else seconds + START_TIMEOUT
        deadline = time.monotonic() + allowed
        # neither engine takes a text that holds what no text may hold
        html = document.html.replace('\0', '').encode('utf-8', 'replace')
        resources, contents = self._prepare_resources(document.resources)
        head = json.dumps(
            {
                'html': len(html),
                'base_url': BASE_URL,
                'resources': resources,
                'seconds': allowed,
                'texts': document.number is not None and ('always' if document.text is None else 'unless_known'),
                'overlays': document.overlays,
                'overlay_top': document.overlay_top,
                'tighter': document.tighter,
                'pages_after': document.pages_after,
                'carried': document.carried,
                'carried_html': document.carried_html,
                'scale': document.scale,
            }
        ).encode()
        try:
            self._write(b''.join([struct.pack('>I', len(head)), head, html, *contents]), deadline)
            length = struct.unpack('>I', self._read(4, deadline))[0]
            answer = json.loads(self._read(length, deadline))
            self._is_loaded = True
            self.rendered += 1
            if reason := answer.get('reason'):
                raise PdfError(reason, answer.get('detail', ''))
            return self._read(answer['length'], deadline), answer
        except TimeoutError:
            self.close()
            raise PdfError('timeout', f'more than {allowed:g} s') from None
        except (EOFError, OSError, ValueError, KeyError, struct.error) as error:
            raise self._died(error) from None

    def _prepare_resources(self, resources: Mapping[str, tuple[bytes, str]]) -> tuple[list, list[bytes]]:
        """Say what goes along: (address, MIME type, number to remember it by or None, length or None if remembered)."""
        heads, contents = [], []
        for url, (data, mimetype) in resources.items():
            number = self._remembered.get(data)
            if number is not None:
                heads.append((url, mimetype, number, None))
                continue
            if self._remembered_size + len(data) <= REMEMBERED:
                self._remembered_size += len(data)
                number = self._remembered[data] = len(self._remembered)
            heads.append((url, mimetype, number, len(data)))
            contents.append(data)
        return heads, contents

    def _write(self, data: bytes, deadline: float):
        view = memoryview(data)
        while view:
            self._wait(self._process.stdin, select.POLLOUT, deadline)
            try:
                view = view[self._process.stdin.write(view[: 1 << 16]) or 0 :]
            except BlockingIOError:
                continue

    def _read(self, length: int, deadline: float) -> bytes:
        if length > ANSWER_LIMIT:
            raise ValueError('an answer of impossible length')
        data = bytearray()
        while len(data) < length:
            self._wait(self._process.stdout, select.POLLIN, deadline)
            chunk = self._process.stdout.read(min(length - len(data), 1 << 20))
            if chunk == b'':
                raise EOFError
            data += chunk or b''
        return bytes(data)

    @staticmethod
    def _wait(stream, event: int, deadline: float):
        # poll, not select: Odoo may well have more than 1024 files open
        poll = select.poll()
        poll.register(stream, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError

    def _died(self, error: Exception) -> PdfError:
        """Say why the process is gone, and make sure that it is."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        self._log.seek(0)
        log = self._log.read()[-2000:].decode(errors='replace')
        self.close()
        if code is not None and -code in (signal.SIGXCPU, signal.SIGALRM):
            return PdfError('timeout', 'stopped by the kernel')
        if 'bad_alloc' in log or 'MemoryError' in log or 'out of memory' in log.lower():
            return PdfError('memory', log.strip()[-300:])
        if code is None:
            return PdfError('died', f'it spoke nonsense: {error!r}')
        what = signal.Signals(-code).name if -code in list(signal.Signals) else f'exit status {code}'
        return PdfError('died', f'{what} {log.strip()[-300:]}'.strip())

    def close(self):
        """End the process, whatever it does, and wait for it: no zombie and no open file stays."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()

    def kill(self):
        """End the process from another thread; the thread that uses it sees its pipe close."""
        self._process.kill()
