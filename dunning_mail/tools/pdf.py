"""HTML to PDF in helper processes. Plain Python: it knows nothing of Odoo.

::

    with Pool("plutoprint") as pool:
        for key, result in pool.stream(documents):
            ...  # bytes, or the PdfError of this document

PlutoPrint and WeasyPrint are never imported here: they run in ``pdf_worker.py``, with limits of time and memory. A
document that crashes or never ends takes its helper process with it; the next document gets a new one.
"""

import contextlib
import importlib.util
import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from .pdf_pages import PdfError, check_texts

_logger = logging.getLogger(__name__)

ENGINES = ('plutoprint', 'weasyprint')

# Seconds that one document may take; a page takes milliseconds.
DEFAULT_TIMEOUT = 30.0
# Seconds more for the first document of a helper, which has to load the engine first, perhaps on a busy machine.
START_TIMEOUT = 20.0
# Address space of a helper, in bytes. Of this, the libraries and fonts alone map some 300 MB.
DEFAULT_MEMORY_LIMIT = 1024**3
# Documents after which a helper is replaced: what WeasyPrint remembers of each would else reach the limit one day.
RETIRE_AFTER = 200
# One helper per core, but not all of a large machine: other people work on it.
MAX_HELPERS = 4
# Documents that are on their way at the same time: enough to keep all helpers busy while the caller makes the
# next ones, and few enough to hold in memory.
WINDOW = 32
# The largest answer that is believed, in bytes.
ANSWER_LIMIT = 512 * 1024**2

# What relative addresses in a document refer to. No host has this name (RFC 2606).
BASE_URL = 'http://document.invalid/'
# Fonts and stylesheets that a helper remembers, so that they go over the pipe once and not with every document.
REMEMBERED = 32

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
    :param str overlay: a page (HTML) that PlutoPrint draws over the last one; ``%PAGE%`` and ``%PAGES%`` in it become
        numbers. WeasyPrint's style sheets can say all that by themselves
    :param str overlay_text: what can be read in ``overlay``; it must carry the number too
    :param float overlay_top: millimetres from the top below which nothing but the overlay is drawn
    :param tighter: names of classes, of which the first stands in ``html``: each other one is tried in its place, in
        this order, if that makes one page of two
    :param carried: what PlutoPrint writes at the head of the next page if a page ends after this row of the table; rows
        are marked by ``<i class="carry-mark">&lt;0&gt;</i>``, which the document's style must hide
    :param str carried_html: the page (HTML) to draw that with, ``%CARRIED%`` in it
    """

    key: Hashable
    html: str
    resources: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    number: str | None = None
    text: str | None = None
    overlay: str | None = None
    overlay_text: str | None = None
    overlay_top: float = 0
    tighter: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    carried_html: str = ''


def engine_available(engine: str) -> bool:
    """Tell whether an engine is installed, without loading it.

    :param str engine: one of ``ENGINES``
    :return: whether its package is there; a system library may still be missing (``PdfError``, ``engine_missing``)
    """
    if engine not in ENGINES:
        return False
    # A package that was installed while this process runs would else not be seen.
    importlib.invalidate_caches()
    return importlib.util.find_spec(engine) is not None


class _Helper:
    """One helper process. Used by one thread at a time."""

    def __init__(self, engine: str, memory_limit: int):
        # A file, not a pipe: nobody need read it, and it cannot block the helper.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable or 'python3',
                    '-P',  # or the modules beside the script would come before those of the same name elsewhere
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
                'overlay': document.overlay,
                'overlay_top': document.overlay_top,
                'tighter': document.tighter,
                'carried': document.carried,
                'carried_html': document.carried_html,
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
            if len(self._remembered) < REMEMBERED:
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


class Pool:
    """Helper processes that are kept for a batch of documents. Use it as a context manager.

    A helper is started only when there is a document and no helper is free: one document makes one process.

    :param str engine: one of ``ENGINES``
    :param int size: how many helpers at most; by default one per core, and no more than ``MAX_HELPERS``
    :param float timeout: seconds that one document may take
    :param int memory_limit: bytes of address space that a helper may use; 0 for no limit
    :raises ValueError: for an unknown engine
    """

    def __init__(
        self,
        engine: str,
        *,
        size: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: int = DEFAULT_MEMORY_LIMIT,
    ):
        if engine not in ENGINES:
            raise ValueError(f'unknown engine: {engine}')
        self.engine = engine
        self.timeout = timeout
        self.memory_limit = memory_limit
        self.size = size or min(MAX_HELPERS, os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._helpers: set[_Helper] = set()
        self._idle: list[_Helper] = []
        self._closed = False
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix='pdf')

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """End all helpers, also those that are at work, and wait for them."""
        with self._lock:
            self._closed = True
            for helper in self._helpers:
                helper.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        for helper in self._helpers:
            helper.close()
        self._helpers.clear()
        self._idle.clear()

    def stream(
        self, documents: Iterable[Document], *, numbers: Iterable[str] = ()
    ) -> Iterator[tuple[Hashable, 'bytes | PdfError']]:
        """Render documents, and give each as soon as it is finished, in any order.

        The documents are taken one by one: while helpers render, the caller's generator makes the next ones. An
        exception of that generator comes through.

        :param documents: what to render
        :param numbers: the numbers of all documents of the batch; checked for documents that have a number
        :return: key and PDF, or key and what went wrong with this document
        """
        numbers = frozenset(numbers)
        pending: set[Future] = set()
        try:
            for document in documents:
                pending.add(self._executor.submit(self._render, document, numbers))
                # Give what is ready, and wait only when too many are on their way.
                full = len(pending) >= WINDOW
                done, pending = wait(pending, None if full else 0, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
            while pending:
                done, pending = wait(pending, None, FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in pending:
                future.cancel()

    def render(
        self, documents: Iterable[Document], *, numbers: Iterable[str] = ()
    ) -> dict[Hashable, 'bytes | PdfError']:
        """Render documents.

        :param documents: what to render
        :param numbers: as in ``stream``
        :return: for each key its PDF, or what went wrong with it
        """
        return dict(self.stream(documents, numbers=numbers))

    def _render(self, document: Document, numbers: frozenset[str]) -> tuple[Hashable, 'bytes | PdfError']:
        try:
            data, answer = self._render_in_helper(document)
            if document.number is not None:
                texts = answer.get('texts')
                if texts is None and document.text is not None and answer.get('number') == document.number:
                    texts = [document.text]
                problem = check_texts(texts or [], document.number, numbers)
                if not problem and document.overlay_text is not None:
                    problem = check_texts([document.overlay_text], document.number, numbers)
                if problem:
                    raise PdfError('wrong_pages', problem)
        except PdfError as error:
            return document.key, error
        except Exception as error:  # no document may stop the others
            _logger.exception('Rendering %r by %s failed', document.key, self.engine)
            return document.key, PdfError('failed', f'{type(error).__name__}: {error}')
        return document.key, data

    def _render_in_helper(self, document: Document) -> tuple[bytes, dict]:
        with self._lock:
            if self._closed:
                raise PdfError('died', 'the pool is closed')
            helper = None
            while self._idle and helper is None:
                helper = self._idle.pop()
                # One that died while it had nothing to do is no fault of the next document.
                if not helper.alive():
                    self._drop(helper)
                    helper = None
            if helper is None:
                helper = _Helper(self.engine, self.memory_limit)
                self._helpers.add(helper)
        try:
            return helper.render(document, self.timeout)
        finally:
            with self._lock:
                if helper.alive() and helper.rendered < RETIRE_AFTER:
                    self._idle.append(helper)
                else:
                    self._drop(helper)

    def _drop(self, helper: _Helper):
        self._helpers.discard(helper)
        helper.close()


_kept = threading.local()


@contextlib.contextmanager
def keep_pools():
    """Keep helper processes from one batch to the next, as long as this block lasts in this thread.

    What a helper costs to start is worth ten letters and more.
    """
    if getattr(_kept, 'pools', None) is not None:
        yield
        return
    _kept.pools = {}
    try:
        yield
    finally:
        pools, _kept.pools = _kept.pools, None
        for pool in pools.values():
            pool.close()


@contextlib.contextmanager
def borrow_pool(engine: str) -> Iterator[Pool]:
    """Give the pool that ``keep_pools()`` keeps, else one that ends with this block.

    :param str engine: one of ``ENGINES``
    :raises ValueError: for an unknown engine
    """
    pools = getattr(_kept, 'pools', None)
    if pools is None:
        with Pool(engine) as pool:
            yield pool
        return
    if engine not in pools:
        pools[engine] = Pool(engine)
    yield pools[engine]


def render(
    engine: str,
    documents: Iterable[Document],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    numbers: Iterable[str] = (),
) -> dict[Hashable, bytes | PdfError]:
    """Render documents in helper processes of their own, which end with this call.

    :param str engine: one of ``ENGINES``
    :param documents: what to render
    :param float timeout: seconds that one document may take
    :param int memory_limit: bytes of address space of a helper; 0 for no limit
    :param numbers: the numbers of all documents of the batch; checked for documents that have a number
    :return: for each key its PDF, or what went wrong with it
    :raises ValueError: for an unknown engine
    """
    with Pool(engine, timeout=timeout, memory_limit=memory_limit) as pool:
        return pool.render(documents, numbers=numbers)
