"""Codes of languages, as Odoo has them: `fr_CH`, `sr@latin`. Plain Python: it knows nothing of Odoo."""


def get_language(code):
    """Return the language of a code without the country: `fr` of `fr_CH`."""
    return (code or '').partition('_')[0].partition('@')[0]


def choose_variant(code, codes):
    """Return the code that stands in for a language: itself, else the same language as another country has it.

    :param str code: for example `fr_CH`
    :param codes: those that there are
    :return: one of them, the language's home country (`fr_FR`) before others; None where none is of the language
    """
    language = get_language(code)
    variants = [other for other in codes if get_language(other) == language]
    return min(variants, default=None, key=lambda other: (
        other != code, other != f'{language}_{language.upper()}', other))
