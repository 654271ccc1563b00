"""An addon of somebody else's beside ours, in a database of its own and run by Odoo's own test runner."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATABASE = "test-extension"


def test_extension():
    subprocess.run([ROOT / "dev" / "newdb", DATABASE], check=True, capture_output=True, timeout=600)
    finished = subprocess.run(
        [ROOT / "dev" / "odoo", "-d", DATABASE, f"--addons-path={ROOT},{ROOT / 'dev' / 'addons'}",
         "-i", "dunning_mail_test", "--test-tags=/dunning_mail_test", "--stop-after-init", "--max-cron-threads=0",
         "--http-port=0"],
        text=True, capture_output=True, timeout=600, check=False)  # fmt: skip
    log = finished.stdout + finished.stderr
    assert finished.returncode == 0, log[-6000:]
    found = re.search(r"0 failed, 0 error\(s\) of (\d+) tests", log)
    assert found and int(found[1]) >= 8, log[-3000:]
