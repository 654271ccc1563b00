"""Hand one message to an SMTP server, and say truly what became of it.

Plain Python on top of ``smtplib``; nothing here knows Odoo. ``smtplib`` alone does not do, because it

* reports a time-out, a reset and an end of file all as ``SMTPServerDisconnected``, whether or not the server may
  already hold the whole message;
* writes the message and its terminator in one go, so that nobody can tell on which side of it a fault lies;
* applies its time-out to each read and each write, so that a peer who sends or takes a byte now and then holds its
  client for ever;
* takes three arbitrary bytes for a reply code, and an overlong line for the reply 500;
* keeps the password in the session object, and puts it into the exception when it is not ASCII.

So the stages are written out here; of ``smtplib.SMTP`` remain the login mechanisms, for callers with a login of their
own (OAuth) that expect such an object.

How sure an outcome is
======================

A server has the message from the moment it has read ``CRLF . CRLF`` (RFC 5321, 4.1.1.4). The body, with its last
CRLF, is written completely first, the terminator ``. CRLF`` after it in a write of its own. Hence

* whatever goes wrong before that last write begins is *transient*: the server cannot have the end of the message;
* whatever goes wrong while or after it is written, but for a readable refusal, is *unclear*: it may have been sent
  even if the write itself reported an error (a write to TLS can fail after its record has left).

See :data:`rules.RULES` for what a refusal means, and :data:`classify.FAULTS` for what a fault without a reply does.
"""
from .classify import classify, classify_exception
from .mask import MASK, Mask
from .opening import open_session, verifying_context
from .outcome import (
    ADDRESS_REASONS, MAX_TEXT, DeliveryFault, GarbageError, Kind, LoginError, Outcome, Reason, Stage)
from .rules import is_dead_domain
from .session import Session

__all__ = [
    'ADDRESS_REASONS', 'MASK', 'MAX_TEXT', 'DeliveryFault', 'GarbageError', 'Kind', 'LoginError', 'Mask', 'Outcome',
    'Reason', 'Session', 'Stage', 'classify', 'classify_exception', 'is_dead_domain', 'open_session',
    'verifying_context']
