"""Ids as they come in an address: anybody can type there."""

# PostgreSQL's integer.
MAX_ID = 2**31 - 1


def parse_ids(text):
    """Read ids out of an address.

    :param text: separated by commas; None where there are none
    :return: list of int in their order, each once; empty where one of them can be no id
    """
    words = [word.strip() for word in (text or '').split(',')]
    if not all(word.isascii() and word.isdigit() and len(word) <= len(str(MAX_ID)) for word in words):
        return []
    ids = list(dict.fromkeys(map(int, words)))
    return ids if all(0 < number <= MAX_ID for number in ids) else []
