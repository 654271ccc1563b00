import lxml.html

from odoo import api, models

from odoo.addons.base.models.report_paperformat import PAPER_SIZES

from ..tools import html_parts

# CSS knows but a few of these by name.
PAPER_MM = {paper['key']: (paper['width'], paper['height']) for paper in PAPER_SIZES if paper.get('width')}
# Classes of core's that are as wide as their style sheets say, whatever the sheet: DIN 5008, the Swiss QR-bill.
FIXED_WIDTHS_MM = {'din_page_pdf': 180.0, 'swissqr_content_v2': 262.5}
# wkhtmltopdf draws header and footer as pages of their own. What they place by the window is placed by their part of
# the sheet here; and nothing of core's helps for pages of a screen's height is wanted.
LAYOUT_CSS = (
    'html, body, .article {height: auto !important; min-height: 0 !important; overflow: visible !important} '
    'body {margin: 0 !important; max-width: none !important} '
    '.pdf-running {width: 100%} .pdf-window {position: relative} .pdf-window > div {max-width: none !important} '
    '.pdf-window .position-fixed {position: absolute !important} '
    'span.page::before {content: counter(page)} span.topage::before {content: counter(pages)} '
    # what must not be torn apart
    'tr, img, h1, h2, h3 {break-inside: avoid} h1, h2, h3 {break-after: avoid} thead {display: table-header-group}'
)


class IrActionsReport(models.Model):
    """Reports in core's layouts: as core prepares them for wkhtmltopdf, but header and footer run."""
    _inherit = 'ir.actions.report'

    def _wrap_core_layout(self, html, engine):
        """Make a page of each article of a report in core's layout, with the header and the footer that are its own.

        :param bytes html: what the template gave for one record, for none, or for all
        :param str engine: a value of `pdf_engine`
        :return: list of (the page's root, the scale at which it is to be drawn)
        """
        # Who may print a report need not be allowed to read what it is made with.
        report = self.sudo()
        bodies, _ids, header, footer, arguments = report._prepare_html(html, report_model=report.model)
        running = {
            place: html_parts.parse(str(part)).xpath(f"//div[@id='minimal_layout_report_{place}']/*")
            for place, part in (('footers', footer), ('headers', header))}
        pages = []
        for index, body in enumerate(bodies):
            # Core hands over what is in no article, and nothing besides.
            page = html_parts.parse(str(body).strip() or '<p></p>')
            if page.find('head') is None:
                page.insert(0, page.makeelement('head'))
            # Meant for wkhtmltopdf's view of a screen: a page without height that hides what does not fit.
            page.attrib.pop('style', None)
            page.body.set('class', (page.body.get('class') or '').replace('overflow-hidden', ''))
            html_parts.drop_empty_ends(page.body)
            for place, nodes in running.items():
                for node in nodes[index:index + 1]:
                    self._make_running(page, place, node)
            css, scale = report._get_page_css(arguments, page)
            style = page.makeelement('style')
            style.text = css
            page.head.append(style)
            pages.append((page, scale))
        return pages

    @api.model
    def _make_running(self, page, place, node):
        """Put a header or footer on each sheet of a page."""
        outer = lxml.html.Element('div', {'class': 'pdf-running', 'style': f'position: running({place})'})
        # the window of the header's own page, and its body
        window = lxml.html.Element('div', {'class': 'pdf-window'})
        inner = lxml.html.Element('div', {'class': page.body.get('class')})
        inner.append(node)
        window.append(inner)
        outer.append(window)
        page.body.insert(0, outer)

    def _get_page_css(self, arguments, page):
        """Return the page rules that say what core tells wkhtmltopdf by its arguments: paper, margins, page numbers.

        wkhtmltopdf draws what is 1 cm in a style sheet 0.8 cm large ("smart shrinking"), and core enlarges that again
        by 96 to the resolution of the paper format: so everything is laid out on a sheet that much larger, and drawn so
        much smaller. What is wider than the sheet then, it shrinks until that fits.

        :param dict arguments: `data-report-*` attributes of the report, which come before the paper format's
        :param page: the page's root
        :return: CSS, and the scale at which the document is to be drawn
        """
        paper = self.get_paperformat()
        dpi = int(arguments.get('data-report-dpi') or paper.dpi or 96)
        scale = (1.0 if paper.disable_shrinking else 0.8) * 96.0 / dpi
        width, height = PAPER_MM.get(paper.format) or (paper.page_width or 210, paper.page_height or 297)
        if self.env.context.get('landscape') or arguments.get(
                'data-report-landscape') or paper.orientation == 'Landscape':
            width, height = height, width
        for name, fixed in FIXED_WIDTHS_MM.items():
            if page.find_class(name):
                scale = min(scale, (width - paper.margin_left - paper.margin_right) / fixed)
        top = float(arguments.get('data-report-margin-top', paper.margin_top))
        bottom = float(arguments.get('data-report-margin-bottom', paper.margin_bottom))
        spacing = float(arguments.get('data-report-header-spacing', paper.header_spacing))

        def mm(*lengths):
            return ' '.join(f'{length / scale:.3f}mm' for length in lengths)

        return (
            f'@page {{size: {mm(width, height)}; margin: {mm(top, paper.margin_right, bottom, paper.margin_left)}; '
            # A header begins as far above the text as the paper format says, a footer right below it.
            f'@top-center {{content: element(headers); width: 100%; vertical-align: top; '
            f'padding-top: {mm(max(0.0, top - spacing))}}} '
            '@bottom-center {content: element(footers); width: 100%; vertical-align: top}} '
            + LAYOUT_CSS
        ), scale
