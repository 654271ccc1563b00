"""Installing, upgrading and uninstalling, as an administrator does it on the command line, with the demo's data."""

import datetime
import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATABASE = "test-lifecycle"
# One day for all, though midnight passes, here or in Zürich.
TODAY = datetime.date.today()
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
# What users and administrators make around it in the course of the years.
SURROUND = """
notice = env["dunning.notice"].search([("name", "!=", False)], limit=1)
company = env["res.company"].create({"name": "Second company", "country_id": env.ref("base.ch").id})
Sequence = env["ir.sequence"]
# One of their own for a company, and the common one as somebody likes it better.
Sequence.create({"name": "Ours", "code": "dunning.notice", "prefix": "OUR/", "padding": 3, "company_id": company.id})
common = env.ref("dunning_mail.sequence_dunning_notice")
common.write({"prefix": "LATE/%(range_year)s/", "padding": 6})
for made_for, day, count in (
        (env.company, "2026-05-05", 7), (env.company, "2025-05-05", 3), (company, "2026-05-05", 4)):
    env["dunning.notice"]._draw_numbers(made_for, odoo.fields.Date.to_date(day), count)
env["ir.filters"].create([
    {"name": "Mine", "model_id": "dunning.notice"},
    {"name": "Held", "model_id": "res.partner", "domain": "[('dunning_hold_until', '!=', False)]"},
    {"name": "By level", "model_id": "account.move", "context": "{'group_by': ['dunning_level_id']}"}])
env["ir.default"].set("dunning.run", "user_id", env.uid)
env["ir.default"].set("res.partner", "dunning_channel", "paper")
env["ir.config_parameter"].set_param("dunning_mail.smtp_timeout", "20")
models = {name: env["ir.model"]._get_id(name) for name in ("dunning.notice", "dunning.run", "res.partner")}
env["ir.cron"].create({
    "name": "Nightly", "model_id": models["dunning.run"], "state": "code", "code": "model.search([])"})
env["ir.actions.server"].create({
    "name": "Do it", "model_id": models["dunning.notice"], "binding_model_id": models["dunning.notice"],
    "state": "code", "code": "records"})
for resource, name in (("dunning.notice", "name"), ("res.partner", "dunning_hold_until")):
    env["ir.exports"].create({"name": "Mine", "resource": resource, "export_fields": [(0, 0, {"name": name})]})
env["ir.ui.view"].create({
    "name": "own", "model": "dunning.notice", "inherit_id": env.ref("dunning_mail.dunning_notice_view_form").id,
    "arch": "<sheet position='before'><div/></sheet>"})
env["ir.ui.view"].create({
    "name": "own", "model": "res.partner", "inherit_id": env.ref("account.view_partner_property_form").id,
    "arch": "<sheet position='before'><field name='dunning_channel'/></sheet>"})
env["ir.ui.view"].create({"name": "own", "model": "dunning.run", "type": "list",
                          "arch": "<list><field name='name'/></list>"})
window = env["ir.actions.act_window"].create({"name": "Mine", "res_model": "dunning.notice"})
env["ir.ui.menu"].create({"name": "Mine", "action": f"ir.actions.act_window,{window.id}"})
env["ir.ui.menu"].create({
    "name": "Below theirs", "parent_id": env.ref("dunning_mail.dunning_mail_menu_configuration").id})
env["ir.ui.view.custom"].create({
    "user_id": env.uid, "ref_id": env.ref("dunning_mail.dunning_notice_view_list").id, "arch": "<list/>"})
env["ir.rule"].create({"name": "Mine", "model_id": models["dunning.notice"], "domain_force": "[]"})
env["ir.model.access"].create({"name": "Mine", "model_id": models["dunning.run"], "perm_read": True})
env["mail.template"].create({"name": "Mine", "model_id": models["dunning.notice"], "body_html": "<p>x</p>"})
env["mail.message.subtype"].create({"name": "Mine", "res_model": "dunning.notice"})
kind = env["mail.activity.type"].create({"name": "Mine", "res_model": "dunning.notice"})
notice.activity_schedule(activity_type_id=kind.id, user_id=env.uid)
notice.activity_schedule("mail.mail_activity_data_todo", user_id=env.uid)
notice.activity_schedule("dunning_mail.mail_activity_failed", user_id=env.uid)
run.activity_schedule("mail.mail_activity_data_todo", user_id=env.uid)
run.activity_ids.action_feedback("done", attachment_ids=[])
notice.message_post(body="Hello", attachments=[("answer.txt", b"x")], message_type="comment")
notice.message_subscribe(partner_ids=env.user.partner_id.ids)
env["ir.attachment"].create({"name": "x.txt", "raw": b"x", "res_model": "dunning.run", "res_id": run.id})
item = notice.line_ids.move_line_id[:1]
env["dunning.promise"]._make(item, [(odoo.fields.Date.today(), 1.0)]).activity_schedule(
    "dunning_mail.mail_activity_promise", user_id=env.uid)
dispute = env["dunning.dispute"].create({
    "item_ids": [(6, 0, item.ids)], "amount": 1.0, "reason_id": env.ref("dunning_mail.dispute_reason_price").id,
    "file": "eA==", "file_name": "x.txt"})
dispute.message_post(body="Hello", attachments=[("answer.txt", b"x")], message_type="comment")
env["res.partner"].search([("ref", "=", "K10003")]).dunning_procedure_id = env["dunning.procedure"].search([], limit=1)
env["res.partner"].search([("ref", "=", "K10003")]).dunning_debtor_kind = "consumer"
german = env.ref("dunning_mail.interest_profile_de")
german.rate_ids[0].rate = 7
german.rate_ids[1].unlink()
env.ref("dunning_mail.interest_profile_eu").unlink()
env.company.dunning_interest_profile_id = env["dunning.procedure"].search([], limit=1).interest_profile_id = german
env.cr.commit()
"""
NUMBERS = """
import json
day = odoo.fields.Date.to_date
second = env["res.company"].search([("name", "=", "Second company")])
print("FACTS", json.dumps({"numbers": [
    env["dunning.notice"]._draw_numbers(company, day(date), 1)[0] for company, date in (
        (env.company, "2026-05-05"), (env.company, "2025-05-05"), (second, "2026-05-05"))],
    "runs": env["ir.sequence"].search_count([("code", "=", "dunning.run")]),
    "sequences": env["ir.sequence"].search_count([("code", "=", "dunning.notice")])}))
env.cr.rollback()
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
    "profiles": {profile.name: [str(profile.rates_until), str(profile.rates_installed_until), [
        [str(row.date_from), row.rate] for row in profile.rate_ids]]
        for profile in env["dunning.interest.profile"].search([])},
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
    "menus": env["ir.ui.menu"].with_context(active_test=False, **{{"ir.ui.menu.full_list": True}}).search_count(
        [("name", "in", ("Mine", "Below theirs"))]),
    "attachments": [name for [name] in env.execute_query(odoo.tools.SQL(
        "SELECT name FROM ir_attachment t"
        " WHERE to_jsonb(t)::text ILIKE %s AND res_model IS DISTINCT FROM 'res.partner'",
        "%dunning%"))],
    # Every table, whatever its columns are called.
    "left": {{
        table: rows for [table] in env.execute_query(odoo.tools.SQL(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname = current_schema() ORDER BY 1"))
        if (rows := [row for [row] in env.execute_query(odoo.tools.SQL(
            "SELECT to_jsonb(t)::text FROM %s t WHERE to_jsonb(t)::text ILIKE %s LIMIT 200",
            odoo.tools.SQL.identifier(table), "%dunning%"))])}},
    "tables": [name for [name] in env.execute_query(odoo.tools.SQL(
        "SELECT relname FROM pg_class WHERE relname LIKE 'dunning%%' AND relkind = 'r'"))],
    "columns": [name for [name] in env.execute_query(odoo.tools.SQL(
        "SELECT column_name FROM information_schema.columns WHERE column_name LIKE '%%dunning%%'"))],
}}))
"""


# Notices in every state, made by the last version's own methods.
STATES = """
import json, sys
from datetime import date, timedelta
from freezegun import freeze_time
sys.path.insert(0, {dev!r})
import demo_data
# What it knew nothing of.
demo_data.LAWS = {{}}
demo_data.CUSTOMERS = [customer for customer in demo_data.CUSTOMERS if "law" not in customer[-1]]
demo_data.build(env, {{"host": "127.0.0.1", "port": 1, "user": "dunning", "password": "secret-of-the-demo"}})
company = env.company
journal = env["account.journal"].search([("type", "=", "sale"), ("company_id", "=", company.id)], limit=1)
today = date.fromisoformat("{today}")

def customer(name):
    partner = env["res.partner"].create({{
        "name": name, "is_company": True, "email": name.replace(" ", "") + "@customer.example", "street": "Weg 1",
        "zip": "3000", "city": "Bern", "country_id": env.ref("base.ch").id}})
    move = env["account.move"].create({{
        "move_type": "out_invoice", "partner_id": partner.id, "invoice_date": today - timedelta(days=120),
        "invoice_date_due": today - timedelta(days=90), "invoice_payment_term_id": False,
        "invoice_line_ids": [(0, 0, {{"name": "x", "quantity": 1, "price_unit": 100, "tax_ids": [(5, 0, 0)]}})]}})
    move.invoice_date_due = today - timedelta(days=90)
    move.action_post()
    return partner

names = ["draft", "excluded", "cancelled draft", "released", "handed over", "paper", "printed", "sending", "sent",
         "sent long ago", "failed", "bounced", "unclear", "cancelled", "trial", "again", "again released", "taken out"]
partners = {{name: customer(name) for name in names}}
move = env["account.move"].search([("partner_id", "=", partners["taken out"].id)])
other = move.copy({{"invoice_date": move.invoice_date}})
other.invoice_date_due = move.invoice_date_due
other.action_post()

for level, fee, method in zip(env.ref("dunning_mail.procedure_standard").level_ids.sorted("sequence"), (10, 5),
                              ("single", "cumulated")):
    level.write({{"fee_amount": fee, "fee_method": method}})

def run_for(*wanted, days_ago=0, issue=True):
    with freeze_time(f"{{today - timedelta(days=days_ago)}} 10:00:00"):
        run = env["dunning.run"].create({{
            "date": today - timedelta(days=days_ago),
            "partner_ids": [(6, 0, [partners[name].id for name in wanted])]}})
        run.action_generate_notices()
        if issue:
            run.action_print_and_send()
        env.flush_all()
    return {{notice.partner_id.name: notice for notice in run.notice_ids}}

def move_to(notice, *states, **values):
    for state in states:
        assert notice._set_delivery(state, state), (notice.partner_id.name, state)
    notice.write(values)

# Level 1, on paper and by mail, a while ago.
for name in ("again", "again released", "taken out"):
    notice = run_for(name, days_ago=40)[name]
    move_to(notice, "sending", "sent", sent_at=f"{{today - timedelta(days=40)}} 23:30:00",
            message_id=f"<{{name[-1]}}@x.example>")
run_for("draft", "excluded", "cancelled draft", issue=False)["excluded"].action_exclude()
drafts = env["dunning.notice"].search([("state", "=", "draft")])
drafts.filtered(lambda notice: notice.partner_id.name == "cancelled draft")._cancel("Not wanted")
partners["paper"].dunning_channel = partners["printed"].dunning_channel = "paper"
env["res.company"].create([{{"name": "Branch", "parent_id": env.company.id}}, {{"name": "Gone"}}])[1].active = False
held = env["res.partner"].create({{
    "name": "held", "dunning_hold_until": "2035-01-31", "dunning_hold_reason": "Instalments", "email": "h@x.example"}})
notices = run_for("released", "handed over", "paper", "printed", "sending", "sent", "failed", "bounced", "unclear",
                  "cancelled", "trial", "again released")
long_ago = run_for("sent long ago", days_ago=20)["sent long ago"]
now = f"{{today}} 09:00:00"
mailed = dict(message_id="<m@x.example>", claimed_at=now, handover_at=now)
eml = b"From: a@x.example\\r\\nMessage-Id: <m@x.example>\\r\\nSubject: x\\r\\n\\r\\ntext\\r\\n"
for name in ("handed over", "sending", "sent", "failed", "bounced", "unclear", "trial"):
    notices[name].mail_document_id = env["ir.attachment"].create({{
        "name": "m.eml", "raw": eml, "res_model": "dunning.notice", "res_id": notices[name].id}})
move_to(notices["handed over"], "sending", "released", **mailed)
with freeze_time(now):
    notices["printed"].action_mark_printed()
    env.flush_all()
move_to(notices["sending"], "sending", **dict(mailed, handover_at=False))
move_to(notices["sent"], "sending", "sent", sent_at=now, **mailed)
env["dunning.delivery.log"].create({{
    "notice_id": notices["sent"].id, "stage": "bounce", "code": "5.1.1", "state_from": "sent", "state_to": "sent",
    "message_id": "<m@x.example>", "text": "The mail came back: %s failed 5.1.1; b@x.example failed" % (
        notices["sent"].email_to or "-")}})
move_to(long_ago, "sending", "sent", sent_at=f"{{today - timedelta(days=19)}} 23:30:00")
move_to(notices["failed"], "sending", "failed")
move_to(notices["bounced"], "sending", "sent", "failed", sent_at=now, **mailed)
move_to(notices["unclear"], "sending", "unclear", **mailed)
notices["cancelled"].action_cancel()
move_to(notices["trial"], "sending", "sent", sent_at=now, redirected_to="me@x.example", **mailed)
# Settled since, and a fee that a person left out.
env["account.move"].search([("partner_id", "=", partners["sent long ago"].id)])._reverse_moves(cancel=True)
run_for("again", issue=False)
drafts.filtered(lambda notice: notice.partner_id.name == "draft").amount_fee = 0
run_for("taken out", issue=False)["taken out"].line_ids[0].action_take_out()
# A file that is not the run's own, and a time zone that is none.
notices["sent"].run_id.letters_id = env["ir.attachment"].create(
    {{"name": "salaries.pdf", "raw": b"secret", "res_model": "res.company", "res_id": env.company.id}})
# Views as an administrator changes them: one that updates leave alone from then on, and one of their own.
name = "view_dunning_procedure_list"
view = env.ref("dunning_mail." + name)
view.arch = view.arch.replace("<list ", "<list class='o_our_own' ")
env["ir.model.data"].search([("module", "=", "dunning_mail"), ("name", "=", name)]).noupdate = True
env["ir.ui.view"].create({{
    "name": "our own", "model": "dunning.notice", "inherit_id": env.ref("dunning_mail.view_dunning_notice_form").id,
    "arch": "<sheet position='before'><div class='o_our_own'/></sheet>"}})
env.user.tz = "Europe/Zurich"
env.flush_all()
env.cr.execute("UPDATE res_partner SET tz = 'No/Where' WHERE id = %s", [env.company.partner_id.id])
# What an administrator has chosen.
env.ref("account.account_invoices").pdf_engine = "weasyprint"
env.ref("account.action_account_original_vendor_bill").pdf_engine = "plutoprint"
env.ref("dunning_mail.report_letter").write({{"pdf_engine": "wkhtmltopdf", "archive_generated": False}})
# A letter that somebody has shared before it left, and a step of a person's.
env.cr.execute("UPDATE ir_attachment SET public = TRUE, access_token = 'shared' WHERE id = %s",
               [notices["paper"].document_id.id])
env.cr.execute("UPDATE dunning_delivery_log SET user_id = %s WHERE notice_id = %s",
               [env.ref("base.user_admin").id, notices["printed"].id])
env.cr.commit()
"""
STATE_FACTS = """
import json
notices = env["dunning.notice"].search([("partner_id.email", "like", "@customer.example")], order="id")
print("FACTS", json.dumps({
    "engines": {name: [env.ref(name).pdf_engine, env.ref(name).archive_generated] for name in (
        "account.account_invoices", "account.action_account_original_vendor_bill",
        "account.account_invoices_without_payment", "dunning_mail.report_letter")},
    "notices": [[notice.id, notice.partner_id.name, notice.name, notice.state, notice.delivery_state, str(notice.date),
                 str(notice.date_deadline), notice.level_id.sequence,
                 # Earlier fees were part of the fee.
                 notice.amount_fee + (notice.amount_earlier if "amount_earlier" in notice else 0), notice.amount_total,
                 notice.payment_reference, notice.lang,
                 notice.is_counted, notice.is_open, notice.document_id.id, notice.document_sha256, notice.message_id,
                 notice.run_id.id, notice.company_id.id, notice.user_id.id, len(notice.delivery_log_ids)]
                for notice in notices],
    "lines": [[line.id, line.kind, line.amount_residual, line.is_reserved, line.previous_level_id.id,
               str(line.previous_date) if line.notice_id.is_counted else ""] for line in notices.line_ids.sorted("id")
              # What a fee becomes.
              if line.kind != "charge"],
}))
"""
RECORDS = """
import json
print("FACTS", json.dumps({data.name: [data.model, data.res_id] for data in env["ir.model.data"].search([
    ("module", "=", "dunning_mail"), ("model", "in", (
        "ir.actions.act_window", "ir.actions.server", "ir.rule", "ir.ui.menu", "ir.ui.view"))])}))
"""
INDEXES = """
import json
print("FACTS", json.dumps({name: definition for name, definition in env.execute_query(odoo.tools.SQL(
    "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'dunning%%'"))}))
"""
NEW_FACTS = """
import json
by_name = {}
for notice in env["dunning.notice"].search([("partner_id.email", "like", "@customer.example")], order="id"):
    by_name.setdefault(notice.partner_id.name, []).append(notice)
drafts = by_name["again"][1]
verdicts = env["dunning.notice"].browse([notice.id for found in by_name.values() for notice in found
    if notice.state in ("draft", "issued") and not notice._has_left()])._recheck()
print("FACTS", json.dumps({
    "kinds": sorted({notice.kind for found in by_name.values() for notice in found}),
    "left": {name: [str(notice.date_left or "") for notice in found] for name, found in by_name.items()},
    "previous": {name: found[1].line_ids.previous_notice_id.ids == found[0].ids
                 for name, found in by_name.items() if len(found) > 1},
    "verdicts": {env["dunning.notice"].browse(key).partner_id.name: [verdict.code, verdict.words]
                 for key, verdict in verdicts.items()},
    "texts": {name: bool(found[-1].text_version_id) for name, found in by_name.items()},
    "bodies": {name: bool(found[-1].mail_body) for name, found in by_name.items()},
    "letters": env["dunning.run"].search_count([("letters_id", "!=", False)]),
    "foreign": env["ir.attachment"].search_count([("name", "=", "salaries.pdf")]),
    "mails": {name: bool(found[-1].mail_document_id) for name, found in by_name.items()},
    "previous_dates": {
        name: str(found[1].due_line_ids.previous_date) for name, found in by_name.items() if len(found) > 1},
    "taken_out": [
        [exception.line_values.get("previous_date"), exception.line_values.get("previous_notice_id"),
         by_name["taken out"][0].id]
        for exception in env["dunning.run.exception"].search([("reason", "=", "taken_out")])],
    "names": {name: (found[-1].snapshot or {}).get("source") and [found[-1].snapshot[key] for key in (
        "source", "customer", "level")] + [found[-1].snapshot["address"][-1]] for name, found in by_name.items()},
    "log_names": [
        sorted(set(by_name["printed"][-1].delivery_log_ids.mapped("user_name"))) == [
            env.ref("base.user_admin").name],
        all(log.provider_name == log.provider_id.name for log in env["dunning.delivery.log"].search([
            ("provider_id", "!=", False)]))],
    "mail_standing": {name: found[-1]._read_kept("mail_document_id")[1] for name, found in by_name.items()},
    "shared": env["ir.attachment"].search_count([
        ("id", "in", env["dunning.notice"].search([]).document_id.ids), "|", ("public", "=", True),
        ("access_token", "!=", False)]),
    "reports": [[report.notice_id.partner_id.name, report.address == report.notice_id.email_to, report.action,
                 report.status, report.is_ours, report.is_proven]
                for report in env["dunning.notice.report"].search([])],
    "charges": {name: [[charge.kind, charge.amount, charge.amount_waived, charge.state, charge.reason]
                       for notice in found for charge in notice.charge_ids] for name, found in by_name.items()},
    "booking": [sorted(set(env["res.company"].search([]).mapped("dunning_charge_booking"))), all(
        charge.amount_left == (charge.amount if charge.state == "claimed" else 0) and not charge.amount_paid
        and not charge.is_booked_at_issue for charge in env["dunning.charge"].search([]))],
    "asked": all(notice.amount_fee + notice.amount_earlier == sum(notice.charge_line_ids.mapped("amount_residual"))
                 for found in by_name.values() for notice in found),
    "earlier": [[line.charge_id.notice_id == by_name["again"][0], line.amount_residual, drafts.amount_fee,
                 drafts.amount_earlier] for line in drafts.charge_line_ids if line.charge_id.notice_id != drafts],
    "touched": [(found[1]._judge_fees_anew(), found[1].amount_total)[1] for found in (
        by_name["again"], by_name["taken out"])],
    "fees": [[fee.level_id.sequence, fee.currency_id.name, fee.debtor, fee.fixed, fee.level_id.fee_method]
             for fee in env["dunning.level.fee"].search([])],
    "minimum": env.company.dunning_min_amount,
    "engine_owners": sorted(set(env["ir.model.data"].search([
        "|", ("name", "=", "field_ir_actions_report__pdf_engine"),
        ("name", "=like", "selection__ir_actions_report__pdf_engine__%")]).mapped("module"))),
    "engine_installed": env["ir.module.module"].search([("name", "=", "report_pdf_engine")]).state,
    "profiles": {name: [profile.name, profile.country_ids.mapped("code"), str(profile.rates_until or ""), len(
        profile.rate_ids)] for name in ("de", "at", "ch", "eu")
        for profile in [env.ref(f"dunning_mail.interest_profile_{name}")]},
    "profile_chosen": bool(env["res.company"].search([("dunning_interest_profile_id", "!=", False)])
                           or env["dunning.procedure"].search([("interest_profile_id", "!=", False)])),
    "in_use": all(env["dunning.level"].search([]).mapped("is_in_use")),
    "said": {partner.name: sorted({
        str([said.dunning_channel, str(said.dunning_hold_until or ""), said.dunning_hold_reason])
        for said in map(partner.with_company, env["res.company"].with_context(active_test=False).search([]))})
        for partner in env["res.partner"].search([("name", "in", ("paper", "sent", "held"))])},
    "companies": env["res.company"].with_context(active_test=False).search_count([]),
    "our_own": {name: "o_our_own" in env[name].get_view(view_type=view_type)["arch"]
                for name, view_type in (("dunning.procedure", "list"), ("dunning.notice", "form"))},
}))
"""


def extract_last_version(folder):
    """Return the folder with the addon as it was in the last version, None where the history is not at hand."""
    manifest = "dunning_mail/__manifest__.py"

    def git(*arguments):
        finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
        return finished.stdout if finished.returncode == 0 else None

    def read_version(text):
        return re.search(rb'"version": "([\d.]+)"', text)[1] if text else None

    now = read_version((ROOT / manifest).read_bytes())
    # From the newest commit on: the last one that bears another version.
    for commit in (git("rev-list", "--first-parent", "HEAD") or b"").decode().split():
        then = read_version(git("show", f"{commit}:{manifest}"))
        if then and then != now:
            archive = git("archive", commit, "dunning_mail")
            break
    else:
        return None
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


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


def shell(script, *arguments, database=DATABASE):
    log = odoo("shell", "-d", database, "--no-http", *arguments, script=script)
    facts = re.findall(r"FACTS (\{.*\})$", log, re.M)
    return json.loads(facts[-1]) if facts else None


@pytest.fixture(scope="module")
def before():
    subprocess.run([ROOT / "dev" / "newdb", DATABASE], check=True, capture_output=True, timeout=600)
    shell(FILL.format(dev=str(ROOT / "dev")) + SURROUND)
    facts = shell(FACTS)
    assert len(facts["documents"]) > 10
    assert len(facts["levels"]) > 3
    # What is looked for after uninstalling is there before.
    there = shell(AFTERWARDS.format(documents=[]))
    assert there["tables"] and there["columns"] and len(there["left"]) > 30
    assert [True for server in there["servers"] if server[1] == "smtp.example"]
    return facts


def test_upgrade_keeps_all(before):
    odoo("-d", DATABASE, "-u", "dunning_mail", "--stop-after-init", "--no-http")
    assert shell(FACTS) == before
    assert "Words of our own" in before["texts"]
    # A profile and a rate that were deleted stay so, and a rate that was changed what it is.
    assert len(before["profiles"]) == 3
    rates = dict(before["profiles"]["Germany: base rate"][2])
    assert rates["2026-07-01"] == 7 and "2026-01-01" not in rates and len(rates) > 30


# What stays by intention, or is none of the addon's.
MAY_STAY = {
    "ir_attachment",  # the documents that were handed to the customers
    "ir_mail_server",  # without host, login and password
    "ir_module_module", "ir_module_module_dependency", "ir_module_module_exclusion",  # that there is such an addon
    "ir_sequence",  # numbers go on where they were
    "mail_tracking_value",  # what the chatter of customers says of the past
}  # fmt: skip


def assert_only_documents_are_left(before, database=DATABASE):
    """After uninstalling, customers have the bytes of their documents, and no table says anything of the addon."""
    after = shell(AFTERWARDS.format(documents=[int(key) for key in before["documents"]]), database=database)
    assert after["documents"] == before["documents"]
    assert after["partners"] == before["partners"]
    assert [server for server in after["servers"] if server != [False, False, False, False]] == []
    assert len(after["servers"]) == 1
    assert (after["tables"], after["columns"]) == ([], [])
    left = {table: rows for table, rows in after["left"].items() if table not in MAY_STAY}
    # What an administrator built into another model's screen is hers, and rests.
    assert {(view["model"], view["active"]) for view in map(json.loads, left.pop("ir_ui_view", []))} <= {
        ("res.partner", False)}  # fmt: skip
    # That there is such an addon.
    assert [json.loads(row)["name"] for row in left.pop("ir_model_data")] == ["module_dunning_mail"]
    assert left == {}
    assert (after["attachments"], after["menus"]) == ([], 0)
    return after


def test_uninstall_and_install_again(before):
    numbers = shell(NUMBERS)
    odoo("module", "uninstall", "-d", DATABASE, "dunning_mail")
    after = assert_only_documents_are_left(before)
    assert after["address_types"] == ["other"]
    assert len(after["left"]["ir_ui_view"]) == 1
    odoo("module", "install", "-d", DATABASE, "dunning_mail")
    assert shell(FACTS)["documents"] == {}
    # Customers keep their letters: numbers go on where they were, and none is given a second time.
    again = shell(NUMBERS)
    assert (again["runs"], again["sequences"]) == (numbers["runs"], numbers["sequences"]) == (1, 2)
    split = [[name.rpartition("/") for name in found["numbers"]] for found in (numbers, again)]
    for (prefix, _slash, last), (prefix_now, _slash, first) in zip(*split, strict=True):
        assert (prefix_now, int(first)) == (prefix, int(last) + 1)


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory):
    """What notices in every state were before and after the upgrade from the last version."""
    folder = extract_last_version(tmp_path_factory.mktemp("last"))
    if folder is None:
        pytest.skip("the history with the last version is not at hand")
    database = "test-upgrade"
    subprocess.run(
        [ROOT / "dev" / "newdb", "--without-addon", database], check=True, capture_output=True,
        timeout=600)  # fmt: skip
    last = f"--addons-path={folder}"
    odoo("-d", database, last, "-i", "dunning_mail", "--stop-after-init", "--no-http")
    shell(STATES.format(dev=str(ROOT / "dev"), today=TODAY), last, database=database)
    old = shell(STATE_FACTS, last, database=database)
    records = [shell(RECORDS, last, database=database)]
    odoo("-d", database, "-u", "dunning_mail", "--stop-after-init", "--no-http")
    records.append(shell(RECORDS, database=database))
    return old, shell(STATE_FACTS, database=database), {**shell(NEW_FACTS, database=database), "records": records}


def test_upgrade_from_the_last_version_keeps_notices(upgraded):
    old, new, _facts = upgraded
    assert len(old["notices"]) == 21
    assert new == old


def test_upgrade_keeps_the_engine_of_every_report(upgraded):
    """The field belongs to an addon of its own, which the upgrade brings along; what was chosen is as it was."""
    old, new, facts = upgraded
    assert new["engines"] == old["engines"]
    assert old["engines"]["account.account_invoices"] == ["weasyprint", False]
    assert old["engines"]["dunning_mail.report_letter"] == ["wkhtmltopdf", False]
    assert facts["engine_owners"] == ["report_pdf_engine"]
    assert facts["engine_installed"] == "installed"


def test_upgrade_keeps_reports_as_data(upgraded):
    _old, _new, facts = upgraded
    assert facts["reports"] == [["sent", True, "failed", "5.1.1", True, False]]


def test_upgrade_makes_charges_of_fees(upgraded):
    """What has left is claimed where an item is open, and lapses where none is; amounts stay what they were."""
    old, _new, facts = upgraded
    assert facts["fees"] == [[1, False, "all", 10, "single"], [2, False, "all", 5, "cumulated"]]
    assert facts["asked"]
    fees = {name: [charge[3:] for charge in charges] for name, charges in facts["charges"].items()}
    one = {name: states[-1][0] for name, states in fees.items()}
    assert {name for name, state in one.items() if state == "claimed"} == {"printed", "sent", "unclear"}
    # In the company's language.
    assert fees["sent long ago"] == [["lapsed", "Vor der Aktualisierung."]]
    assert {name for name, state in one.items() if state == "cancelled"} == {"cancelled", "cancelled draft"}
    assert {state for name, state in one.items() if name in (
        "draft", "excluded", "released", "handed over", "paper", "sending", "failed", "bounced", "trial")} == {"draft"}
    # The second notice asked for its own fee and for the first one's: that one is a charge of its own.
    assert [charge[:2] for charge in facts["charges"]["again"]] == [["fee", 10], ["fee", 5]]
    assert [state for state, _reason in fees["again"]] == ["claimed", "draft"]
    assert {notice[8] for notice in old["notices"] if notice[1] == "again"} == {10, 15}
    assert facts["earlier"] == [[True, 10, 5, 10]]
    # And it goes on asking for as much when it is judged anew.
    assert facts["touched"] == [
        [notice[9] for notice in old["notices"] if notice[1] == name][1] for name in ("again", "taken out")]
    assert facts["charges"]["draft"][0][:3] == ["fee", 0, 10]


def test_upgrade_books_nothing_by_itself(upgraded):
    """Charges were printed only, and are so until somebody says otherwise."""
    _old, _new, facts = upgraded
    assert facts["booking"] == [["print"], True]


def test_upgrade_leaves_the_minimum_amount(before, upgraded):
    """It is 5.00 where the addon is new, and what it was where it is not."""
    _old, _new, facts = upgraded
    assert facts["minimum"] == 0
    new = 'import json; print("FACTS", json.dumps({"minimum": env.company.dunning_min_amount}))'
    assert shell(new) == {"minimum": 5}


def test_upgrade_installs_interest_profiles(upgraded):
    """They are offered as after an installation, and nothing is claimed by them until somebody chooses one."""
    _old, _new, facts = upgraded
    profiles = facts["profiles"]
    assert {name: profile[1:] for name, profile in profiles.items() if name != "eu"} == {
        "de": [["DE"], "2026-12-31", 32], "at": [["AT"], "2026-12-31", 8], "ch": [["CH"], "", 0]}  # fmt: skip
    assert "FR" in profiles["eu"][1] and "DE" not in profiles["eu"][1] and profiles["eu"][2:] == ["2026-12-31", 14]
    assert not facts["profile_chosen"]


def test_upgrade_sets_how_long_things_rest(before, upgraded):
    """What is new is the same where the addon was there before."""
    days = """
import json
print("FACTS", json.dumps({"days": [
    env.company.dunning_promise_grace_days, env.company.dunning_answer_days, env.company.dunning_promise_max_lines,
    env["dunning.dispute.reason"].search_count([("company_id", "=", False)]),
    env.ref("dunning_mail.ir_cron_promise").active]}))
"""
    assert shell(days) == shell(days, database="test-upgrade") == {"days": [2, 5, 6, 8, True]}


def test_upgrade_renames_records(before, upgraded):
    """Views, actions, menus and rules are the same records under new names: nothing is deleted and made again."""
    _old, _new, facts = upgraded
    old, new = facts["records"]
    for name, name_now in (
        ("view_dunning_notice_form", "dunning_notice_view_form"),
        ("view_dunning_run_exception_search", "dunning_run_exception_view_search"),
        ("view_partner_form", "view_partner_property_form"),
        ("action_dunning_run", "dunning_run_action"),
        ("action_server_notice_retry", "dunning_notice_action_retry"),
        ("menu_dunning_notice", "dunning_notice_menu"),
        ("menu_document_control_provider", "dunning_provider_menu_document_control"),
        ("rule_schedule_company", "dunning_schedule_rule_company"),
    ):  # fmt: skip
        assert new[name_now] == old[name]
        assert name not in new
    assert [record for record in old.values() if record not in new.values()] == []
    # and they have the names that an installation from scratch gives them
    assert new.keys() == shell(RECORDS).keys()


def test_upgrade_makes_the_same_indexes(upgraded):
    """What is searched for is found as fast as after an installation from scratch."""
    indexes = shell(INDEXES, database="test-upgrade")
    assert indexes == shell(INDEXES)
    assert any("(payment_reference)" in definition for definition in indexes.values())
    assert any("INCLUDE (recipient_count)" in definition for definition in indexes.values())


def test_upgrade_keeps_changed_views(upgraded):
    _old, _new, facts = upgraded
    assert facts["our_own"] == {"dunning.procedure": True, "dunning.notice": True}


def test_upgrade_says_of_customers_what_was_said(upgraded):
    """In all companies, branches and archived ones too."""
    _old, _new, facts = upgraded
    assert facts["companies"] == 3
    assert facts["said"] == {
        "paper": ["['paper', '', False]"], "sent": ["[False, '', False]"],
        "held": ["[False, '2035-01-31', 'Instalments']"]}  # fmt: skip


def test_upgrade_tells_when_notices_left(upgraded):
    _old, _new, facts = upgraded
    left = facts["left"]
    assert facts["kinds"] == ["dunning"]
    for name in ("printed", "sent", "unclear"):
        assert left[name] == [str(TODAY)], name
    for name in ("draft", "excluded", "released", "handed over", "paper", "sending", "failed", "bounced", "trial"):
        assert left[name] == [""], name
    # half past eleven at night in UTC is the next day in Zürich
    assert left["sent long ago"] == [str(TODAY - datetime.timedelta(days=18))]
    assert left["again"][0] == str(TODAY - datetime.timedelta(days=39))


def test_upgrade_overtakes_nothing(upgraded):
    """What was proposed or released before goes on its way."""
    _old, _new, facts = upgraded
    assert facts["previous"] == {"again": True, "again released": True, "taken out": True}
    assert {name: code for name, (code, _words) in facts["verdicts"].items()} == dict.fromkeys(
        ("draft", "released", "handed over", "paper", "sending", "failed", "bounced", "trial", "again",
         "again released", "taken out"), "same")  # fmt: skip
    # The day on which it left in Zürich, and not that which it bore.
    left = str(TODAY - datetime.timedelta(days=39))
    assert facts["previous_dates"] == {"again": left, "again released": left, "taken out": left}
    [(previous_date, previous, first)] = facts["taken_out"]
    assert (previous_date, previous) == (left, first)
    assert all(facts["texts"][name] for name in ("released", "handed over", "paper", "failed", "unclear"))
    assert facts["bodies"]["handed over"] and facts["bodies"]["unclear"]
    assert facts["in_use"]


def test_upgrade_keeps_evidence(upgraded):
    """What the last version did not keep is filled in, and says so; what it shared is shared no more."""
    _old, _new, facts = upgraded
    for name in ("released", "paper", "printed", "sent", "sent long ago", "failed", "bounced", "unclear", "cancelled"):
        source, customer, level, city = facts["names"][name]
        assert (source, customer, city) == ("upgrade", name, "3000 Bern") and level, name
    for name in ("draft", "excluded"):
        assert not facts["names"][name], name
    assert facts["log_names"] == [True, True]
    for name in ("handed over", "sent", "bounced", "unclear"):
        assert facts["mail_standing"][name] == "unverified", name
    assert facts["shared"] == 0


def test_upgrade_lets_go_of_what_is_not_the_notices_own(upgraded):
    _old, _new, facts = upgraded
    assert (facts["letters"], facts["foreign"]) == (0, 1)
    # One that was never handed over is composed anew; the others are what was handed over.
    assert not facts["mails"]["failed"]
    assert all(facts["mails"][name] for name in ("handed over", "sending", "sent", "bounced", "unclear", "trial"))


def test_uninstall_with_notices_in_every_state(upgraded):
    """Last, since the others look at it."""
    before = shell(FACTS, database="test-upgrade")
    assert {delivery for _name, _state, delivery in before["states"]} >= {
        "released", "paper", "sending", "sent", "failed", "unclear"}  # fmt: skip
    odoo("module", "uninstall", "-d", "test-upgrade", "dunning_mail")
    assert_only_documents_are_left(before, "test-upgrade")
