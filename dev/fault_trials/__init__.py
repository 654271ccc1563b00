"""Proves what the process engine promises, with real servers. Called by dev/faults, which makes database and cluster.

What is real here: Odoo's servers with `--workers`, their scheduler, PostgreSQL, the mail server of dev/smtpd.py and,
in `mail`, those of Debian, TLS, letters, mails. What is not: invoices are cloned in SQL, since hundreds of them are
needed; the clock of the hourly limit is turned by moving the dates of the delivery log; the letters of the throughput
trial are padded to 60 kB.

A trial is a function of the lab and whether it is to be short. It returns (facts, list of what did not hold).
"""
