"""How large the words of a letter may be so that they stay in their place. Plain Python: it knows nothing of Odoo.

An engine only says how many pages came out, so what has a place of fixed size (window, return line, footer) is
measured here, with the letter's own font. Nothing is ever cut: what does not fit is set smaller, and what does not fit
at the smallest size takes more room, and says so.
"""

import functools
import unicodedata
from dataclasses import dataclass

POINT = 25.4 / 72
# An engine breaks lines a little earlier or later than it is measured here.
SAFETY = 1.02
# The usual width of a character, in ems, where the font cannot be measured.
USUAL_WIDTH = 0.55


@dataclass(frozen=True, slots=True)
class Size:
    """In which size words are set.

    :ivar points: of the letters
    :ivar leading: of a line, in millimetres
    :ivar lines: how many lines they take
    :ivar excess: millimetres by which they are higher than their place
    """
    points: float
    leading: float
    lines: int
    excess: float

    @property
    def height(self):
        return self.lines * self.leading


@functools.lru_cache(8)
def _load_font(path):
    from PIL import ImageFont  # noqa: PLC0415  only whoever measures pays for loading it

    try:
        return ImageFont.truetype(path, 100)
    except OSError:
        return None


@functools.lru_cache(4096)
def measure(text, font_path):
    """Return how wide a text is, in ems.

    :param str font_path: of a TrueType file; empty where there is none to measure with
    """
    font = _load_font(font_path) if font_path else None
    if font is None:
        return sum(2 * USUAL_WIDTH if unicodedata.east_asian_width(one) in 'WF' else USUAL_WIDTH for one in text)
    return font.getlength(text) / 100 + sum(0.5 for one in text if unicodedata.east_asian_width(one) in 'WF')


def count_lines(text, width, font_path):
    """Return how many lines a text takes, broken between words, and within those that are longer than a line.

    :param float width: of the lines, in ems
    """
    lines, used, space = 1, 0.0, measure(' ', font_path)
    for word in text.split():
        length = measure(word, font_path) * SAFETY
        if used and used + space + length > width:
            lines, used = lines + 1, 0.0
        used += length + (space if used else 0)
        while used > width:
            lines, used = lines + 1, used - width
    return lines


def choose_size(texts, sizes, width, height, font_path):
    """Choose the largest size in which texts stay in their place.

    :param texts: paragraphs, each on a line of its own
    :param sizes: (points, leading in millimetres), the largest first
    :param float width: of the place, in millimetres
    :param float height: of the place, in millimetres
    :return: :class:`Size`, the smallest one where they fit at none
    """
    for points, leading in sizes:
        lines = sum(count_lines(text, width / (points * POINT), font_path) for text in texts)
        if lines * leading <= height + 0.01:
            return Size(points, leading, lines, 0.0)
    return Size(points, leading, lines, lines * leading - height)
