"""Installing, upgrading and uninstalling, as an administrator does it on the command line, with the demo's data."""

import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATABASE = "test-lifecycle"
FILL = """
import json, sys
sys.path.insert(0, {dev!r})
import demo_data
demo_data.build(env, {{"host": "smtp.example", "port": 587, "user": "dunning", "password": "secret-of-the-demo"}})
env["dunning.level.text"].search([], limit=1).letter_title = "Words of our own"
env["res.partner"].create({{"name": "Letters", "type": "dunning", "parent_id": env["res.partner"].search(
    [("ref", "=", "K10003")]).id}})
run = env["dunning.run"].create({{}})
run.action_generate_notices()
run.action_print_and_send()
env.cr.commit()
"""
FACTS = """
import json
notices = env["dunning.notice"].search([], order="id")
print("FACTS", json.dumps({
    "documents": {notice.document_id.id: notice.document_sha256 for notice in notices if notice.document_id},
    "partners": {notice.document_id.id: notice.partner_id.id for notice in notices if notice.document_id},
    "states": [[notice.name, notice.state, notice.delivery_state] for notice in notices],
    "levels": [[line.id, line.dunning_level_id.sequence, str(line.dunning_last_date)]
               for line in env["account.move.line"].search([("dunning_level_id", "!=", False)], order="id")],
    "texts": sorted(env["dunning.level.text"].search([]).mapped("letter_title")),
}))
"""
AFTERWARDS = """
import hashlib, json
attachments = env["ir.attachment"].browse({documents})
print("FACTS", json.dumps({{
    "documents": {{a.id: hashlib.sha256(a.raw).hexdigest() for a in attachments.exists()}},
    "partners": {{a.id: a.res_id for a in attachments.exists() if a.res_model == "res.partner"}},
    "servers": env["ir.mail_server"].with_context(active_test=False).search([]).mapped(
        lambda server: [server.active, server.smtp_host, server.smtp_user, server.smtp_pass]),
    "address_types": env["res.partner"].search([("name", "=", "Letters")]).mapped("type"),
    "left": sorted(
        name for table in ("ir_model", "ir_model_fields", "ir_cron", "ir_ui_menu", "ir_ui_view", "ir_act_report_xml")
        for name in env.execute_query(odoo.tools.SQL(
            "SELECT to_jsonb(t)::text FROM %s t WHERE to_jsonb(t)::text ILIKE %s",
            odoo.tools.SQL.identifier(table), "%dunning%"))),
    "tables": [name for [name] in env.execute_query(odoo.tools.SQL(
        "SELECT relname FROM pg_class WHERE relname LIKE 'dunning%%' AND relkind = 'r'"))],
    "columns": [name for [name] in env.execute_query(odoo.tools.SQL(
        "SELECT column_name FROM information_schema.columns WHERE column_name LIKE '%%dunning%%'"))],
}}))
"""


def odoo(*arguments, script=None):
    """Run Odoo's command line. A fault in its log is one, whatever its exit status says."""
    finished = subprocess.run(
        [ROOT / "dev" / "odoo", *arguments], input=script, text=True, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    log = finished.stdout + finished.stderr
    faults = re.findall(r"^[-\d]+ [\d:,]+ \d+ (?:WARNING|ERROR|CRITICAL) .*(?:\n(?![-\d]+ [\d:,]+ \d+ ).*)*", log, re.M)
    assert finished.returncode == 0, log[-6000:]
    assert faults == []
    return log


def shell(script):
    log = odoo("shell", "-d", DATABASE, "--no-http", script=script)
    facts = re.findall(r"FACTS (\{.*\})$", log, re.M)
    return json.loads(facts[-1]) if facts else None


@pytest.fixture(scope="module")
def before():
    subprocess.run([ROOT / "dev" / "newdb", DATABASE], check=True, capture_output=True, timeout=600)
    shell(FILL.format(dev=str(ROOT / "dev")))
    facts = shell(FACTS)
    assert len(facts["documents"]) > 10
    assert len(facts["levels"]) > 3
    # What is looked for after uninstalling is there before.
    there = shell(AFTERWARDS.format(documents=[]))
    assert there["tables"] and there["columns"] and len(there["left"]) > 100
    assert [True for server in there["servers"] if server[1] == "smtp.example"]
    return facts


def test_upgrade_keeps_all(before):
    odoo("-d", DATABASE, "-u", "dunning_mail", "--stop-after-init", "--no-http")
    assert shell(FACTS) == before
    assert "Words of our own" in before["texts"]


def test_uninstall_and_install_again(before):
    odoo("module", "uninstall", "-d", DATABASE, "dunning_mail")
    after = shell(AFTERWARDS.format(documents=[int(key) for key in before["documents"]]))
    assert after["documents"] == before["documents"]
    assert after["partners"] == before["partners"]
    assert [server for server in after["servers"] if server != [False, False, False, False]] == []
    assert len(after["servers"]) == 1
    assert after["address_types"] == ["other"]
    assert (after["tables"], after["columns"], after["left"]) == ([], [], [])
    odoo("module", "install", "-d", DATABASE, "dunning_mail")
    assert shell(FACTS)["documents"] == {}
