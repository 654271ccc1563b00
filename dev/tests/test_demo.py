"""When the demo calls itself a failure."""

import hashlib
from email.message import EmailMessage
from types import SimpleNamespace

import pytest

import demo
from smtpd import Message

EXPECTED = [
    {"customer": "A", "level": 1, "lang": "de_CH", "currency": "CHF", "state": "sent"},
    {"customer": "B", "level": 2, "lang": "fr_FR", "currency": "EUR", "state": "paper"},
]
PDF = b"%PDF-1.7 not really"


def notices(**changes):
    found = [
        {
            "name": f"N{number}", "state": "issued", "delivery_state": item["state"], "message_id": f"<{number}@x>",
            "document_sha256": hashlib.sha256(PDF).hexdigest(), **item,
        }
        for number, item in enumerate(EXPECTED)
    ]  # fmt: skip
    found[0].update(changes)
    return found


def mails(*message_ids, pdf=PDF):
    messages = []
    for message_id in message_ids:
        mail = EmailMessage()
        mail["Message-ID"] = message_id
        mail.set_content("x")
        mail.add_attachment(pdf, maintype="application", subtype="pdf", filename="x.pdf")
        messages.append(Message(1, 0, 1, None, "a@x", ["b@x"], mail.as_bytes(), "1"))
    return SimpleNamespace(messages=messages)


def test_all_as_intended():
    assert demo.compare(EXPECTED, notices()) == []
    assert demo.check_mails(mails("<0@x>"), notices()) == []


@pytest.mark.parametrize("change", [{"delivery_state": "failed"}, {"level": 2}, {"lang": "de_DE"}, {"currency": "EUR"}])
def test_another_end_than_intended(change):
    problems = demo.compare(EXPECTED, notices(**change))
    assert [problem.split(":")[0] for problem in problems] == ["missing", "not intended"]


def test_none_or_one_too_many():
    assert len(demo.compare(EXPECTED, [])) == 3
    assert demo.compare([], []) == ["there is no notice at all"]
    assert len(demo.compare(EXPECTED, [*notices(), *notices()])) == 2


@pytest.mark.parametrize(
    ("arrived", "words"),
    [
        (mails(), "0 mails arrived"),
        (mails("<0@x>", "<0@x>"), "2 mails arrived"),
        (mails("<0@x>", "<9@x>"), "no notice accounts for"),
        (mails("<0@x>", pdf=b"another"), "is not the one that is kept"),
    ],
)
def test_mails_that_do_not_fit(arrived, words):
    (problem,) = demo.check_mails(arrived, notices())
    assert words in problem
