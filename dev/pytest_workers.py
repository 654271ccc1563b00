"""For pytest: each process of tests that run side by side has files of its own, as it has a database of its own.

pytest-odoo has them share the files. Tests damage and delete some, and documents of two processes can be the same
to the byte, and so one file.
"""

import os
import shutil

import pytest

from odoo.tools import config


@pytest.fixture(scope="session", autouse=True)
def own_filestore(load_registry):
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if not worker:
        yield
        return
    shared = config.filestore.return_value
    own = f"{shared}-{worker}"
    shutil.rmtree(own, ignore_errors=True)
    if os.path.isdir(shared):
        # Odoo never changes a stored file, it only adds and removes.
        shutil.copytree(shared, own, copy_function=os.link)
    config.filestore.return_value = own
    yield
    config.filestore.return_value = shared
    shutil.rmtree(own, ignore_errors=True)
