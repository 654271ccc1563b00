"""A large ledger, made by cloning posted invoices in SQL: customers with four to five items each, some in a foreign
currency, some with credits, half of them dunned before."""

from datetime import date, timedelta

LANGUAGES = ("de_CH", "de_DE", "fr_FR", "it_IT", "en_US")


def build(env, items, today=None):
    """Add customers with so many open items to the company of the environment.

    :param env: environment of the superuser in a database with a chart of accounts
    :param int items: open items in all
    :param today: date from which overdue days are counted, default today
    :return: number of customers
    """
    today = today or date.today()
    cr = env.cr
    euro = env.ref("base.EUR")
    euro.active = True
    if not euro.rate_ids:
        env["res.currency.rate"].create({
            "currency_id": euro.id, "company_id": env.company.id, "name": "2020-01-01", "rate": 1.05})  # fmt: skip
    template = env["res.partner"].create({
        "name": "Vorlage", "is_company": True, "email": "vorlage@kunden.example", "street": "Dorfstrasse 1",
        "zip": "8000", "city": "Zürich", "country_id": env.ref("base.ch").id, "customer_rank": 1})  # fmt: skip
    count = max(1, round(items / 4.5))
    own = env.company.currency_id
    kinds = [
        # currency, days overdue, which customers (a condition on their number n), kind of entry
        (own, 95, "TRUE", "out_invoice"),
        (own, 60, "TRUE", "out_invoice"),
        (own, 33, "TRUE", "out_invoice"),
        (own, 14, "TRUE", "out_invoice"),
        (euro, 40, "MOD(n, 4) = 0", "out_invoice"),
        (own, 8, "MOD(n, 10) IN (1, 2)", "out_invoice"),
        (own, 3, "MOD(n, 20) = 3", "out_refund"),
    ]
    moves = []
    for currency, days, condition, move_type in kinds:
        due = today - timedelta(days=days)
        move = env["account.move"].create({
            "move_type": move_type, "partner_id": template.id, "invoice_date": due - timedelta(days=30),
            "currency_id": currency.id, "invoice_payment_term_id": False, "invoice_date_due": due,
            "invoice_line_ids": [(0, 0, {
                "name": "x", "quantity": 1, "price_unit": 50 + days, "tax_ids": [(5, 0, 0)]})]})  # fmt: skip
        move.action_post()
        moves.append((move, condition))
    env.flush_all()

    def columns(table, *without):
        cr.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
            [table])  # fmt: skip
        return [name for (name,) in cr.fetchall() if name not in ("id", *without)]

    def listed(names, prefix=""):
        return ", ".join(f'{prefix}"{name}"' for name in names)

    names = columns(
        "res_partner", "name", "complete_name", "email", "email_normalized", "lang",
        "commercial_partner_id")  # fmt: skip
    langs = "ARRAY[{}]".format(", ".join(f"'{lang}'" for lang in LANGUAGES))
    cr.execute(f"""
        CREATE TEMP TABLE bench_partner ON COMMIT DROP AS
        SELECT nextval('res_partner_id_seq') AS id, n FROM generate_series(1, {count}) n;
        INSERT INTO res_partner (id, name, complete_name, email, email_normalized, lang, commercial_partner_id,
                                 {listed(names)})
        SELECT b.id, 'Kunde ' || n, 'Kunde ' || n, 'kunde' || n || '@kunden.example', 'kunde' || n || '@kunden.example',
               ({langs})[1 + MOD(n, {len(LANGUAGES)})], b.id, {listed(names, "p.")}
          FROM res_partner p, bench_partner b WHERE p.id = %s;
    """, [template.id])  # noqa: S608
    move_columns = columns("account_move", "partner_id", "commercial_partner_id", "name", "payment_reference")
    line_columns = columns("account_move_line", "move_id", "partner_id")
    for move, condition in moves:
        cr.execute(f"""
            DROP TABLE IF EXISTS bench_move;
            CREATE TEMP TABLE bench_move ON COMMIT DROP AS
            SELECT nextval('account_move_id_seq') AS id, id AS partner_id, n FROM bench_partner WHERE {condition};
            INSERT INTO account_move (id, partner_id, commercial_partner_id, name, {listed(move_columns)})
            SELECT b.id, b.partner_id, b.partner_id, 'B/' || m.id || '/' || b.n, {listed(move_columns, "m.")}
              FROM account_move m, bench_move b WHERE m.id = %s;
            INSERT INTO account_move_line (id, move_id, partner_id, {listed(line_columns)})
            SELECT nextval('account_move_line_id_seq'), b.id, b.partner_id, {listed(line_columns, "l.")}
              FROM account_move_line l, bench_move b WHERE l.move_id = %s;
        """, [move.id, move.id])  # noqa: S608
    # The templates are out of the way.
    cr.execute("UPDATE account_move_line SET no_followup = TRUE WHERE partner_id = %s", [template.id])
    env.invalidate_all()
    _dun_half(env, today - timedelta(days=30))
    cr.execute("ANALYZE")
    return count


def _dun_half(env, day):
    """Half of the customers had a printed notice."""
    partners = env["res.partner"].search([("name", "like", "Kunde %"), ("name", "not like", "%1"),
                                          ("name", "not like", "%3"), ("name", "not like", "%5"),
                                          ("name", "not like", "%7"), ("name", "not like", "%9")])
    run = env["dunning.run"].create({"date": day, "partner_ids": [(6, 0, partners.ids)]})
    run.action_generate_notices()
    env.flush_all()
    # Only what counts: letters are not what is measured here.
    env.cr.execute("""
        UPDATE dunning_notice SET state = 'issued', delivery_state = 'paper', name = 'B' || id, printed_at = now(),
               is_counted = TRUE, is_open = FALSE, date_left = date WHERE run_id = %s;
        UPDATE dunning_notice_line SET is_reserved = FALSE
         WHERE notice_id IN (SELECT id FROM dunning_notice WHERE run_id = %s);
        UPDATE dunning_run SET state = 'done' WHERE id = %s;
    """, [run.id] * 3)
    env.invalidate_all()


def settle(env, condition):
    """Pay dunned items in full, on days around today.

    :param str condition: which, in SQL on the item `aml`
    """
    cr = env.cr
    bank = env["account.journal"].search([("type", "=", "bank"), ("company_id", "=", env.company.id)], limit=1)
    cr.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'account_move_line'"
        " AND is_generated = 'NEVER'")  # fmt: skip
    changed = {
        "id": "paid.id", "balance": "-aml.balance", "debit": "0", "credit": "aml.balance",
        "amount_currency": "-aml.amount_currency", "amount_residual": "0", "amount_residual_currency": "0",
        "reconciled": "TRUE", "journal_id": str(bank.id), "date": "paid.day"}  # fmt: skip
    names = [name for (name,) in cr.fetchall()]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changed.get(name, f'aml."{name}"') for name in names)
    cr.execute(f"""
        CREATE TEMP TABLE bench_paid ON COMMIT DROP AS
        SELECT aml.id AS item_id, nextval('account_move_line_id_seq') AS id,
               CURRENT_DATE + 12 - MOD(aml.id, 25)::int AS day
          FROM account_move_line aml
         WHERE aml.balance > 0 AND {condition}
           AND aml.id IN (SELECT move_line_id FROM dunning_notice_line WHERE kind = 'due');
        INSERT INTO account_move_line ({columns})
        SELECT {values} FROM account_move_line aml JOIN bench_paid paid ON paid.item_id = aml.id;
        INSERT INTO account_partial_reconcile (debit_move_id, credit_move_id, amount, debit_amount_currency,
               credit_amount_currency, company_id, max_date, debit_currency_id, credit_currency_id)
        SELECT aml.id, paid.id, aml.balance, aml.amount_currency, aml.amount_currency, aml.company_id, paid.day,
               aml.currency_id, aml.currency_id
          FROM account_move_line aml JOIN bench_paid paid ON paid.item_id = aml.id;
        UPDATE account_move_line aml SET reconciled = TRUE, amount_residual = 0, amount_residual_currency = 0
          FROM bench_paid paid WHERE paid.item_id = aml.id;
    """)  # noqa: S608
