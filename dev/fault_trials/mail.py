"""Notices through Debian's own Postfix, and what comes back into a mailbox in Dovecot, which Odoo reads over IMAP."""

import dataclasses
import email.message
import re
import smtplib
import time

from .lab import CERTS, LOGIN, ROOT, SENDER
from .mailhost import MailHost, SkippedError, unpack_programs

READER = {SENDER: "reader-secret"}
FETCH = "mail.ir_cron_mail_gateway_action"
BUSY = "450 4.2.0 Mailbox is busy"
UNKNOWN = "User unknown in virtual mailbox table"
ANSWER = "We have paid on Monday."


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What has become of a notice.

    :ivar state: of delivery
    :ivar asked: activities, without the prefix of their names
    :ivar reports: (action, code, whether it is proven to be no forgery) of what reports said
    :ivar marked: whether the next notice does not go to one of the addresses any more
    :ivar envelope_id: whether the number that the envelope had came back: in all reports, in none; None without any
    :ivar arrived: mails in the mailboxes of the customer
    :ivar answers: answers in the chatter that the responsible person was told of
    """

    state: str = "sent"
    asked: tuple = ()
    reports: tuple = ()
    marked: bool = False
    envelope_id: bool | None = None
    arrived: int = 0
    answers: int = 0

    def describe(self):
        return ", ".join(filter(None, [
            self.state, self.asked and f"asks ({', '.join(self.asked)})",
            *(f"{'proven' if proven else 'unproven'} report {action} {code}" for action, code, proven in self.reports),
            self.marked and "address marked", self.arrived and f"{self.arrived} arrived",
            self.answers and f"{self.answers} in the chatter"]))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A notice.

    :ivar what: what the mail servers do
    :ivar to: the customer's addresses
    :ivar expected: :class:`Outcome`
    :ivar words: what a clerk has to read of it
    :ivar port: to which port of the provider's server it is submitted
    :ivar answer: how the customer answers: with a reference to the mail, or naming the notice's number
    """

    what: str
    to: str
    expected: Outcome
    words: str = ""
    port: str = "submission"
    answer: str = ""

    @property
    def mailboxes(self):
        return [address for address in self.to.split(", ") if is_alive(address)]


def is_alive(address):
    return address.partition("@")[0].rstrip("0123456789") == "acme"


def make_cases():
    failed = ("failed", "5.1.1", True)
    bounced = Outcome("failed", ("failed",), (failed,), marked=True, envelope_id=True)
    return [
        Case("delivered", "acme1@customer.test", Outcome(arrived=1)),
        Case("refused at RCPT", "nobody@hosted.test", Outcome("failed", ("failed",), marked=True), UNKNOWN),
        Case("taken, then refused by the customer's server", "gone@customer.test", bounced, UNKNOWN),
        Case("taken by the customer's server too, which has no such mailbox", "unknown@customer.test", bounced,
             "User doesn't exist"),
        Case("the same, of a server that does not offer DSN", "gone2@customer.test",
             dataclasses.replace(bounced, envelope_id=False), UNKNOWN, "submission_without_dsn"),
        Case("forwarded to a dead mailbox elsewhere", "moved@customer.test",
             Outcome(asked=("returned",), reports=(("failed", "5.1.1", False),), envelope_id=True), UNKNOWN),
        Case("put off for a while", "acme2@customer.test",
             Outcome(reports=(("delayed", "4.2.0", True), ("relayed", "2.0.0", True)), envelope_id=True, arrived=1)),
        Case("two addresses, one of them refused at RCPT", "acme3@customer.test, nobody3@hosted.test",
             Outcome(asked=("address",), marked=True, arrived=1), UNKNOWN),
        Case("two addresses, one of them comes back", "acme4@customer.test, gone4@customer.test",
             Outcome(asked=("returned",), reports=(failed,), envelope_id=True, arrived=1), UNKNOWN),
        Case("two addresses, both come back", "gone5@customer.test, unknown5@customer.test",
             Outcome("failed", ("failed",), (failed, failed), marked=True, envelope_id=True), UNKNOWN),
        Case("a report that somebody else wrote", "acme6@customer.test",
             Outcome(asked=("returned",), reports=(("failed", "5.1.1", False),), envelope_id=False, arrived=1)),
        Case("answered", "acme7@customer.test", Outcome(arrived=1, answers=1), answer="reference"),
        Case("answered by a mail without a reference that names the number", "acme8@customer.test",
             Outcome(arrived=1, answers=1), answer="number"),
    ]  # fmt: skip


def try_mail(lab, _short):
    try:
        programs = unpack_programs(ROOT / ".dev" / "mailhost")
        cases = make_cases()
        mailboxes = [SENDER, *(address for case in cases for address in case.mailboxes)]
        with MailHost(lab.out / "mailhost", programs, CERTS, login={LOGIN["user"]: LOGIN["password"], **READER},
                      mailboxes=mailboxes) as host:  # fmt: skip
            return Trial(lab, host, cases).run()
    except SkippedError as error:
        return {"skipped": str(error)}, []


class Trial:
    """The cases on their way.

    :ivar ids: of the notices, in the order of the cases
    """

    def __init__(self, lab, host, cases):
        self.lab, self.host, self.cases = lab, host, cases
        self.ids = []

    def run(self):
        lab, host = self.lab, self.host
        host.set_access("".join(
            f"{case.to} {BUSY}\n" for case in self.cases if case.expected.reports[:1] == (("delayed", "4.2.0", True),)))
        self.release()
        lab.start_server()
        lab.wake()
        lab.wait_for("handing over", lambda: lab.is_over(self.ids), 120, wake_every=5)
        self.wait_for("the report of delay", self.is_delay_reported)
        host.set_access("")
        self.wait_for("the reports", lambda: host.is_idle(SENDER))
        self.forge()
        self.answer()
        self.wait_for("the answers", lambda: host.is_idle(SENDER))
        lab.stop_servers()
        return self.find_results()

    # === ODOO === #

    def release(self):
        """Release a notice for each case."""
        lab = self.lab
        with lab.env() as env:
            lab.set_timeouts(env, False)
            env.company.alias_domain_id = env["mail.alias.domain"].create({"name": SENDER.partition("@")[2]})
            mailbox = env["fetchmail.server"].create({
                "name": SENDER, "server_type": "imap", "server": "localhost", "port": self.host.ports["imap"],
                "is_ssl": True, "user": SENDER, "password": READER[SENDER]})  # fmt: skip
            mailbox.button_confirm_login()
            providers = {
                name: lab.make_provider(env, self.host.ports[name], incoming_server_id=mailbox.id)
                for name in {case.port for case in self.cases}}  # fmt: skip
            env.company.dunning_provider_id = providers["submission"]
            drafts = lab.make_drafts(env, len(self.cases), "mail")
            drafts.run_id.user_id = env.ref("base.user_admin")
            for draft, case in zip(drafts, self.cases, strict=True):
                draft.partner_id.email = case.to
            issued = drafts._issue()
            if len(issued) != len(drafts):
                raise RuntimeError(drafts.mapped("problem"))
            for notice, case in zip(drafts, self.cases, strict=True):
                notice.provider_id = providers[case.port]
            self.ids = drafts.ids

    def wait_for(self, what, check):
        """Have Odoo read the mailbox until there is nothing more to read and `check()` is true."""
        end = time.monotonic() + 180
        while True:
            self.lab.trigger(FETCH)
            time.sleep(0.5)
            if check() and not self.lab.sql("SELECT 1 FROM dunning_incoming_mail WHERE state = 'new'"):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{what} took too long:\n{self.host.read_log()}")

    def is_delay_reported(self):
        return self.lab.sql("SELECT 1 FROM dunning_notice_report WHERE action = 'delayed'")

    # === THE CUSTOMERS === #

    def list_notices(self, env):
        """(case, notice) of each."""
        return list(zip(self.cases, env["dunning.notice"].browse(self.ids), strict=True))

    def forge(self):
        """Somebody who has his mail writes a report about it, after one that Postfix wrote, and hands it in."""
        with self.lab.env() as env:
            pairs = self.list_notices(env)
            real = next(notice for case, notice in pairs if case.to == "gone@customer.test")
            own = next(notice for case, notice in pairs if case.what == "a report that somebody else wrote")
            replaced = {real.email_to: own.email_to, real.message_id: own.message_id,
                        f"dunning.notice-{real.id}": f"dunning.notice-{own.id}",
                        real.delivery_log_ids.filtered("queue_id")[:1].queue_id:
                        own.delivery_log_ids.filtered("queue_id")[:1].queue_id}  # fmt: skip
            text = self.find_report(real.message_id)
        text = re.sub(r"(?m)^(Return-Path: <>|Delivered-To: .*|Original-Envelope-Id: .*)\n", "", text)
        # his own server's name for it comes later
        text = text[text.index("Received: by "):]
        for old, new in replaced.items():
            text = text.replace(old, new)
        with smtplib.SMTP("localhost", self.host.ports["relay"]) as smtp:
            smtp.ehlo("mail.muster.test")
            smtp.docmd("XCLIENT", "NAME=host.elsewhere.test ADDR=192.0.2.66")
            smtp.ehlo("mail.muster.test")
            smtp.sendmail("", [SENDER], text.encode())

    def find_report(self, message_id):
        """The text of a report about a mail."""
        return next(text for path in self.host.list_mails(SENDER) if message_id in (text := path.read_text()))

    def answer(self):
        with self.lab.env() as env:
            for case, notice in self.list_notices(env):
                if not case.answer:
                    continue
                mail = email.message.EmailMessage()
                mail["From"], mail["To"] = case.to, email.message_from_bytes(notice.mail_document_id.raw)["Reply-To"]
                mail["Message-ID"] = f"<{notice.id}@customer.test>"
                mail["Subject"] = f"Re: {notice.mail_subject}" if case.answer == "reference" else "Your letter"
                mail.set_content(ANSWER + ("" if case.answer == "reference" else f" It is about {notice.name}."))
                if case.answer == "reference":
                    mail["In-Reply-To"] = mail["References"] = notice.message_id
                with smtplib.SMTP("localhost", self.host.ports["mx"]) as smtp:
                    smtp.send_message(mail)

    # === RESULTS === #

    def find_results(self):
        rows, problems = [], []
        reports = [path.read_text() for path in self.host.list_mails(SENDER)]
        with self.lab.env() as env:
            for case, notice in self.list_notices(env):
                seen = self.find_outcome(case, notice, reports)
                said = " ".join(filter(None, [
                    notice.delivery_info, notice.return_info, *notice.activity_ids.mapped(lambda a: str(a.note))]))
                rows.append({
                    "what": case.what, "expected": case.expected.describe(), "seen": seen.describe(), "said": said,
                    "envelope_id": {True: "came back", False: "not there"}.get(seen.envelope_id, "")})  # fmt: skip
                if seen != case.expected:
                    problems.append(f"{case.what}: {seen} in place of {case.expected}: {said}")
                elif case.words.replace("'", "&#39;") not in said.replace("'", "&#39;"):
                    problems.append(f"{case.what}: “{case.words}” is not in “{said}”")
            left = env["dunning.incoming.mail"].search([("state", "!=", "done")])
            problems += [f"left over: {mail.name}: {mail.error}" for mail in left]
        return {"cases": rows, "mails_read": len(reports), **self.host.versions}, problems

    def find_outcome(self, case, notice, reports):
        about = [text for text in reports if notice.message_id in text and "Reporting-MTA: " in text]
        number = f"Original-Envelope-Id: {notice._get_envelope_id()}\n"
        proofs = {number in text for text in about}
        answers = notice.message_ids.filtered(lambda one: (
            one.message_type == "email" and ANSWER in one.body
            and notice.user_id.partner_id in one.notification_ids.res_partner_id))  # fmt: skip
        return Outcome(
            notice.delivery_state,
            tuple(sorted(activity.activity_type_id.get_external_id()[activity.activity_type_id.id].partition(
                ".mail_activity_")[2] for activity in notice.activity_ids)),
            tuple((report.action, report.status, report.is_proven) for report in notice.report_ids.sorted("id")),
            bool(notice.partner_id.dunning_email_refused or notice.partner_id.dunning_refused_addresses),
            proofs.pop() if len(proofs) == 1 else None,
            sum(notice.message_id in path.read_text() for address in case.mailboxes
                for path in self.host.list_mails(address)),
            len(answers))  # fmt: skip
