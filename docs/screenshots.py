#!/usr/bin/env python3
"""Makes the pictures of the documentation anew: `.dev/venv/bin/python docs/screenshots.py`.

A run on the demo data, in a database of its own, driven in Chromium as the clerk in German, with notices in the several
delivery states; and one letter per language. They go to docs/images/ and dunning_mail/static/description/.
"""

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import requests
import websocket
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "dev"))

import demo_data  # noqa: E402
from demo import free_port  # noqa: E402
from smtpd import SmtpServer  # noqa: E402

DATABASE = "docs"
IMAGES = ROOT / "docs" / "images"
DESCRIPTION = ROOT / "dunning_mail" / "static" / "description"
LETTERS = {
    "de_CH": "Bergbahnen Nord AG",
    "fr_FR": "Boulangerie du Lac Sàrl",
    "it_IT": "Officina Rossi SA",
    "en_US": "Thames Trading Ltd",
}
# Interest and fees by the law of three countries.
LAWS = {"ch": "Rigi Seilbau AG", "de": "Rheinwerk Maschinen GmbH", "at": "Anna Gruber"}
# What the demo does, and an unclear and a waiting notice besides.
RULES = demo_data.RULES + """
rechnung@mueller-soehne.*  eod   accept-then-drop
keller@gartenbau.*         rcpt  451 4.7.1 <keller@gartenbau.example>: Greylisted, try again later
"""
BUILD = """
import sys
sys.path.insert(0, {dev!r})
import demo_data
demo_data.build(env, {smtp!r})
provider = env["dunning.provider"].search([])
provider.write({{"name": "Mahnversand Buchhaltung", "send_interval": 0}})
env.cr.commit()
"""
# What a provider of one's own would look like; nothing is sent any more when its picture is taken.
TIDY = """
provider = env["dunning.provider"].search([])
provider.write({
    "smtp_host": "smtp.mailprovider.example", "smtp_port": 587, "smtp_user": provider.email_from,
    "send_interval": 60, "hourly_limit": 50, "daily_limit": 400})
env.cr.commit()
"""
# What customers answer: a plan that is confirmed by letter, and a part that is contested.
AGREE = """
def as_clerk(model, partner):
    clerk = env["res.users"].search([("login", "=", "clerk")])
    return env[model].with_user(clerk).with_context(
        lang="de_CH", active_model="res.partner", active_ids=partner.ids, active_id=partner.id)
partner = env["res.partner"].search([("name", "=", "Bergbahnen Nord AG")])
as_clerk("dunning.promise.make", partner).create({"count": 3, "source": "phone", "note": "Saison beginnt im Dezember"}
    ).action_make()
as_clerk("dunning.promise", partner).search([]).action_send_confirmation()
partner = env["res.partner"].search([("name", "=", "Hotel Alpenblick AG")])
item = env["account.move.line"].search([
    ("partner_id", "=", partner.id), ("account_id.account_type", "=", "asset_receivable"), ("reconciled", "=", False)])
as_clerk("dunning.dispute", partner).create({
    "item_ids": [(6, 0, item.ids)], "amount": 280.50, "note": "Zwei Tage waren nicht bestellt.",
    "reason_id": env.ref("dunning_mail.dispute_reason_quantity").id})
env.cr.commit()
"""
BOTTOM = "Math.ceil(document.querySelector('.o_field_widget[name={}] table').getBoundingClientRect().bottom) + 14"


def dev(*command, **options):
    return subprocess.run([ROOT / "dev" / command[0], *command[1:]], check=True, text=True, **options)


def shell(script):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dev("odoo", "shell", "-d", DATABASE, "--no-http", input=script, **quiet)


def query(sql, **values):
    """Return the first column of each row; `values` stand in the query as :'name'."""
    variables = [f"--set={name}={value}" for name, value in values.items()]
    return dev("pg", "psql", "-At", *variables, DATABASE, input=sql, stdout=subprocess.PIPE).stdout.splitlines()


def get_notice(run_id, state):
    sql = "SELECT id FROM dunning_notice WHERE run_id = :'run' AND delivery_state = :'state' ORDER BY id"
    return query(sql, run=run_id, state=state)[0]


class Browser:
    """As much of Chromium's DevTools protocol as pictures take."""

    def __init__(self, folder):
        port = free_port()
        self.process = subprocess.Popen(
            [os.environ.get("CHROMIUM", "chromium"), "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
             "--hide-scrollbars", f"--remote-debugging-port={port}", "--remote-allow-origins=*",
             f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        for _ in range(150):
            with contextlib.suppress(requests.RequestException, StopIteration):
                tabs = requests.get(f"http://127.0.0.1:{port}/json", timeout=5).json()
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                break
            time.sleep(0.2)
        self.socket = websocket.create_connection(address, timeout=90)
        self.number = 0
        self.call("Page.enable")

    def call(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                return answer.get("result", {})

    def run(self, script):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, selector, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(f"!!document.querySelector({json.dumps(selector)})"):
            if time.monotonic() > end:
                sys.exit(f"error: {selector} does not come up")
            time.sleep(0.3)
        time.sleep(2)  # what comes in after it

    def open(self, address, selector, height):
        self.call("Emulation.setDeviceMetricsOverride", width=1280, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=address)
        time.sleep(1)
        self.wait(selector)

    def click(self, selector):
        self.wait(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        time.sleep(2)

    def login(self, url, login, password):
        self.open(f"{url}/web/session/logout?redirect=/web/login", "form.oe_login_form", 900)
        for name, value in (("login", login), ("password", password)):
            self.run(f"document.querySelector('input[name={name}]').value = {json.dumps(value)}")
        self.run("document.querySelector('form.oe_login_form').submit()")
        time.sleep(2)
        self.wait(".o_main_navbar")

    def picture(self, path, height):
        clip = {"x": 0, "y": 0, "width": 1280, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", clip=clip)["data"]))

    def close(self):
        with contextlib.suppress(websocket.WebSocketException):
            self.call("Browser.close")
        self.process.wait(20)


def take_pictures(browser, url, folder):
    """Work through a run as a clerk does, and take a picture at each step."""

    def take(name, height):
        browser.picture(folder / f"{name}.png", height)

    browser.login(url, *demo_data.CLERK)
    browser.open(f"{url}/odoo/dunning-runs", ".o_dunning_checklist", 960)
    take("checklist", 520)
    browser.open(f"{url}/odoo/dunning-runs/new", ".o_form_view", 960)
    browser.run("window.open = () => window")  # the letters, which are not wanted here
    browser.click("button[name=action_generate_notices]")
    browser.wait("button[name=action_preflight]")
    browser.run("document.querySelectorAll('.o_notification_close').forEach((button) => button.click())")
    time.sleep(1)
    take("proposal", 960)
    browser.click("button[name=action_preflight]")
    browser.wait(".modal button[name=action_issue]")
    take("preflight", 960)
    browser.click(".modal button[name=action_issue]")
    run_id = query("SELECT max(id) FROM dunning_run")[0]
    for _ in range(90):
        time.sleep(2)
        moving = """
            SELECT id FROM dunning_notice WHERE run_id = :'run' AND (
                state = 'draft' OR delivery_state = 'sending'
                OR delivery_state = 'released' AND next_attempt_at IS NULL)"""
        if not query(moving, run=run_id):
            break
    browser.open(f"{url}/odoo/dunning-runs/{run_id}", ".o_field_widget[name=shown_notice_ids] table", 1200)
    take("run", min(browser.run(BOTTOM.format("shown_notice_ids")), 1200))
    browser.click("a[name=exceptions]")
    take("exceptions", 620)
    browser.open(f"{url}/odoo/dunning-notices/{get_notice(run_id, 'failed')}", ".o_form_view", 1200)
    browser.click("a[name=delivery]")
    take("notice", min(browser.run(BOTTOM.format("delivery_log_ids")), 1200))
    browser.open(f"{url}/odoo/dunning-notices/{get_notice(run_id, 'unclear')}", ".o_form_view", 960)
    take("unclear", 900)
    browser.open(f"{url}/odoo/dunning-charges", ".o_list_view", 960)
    take("charges", 420)
    shell(AGREE)
    promise_id, dispute_id = query("SELECT max(id) FROM dunning_promise UNION ALL SELECT max(id) FROM dunning_dispute")
    browser.open(f"{url}/odoo/dunning-promises/{promise_id}", ".o_form_view", 960)
    take("promise", 720)
    browser.open(f"{url}/odoo/dunning-disputes/{dispute_id}", ".o_form_view", 960)
    take("dispute", 640)

    shell(TIDY)
    browser.login(url, *demo_data.ADMIN)
    browser.open(f"{url}/odoo/dunning-levels/1", "a[name=texts]", 900)
    browser.click("a[name=texts]")
    browser.wait("td[name=lang]")
    take("level", 900)
    browser.click("td[name=lang]")
    browser.wait(".odoo-editor-editable")
    take("texts", 900)
    browser.open(f"{url}/odoo/dunning-providers/1", ".o_form_view", 860)
    take("provider", 820)
    return run_id


def draw_letters(run_id, folder):
    store = ROOT / ".dev" / "data" / "filestore" / DATABASE
    path = query("""
        SELECT a.store_fname FROM dunning_notice n JOIN ir_attachment a ON a.id = n.document_id WHERE n.kind = 'plan'
    """)
    for page in (1, 2):
        subprocess.run(["pdftoppm", "-r", "90", "-png", "-singlefile", "-f", str(page), store / path[0],
                        folder / f"letter-plan-{page}"], check=True)  # fmt: skip
    for name, customer in {**LETTERS, **LAWS}.items():
        path = query(
            """
            SELECT a.store_fname
              FROM dunning_notice n
              JOIN ir_attachment a ON a.id = n.document_id
              JOIN res_partner p ON p.id = n.partner_id
             WHERE n.run_id = :'run' AND p.name = :'customer'
             ORDER BY n.id LIMIT 1
            """, run=run_id, customer=customer)[0]
        target = folder / f"letter-{name}"
        subprocess.run(["pdftoppm", "-r", "90", "-png", "-singlefile", "-f", "1", store / path, target], check=True)


def store_pictures(folder):
    """Make the pictures small, and one of all letters."""
    for path in sorted(folder.glob("*.png")):
        small = Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(IMAGES / path.name, optimize=True)
    join_letters(folder, LETTERS, "letters", 310)
    join_letters(folder, LAWS, "letters-law", 416)
    join_letters(folder, ("plan-1", "plan-2"), "letters-plan", 628)
    for name in ("run.png", "notice.png", "letters.png"):
        (DESCRIPTION / name).write_bytes((IMAGES / name).read_bytes())


def join_letters(folder, names, target, width, gap=8):
    """Put letters beside each other, so many pixels wide each, in one picture."""
    letters = Image.new("RGB", (1280, round(width * 1.414) + 2 * gap), "#d9dde2")
    for index, name in enumerate(names):
        letter = Image.open(folder / f"letter-{name}.png").convert("RGB")
        letter = letter.resize((width, round(width * letter.height / letter.width)), Image.Resampling.LANCZOS)
        letters.paste(letter, (gap + index * (width + gap), gap))
    letters.quantize(128).save(IMAGES / f"{target}.png", optimize=True)


def main():
    IMAGES.mkdir(exist_ok=True)
    dev("newdb", DATABASE)
    certificate = ROOT / ".dev" / "certs" / "server"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        (folder / "rules").write_text(RULES)
        smtp = stack.enter_context(SmtpServer(
            cert=certificate.with_suffix(".pem"), key=certificate.with_suffix(".key"), user=demo_data.SMTP_USER,
            password=demo_data.SMTP_PASSWORD, rules=folder / "rules"))  # fmt: skip
        login = {"user": demo_data.SMTP_USER, "password": demo_data.SMTP_PASSWORD}
        shell(BUILD.format(dev=str(ROOT / "dev"), smtp={"host": "localhost", "port": smtp.port, **login}))
        port = free_port()
        server = subprocess.Popen(
            [ROOT / "dev" / "odoo", "-d", DATABASE, "--http-port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        stack.callback(server.wait, 30)
        stack.callback(server.terminate)
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}/web/health", timeout=5).ok:
                    break
            time.sleep(0.2)
        browser = Browser(folder / "chromium")
        stack.callback(browser.close)
        run_id = take_pictures(browser, url, folder)
        draw_letters(run_id, folder)
        store_pictures(folder)


if __name__ == "__main__":
    main()
