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
import logging
import os
import threading
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from .pdf_helper import BASE_URL, Document, Helper
from .pdf_pages import PdfError, check_texts

__all__ = [
    'BASE_URL', 'ENGINES', 'Document', 'PdfError', 'Pool', 'borrow_pool', 'end_spares', 'engine_available',
    'keep_pools', 'render']

_logger = logging.getLogger(__name__)

ENGINES = ('plutoprint', 'weasyprint')

# Seconds that one document may take; a page takes milliseconds.
DEFAULT_TIMEOUT = 30.0
# Address space of a helper, in bytes. Of this, the libraries and fonts alone map some 300 MB.
DEFAULT_MEMORY_LIMIT = 1024**3
# Documents after which a helper is replaced: what WeasyPrint remembers of each would else reach the limit one day.
RETIRE_AFTER = 200
# One helper per core, but not all of a large machine: other people work on it.
MAX_HELPERS = 4
# Documents that are on their way at the same time: enough to keep all helpers busy while the caller makes the
# next ones, and few enough to hold in memory.
WINDOW = 32
# Seconds for which one idle helper waits for its owner's next batch: to start one takes longer than most documents.
SPARE_SECONDS = 60.0


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


class _Spares:
    """Idle helpers that wait for their owner's next batch, at most one of each engine. They end by themselves."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._waiting: dict[tuple, tuple[Helper, threading.Timer]] = {}

    def take(self, key: tuple) -> Helper | None:
        with self._lock:
            if self._pid != os.getpid():
                # A process that was forked must not talk to its parent's helpers.
                self._pid, self._waiting = os.getpid(), {}
            helper, timer = self._waiting.pop(key, (None, None))
        if helper is None:
            return None
        timer.cancel()
        if helper.alive():
            return helper
        helper.close()
        return None

    def give(self, key: tuple, helper: Helper):
        timer = threading.Timer(SPARE_SECONDS, self._end, (key, helper))
        timer.daemon = True
        with self._lock:
            if self._pid == os.getpid() and key not in self._waiting:
                self._waiting[key] = (helper, timer)
                timer.start()
                return
        helper.close()

    def end_all(self):
        for key in list(self._waiting):
            if helper := self.take(key):
                helper.close()

    def _end(self, key: tuple, helper: Helper):
        with self._lock:
            if self._waiting.get(key, (None, None))[0] is not helper:
                return
            del self._waiting[key]
        helper.close()


_spares = _Spares()


def end_spares():
    """End the helpers that wait for their owner's next batch."""
    _spares.end_all()


class Pool:
    """Helper processes that are kept for a batch of documents. Use it as a context manager.

    A helper is started only when there is a document and no helper is free: one document makes one process.

    :param str engine: one of ``ENGINES``
    :param int size: how many helpers at most; by default one per core, and no more than ``MAX_HELPERS``
    :param float timeout: seconds that one document may take
    :param int memory_limit: bytes of address space that a helper may use; 0 for no limit
    :param owner: whose documents they are, a database: one helper then waits a while for the same owner's next batch. A
        document that took over its helper must not get at another owner's
    :raises ValueError: for an unknown engine
    """

    def __init__(
        self,
        engine: str,
        *,
        size: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        memory_limit: int = DEFAULT_MEMORY_LIMIT,
        owner: Hashable = None,
    ):
        if engine not in ENGINES:
            raise ValueError(f'unknown engine: {engine}')
        self.engine = engine
        self.timeout = timeout
        self.memory_limit = memory_limit
        self.size = size or min(MAX_HELPERS, os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._helpers: set[Helper] = set()
        self._idle: list[Helper] = []
        self._closed = False
        self._spare_key = owner and (owner, engine, memory_limit)
        if self._spare_key and (spare := _spares.take(self._spare_key)):
            self._helpers.add(spare)
            self._idle.append(spare)
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix='pdf')

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """End all helpers, also those that are at work, and wait for them; an owner's last one may go on waiting."""
        spare = None
        with self._lock:
            self._closed = True
            if self._spare_key:
                spare = next((helper for helper in self._idle if helper.alive()), None)
                self._helpers.discard(spare)
            for helper in self._helpers:
                helper.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)
        for helper in self._helpers:
            helper.close()
        self._helpers.clear()
        self._idle.clear()
        if spare:
            _spares.give(self._spare_key, spare)

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
                if not problem and document.overlay_texts:
                    problem = check_texts(document.overlay_texts, document.number, numbers)
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
                helper = Helper(self.engine, self.memory_limit)
                self._helpers.add(helper)
        is_fresh = not helper.rendered
        try:
            return helper.render(document, self.timeout)
        except PdfError as error:
            if error.reason != 'memory':
                raise
            helper.close()
            if is_fresh:
                raise
        finally:
            with self._lock:
                if helper.alive() and helper.rendered < RETIRE_AFTER:
                    self._idle.append(helper)
                else:
                    self._drop(helper)
        # It may be what earlier documents left behind that took the memory.
        return self._render_in_helper(document)

    def _drop(self, helper: Helper):
        self._helpers.discard(helper)
        helper.close()


_kept = threading.local()


@contextlib.contextmanager
def keep_pools():
    """Keep helper processes from one batch to the next, as long as this block lasts in this thread.

    What a helper costs to start is worth ten documents and more.
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
def borrow_pool(engine: str, owner: Hashable = None) -> Iterator[Pool]:
    """Give the pool that ``keep_pools()`` keeps, else one that ends with this block.

    :param str engine: one of ``ENGINES``
    :param owner: as of ``Pool``
    :raises ValueError: for an unknown engine
    """
    pools = getattr(_kept, 'pools', None)
    if pools is None:
        with Pool(engine, owner=owner) as pool:
            yield pool
        return
    if (engine, owner) not in pools:
        pools[engine, owner] = Pool(engine, owner=owner)
    yield pools[engine, owner]


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
