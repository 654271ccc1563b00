"""Where tests find the SMTP server and the certificates of the development environment.

The addon's tests need nothing of dev/ but these two, and skip visibly what they cannot do without them.
"""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent

os.environ.setdefault("DUNNING_TEST_SMTPD", str(ROOT / "dev" / "smtpd.py"))
os.environ.setdefault("DUNNING_TEST_CERTS", str(ROOT / ".dev" / "certs"))
