"""Random ledgers in the database: what a run reads, decides and writes, against a slow reading of the rules."""

import json
import pprint
import unittest
from collections import Counter
from dataclasses import replace
from datetime import date

from odoo import Command, fields
from odoo.tests import tagged

from . import reference
from .common import TODAY, DunningCommon
from .ledgers import SEED, draw, draw_distinct, find_difference, hypothesis, make_strategies

# 6 companies' settings with so many customers each; every customer is a ledger of its own, with three runs.
SETTINGS = 6
LEDGERS = 150


@tagged('post_install', '-at_install')
@unittest.skipUnless(hypothesis, "needs the Python package hypothesis")
class TestProperties(DunningCommon):
    """Same notices, same levels, same amounts, same reasons; over three runs of which some notices do not count."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env = cls.env(context=dict(cls.env.context, tracking_disable=True, mail_create_nosubscribe=True))
        cls.currencies = {'own': cls.currency, 'foreign': cls.foreign}
        partner = cls.make_partner('Template')
        cls.templates = {}
        for name, currency in cls.currencies.items():
            for kind, move in (
                    ('invoice', cls.make_invoice(partner, currency=currency)),
                    ('refund', cls.make_invoice(partner, move_type='out_refund', currency=currency)),
                    ('payment', cls.make_unallocated(partner, 100, currency=currency)),
                    ('paid_out', cls.make_paid_out(partner, 100, currency=currency))):
                cls.templates[kind, name] = (move.id, cls.receivable(move).id)
            cls.templates['on_way', name] = (cls.make_payment(partner, 100, currency=currency).id, None)
        # What they were made of is nobody's.
        cls.env['account.payment'].search([('partner_id', '=', partner.id)]).action_cancel()
        cls.env.flush_all()

    def test_random_ledgers(self):
        """At least 500 ledgers, each its own customer."""
        settings, ledgers = make_strategies()
        checked, seen = 0, Counter()
        for number, setting in enumerate(draw(settings, SETTINGS, SEED)):
            setting = replace(setting, currency_order=tuple(sorted(
                self.currencies, key=lambda name: self.currencies[name].id)))
            batch = draw_distinct(ledgers, LEDGERS, SEED * 1000 + number * 100)
            differences, notices = self.compare(setting, batch)
            checked += len(batch)
            for notice in notices:
                seen.update(self.classify(notice))
            if differences:
                first = min(differences)
                self.fail(f"{pprint.pformat(setting)}\n{pprint.pformat(batch[first])}\n{differences[first]}")
        self.assertGreaterEqual(checked, 500)
        self.assertGreater(seen['notice'], checked, "most ledgers are to have notices, or nothing is compared")
        rare = {kind: seen[kind] for kind in (
            'later level', 'credit', 'info', 'fee', 'cumulated', 'foreign', 'several levels',
            'counts', 'open', 'void', 'on_way') if seen[kind] < 20}
        self.assertFalse(rare, "hardly compared")

    @staticmethod
    def classify(notice):
        """Yield what is special about a notice of the reference."""
        kinds = [kind for kind, _key in notice.lines]
        yield 'notice'
        yield notice.status
        yield from set(kinds)
        if notice.currency == 'foreign':
            yield 'foreign'
        if notice.has_on_way:
            yield 'on_way'
        if any(line[2] for line in notice.lines.values()):
            yield 'later level'
        if len({line[1] for (kind, _key), line in notice.lines.items() if kind == 'due'}) > 1:
            yield 'several levels'
        if notice.fee:
            yield 'fee'
        if notice.earlier:
            yield 'cumulated'

    # === COMPARING === #

    def compare(self, setting, ledgers):
        """Run all three runs on the ledgers, here and in the reference.

        :return: (dict position of a ledger -> what differs, list of all :class:`reference.Notice`)
        """
        self.company.dunning_min_amount = setting.minimum / 100
        self.env['res.currency.rate'].search([('currency_id', '=', self.foreign.id)]).unlink()
        self.env['res.currency.rate'].create([{
            'currency_id': self.foreign.id, 'name': max(self.days(start), date(2020, 1, 1)), 'rate': float(rate),
            'company_id': self.company.root_id.id} for start, rate in setting.rates])
        partners, self.keys = self.make_ledgers(ledgers)
        earlier = [[] for _ledger in ledgers]
        differences = {}
        for number in range(len(setting.days)):
            self.turn_to(number)
            run = self.make_run(
                self.days(setting.days[number]), generate=False, due_until=self.days(setting.due_until[number]),
                partner_ids=partners.ids)
            run.action_generate_notices()
            if number == 1:
                # Once more gives the same.
                run.action_generate_notices()
            notices, reasons = self.read_run(run)
            by_outcome = {}
            for position, (partner, ledger) in enumerate(zip(partners, ledgers, strict=True)):
                expected, left_out = reference.propose(setting, ledger, number, earlier[position])
                ours = notices.get(partner.id, {})
                difference = find_difference(expected, left_out, ours, reasons.get(partner.id, {}))
                if difference:
                    differences.setdefault(position, f"run {number}: {difference}")
                outcomes = ledger.outcomes[number]
                for index, notice in enumerate(expected):
                    outcome = outcomes[index % len(outcomes)]
                    notice.take_outcome(outcome, earlier[position])
                    if (notice.currency, notice.level) in ours:
                        by_outcome.setdefault(outcome, []).append(ours[notice.currency, notice.level]['id'])
                earlier[position] += expected
            for outcome, ids in by_outcome.items():
                self.let_fare(self.env['dunning.notice'].sudo().browse(ids), outcome)
            self.env.flush_all()
        return differences, [notice for notices in earlier for notice in notices]

    def read_run(self, run):
        """Read what a run proposed.

        :return: (dict partner id -> dict (currency, level) -> values, dict partner id -> dict (currency, item) ->
            reason), in the words of the reference
        """
        names = {currency.id: name for name, currency in self.currencies.items()}
        level_numbers = {level.id: level.sequence for level in self.env['dunning.level'].search([])}

        def cents(amount):
            return round(amount * 100)

        def day(value):
            return (value - TODAY).days if value else None

        notices = {}
        for notice in run.notice_ids:
            lines = {}
            for line in notice.line_ids.filtered(lambda line: line.kind != 'charge'):
                _ledger, key = (
                    self.payment_keys[line.payment_id.id] if line.payment_id else self.keys[line.move_line_id.id])
                self.assertNotIn((line.kind, key), lines)
                lines[line.kind, key] = (
                    cents(line.amount_residual), level_numbers.get(line.level_id.id),
                    level_numbers.get(line.previous_level_id.id), day(line.previous_date))
            key = names[notice.currency_id.id], level_numbers[notice.level_id.id]
            of_partner = notices.setdefault(notice.partner_id.id, {})
            self.assertNotIn(key, of_partner)
            of_partner[key] = {
                'id': notice.id, 'deadline': day(notice.date_deadline), 'overdue': cents(notice.amount_overdue),
                'credit': cents(notice.amount_credit), 'fee': cents(notice.amount_fee),
                'earlier': cents(notice.amount_earlier), 'total': cents(notice.amount_total), 'lines': lines}
        reasons = {}
        for exception in run.exception_ids.filtered(lambda exception: exception.reason not in ('hint', 'charges')):
            key = self.keys[exception.move_line_id.id][1] if exception.move_line_id else None
            of_partner = reasons.setdefault(exception.partner_id.id, {})
            self.assertNotIn((names[exception.currency_id.id], key), of_partner)
            of_partner[names[exception.currency_id.id], key] = exception.reason
        return notices, reasons

    # === MAKING === #

    def make_procedures(self, ledgers):
        """Return a `dunning.procedure` for each ledger."""
        return self.env['dunning.procedure'].create([{
            'name': 'Random', 'grace_days': ledger.procedure.grace,
            'grouping': 'level' if ledger.procedure.per_level else 'customer',
            'level_ids': [Command.create({
                'sequence': level.number, 'name': str(level.number), 'delay_days': level.delay,
                'deadline_days': level.deadline, 'repeat': level.repeat, 'min_amount': level.minimum / 100,
                'fee_ids': [Command.create({'fixed': level.fee / 100})] if level.fee else False,
                'fee_method': 'cumulated' if level.cumulated else 'single',
            }) for level in ledger.procedure.levels]} for ledger in ledgers])

    def make_ledgers(self, ledgers):
        """Make a customer for each ledger; entries are clones of posted ones, with the dates and amounts wanted.

        :return: (partners in the order of the ledgers, dict item id -> (position of the ledger, key of the item))
        """
        partners = self.env['res.partner'].create([{
            'name': f'Ledger {position}', 'lang': 'de_DE', 'dunning_procedure_id': procedure.id,
            'dunning_hold_until': self.days(ledger.hold) if ledger.hold is not None else False,
        } for position, (ledger, procedure) in enumerate(zip(ledgers, self.make_procedures(ledgers), strict=True))])
        moves, lines, keys = [], [], {}
        payments, names, self.payment_keys = [], [], {}
        self.payment_steps = {0: [], 1: [], 2: []}
        self.steps = {0: [], 1: [], 2: []}
        sizes = [sum(len(entry.items) for entry in ledger.entries) for ledger in ledgers]
        move_ids = self.next_ids('account_move', sum(len(ledger.entries) for ledger in ledgers))
        line_ids = self.next_ids('account_move_line', sum(sizes))
        payment_ids = self.next_ids('account_payment', sum(len(ledger.entries) for ledger in ledgers))
        for position, (partner, ledger) in enumerate(zip(partners, ledgers, strict=True)):
            numbers = [next(payment_ids if entry.kind == 'on_way' else move_ids) for entry in ledger.entries]
            for number, entry in enumerate(ledger.entries):
                template, template_line = self.templates[entry.kind, entry.currency]
                move_id = numbers[number]
                if entry.kind == 'on_way':
                    [item] = entry.items
                    self.payment_keys[move_id] = (position, (number, 0))
                    payments.append({
                        'template': template, 'id': move_id, 'partner_id': partner.id, 'name': f'WAY/{move_id}',
                        'due': self.text_day(item.due), 'amount': item.amount / 100})
                    names += [(move_id, numbers[name]) for name in entry.names]
                    for run, steps in self.payment_steps.items():
                        steps.append({'id': move_id, 'state': 'in_process' if entry.posted_from <= run else 'draft'})
                    continue
                moves.append({
                    'template': template, 'id': move_id, 'partner_id': partner.id, 'name': f'RANDOM/{move_id}',
                    'payment_state': entry.payment_state, 'hold': self.text_day(entry.hold)})
                sign = 1 if entry.kind in ('invoice', 'paid_out') else -1
                for index, item in enumerate(entry.items):
                    line_id = next(line_ids)
                    keys[line_id] = (position, (number, index))
                    lines.append({
                        'template': template_line, 'id': line_id, 'move_id': move_id, 'partner_id': partner.id,
                        'due': self.text_day(item.due), 'amount': sign * item.amount / 100,
                        'no_followup': item.no_followup, 'hold': self.text_day(item.hold)})
                    for run, steps in self.steps.items():
                        steps.append({
                            'id': line_id, 'state': 'posted' if entry.posted_from <= run else 'draft',
                            'residual': sign * item.residual(run) / 100})
        self.clone('account_move', moves, {
            'id': 'v.id', 'partner_id': 'v.partner_id', 'commercial_partner_id': 'v.partner_id', 'name': 'v.name',
            'payment_state': 'v.payment_state', 'dunning_hold_until': 'v.hold'})
        self.clone('account_move_line', lines, {
            'id': 'v.id', 'move_id': 'v.move_id', 'partner_id': 'v.partner_id', 'date_maturity': 'v.due',
            'amount_currency': 'v.amount', 'no_followup': 'v.no_followup', 'dunning_hold_until': 'v.hold',
            'reconciled': 'FALSE'})
        self.clone('account_payment', payments, {
            'id': 'v.id', 'partner_id': 'v.partner_id', 'name': 'v.name', 'memo': 'NULL', 'amount': 'v.amount',
            'date': 'v.due', 'state': "'draft'"})
        if names:
            self.env.cr.execute_values(
                "INSERT INTO account_move__account_payment (payment_id, invoice_id) VALUES %s", names)
        # Else PostgreSQL believes that the tables are empty, and plans for that.
        self.env.cr.execute("ANALYZE res_partner, account_move, account_move_line, dunning_notice, dunning_notice_line")
        return partners, keys

    def text_day(self, day):
        return None if day is None else self.days(day).isoformat()

    def next_ids(self, table, count):
        self.env.cr.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return iter([row[0] for row in self.env.cr.fetchall()])

    def clone(self, table, rows, columns):
        """Insert clones of template rows.

        :param list rows: dicts with `template` and what `columns` refer to as `v.name`
        :param dict columns: column -> expression
        """
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
            [table])
        others = [f'"{name}"' for (name,) in self.env.cr.fetchall() if name not in columns]
        self.env.cr.execute(f"""
            INSERT INTO {table} ({', '.join([*columns, *others])})
            SELECT {', '.join([*columns.values(), *(f't.{name}' for name in others)])}
              FROM jsonb_to_recordset(%s::jsonb) AS v(
                   template int, id int, move_id int, partner_id int, name text, payment_state text, due date,
                   amount numeric, no_followup boolean, hold date)
              JOIN {table} t ON t.id = v.template
             ORDER BY v.id
        """, [json.dumps(rows)])  # noqa: S608
        self.env.invalidate_all(flush=False)

    def turn_to(self, run):
        """What was posted and paid before a run."""
        self.env.flush_all()
        self.env.cr.execute("""
            UPDATE account_move_line l
               SET parent_state = v.state, amount_residual_currency = v.residual, amount_residual = v.residual,
                   reconciled = v.residual = 0
              FROM jsonb_to_recordset(%s::jsonb) AS v(id int, state text, residual numeric)
             WHERE l.id = v.id
        """, [json.dumps(self.steps[run])])
        self.env.cr.execute("""
            UPDATE account_payment p
               SET state = v.state
              FROM jsonb_to_recordset(%s::jsonb) AS v(id int, state text)
             WHERE p.id = v.id
        """, [json.dumps(self.payment_steps[run])])
        self.env.invalidate_all(flush=False)

    def let_fare(self, notices, outcome):
        """Take notices to where the outcome says, by the ways that the addon itself goes."""
        if outcome == 'draft':
            return
        if outcome == 'excluded':
            notices.action_exclude()
            return
        if outcome == 'waived':
            notices.amount_fee = 0
        if outcome == 'postponed':
            for notice in notices:
                notice.date_deadline = notice.date_deadline + (self.days(reference.POSTPONED) - TODAY)
        notices._set_state('issued')
        if outcome in ('printed', 'unprinted', 'waived', 'postponed'):
            notices._set_delivery('paper', 'test')
            if outcome != 'unprinted':
                notices.printed_at = fields.Datetime.now()
            return
        notices._set_delivery('released', 'test')
        if outcome in ('released', 'cancelled'):
            if outcome == 'cancelled':
                notices.action_cancel()
            return
        notices._set_delivery('sending', 'test', redirected_to='me@muster.test' if outcome == 'trial' else False)
        moved = notices._set_delivery(outcome if outcome in ('failed', 'unclear') else 'sent', 'test')
        self.assertEqual(moved, notices)
        if outcome == 'sent_cancelled':
            notices.action_cancel()
