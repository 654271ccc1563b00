"""Customers with overdue invoices, and the draft notices of a run over them."""

import datetime


def make_template(env):
    """Post the invoice of which the others are clones, and keep it out of every run. Returns its id."""
    due = datetime.date.today() - datetime.timedelta(days=30)
    partner = env["res.partner"].create({"name": "Template", "email": "template@customer.test"})
    move = env["account.move"].create({
        "move_type": "out_invoice", "partner_id": partner.id,
        "invoice_date": due - datetime.timedelta(days=30), "invoice_date_due": due,
        "invoice_payment_term_id": False,
        "invoice_line_ids": [(0, 0, {"name": "x", "quantity": 1, "price_unit": 123.45,
                                     "tax_ids": [(5, 0, 0)]})]})  # fmt: skip
    move.action_post()
    env["account.move.line"].search([("move_id", "=", move.id)]).no_followup = True
    return move.id


def make_drafts(env, template, count, label):
    """Customers with an overdue invoice each, clones of the template, and the draft notices of a run."""
    langs = ("de_CH", "de_DE", "fr_FR", "it_IT", "en_US")
    partners = env["res.partner"].create([
        {"name": f"{label} {number}", "is_company": True, "email": f"{label}{number}@customer.test".lower(),
         "street": "Dorfstrasse 1", "zip": "8000", "city": "Zürich", "country_id": env.ref("base.ch").id,
         "lang": langs[number % len(langs)]}
        for number in range(count)])  # fmt: skip
    env.flush_all()
    _clone_invoices(env.cr, template, partners.ids)
    env.invalidate_all()
    run = env["dunning.run"].create({"date": datetime.date.today(), "partner_ids": [(6, 0, partners.ids)]})
    run.action_generate_notices()
    run.state = "processing"
    if len(run.notice_ids) != count:
        raise RuntimeError(f"{len(run.notice_ids)} notices for {count} customers")
    return run.notice_ids.sorted("id")


def _clone_invoices(cr, template, partner_ids):
    def columns(table, *without):
        cr.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                   " AND is_generated = 'NEVER'", [table])  # fmt: skip
        return [name for (name,) in cr.fetchall() if name not in ("id", *without)]

    def listed(names, prefix=""):
        return ", ".join(f'{prefix}"{name}"' for name in names)

    moves = columns("account_move", "partner_id", "commercial_partner_id", "name", "payment_reference")
    lines = columns("account_move_line", "move_id", "partner_id", "no_followup")
    cr.execute(f"""
        CREATE TEMP TABLE faults_move AS
        SELECT nextval('account_move_id_seq') AS id, p AS partner_id FROM unnest(%s) p;
        INSERT INTO account_move (id, partner_id, commercial_partner_id, name, {listed(moves)})
        SELECT b.id, b.partner_id, b.partner_id, 'F/' || b.id, {listed(moves, "m.")}
          FROM account_move m, faults_move b WHERE m.id = %s;
        INSERT INTO account_move_line (id, move_id, partner_id, no_followup, {listed(lines)})
        SELECT nextval('account_move_line_id_seq'), b.id, b.partner_id, FALSE, {listed(lines, "l.")}
          FROM account_move_line l, faults_move b WHERE l.move_id = %s;
        DROP TABLE faults_move
    """, [partner_ids, template, template])  # noqa: S608
