"""Taking login and password out of what a server says, whatever it makes of them."""
from __future__ import annotations

import base64
import binascii
import contextlib
import html
import re
import urllib.parse
from collections.abc import Iterable

from .outcome import clean

__all__ = ['MASK', 'Mask']

MASK = '…'
# A secret that is shorter is looked for as a word of its own: it would tear harmless words apart, and be found out by
# it.
SHORT = 4
# From here on a reply may have broken it into two lines.
LONG = 12
# Local parts that are a role in many a company, and tell nothing of a login.
ROLES = frozenset("""
    abrechnung accounting accounts admin administration billing buchhaltung contact contabilita debitoren dunning email
    fakturierung finance finanzen hello info inkasso invoice kontakt mail mahnung mahnungen mailbox noreply no-reply
    office postmaster rechnung rechnungen sales sender sekretariat service support team user verwaltung webmaster
""".split())


class Mask:
    """Knows login, password and whatever else was sent to log in, and takes them out of words. It never shows them.

    :param logins: names to log in with; case does not matter in them
    :param secrets: passwords and tokens
    """

    def __init__(self, logins: Iterable[str] = (), secrets: Iterable[str] = ()):
        self._logins: set[str] = set()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern | None = None
        self.add(logins, secrets)

    def __repr__(self) -> str:
        return 'Mask()'

    def add(self, logins: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """Learn more of them."""
        self._logins.update(login for login in logins if login)
        self._secrets.update(secret for secret in secrets if secret)
        self._pattern = None

    def add_sent(self, token: str) -> None:
        """Learn what was sent in an AUTH exchange: base64, of one secret or of several between NUL or Ctrl-A."""
        self.add(secrets=[token])
        with contextlib.suppress(ValueError, binascii.Error):
            decoded = base64.b64decode(token, validate=True).decode('utf-8', 'replace')
            # XOAUTH2: "user=somebody^Aauth=Bearer token^A^A".
            parts = [re.sub(r'^(user=|auth=Bearer )', '', part) for part in re.split(r'[\0\1]+', decoded)]
            self.add(secrets=[decoded, *parts])

    def apply(self, text: str) -> str:
        """Return the text with `…` in place of each of them."""
        if not (self._logins or self._secrets) or not text:
            return text
        if self._pattern is None:
            self._pattern = self._compile()
        return self._pattern.sub(MASK, text)

    # --- what is looked for

    def _compile(self) -> re.Pattern:
        # The longest first: a part of it must not hide the rest.
        forms = sorted(self._forms().items(), key=lambda item: len(item[0]), reverse=True)
        return re.compile('|'.join(self._as_pattern(form, *options) for form, options in forms))

    @staticmethod
    def _as_pattern(form: str, ignore_case: bool, is_word: bool) -> str:
        glue = r'\s?' if len(form) >= LONG else ''
        pattern = glue.join(re.escape(char) for char in form)
        if is_word or len(form) < SHORT:
            # Not in the middle of another word, nor a part of a domain.
            pattern = rf'(?<![^\W\d_])(?<!@){pattern}(?![^\W\d_])'
        return f'(?i:{pattern})' if ignore_case else pattern

    def _forms(self) -> dict[str, tuple[bool, bool]]:
        """:return: what is looked for -> (whether its case does not matter, whether it must be a word of its own)"""
        logins = {variant for login in self._logins for variant in self._name_variants(login)}
        known = {login.lower() for login in logins}
        # What was sent has the login in it too.
        secrets = {secret for secret in self._secrets if secret.lower() not in known}
        forms = {local: (True, True) for login in logins if (local := self._get_telling_local_part(login))}
        forms |= {login: (True, '@' not in login and len(login) < LONG) for login in logins}
        forms |= dict.fromkeys(secrets, (False, False))
        for text, (ignore_case, is_word) in list(forms.items()):
            for other in (urllib.parse.quote(text), urllib.parse.quote(text, safe=''), urllib.parse.quote_plus(text)):
                # Letters of hexadecimal digits come large and small.
                forms.setdefault(other, (True, is_word))
            for other in (html.escape(text), clean(text)):
                forms.setdefault(other, (ignore_case, is_word))
        texts = logins | secrets | {
            joined for login in logins for secret in secrets
            for joined in (f'\0{login}\0{secret}', f'{login}\0{login}\0{secret}', f'{login}:{secret}')}
        for text in texts:
            for encoded in self._encode(text):
                forms.setdefault(encoded, (False, False))
        return {form: options for form, options in forms.items() if form.strip()}

    @staticmethod
    def _name_variants(login: str) -> set[str]:
        """The login as it is, and with its domain as it is written and as it is sent."""
        variants = {login}
        local, at, domain = login.rpartition('@')
        if at:
            with contextlib.suppress(UnicodeError):
                variants.add(f"{local}@{domain.encode('idna').decode()}")
            with contextlib.suppress(UnicodeError):
                variants.add(f"{local}@{domain.encode().decode('idna')}")
        return variants

    @staticmethod
    def _get_telling_local_part(login: str) -> str:
        """The local part, where it tells who logs in: not of a role that stands on every mail anyway."""
        local, at, _domain = login.rpartition('@')
        return local if at and len(local) >= SHORT and local.lower() not in ROLES else ''

    @staticmethod
    def _encode(text: str) -> set[str]:
        encoded = base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode()
        # Of a word of two letters it is a word of four.
        return {encoded, encoded.rstrip('=')} if len(text) >= 3 else set()
