"""Makes the plain-text part of a mail readable: tables of figures become lines."""

import lxml.html


def flatten_tables(html):
    """Turn each row of figures into one line, so that a plain-text reader keeps amount and invoice together.

    Tables that only lay out the page, those with a table inside or with one cell a row, are left alone.

    :param str html: body of a mail
    :return: the HTML without tables of figures, and with words in place of pictures
    """
    root = lxml.html.fragment_fromstring(html, create_parent='div')
    for image in list(root.iter('img')):
        # the logo, in words
        words = lxml.html.Element('span')
        words.text, words.tail = image.get('alt') or '', image.tail
        image.getparent().replace(image, words)
    for table in [table for table in root.iter('table') if table.find('.//table') is None]:
        rows = [[' '.join(cell.text_content().split()) for cell in row.iterchildren('td', 'th')]
                for row in table.iter('tr')]
        if max(map(len, rows), default=0) < 2:
            continue
        lines = lxml.html.Element('div')
        for row in rows:
            line = lxml.html.Element('p')
            line.text = '  '.join(cell for cell in row if cell)
            lines.append(line)
        lines.tail = table.tail
        table.getparent().replace(table, lines)
    return lxml.html.tostring(root, encoding='unicode')
