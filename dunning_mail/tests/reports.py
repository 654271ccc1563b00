"""Reports of undelivered mail as mail systems write them, less what does not matter here.

{id} is the Message-ID of the mail that came back, {header} its header, {to} the recipient, {envelope} the line with the
envelope's number, where the system knows of it.
"""

POSTFIX = '''\
Return-Path: <>
Date: Tue, 24 Nov 2026 09:00:00 +0100 (CET)
From: MAILER-DAEMON@mx.muster.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: mahnung@muster.test
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="4Xyz.1700000000/mx.muster.test"
Content-Transfer-Encoding: 8bit
Message-Id: <20261124080000.4Xyz@mx.muster.test>

This is a MIME-encapsulated message.

--4Xyz.1700000000/mx.muster.test
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.muster.test.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<{to}>: host mx.customer.test[192.0.2.7] said: 550 5.1.1 <{to}>: Recipient
    address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)

--4Xyz.1700000000/mx.muster.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.muster.test
X-Postfix-Queue-ID: 4Xyz
X-Postfix-Sender: rfc822; mahnung@muster.test
{envelope}Arrival-Date: Tue, 24 Nov 2026 08:59:00 +0100 (CET)

Final-Recipient: rfc822; {to}
Original-Recipient: rfc822;{to}
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.customer.test
Diagnostic-Code: smtp; 550 5.1.1 <{to}>: Recipient address rejected: User unknown
    in virtual mailbox table

--4Xyz.1700000000/mx.muster.test
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

{header}

--4Xyz.1700000000/mx.muster.test--
'''
EXIM = '''\
Return-path: <>
Received: from Debian-exim by mail.muster.test with local (Exim 4.96)
\tid 1rABCD-0001xy-2A
\tfor mahnung@muster.test; Tue, 24 Nov 2026 09:00:00 +0100
X-Failed-Recipients: {to}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mail.muster.test>
To: mahnung@muster.test
References: {id}
Content-Type: multipart/report; report-type=delivery-status; boundary=1732440000-eximdsn-1804289383
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1rABCD-0001xy-2A@mail.muster.test>
Date: Tue, 24 Nov 2026 09:00:00 +0100

--1732440000-eximdsn-1804289383
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {to}
    host mx.customer.test [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<{to}>:
    550 5.1.1 User unknown

--1732440000-eximdsn-1804289383
Content-type: message/delivery-status

Reporting-MTA: dns; mail.muster.test

Action: failed
Final-Recipient: rfc822;{to}
Status: 5.0.0
Remote-MTA: dns; mx.customer.test
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--1732440000-eximdsn-1804289383
Content-type: message/rfc822

{header}

The text of the mail.

--1732440000-eximdsn-1804289383--
'''
# Before Exim 4.80, and where it is set so: no standard report.
EXIM_PLAIN = '''\
Return-path: <>
X-Failed-Recipients: {to}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mail.muster.test>
To: mahnung@muster.test
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1rABCD-0001xy-3B@mail.muster.test>
Date: Tue, 24 Nov 2026 09:00:00 +0100

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {to}
    SMTP error from remote mail server after RCPT TO:<{to}>:
    host mx.customer.test [192.0.2.7]: 550 5.1.1 User unknown

------ This is a copy of the message, including all the headers. ------

{header}

The text of the mail.
'''
EXCHANGE = '''\
From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@muster.onmicrosoft.test>
To: <mahnung@muster.test>
Date: Tue, 24 Nov 2026 08:00:00 +0000
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="25a1b2c3-0000-4000-8000-000000000001"
X-MS-Exchange-Message-Is-Ndr:
Content-Language: en-US
Message-ID: <25a1b2c3-6f6a@AM0PR01MB0001.eurprd01.prod.exchangelabs.test>
In-Reply-To: {id}
References: {id}
Subject: Undeliverable: Mahnung
Auto-Submitted: auto-replied
MIME-Version: 1.0

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: multipart/alternative; differences=Content-Type;
\tboundary="25a1b2c3-0000-4000-8000-000000000002"

--25a1b2c3-0000-4000-8000-000000000002
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: quoted-printable

Delivery has failed to these recipients or groups:=20

{to}<mailto:{to}>
The email address you entered couldn't be found.

--25a1b2c3-0000-4000-8000-000000000002
Content-Type: text/html; charset="us-ascii"

<html><body><p>Your message to {to} couldn't be delivered.</p></body></html>

--25a1b2c3-0000-4000-8000-000000000002--

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: message/delivery-status

Reporting-MTA: dns;AM0PR01MB0001.eurprd01.prod.exchangelabs.test
Received-From-MTA: dns;mail.muster.test
Arrival-Date: Tue, 24 Nov 2026 07:59:58 +0000

Final-Recipient: rfc822;{to}
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
X-Display-Name: {to}

--25a1b2c3-0000-4000-8000-000000000001
Content-Type: message/rfc822

{header}

--25a1b2c3-0000-4000-8000-000000000001--
'''
GMAIL = '''\
To: mahnung@muster.test
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: {id}
In-Reply-To: {id}
X-Failed-Recipients: {to}
MIME-Version: 1.0
Content-Type: multipart/report; boundary="00000000000011aa22062d0c0001"; report-type=delivery-status
Message-ID: <6744d000.050a0220.1b2c3d.0001.GMR@mx.google.com>
Date: Tue, 24 Nov 2026 00:00:00 -0800 (PST)

--00000000000011aa22062d0c0001
Content-Type: multipart/related; boundary="00000000000011aa33062d0c0002"

--00000000000011aa33062d0c0002
Content-Type: multipart/alternative; boundary="00000000000011aa44062d0c0003"

--00000000000011aa44062d0c0003
Content-Type: text/plain; charset="UTF-8"

** Address not found **

Your message wasn't delivered to {to} because the address couldn't be found, or is unable to receive mail.

--00000000000011aa44062d0c0003--

--00000000000011aa33062d0c0002
Content-Type: image/png; name="icon.png"
Content-Disposition: attachment; filename="icon.png"
Content-Transfer-Encoding: base64
Content-ID: <icon.png>

iVBORw0KGgo=
--00000000000011aa33062d0c0002--

--00000000000011aa22062d0c0001
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Arrival-Date: Mon, 23 Nov 2026 23:59:58 -0800 (PST)
X-Original-Message-ID: {id}

Final-Recipient: rfc822; {to}
Action: failed
Status: 5.1.1
Remote-MTA: dns; gmail-smtp-in.l.google.com. (192.0.2.9, the server for the domain customer.test.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 unnecessary spaces. For more information, go to https://support.google.test/mail/?p=NoSuchUser
Last-Attempt-Date: Tue, 24 Nov 2026 00:00:00 -0800 (PST)

--00000000000011aa22062d0c0001
Content-Type: message/rfc822

{header}

--00000000000011aa22062d0c0001--
'''

# As 1&1 and IONOS write them: plain text, the address in angle brackets, the header only.
IONOS = '''\
Return-Path: <>
Date: Tue, 24 Nov 2026 09:00:00 +0100
From: "Mail Delivery System" <mailer-daemon@relay.hoster.test>
To: mahnung@muster.test
Subject: Mail delivery failed: returning message to sender
Auto-Submitted: auto-replied
Message-ID: <0MabCd-1uVwXy@mrelay.hoster.test>

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of
its recipients. The following addresses failed:

    <{to}>

SMTP error from remote server for RCPT TO command, host: mx.customer.test (192.0.2.7)
reason: 550 5.1.1 <{to}>: Recipient address rejected:
 User unknown in virtual mailbox table

--- The header of the original message is following. ---

{header}
'''
QMAIL = '''\
Return-Path: <>
Date: 24 Nov 2026 08:00:00 -0000
From: MAILER-DAEMON@mail.muster.test
To: mahnung@muster.test
Subject: failure notice
Message-ID: <20261124080000.1234.qmail@mail.muster.test>

Hi. This is the qmail-send program at mail.muster.test.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<{to}>:
192.0.2.7 does not like recipient.
Remote host said: 550 5.1.1 no such user here
Giving up on 192.0.2.7.

--- Below this line is a copy of the message.

{header}

The text of the mail.
'''
T_ONLINE = '''\
Return-Path: <>
Date: Tue, 24 Nov 2026 09:00:00 +0100
From: Mail Delivery System <Mailer-Daemon@mailin.carrier.test>
To: <mahnung@muster.test>
Subject: Mail System Error - Returned Mail
Message-ID: <1tFaaa-0001bc@mailin.carrier.test>

|------------------------- Message log follows: -------------------------|
 no valid recipients were found for this message
|------------------------- Failed addresses follow: ---------------------|
 <{to}> ... 550 5.1.1 unknown user
|------------------------- Message text follows: ------------------------|
{header}

The text of the mail.
'''
SENDMAIL = '''\
Return-Path: <MAILER-DAEMON>
Date: Tue, 24 Nov 2026 09:00:00 +0100
From: Mail Delivery Subsystem <MAILER-DAEMON@mx.muster.test>
To: <mahnung@muster.test>
Subject: Returned mail: see transcript for details
Auto-Submitted: auto-generated (failure)
Message-ID: <202611240800.3AO80abc012345@mx.muster.test>

The original message was received at Tue, 24 Nov 2026 09:00:00 +0100
from localhost [127.0.0.1]

   ----- The following addresses had permanent fatal errors -----
<{to}>
    (reason: 550 5.1.1 <{to}>... User unknown)

   ----- Transcript of session follows -----
... while talking to mx.customer.test.:
>>> RCPT To:<{to}>
<<< 550 5.1.1 <{to}>... User unknown

   ----- Original message follows -----

{header}

The text of the mail.
'''
# A postmaster's own words, in German, with nothing that refers to the mail but its copy.
POSTMASTER = '''\
Return-Path: <>
From: Postmaster <postmaster@mx.customer.test>
To: mahnung@muster.test
Subject: Unzustellbar: Zahlungserinnerung
Message-ID: <77@mx.customer.test>
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Ihre Nachricht konnte nicht zugestellt werden.

Empfänger: {to}
Grund: 550 5.1.1 Postfach unbekannt

Kopie der Nachricht:

{header}
'''
# Amazon SES: the Message-ID of the mail is the relay's own, which it also gave as its answer.
SES = '''\
Return-Path: <>
From: MAILER-DAEMON@eu-west-1.amazonses.test
To: mahnung@muster.test
Subject: Delivery Status Notification (Failure)
Message-ID: <0102019aaaaabbbb-11112222-3333-4444-5555-666677778888-000000@eu-west-1.amazonses.test>
Content-Type: multipart/report; report-type=delivery-status; boundary="=_ses"
MIME-Version: 1.0

--=_ses
Content-Type: text/plain; charset=us-ascii
Content-Description: Notification

An error occurred while trying to deliver the mail to the following recipients:
{to}

--=_ses
Content-Type: message/delivery-status
Content-Description: Delivery Report

Reporting-MTA: dns; a1-2.smtp-out.eu-west-1.amazonses.test

Action: failed
Final-Recipient: rfc822; {to}
Diagnostic-Code: smtp; 550 5.1.1 The email account that you tried to reach does not exist.
Status: 5.1.1

--=_ses
Content-Type: message/rfc822
Content-Description: Undelivered Message

{header}

--=_ses--
'''
FORMATS = {
    'Postfix': POSTFIX, 'Exim': EXIM, 'Exim, plain': EXIM_PLAIN, 'Exchange': EXCHANGE, 'Gmail': GMAIL, 'IONOS': IONOS,
    'qmail': QMAIL, 'T-Online': T_ONLINE, 'sendmail': SENDMAIL, 'Postmaster': POSTMASTER, 'SES': SES}
RECEIPT = '''\
From: <{to}>
To: mahnung@muster.test
Subject: Gelesen: Zahlungserinnerung
Message-ID: <receipt-{number}@customer.test>
In-Reply-To: {id}
References: {id}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Your message was read.

{part}--b--
'''
COMPLAINT = '''\
From: <feedback@mailbox.test>
To: mahnung@muster.test
Subject: FW: Zahlungserinnerung
Message-ID: <complaint-{number}@mailbox.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

This is an email abuse report.

--b
Content-Type: message/feedback-report

Feedback-Type: {feedback}
User-Agent: Feedback/1.0
Version: 1

--b
Content-Type: message/rfc822

{header}

The text of the mail.

--b--
'''
