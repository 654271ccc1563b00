#!/usr/bin/env python3
"""Check a ZIP of dunning evidence: is it consistent in itself, as it was when the notices left?

    python3 check_evidence.py EVIDENCE.zip

Needs nothing but Python 3.9 or later. It prints a sentence for all that it compares. Exit status: 0 nothing differs,
1 something differs, 2 nothing differs but something is not there to be compared.

What it cannot prove: that nobody has made up all of it. Whoever owns the database, or edits every place of the ZIP
alike, can do that. Compare with what others have: the mail as the customer received it, and the mail provider's log,
which knows the server's number of each mail.
"""

import csv
import email
import email.policy
import hashlib
import io
import json
import sys
import zipfile


class Report:
    """What was found, in sentences."""

    def __init__(self):
        self.differences = 0
        self.gaps = 0

    def compare(self, is_same, sentence):
        """Print a sentence that is true, or that it is not."""
        self.differences += not is_same
        print(f"  {'ok        ' if is_same else 'DIFFERENT '} {sentence}")
        return is_same

    def miss(self, sentence):
        """Print what cannot be compared."""
        self.gaps += 1
        print(f"  not proven {sentence}")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def check_sums(files, report):
    """Is each file the one that SHA256SUMS names, and is there no other?"""
    listed = {}
    for line in files.get("SHA256SUMS", b"").decode().splitlines():
        digest, _space, path = line.partition("  ")
        listed[path] = digest
    found = {path: sha256(content) for path, content in files.items() if path != "SHA256SUMS"}
    report.compare(bool(listed), "There is a list SHA256SUMS.")
    for path in sorted(listed.keys() | found.keys()):
        report.compare(listed.get(path) == found.get(path), f"{path} is in the ZIP as SHA256SUMS lists it.")


def check_file(kind, content, facts, report):
    """Is a kept file the one whose SHA-256 was noted down when it was made?"""
    noted, standing = facts["sha256"], facts["standing"]
    if content is None:
        report.compare(standing in {"none", "removed", "gone"}, f"No {kind} is here, and none is said to be.")
        if standing != "none":
            report.miss(f"The {kind} is {standing}: nothing can be said of its content.")
    elif not noted:
        report.miss(f"No SHA-256 of the {kind} was noted down (an earlier version): it may be another one.")
    else:
        report.compare(noted == sha256(content), f"The {kind} is the one whose SHA-256 was noted down.")
        report.compare(standing == "verified", f"The {kind} was whole when the evidence was exported.")


def check_log(record, report):
    """Are all steps there, and does each begin where the one before ended?"""
    log = record["log"]
    numbers = [row["step"] for row in log]
    report.compare(
        numbers == list(range(1, record["steps"] + 1)),
        f"The delivery log has its {record['steps']} steps, without a gap.")
    at, is_chain = "", True
    for row in log:
        if row["state_to"] != row["state_from"]:
            is_chain = is_chain and (row["state_from"] == at or at == "cancelled")
            at = row["state_to"]
    report.compare(is_chain, "Each move in the log begins in the state in which the one before ended.")
    if record["facts"]["state"] == "cancelled":
        report.compare(at == "cancelled", "The log ends with the cancelling, as the notice says.")
    else:
        report.compare(at == record["facts"]["delivery_state"], "The log ends in the state that the notice says.")


def read_addresses(header):
    """Return the names and the addresses in a header, or in the text of one."""
    if isinstance(header, str) and not hasattr(header, "addresses"):
        header = email.message_from_string(f"To: {header}\n\n", policy=email.policy.default)["To"]
    found = header.addresses if header else ()
    return {one.display_name for one in found}, sorted(one.addr_spec.lower() for one in found)


def check_mail(record, pdf, eml, sending, report):
    """Does the mail say what the log says of it, and does it have the letter along?"""
    mail = email.message_from_bytes(eml, policy=email.policy.default)
    names, facts = record["names"], record["facts"]
    report.compare(mail["Message-ID"] == facts["message_id"], "The mail bears the Message-ID that the notice says.")
    report.compare(mail["Message-ID"] == sending["message_id"], "The mail bears the Message-ID that the log says.")
    shown, to = read_addresses(mail["To"])
    report.compare(
        to == read_addresses(facts["redirected_to"] or facts["email_to"])[1],
        "The mail is addressed to whom the notice says.")
    if sending["recipients"]:
        report.compare(to == read_addresses(sending["recipients"])[1], "The mail is addressed to whom the log says.")
        report.compare(sending["mail_sha256"] == sha256(eml), "The mail is the one that the log says was handed over.")
    else:
        report.miss("The log says neither for whom the mail was nor its SHA-256 (an earlier version).")
    if pdf is not None:
        attached = [
            part.get_payload(decode=True) for part in mail.walk() if part.get_content_type() == "application/pdf"]
        report.compare(pdf in attached, "The letter attached to the mail is byte for byte the kept PDF.")
    if names["source"] != "issue":
        return
    report.compare(shown == {names["to_name"]}, f"The mail names “{names['to_name']}”, as the notice does.")
    report.compare(
        read_addresses(mail["From"]) == read_addresses(names["sender"]),
        f"The mail comes from {names['sender']}, as the notice says.")
    report.compare(
        " ".join(str(mail["Subject"]).split()).endswith(" ".join(names["subject"].split())),
        f"The mail's subject is “{names['subject']}”.")


def check_tables(folder, record, files, report):
    """Do the tables for people say what notice.json says?"""
    tables = [
        list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
        for path, content in sorted(files.items()) if path.startswith(f"{folder}/") and path.endswith(".csv")]
    lengths = [len(table) - 1 for table in tables if table and len(table[0]) > 2]
    report.compare(lengths == [record["steps"]], "The table of the log has as many steps.")
    values = {row[1].lstrip("'") for table in tables for row in table if len(row) == 2}
    wanted = [record["number"], *(record["files"][kind]["sha256"] for kind in ("pdf", "eml"))]
    wanted += [
        record["names"].get(key) or "" for key in ("customer", "recipient", "level", "company", "clerk", "subject")]
    missing = [value for value in wanted if value and value.lstrip("'=+-@\t\r") not in {
        shown.lstrip("'=+-@\t\r") for shown in values}]
    report.compare(not missing, "The table of facts has the same number, names and SHA-256." + (
        f" Not there: {', '.join(missing)}" if missing else ""))


def check_notice(folder, record, files, report):
    """Check one notice."""
    own = [path for path in files if path.startswith(f"{folder}/")]
    pdf, eml = (next((files[path] for path in own if path.endswith(kind)), None) for kind in (".pdf", ".eml"))
    report.compare(len(own) == 3 + (pdf is not None) + (eml is not None), "There are no other files.")
    check_file("PDF", pdf, record["files"]["pdf"], report)
    check_file("mail", eml, record["files"]["eml"], report)
    check_log(record, report)
    check_tables(folder, record, files, report)
    sending = [row for row in record["log"] if row["state_to"] == "sending"]
    if eml is not None and report.compare(bool(sending), "The log says that a mail was handed over."):
        check_mail(record, pdf, eml, sending[-1], report)
    printed = [row for row in record["log"] if row["stage"] == "print"]
    left = printed[-1:] + sending[-1:] * (eml is not None)
    noted = {row["document_sha256"] for row in left if row["document_sha256"]}
    if noted:
        report.compare(
            noted == {record["files"]["pdf"]["sha256"]}, "The PDF is the one that the log says was sent or printed.")
    if record["facts"]["printed_at"] and not printed:
        report.miss("The log does not say which PDF was printed (an earlier version).")
    if record["names"]["source"] != "issue":
        report.miss("The names were filled in later, and are not proven to be those of the time.")


def main(path):
    """Check a ZIP.

    :return: the exit status
    """
    report = Report()
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            files = {name: archive.read(name) for name in names}
        report.compare(len(names) == len(files), "No file is in the ZIP twice.")
        check_sums(files, report)
        records = [name for name in sorted(files) if name.endswith("/notice.json")]
        report.compare(bool(records), "There is at least one dunning notice.")
        folders = {name.partition("/")[0] for name in files if "/" in name}
        report.compare(len(records) == len(folders), "Each folder has its notice.json.")
        for name in records:
            folder = name.rpartition("/")[0]
            record = json.loads(files[name])
            print(f"{record['number']}, {record['names']['customer']}")
            if report.compare(record["format"] == 1, "It has the form that this program knows."):
                check_notice(folder, record, files, report)
    except Exception as error:  # whatever was done to it, it is said
        report.compare(False, f"It can be read as evidence. ({type(error).__name__}: {error})")
    if report.differences:
        print(f"{report.differences} of what was compared DIFFERS: it is not what was exported, or was damaged before.")
        return 1
    if report.gaps:
        print(f"Nothing differs. {report.gaps} of it is not there to be compared: see “not proven”.")
        return 2
    print("Nothing differs.")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
