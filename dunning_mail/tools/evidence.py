"""Pack what proves a delivery into a ZIP. Plain Python; nothing here knows Odoo."""
from __future__ import annotations

import csv
import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO

__all__ = ['make_csv', 'pack']

# In memory up to here, behind it in a temporary file.
_IN_MEMORY = 8_000_000


def make_csv(head: Sequence[str], rows: Iterable[Sequence]) -> bytes:
    """Write a table that a spreadsheet opens as it is: UTF-8 with its mark, and nothing that it would calculate.

    A mail server's words stand in it, and they can be anybody's.

    :param head: names of the columns
    :param rows: their values
    """
    output = io.StringIO(newline='')
    writer = csv.writer(output)
    writer.writerow(head)
    for row in rows:
        writer.writerow([_harmless(value) for value in row])
    return output.getvalue().encode('utf-8-sig')


def _harmless(value: object) -> str:
    if value is None or value is False:
        return ''
    if isinstance(value, datetime):
        return value.isoformat(timespec='seconds') + 'Z'
    text = str(value)
    return "'" + text if text[:1] in '=+-@\t\r' and text[:1] else text


def pack(folders: Iterable[tuple[str, dict[str, bytes]]]) -> IO[bytes]:
    """Pack files by folder, with a list of their SHA-256 that `sha256sum -c` checks.

    :param folders: pairs of a folder's name and its files, name -> content; the names are made fit for any file system
    :return: an open file; closing it removes it
    """
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  the caller's
    sums = []
    taken = set()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for folder, files in folders:
            folder = base = _file_name(folder)
            number = 1
            while folder.lower() in taken:
                number += 1
                folder = f'{base} ({number})'
            taken.add(folder.lower())
            for name, content in files.items():
                path = f'{folder}/{_file_name(name)}'
                archive.writestr(path, content)
                sums.append(f'{hashlib.sha256(content).hexdigest()}  {path}\n')
        archive.writestr('SHA256SUMS', ''.join(sums))
    file.seek(0)
    return file


def _file_name(text: str) -> str:
    return re.sub(r'[^\w.() -]+', '-', text).strip('. -') or 'unnamed'
