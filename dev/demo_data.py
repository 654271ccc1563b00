"""The data of the demo: a Swiss company, its customers and what they owe, also besides the invoices, by the law of
three countries. Dates are counted from today.

Earlier dunning is made the way a clerk made it, by runs on earlier days whose letters were printed.
"""

from datetime import date, timedelta

from freezegun import freeze_time

CLERK = ("clerk", "clerk")
ADMIN = ("admin", "admin")
SMTP_USER = "dunning"
SMTP_PASSWORD = "dev-only"

RULES = """\
# pattern                     stage  action            see the head of dev/smtpd.py
gibtsnicht@*                  rcpt   550 5.1.1 <gibtsnicht@verzogen.example>: Recipient address rejected: User unknown
"""

# Seconds between two mails. A real provider wants 60 and more; the demo should not take an hour.
SEND_INTERVAL = 1

CUSTOMERS = [
    # name, language, country, zip, city, mail, invoices [(amount, currency, days overdue)], what is special
    ("Hotel Alpenblick AG", "de_CH", "ch", "3818", "Grindelwald", "buchhaltung@alpenblick.example",
     [(1280.50, "CHF", 24)], {}),
    ("Müller & Söhne GmbH", "de_DE", "de", "80331", "München", "rechnung@mueller-soehne.example",
     [(890.00, "EUR", 62), (145.80, "EUR", 20)], {"earlier": (32,)}),
    ("Bergbahnen Nord AG", "de_CH", "ch", "8750", "Glarus", "finanzen@bergbahnen-nord.example",
     [(4310.00, "CHF", 105)], {"earlier": (75, 42)}),
    ("Boulangerie du Lac Sàrl", "fr_FR", "ch", "1003", "Lausanne", "compta@boulangerie-du-lac.example",
     [(312.40, "CHF", 18), (96.00, "CHF", 14)], {}),
    ("Horlogerie de la Vallée SA", "fr_CH", "ch", "1347", "Le Sentier", "factures@horlogerie-vallee.example",
     [(2750.00, "CHF", 58)], {"earlier": (30,)}),
    ("Atelier Lumière", "fr_FR", "ch", "1201", "Genève", False,
     [(540.00, "CHF", 33)], {"state": "paper"}),
    ("Ristorante Ticino Sagl", "it_IT", "ch", "6600", "Locarno", "conti@ristorante-ticino.example",
     [(418.90, "CHF", 21)], {}),
    ("Officina Rossi SA", "it_IT", "ch", "6900", "Lugano", "amministrazione@officina-rossi.example",
     [(1999.00, "CHF", 110)], {"earlier": (80, 45)}),
    ("Thames Trading Ltd", "en_US", "uk", "EC1A 1BB", "London", "accounts@thames-trading.example",
     [(1500.00, "CHF", 26), (720.00, "EUR", 29)], {}),
    ("Northern Lights Ltd", "en_US", "uk", "EH1 1YZ", "Edinburgh", "payables@northern-lights.example",
     [(1000.00, "CHF", 19)], {"paid": 400.00}),
    ("Gartenbau Keller", False, "ch", "4051", "Basel", "keller@gartenbau.example",
     [(230.00, "CHF", 17)], {}),
    ("Schreinerei Holz & Form", False, "at", "6900", "Bregenz", "office@holz-form.example",
     [(610.00, "EUR", 22)], {"channel": "paper", "state": "paper"}),
    ("Verzogen & Partner AG", "de_CH", "ch", "9000", "St. Gallen", "gibtsnicht@verzogen.example",
     [(77.00, "CHF", 15)], {"state": "failed"}),
    ("Café Central", "de_CH", "ch", "6003", "Luzern", "info@cafe-central.example",
     [(820.00, "CHF", 27)], {"credit": 150.00}),
    ("Bäckerei Früh AG", "de_CH", "ch", "8400", "Winterthur", "info@baeckerei-frueh.example",
     [(480.00, "CHF", 40)], {"hold": "Ratenzahlung vereinbart", "state": None}),
    ("Velo Express GmbH", "de_CH", "ch", "3011", "Bern", "info@velo-express.example",
     [(260.00, "CHF", 31)], {"credit": 300.00, "state": None}),
    ("Garage Sutter AG", "de_CH", "ch", "7000", "Chur", "info@garage-sutter.example",
     [(350.00, "CHF", 44)], {"paid": 350.00, "state": None}),
    # Interest and fees by the law of three countries.
    ("Rigi Seilbau AG", "de_CH", "ch", "6410", "Goldau", "kreditoren@rigi-seilbau.example",
     [(2500.00, "CHF", 75)], {"earlier": (45,), "law": "ch", "tax": 8.1}),
    ("Rheinwerk Maschinen GmbH", "de_DE", "de", "50667", "Köln", "buchhaltung@rheinwerk.example",
     [(11900.00, "EUR", 250), (480.00, "EUR", 40)], {"earlier": (230, 60), "law": "de"}),
    ("Anna Gruber", "de_DE", "at", "5020", "Salzburg", "anna.gruber@post.example",
     [(640.00, "EUR", 130)], {"earlier": (110,), "law": "at", "is_company": False}),
]  # fmt: skip

# A procedure for each law: its name, and the fee in the company's currency from the second level on.
LAWS = {"ch": ("Schweiz: Zins und Mahngebühr", 20.00), "de": ("Deutschland: Zins und Pauschale", 0.0),
        "at": ("Österreich: Zins", 0.0)}  # fmt: skip


def build(env, smtp):
    """Fill the database.

    :param env: environment of the superuser
    :param dict smtp: host, port, user and password of the SMTP server
    :return: what has to come of the run: list of dict customer, level, lang, currency, state
    """
    today = date.today()
    company = _prepare_company(env)
    clerk = _prepare_users(env, company)
    procedures = {law: _prepare_procedure(env, law) for law in LAWS}
    partners, expected = {}, []
    for name, lang, country, zip_code, city, mail, invoices, special in CUSTOMERS:
        partner = env["res.partner"].create({
            "name": name, "is_company": special.get("is_company", True), "email": mail, "street": "Dorfstrasse 12",
            "zip": zip_code, "city": city, "country_id": env.ref(f"base.{country}").id,
            "ref": f"K{10001 + len(partners)}", "customer_rank": 1,
            "dunning_channel": special.get("channel", "level"),
            "dunning_procedure_id": procedures[special["law"]].id if "law" in special else False,
        })  # fmt: skip
        partner.lang = lang
        partners[name] = partner
        tax = _prepare_tax(env, special["tax"]) if "tax" in special else None
        moves = [_invoice(env, partner, amount, currency, today - timedelta(days=days), tax=tax)
                 for amount, currency, days in invoices]  # fmt: skip
        if special.get("paid"):
            env["account.payment.register"].with_context(
                active_model="account.move", active_ids=moves[0].ids
            ).create({"amount": special["paid"], "payment_date": today - timedelta(days=3)})._create_payments()
        if special.get("credit"):
            _invoice(env, partner, special["credit"], "CHF", today - timedelta(days=2), "out_refund")
        if special.get("hold"):
            partner.write({
                "dunning_hold_until": today + timedelta(days=21), "dunning_hold_reason": special["hold"]})  # fmt: skip
        if special.get("state", "sent"):
            expected += [
                {"customer": name, "level": 1 + len(special.get("earlier", ())),
                 "lang": lang or "de_CH", "currency": currency, "state": special.get("state", "sent")}
                for currency in sorted({currency for _amount, currency, _days in invoices})]  # fmt: skip
    env.flush_all()
    _dun_earlier(env, clerk, partners, today)
    if LAWS:
        _prepare_booking(env, company)
    # From here on by mail.
    company.dunning_provider_id = env["dunning.provider"].create({
        "name": f"Demo-Mailserver (kurzer Abstand: {SEND_INTERVAL} s)",
        "smtp_host": smtp["host"], "smtp_port": smtp["port"], "smtp_user": smtp["user"], "smtp_pass": smtp["password"],
        "email_from": "mahnwesen@muster-treuhand.example", "send_interval": SEND_INTERVAL,
    })  # fmt: skip
    return expected


def _prepare_company(env):
    company = env.company
    company.write({
        "name": "Muster Treuhand AG", "street": "Seestrasse 45", "zip": "8002", "city": "Zürich",
        "country_id": env.ref("base.ch").id, "phone": "+41 44 123 45 67", "email": "info@muster-treuhand.example",
        "website": "https://www.muster-treuhand.example", "vat": "CHE-123.456.788 MWST",
        "primary_color": "#1d4f73", "secondary_color": "#5b7f95", "dunning_fallback_lang": "de_CH",
    })  # fmt: skip
    company.partner_id.lang = "de_CH"
    env["res.partner.bank"].create({
        "partner_id": company.partner_id.id, "acc_number": "CH93 0076 2011 6238 5295 7", "allow_out_payment": True,
        "acc_holder_name": company.name,
    })  # fmt: skip
    euro = env.ref("base.EUR")
    euro.active = True
    if not euro.rate_ids:
        env["res.currency.rate"].create({
            "currency_id": euro.id, "company_id": company.id, "name": "2020-01-01", "rate": 1.05})  # fmt: skip
    return company


def _prepare_users(env, company):
    env.ref("base.user_admin").lang = "de_CH"
    return env["res.users"].with_context(no_reset_password=True).create({
        "name": "Petra Muster", "login": CLERK[0], "password": CLERK[1], "email": "petra@muster-treuhand.example",
        "phone": "+41 44 123 45 68", "lang": "de_CH", "tz": "Europe/Zurich", "company_id": company.id,
        "company_ids": [(6, 0, company.ids)], "group_ids": [(6, 0, (
            env.ref("account.group_account_invoice") | env.ref("base.group_partner_manager")).ids)],
    })  # fmt: skip


def _prepare_procedure(env, law):
    """Interest as the country has it, a fee or a lump sum from the second level on."""
    name, fee = LAWS[law]
    procedure = env.ref("dunning_mail.procedure_standard").copy({
        "name": name, "interest_profile_id": env.ref(f"dunning_mail.interest_profile_{law}").id})  # fmt: skip
    # The name is shown in the language of who looks at it.
    procedure.with_context(lang="de_CH").name = name
    later = procedure.level_ids.filtered(lambda level: level.sequence > 1)
    later.write({"charge_interest": True, "charge_lump_sum": law == "de"})
    if fee:
        later.write({"fee_ids": [(0, 0, {"fixed": fee})]})
    return procedure


def _prepare_booking(env, company):
    """What is claimed is booked when the notice has left, and a fee contains the tax of what it duns."""
    def make_account(code, name):
        return env["account.account"].create({"code": code, "name": name, "account_type": "income_other"}).id

    fees = make_account("360000", "Mahngebühren")
    company.write({
        "dunning_charge_booking": "issue", "dunning_fee_tax": "as_items", "dunning_fee_account_id": fees,
        "dunning_lump_sum_account_id": fees, "dunning_cost_account_id": fees,
        "dunning_interest_account_id": make_account("695000", "Verzugszinsen"),
    })  # fmt: skip


def _prepare_tax(env, rate):
    return env["account.tax"].create({"name": f"MWST {rate} %", "amount": rate, "type_tax_use": "sale"})


def _invoice(env, partner, amount, currency, due, move_type="out_invoice", tax=None):
    move = env["account.move"].create({
        "move_type": move_type, "partner_id": partner.id, "invoice_date": due - timedelta(days=30),
        "currency_id": env.ref(f"base.{currency}").id, "invoice_payment_term_id": False, "invoice_date_due": due,
        "invoice_line_ids": [(0, 0, {
            "name": "Beratung", "quantity": 1, "price_unit": amount, "tax_ids": [(6, 0, tax.ids if tax else [])]})],
    })  # fmt: skip
    move.action_post()
    return move


def _dun_earlier(env, clerk, partners, today):
    """Runs of earlier dates, one for each date, on paper: there is no service provider yet."""
    days = sorted({day for *_rest, special in CUSTOMERS for day in special.get("earlier", ())}, reverse=True)
    for day in days:
        names = [name for name, *_rest, special in CUSTOMERS if day in special.get("earlier", ())]
        with freeze_time(today - timedelta(days=day), tick=True):
            run = env["dunning.run"].with_user(clerk).with_context(lang=clerk.lang).create({
                "partner_ids": [(6, 0, [partners[name].id for name in names])]})  # fmt: skip
            run.action_generate_notices()
            run.action_print_and_send()
            run._hand_out_letters()
            run.action_mark_printed()
