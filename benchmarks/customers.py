"""Customers with the same number of overdue invoices each, cloned in SQL from one whose invoices were posted."""

from datetime import date, timedelta


def build(env, customers, items, lang="de_DE", email=True):
    """Add customers with open items to the company of the environment.

    :param env: environment of the superuser in a database with a chart of accounts
    :param int customers: how many
    :param int items: overdue invoices of each
    :param str lang: their language
    :param bool email: whether they have a mail address each
    :return: the new `res.partner`
    """
    cr, today = env.cr, date.today()
    template = env["res.partner"].create({
        "name": "Vorlage", "is_company": True, "email": "x@y.example" if email else False, "street": "Dorfstrasse 1",
        "zip": "8000", "city": "Zürich", "country_id": env.ref("base.ch").id, "lang": lang,
        "customer_rank": 1})  # fmt: skip
    moves = env["account.move"]
    for index in range(items):
        due = today - timedelta(days=20 + index)
        move = env["account.move"].create({
            "move_type": "out_invoice", "partner_id": template.id, "invoice_date": due - timedelta(days=30),
            "invoice_payment_term_id": False, "invoice_date_due": due, "invoice_line_ids": [
                (0, 0, {"name": "x", "quantity": 1, "price_unit": 50 + 7 * index,
                        "tax_ids": [(5, 0, 0)]})]})  # fmt: skip
        move.action_post()
        moves |= move
    env.flush_all()

    def columns(table, *without):
        cr.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
            [table])  # fmt: skip
        return [name for (name,) in cr.fetchall() if name not in ("id", *without)]

    def listed(names, prefix=""):
        return ", ".join(f'{prefix}"{name}"' for name in names)

    cr.execute("""
        DROP TABLE IF EXISTS bench_partner;
        CREATE TEMP TABLE bench_partner AS
        SELECT nextval('res_partner_id_seq') AS id FROM generate_series(1, %s)
    """, [customers])  # fmt: skip
    names = columns("res_partner", "name", "complete_name", "email", "email_normalized", "commercial_partner_id")
    address = "'kunde' || b.id || '@kunden.example'" if email else "NULL"
    cr.execute(f"""
        INSERT INTO res_partner (id, name, complete_name, email, email_normalized, commercial_partner_id,
                                 {listed(names)})
        SELECT b.id, 'Kunde ' || b.id, 'Kunde ' || b.id, {address}, {address}, b.id, {listed(names, "p.")}
          FROM res_partner p, bench_partner b WHERE p.id = %s
    """, [template.id])  # noqa: S608
    move_columns = columns("account_move", "partner_id", "commercial_partner_id", "name", "payment_reference")
    line_columns = columns("account_move_line", "move_id", "partner_id")
    for move in moves:
        cr.execute(f"""
            DROP TABLE IF EXISTS bench_move;
            CREATE TEMP TABLE bench_move AS
            SELECT nextval('account_move_id_seq') AS id, id AS partner_id FROM bench_partner;
            INSERT INTO account_move (id, partner_id, commercial_partner_id, name, {listed(move_columns)})
            SELECT b.id, b.partner_id, b.partner_id, 'R/' || b.id, {listed(move_columns, "m.")}
              FROM account_move m, bench_move b WHERE m.id = %s;
            INSERT INTO account_move_line (id, move_id, partner_id, {listed(line_columns)})
            SELECT nextval('account_move_line_id_seq'), b.id, b.partner_id, {listed(line_columns, "l.")}
              FROM account_move_line l, bench_move b WHERE l.move_id = %s;
        """, [move.id, move.id])  # noqa: S608
    # the template is out of the way
    cr.execute("UPDATE account_move_line SET no_followup = TRUE WHERE partner_id = %s", [template.id])
    cr.execute("SELECT id FROM bench_partner ORDER BY id")
    ids = [record_id for (record_id,) in cr.fetchall()]
    cr.execute("ANALYZE account_move_line; ANALYZE account_move; ANALYZE res_partner")
    env.invalidate_all()
    return env["res.partner"].browse(ids)
