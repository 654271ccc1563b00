"""The ways of a mail that the engine is compared with: Odoo's mail queue, and a bare `smtplib` loop."""

import contextlib
import os
import smtplib
import socket
import ssl
import statistics
import time

from .lab import CERTS, LOGIN, SENDER


@contextlib.contextmanager
def niceness_of_a_worker():
    """Odoo's scheduler makes its workers nice: whoever is compared with the engine has to be as nice."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before + 10)
    try:
        yield
    finally:
        # only root may go back
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


@niceness_of_a_worker()
def measure_core(lab, server, mails):
    """The same mails in Odoo's own way: a message with an attachment on a record, then the mail queue.

    A mail is (id of its partner, texts, content of the PDF)."""
    with lab.env() as env:
        env["ir.mail_server"].search([("name", "=", "core")]).unlink()
        env["ir.mail_server"].create({
            "name": "core", "smtp_host": "localhost", "smtp_port": server.port, "smtp_encryption": "starttls",
            "smtp_user": LOGIN["user"], "smtp_pass": LOGIN["password"]})  # fmt: skip
        env["mail.mail"].search([]).unlink()
    before = lab.counters()
    began = time.monotonic()
    post(lab, mails)
    posted = time.monotonic()
    since = time.time()
    with lab.env() as env:
        while env["mail.mail"].search_count([("state", "=", "outgoing")]):
            env["mail.mail"].process_email_queue()
            env.cr.commit()
    ended = time.monotonic()
    after = lab.counters()
    accepted = len(server.events("accepted", since))
    if accepted != len(mails):
        raise RuntimeError(f"core sent {accepted} of {len(mails)} mails")
    return {
        "mails_per_s": round(accepted / (ended - began), 1),
        "queue_alone_mails_per_s": round(accepted / (ended - posted), 1),
        "statements_per_mail": round((after[0] - before[0]) / accepted, 1),
        "commits_per_mail": round((after[1] - before[1]) / accepted, 1),
    }


def post(lab, mails):
    with lab.env() as env:
        for partner_id, texts, pdf in mails:
            partner = env["res.partner"].browse(partner_id).with_context(mail_notify_force_send=False)
            partner.message_post(
                body=texts["mail_body"], subject=texts["mail_subject"], message_type="comment",
                subtype_xmlid="mail.mt_comment", email_from=SENDER, partner_ids=[partner_id],
                attachments=[("notice.pdf", pdf)])  # fmt: skip
            env.cr.commit()


@niceness_of_a_worker()
def measure_smtplib(server, contents):
    """A bare loop over one TLS session, of pairs of address and content.

    As `smtplib` does it by itself, a small write may wait some 40 ms for the other side's acknowledgement, as those of
    Odoo's mail queue do. It happens to all, some or none of the mails of a session, at random: so there are seven
    sessions, and all of their mails and seconds count. `TCP_NODELAY`, which the engine sets, switches that off.
    """
    tls = ssl.create_default_context(cafile=CERTS / "ca.pem")
    seconds = {False: [], True: []}
    part = contents[:200]
    for nodelay in (False, True) * 7:
        with smtplib.SMTP("localhost", server.port) as client:
            if nodelay:
                client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.starttls(context=tls)
            client.login(LOGIN["user"], LOGIN["password"])
            began = time.monotonic()
            for address, content in part:
                client.sendmail(SENDER, [address], content)
            seconds[nodelay].append(time.monotonic() - began)
    return {
        "mails_per_s": round(len(part) / statistics.mean(seconds[False]), 1),
        "mails_per_s_of_each_session": [round(len(part) / each, 1) for each in seconds[False]],
        "mails_per_s_without_delay": round(len(part) / statistics.mean(seconds[True]), 1),
        "kB_per_mail": round(statistics.mean(len(content) for _address, content in contents) / 1000),
    }
