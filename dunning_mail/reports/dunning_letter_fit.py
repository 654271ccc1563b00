import lxml.html
from markupsafe import Markup

from odoo import api, models
from odoo.tools import file_path, html2plaintext, is_html_empty

from ..tools import letter_fit
from .dunning_letter import FONTS

# All in millimetres, but for sizes: points, and millimetres a line; they are tried one after the other.

# Width and height of the address, by its side, and where it begins.
ADDRESS_PLACES = {'right': (77, 36.8), 'left': (78, 27.4)}
ADDRESS_TOPS = {'right': 52.2, 'left': 62.6}
ADDRESS_SIZES = ((10, 4.4), (9, 3.9), (8, 3.4), (7, 3.0), (6, 2.6))
SENDER_SIZES = ((6.5, 3.0), (6, 2.8), (5.5, 2.5))
# The letterhead: logo or name with a line below it, and the company's details.
LOGO_WIDTH, LOGO_HEIGHT, TAGLINE_HEIGHT = 80, 27, 8
COMPANY_SIZES = ((15, 6.4), (13, 5.5), (11, 4.7), (9, 3.9))
TAGLINE_SIZES = ((8, 3.7), (7, 3.2), (6, 2.8))
DETAILS_PLACES = {'right': (77, 32), 'left': (67, 36)}
DETAILS_SIZES = ((8, 3.95), (7, 3.4), (6, 2.9), (5.5, 2.6))
# The information block: where it begins, how wide its values are, their size, and what lies between two.
INFO_TOPS, INFO_WIDTHS = {'right': 52.4, 'left': 50}, {'right': 54, 'left': 39}
INFO_SIZE, INFO_GAP = (8.5, 4.1), 1.0
# How high the head is: as usual, with a payment part, and as tight as it may be to spare a sheet; and its upper edge.
HEADS, HEAD_TOP = (84, 75, 70, 66), 13
# What the date takes, which may stand beside the address's last line, where the title must not.
DATE_HEIGHT = 6
# The page's lower margin with a footer of four lines, and what it holds beside company and page number.
MARGIN_BOTTOM, FOOTER_HEIGHT, FOOTER_WIDTH = 30.0, 15.4, 170
FOOTER_SIZES = ((7.5, 3.6), (6.5, 3.1), (6, 2.8))
FOOT_WIDTH, FOOT_SIZE, SLIP_FOOT_SIZE = 140, (7.5, 3.5), (6.5, 3.2)
# Where the payment part begins, and the height of the two lines above it: where to cut, and the foot line.
PAPER_HEIGHT, SLIP_TOP, CUT_HEIGHT, FOOT_HEIGHT = 297, 192.0, 3.8, 3.4
RECEIPT_PLACE, RECEIPT_SIZES = (52, 56), ((8, 3.17), (7, 2.8), (6, 2.4))
PART_PLACE, PART_SIZES = (87, 85), ((10, 3.88), (9, 3.5), (8, 3.1))
# How many paragraphs at the end of the closing words stay together.
GREETING_PARTS = 3
PARAGRAPHS = frozenset({'blockquote', 'div', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'ol', 'p', 'pre', 'table', 'ul'})


class ReportDunningLetter(models.AbstractModel):
    """In which sizes the letter is set, so that everything has its place and nothing is cut."""
    _inherit = 'report.dunning_mail.letter'

    @api.model
    def _get_font_path(self, company):
        """Return the file of a company's font, to measure words with; empty where it is none of Odoo's."""
        name, *_faces = FONTS.get(company.font or 'Lato', [''])
        try:
            return file_path(f'web/static/fonts/{name}') if name else ''
        except FileNotFoundError:
            # Packages of Odoo leave some out.
            return ''

    @api.model
    def _get_address_size(self, company, lines):
        """Return in which :class:`~.letter_fit.Size` an address fits into the envelope's window.

        :param company: `res.company` that sends the letter
        :param list lines: of the address
        """
        return letter_fit.choose_size(
            lines, ADDRESS_SIZES, *ADDRESS_PLACES[self._get_address_side(company)], self._get_font_path(company))

    @api.model
    def _get_letterhead_sizes(self, company, details):
        """Return in which sizes letterhead and footer are set.

        :param company: `res.company` in the language of the letter
        :param details: its address block, HTML
        :return: dict of :class:`~.letter_fit.Size`, and `slip_footer`, the footer as it stands above a payment part
        """
        path = self._get_font_path(company)
        tagline, details, footer = (
            [line for line in html2plaintext(html).splitlines() if line.strip()] if not is_html_empty(html) else []
            for html in (company.report_header, details, company.report_footer))
        tagline_size = letter_fit.choose_size(tagline, TAGLINE_SIZES, LOGO_WIDTH, TAGLINE_HEIGHT, path)
        # Above a payment part there is little room: the footer's lines stand one behind the other.
        slip_footer = ' · '.join(footer)
        return {
            'tagline_size': tagline_size,
            'company_size': letter_fit.choose_size(
                [company.name or ''], COMPANY_SIZES, LOGO_WIDTH, LOGO_HEIGHT - tagline_size.height, path),
            'details_size': letter_fit.choose_size(
                details, DETAILS_SIZES, *DETAILS_PLACES[self._get_address_side(company)], path),
            'footer_size': letter_fit.choose_size(footer, FOOTER_SIZES, FOOTER_WIDTH, FOOTER_HEIGHT, path),
            'slip_footer': slip_footer,
            'slip_footer_size': letter_fit.choose_size(
                filter(None, [slip_footer]), FOOTER_SIZES[1:], FOOTER_WIDTH, FOOTER_HEIGHT, ''),
        }

    @api.model
    def _get_fit(self, notice, company_values, sender_line, address_lines):
        """Return in which sizes a notice's own words are set, and what has to make room where they do not fit.

        :param notice: `dunning.notice`, one record
        :param dict company_values: what `_get_company_values()` returned
        :return: dict of :class:`~.letter_fit.Size` `sender` and `address`, whose `excess` says by how much the return
            line begins higher, and all below the address lower; `heads` (heights), `margin_bottom`, `slip_top` and
            `slip_space`
        """
        company, number, side = notice.company_id, notice.name or '', company_values['side']
        (width, height), path = ADDRESS_PLACES[side], self._get_font_path(company)
        sender = letter_fit.choose_size([sender_line], SENDER_SIZES, width, SENDER_SIZES[0][1], path)
        address = self._get_address_size(company, address_lines)
        infos = list(filter(None, (number or '-', notice.partner_id.ref, *self._get_clerk_values(notice).values())))
        info = letter_fit.choose_size(infos, [INFO_SIZE], INFO_WIDTHS[side], 0, path)
        least = max(
            INFO_TOPS[side] + info.height + len(infos) * INFO_GAP,
            ADDRESS_TOPS[side] + min(address.height, height) - DATE_HEIGHT) - HEAD_TOP
        foot, slip_foot = (
            letter_fit.choose_size([f'{company.name} · {number}'], [size], FOOT_WIDTH, size[1], path)
            for size in (FOOT_SIZE, SLIP_FOOT_SIZE))
        margin_bottom = MARGIN_BOTTOM + company_values['footer_size'].excess + foot.excess
        slip_top = SLIP_TOP - CUT_HEIGHT - FOOT_HEIGHT - slip_foot.excess - company_values['slip_footer_size'].height
        return {
            'sender': sender, 'address': address, 'heads': [round(max(head, least), 2) for head in HEADS],
            'margin_bottom': round(margin_bottom, 2), 'slip_top': round(slip_top, 2),
            'slip_space': round(PAPER_HEIGHT - slip_top - margin_bottom, 2)}

    @api.model
    def _get_slip_sizes(self, slip):
        """Return in which sizes the words of receipt and payment part are set.

        :param dict slip: what they show
        :return: dict of :class:`~.letter_fit.Size` `receipt_size` and `part_size`
        """
        blocks = [[slip['account'], *slip['creditor']], [slip['reference']], slip['debtor']]
        sizes = {}
        for name, choices, place, more in (
                ('receipt_size', RECEIPT_SIZES, RECEIPT_PLACE, []),
                ('part_size', PART_SIZES, PART_PLACE, [[slip['message']]])):
            # Each block has a heading above it, and a free line below it.
            texts = [line for block in blocks + more if any(block) for line in ('', *block, '')]
            sizes[name] = letter_fit.choose_size(texts[:-1], choices, *place, '')
        return sizes

    @api.model
    def _keep_greeting(self, html):
        """Return closing words whose end stays on one page: the company's name is not torn from its greeting.

        :param html: what the level's text became
        """
        root = lxml.html.fragment_fromstring(str(html or ''), create_parent='div')
        words = [root.text, *(child.tail for child in root)]
        if not len(root) or any(map(str.strip, filter(None, words))) or any(
                child.tag not in PARAGRAPHS for child in root):
            # Words that run on cannot be parted.
            return html
        end = list(root)[-GREETING_PARTS:]
        block = root.makeelement('div', {'class': 'dl-greeting'})
        end[0].addprevious(block)
        for child in end:
            block.append(child)
        # Elements of the level's text, which was made safe when it was rendered.
        return Markup('').join(
            Markup(lxml.html.tostring(child, encoding='unicode')) for child in root)  # noqa: S704
