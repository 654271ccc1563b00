"""What is asked of finished PDFs: joined to one, counted, and whether each page is of the document it should be of.

Plain Python: it knows nothing of Odoo.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterable


class PdfError(Exception):
    """A document that did not become a PDF.

    :param str reason: which of ``REASONS`` it is; the sentence for people is the caller's business
    :param str detail: what the engine or the kernel said, in English, for the log
    """

    REASONS = (
        'engine_missing',  # the engine is not installed, or one of its libraries is not
        'died',  # the helper process crashed or was killed
        'timeout',  # it took longer than it may
        'memory',  # it wanted more memory than it may
        'invalid_html',  # there is nothing to render
        'failed',  # the engine refused the document
        'wrong_pages',  # a page does not carry its document's number, or carries another document's
    )

    def __init__(self, reason: str, detail: str = ''):
        super().__init__(f'{reason}: {detail}' if detail else reason)
        self.reason = reason
        self.detail = detail


def join(pdfs: Iterable[bytes], *, each: Callable[[int, int], int] | None = None) -> bytes:
    """Put PDFs one after the other.

    :param pdfs: the documents, in their order; taken one by one, so that an iterator may let go of them
    :param each: given a document's index and its count of pages, how many blank pages follow it
    :return: one PDF; a single one is given back byte for byte
    :raises PdfError: ``failed`` with the index of a document that is not a PDF
    """
    from pypdf import PdfReader, PdfWriter  # noqa: PLC0415  only whoever joins pays for loading it
    from pypdf.generic import DictionaryObject, NameObject  # noqa: PLC0415

    pdfs = iter(pdfs)
    first = list(itertools.islice(pdfs, 2))
    if len(first) == 1 and each is None:
        return first[0]
    pdfs = itertools.chain((first.pop(0) for _index in range(len(first))), pdfs)
    # append() and not Odoo's merge_pdf(): that lets go of its readers. Older releases of pypdf know them by nothing but
    # their address, so that a page may become another document's; newer ones fail in it at a link within a document.
    writer = PdfWriter()
    for index, data in enumerate(pdfs):
        try:
            reader = PdfReader(io.BytesIO(data))
            writer.append(reader, import_outline=False)
            for _blank in range(each(index, len(reader.pages)) if each else 0):
                writer.add_blank_page()
        except Exception as error:  # pypdf raises all kinds of errors over a broken file
            raise PdfError('failed', f'document {index}: {type(error).__name__}: {error}') from error
    # What it asks of a printer is not taken over from the documents: what is measured in millimetres must stay so.
    writer._root_object[NameObject('/ViewerPreferences')] = DictionaryObject(
        {NameObject('/PrintScaling'): NameObject('/None')})
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def count_pages(data: bytes) -> int:
    """Return how many pages a PDF has.

    :raises PdfError: ``failed``, it is not a PDF
    """
    from pypdf import PdfReader  # noqa: PLC0415

    try:
        return len(PdfReader(io.BytesIO(data)).pages)
    except Exception as error:  # pypdf raises all kinds of errors over a broken file
        raise PdfError('failed', f'{type(error).__name__}: {error}') from error


def check_joined(pdf: bytes, plan: Iterable[tuple[str | None, int]], *, every_page: bool = True) -> str | None:
    """Check that what was joined holds each document's pages, in their order: none of another's, none too few.

    :param bytes pdf: what ``join()`` gave
    :param plan: for each run of pages its document's number, or None where there is none to check, and how many
    :param bool every_page: as in ``check_pages()``
    :return: what is wrong, in English words; None if all is well
    """
    from pypdf import PdfReader  # noqa: PLC0415

    plan = list(plan)
    numbers = {number for number, _count in plan if number}
    try:
        pages = PdfReader(io.BytesIO(pdf)).pages
        if len(pages) != sum(count for _number, count in plan):
            return f'it has {len(pages)} pages'
        position = 0
        for number, count in plan:
            if number:
                texts = [pages[index].extract_text() for index in range(position, position + count)]
                if problem := check_texts(texts, number, numbers, every_page):
                    return problem
            position += count
    except Exception as error:  # pypdf raises all kinds of errors over a broken file
        return f'it cannot be read: {type(error).__name__}: {error}'
    return None


def check_pages(pdf: bytes, number: str, others: Iterable[str] = (), *, every_page: bool = True) -> str | None:
    """Check that every page belongs to one document: carries its number, and no other's.

    :param bytes pdf: the document
    :param str number: its own number
    :param others: the numbers that must not be on it; its own may be among them
    :param bool every_page: False if the number need be on the first page only, for engines without running footers
    :return: what is wrong, in English words; None if all is well
    """
    from pypdf import PdfReader  # noqa: PLC0415

    try:
        texts = [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]
    except Exception as error:  # pypdf raises all kinds of errors over a broken file
        return f'it cannot be read: {type(error).__name__}: {error}'
    return check_texts(texts, number, others, every_page)


def check_texts(texts: list[str], number: str, others: Iterable[str], every_page: bool = True) -> str | None:
    """Check the texts of a document's pages, as :func:`check_pages` does those of a PDF."""
    number = number.strip()
    if not number:
        return 'it has no number'
    if not texts:
        return 'it has no page'
    own = _number_pattern(number)
    for index, text in enumerate(texts, start=1):
        # pypdf gives the two bytes of a character one by one where a font leaves it in the dark
        text = text.replace('\0', '')
        if (every_page or index == 1) and not own.search(text):
            return f'page {index} of {len(texts)} does not carry the number {number}'
        for other in others:
            # the plain search first: it is a hundred times as fast, and nearly always enough
            if other and other != number and other in text and _number_pattern(other).search(text):
                return f'page {index} of {len(texts)} carries the number {other} beside {number}'
    return None


def _number_pattern(number: str) -> re.Pattern:
    """A pattern that finds a number, but not inside a longer one: R/1 is neither in R/10 nor in R/1/2 nor in AR/1."""
    # Text extraction may put a space between two letters, or none between two words: so a number ends where a
    # character of another kind follows, and at a separator only if nothing of a number comes after it.
    before = r'(?<!\d)' if number[0].isdigit() else r'(?<![^\W\d_])' if number[0].isalpha() else ''
    after = r'(?!\d)' if number[-1].isdigit() else r'(?![^\W\d_])' if number[-1].isalpha() else ''
    body = r'\s?'.join(re.escape(character) for character in number if not character.isspace())
    return re.compile(rf'(?<!\w[/\-_.]){before}{body}{after}(?![/\-_.]\w)')
