"""What is inserted in sets is what the ORM would have created."""

from unittest.mock import patch

from odoo.tests import tagged

from odoo.addons.dunning_mail.models.sets import insert_in_sets

from .common import DunningCommon

# What differs between any two records.
OWN = {'id', 'create_date', 'write_date', 'notice_id', 'run_id', 'charge_id'}


@tagged('post_install', '-at_install')
class TestSets(DunningCommon):

    def make_customers(self, count, prefix='Kunde'):
        """Customers with every kind of line: due, for information, a credit, an exception."""
        partners = self.env['res.partner']
        for number in range(count):
            partner = self.make_partner(f'{prefix} {number}', lang='fr_FR' if number % 2 else 'de_DE')
            self.make_invoice(partner, 100.05)
            self.make_invoice(partner, 33.35, due=self.days(-3))
            self.make_invoice(partner, 70, currency=self.foreign)
            self.make_unallocated(partner, 12.3)
            partners |= partner
        return partners

    def propose(self, partners):
        """Return a new run, and the values of its notices and exceptions."""
        run = self.make_run(generate=False, partner_ids=partners.ids).sudo()
        return run, *self.env['dunning.proposal'].sudo().with_company(self.company)._propose(run)

    def stored_values(self, records):
        """The values of all columns, by SQL: neither cache nor computing hides a difference."""
        self.env.flush_all()
        names = [name for name, field in records._fields.items()
                 if field.store and field.column_type and name not in OWN]
        self.env.cr.execute(
            f"SELECT id, {', '.join(f'{name!r}'.replace(chr(39), chr(34)) for name in names)} "  # noqa: S608
            f"FROM {records._table} WHERE id = ANY(%s)", [records.ids])
        rows = {row[0]: dict(zip(names, row[1:], strict=True)) for row in self.env.cr.fetchall()}
        return [rows[record_id] for record_id in records.ids]

    def assertSame(self, inserted, created):
        self.assertEqual(len(inserted), len(created))
        self.assertTrue(inserted)
        for ours, theirs in zip(self.stored_values(inserted), self.stored_values(created), strict=True):
            self.assertEqual(ours, theirs)

    def test_notices_and_lines_as_the_orm_makes_them(self):
        partners = self.make_customers(3)
        self.set_fee(self.level_1, 10)
        self.dun(partner_ids=partners.ids)
        run, values, _exceptions = self.propose(partners)
        self.assertFalse(values, "nothing is due on the same day")
        run.date = run.due_until = self.days(15)
        self.set_fee(self.level_2, 20, 'cumulated')
        values, _exceptions = self.env['dunning.proposal'].sudo().with_company(self.company)._propose(run)
        kinds = {line['kind'] for notice in values for _command, _id, line in notice['line_ids']}
        self.assertEqual(kinds, {'due', 'credit', 'charge'})
        def by_notice(record):
            return record.notice_id.id, record._name == 'dunning.notice.line' and record.sequence, record.id

        inserted = self.env['dunning.notice'].sudo()._insert_proposed(values)
        found = self.stored_values(inserted)
        lines = self.stored_values(inserted.line_ids.sorted(by_notice))
        charges = self.stored_values(inserted.charge_ids.sorted(by_notice))
        self.assertTrue(charges)
        inserted.unlink()
        created = self.env['dunning.notice'].sudo().create(values)
        self.assertEqual(found, self.stored_values(created))
        self.assertEqual(lines, self.stored_values(created.line_ids.sorted(by_notice)))
        self.assertEqual(charges, self.stored_values(created.charge_ids.sorted(by_notice)))
        self.assertEqual(inserted._name, created._name)

    def test_information_lines_as_the_orm_makes_them(self):
        run, values, _exceptions = self.propose(self.make_customers(2))
        kinds = {line['kind'] for notice in values for _command, _id, line in notice['line_ids']}
        self.assertEqual(kinds, {'due', 'info', 'credit'})
        inserted = self.env['dunning.notice'].sudo()._insert_proposed(values)
        self.assertEqual(inserted.run_id, run)
        self.assertEqual(inserted.mapped('amount_total'), [87.75, 70.0] * 2)
        found, lines = self.stored_values(inserted), self.stored_values(inserted.line_ids.sorted('id'))
        inserted.unlink()
        created = self.env['dunning.notice'].sudo().create(values)
        self.assertEqual(found, self.stored_values(created))
        self.assertEqual(lines, self.stored_values(created.line_ids.sorted('id')))

    def test_exceptions_as_the_orm_makes_them(self):
        partners = self.make_customers(2)
        partners[0].write({'dunning_hold_until': self.days(5), 'dunning_hold_reason': 'Ratenzahlung'})
        _run, _values, exceptions = self.propose(partners)
        self.assertEqual({values['reason'] for values in exceptions}, {'partner_hold', 'not_yet'})
        Exceptions = self.env['dunning.run.exception'].sudo()
        self.assertSame(insert_in_sets(Exceptions, exceptions), Exceptions.create(exceptions))

    def propose_with(self, add):
        """Write a proposal to whose lines another addon's hook adds values."""
        original = self.env.registry['dunning.proposal']._prepare_line_values

        def prepare(proposal, item, kind, *args):
            return add(kind, original(proposal, item, kind, *args))
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        self.make_unallocated(partner, 12.3)
        with patch.object(self.env.registry['dunning.proposal'], '_prepare_line_values', prepare):
            _run, values, _exceptions = self.propose(partner)
            self.env['dunning.notice'].sudo()._insert_proposed(values)

    def test_values_that_are_not_those_of_all(self):
        for words, add in (
                ("'is_level_set'.* not among", lambda _kind, values: {**values, 'is_level_set': True}),
                ("no fields .*'x_nowhere'", lambda _kind, values: {'x_nowhere': 1, **values})):
            with self.assertRaisesRegex(ValueError, words), self.env.cr.savepoint():
                self.propose_with(add)

    def test_text_that_copy_would_misread(self):
        """Tabs, line breaks, backslashes and the sign for NULL stay what they are, in names and reasons."""
        texts = ['a\tb', 'a\nb', 'a\r\nb', 'a\\b', '\\N', '\\.', 'a\\tb', '\\', 'x' * 3000, 'Süd “日本”', '0', ' ']
        run = self.make_run(generate=False).sudo()
        records = insert_in_sets(self.env['dunning.run.exception'].sudo(), [
            {'run_id': run.id, 'reason': 'excluded', 'description': text, 'amount': 0.0, 'date_due': False}
            for text in texts])
        records.invalidate_recordset()
        self.assertEqual(records.mapped('description'), texts)
        self.assertEqual(records.mapped('date_due'), [False] * len(texts))
        self.env.cr.execute(
            "SELECT count(*) FROM dunning_run_exception WHERE amount = 0 AND date_due IS NULL AND id = ANY(%s)",
            [records.ids])
        self.assertEqual(self.env.cr.fetchone(), (len(texts),))

    def test_odd_words_of_customers(self):
        partner = self.make_partner('Acme')
        invoice = self.make_invoice(partner)
        reason = 'Zeile 1\n\tZeile 2 \\N \\. ende\\'
        invoice.write({'dunning_hold_until': self.days(5), 'dunning_hold_reason': reason})
        invoice.name = 'R\\E\tA/1'
        other = self.make_invoice(partner)
        other.name = 'R\\E\tA/2'
        run = self.make_run()
        self.assertIn(reason, run.exception_ids.description)
        self.assertEqual(run.notice_ids.line_ids.name, 'R\\E\tA/2')

    def test_false_is_not_null_in_booleans(self):
        run = self.make_run(generate=False).sudo()
        self.make_customers(1)
        run.action_generate_notices()
        self.env.cr.execute(
            "SELECT count(*) FROM dunning_notice_line WHERE is_reserved IS NULL")
        self.assertEqual(self.env.cr.fetchone(), (0,))

    def test_nothing_to_insert(self):
        self.assertFalse(insert_in_sets(self.env['dunning.run.exception'].sudo(), []))

    # === FIELDS OF OTHER ADDONS === #

    def test_fields_of_another_addon(self):
        """A default and a stored computed field are kept true."""
        Notice = self.env['dunning.notice'].sudo()
        custom = self.env['ir.model.fields'].create([{
            'model_id': self.env['ir.model']._get_id('dunning.notice'), 'name': 'x_priority', 'ttype': 'char',
            'field_description': 'Priority', 'state': 'manual',
        }, {
            'model_id': self.env['ir.model']._get_id('dunning.notice'), 'name': 'x_is_large', 'ttype': 'boolean',
            'field_description': 'Large', 'state': 'manual', 'store': True, 'depends': 'amount_total',
            'compute': "for record in self:\n    record['x_is_large'] = record.amount_total > 100",
        }, {
            'model_id': self.env['ir.model']._get_id('dunning.notice'), 'name': 'x_count', 'ttype': 'integer',
            'field_description': 'Lines', 'state': 'manual', 'store': True, 'depends': 'line_ids',
            'compute': "for record in self:\n    record['x_count'] = len(record.line_ids)",
        }])
        # The classes are not rolled back with the database.
        self.addCleanup(custom.with_context(_force_unlink=True).unlink)
        self.env['ir.default'].set('dunning.notice', 'x_priority', 'usual\t')
        small, large = self.make_partner('Small'), self.make_partner('Large')
        self.make_invoice(small, 10)
        self.make_invoice(large, 500)
        self.make_invoice(large, 20)
        notices = self.make_run().notice_ids.sudo()
        self.assertEqual(notices._name, Notice._name)
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT partner_id, x_priority, x_is_large, x_count FROM dunning_notice WHERE id = ANY(%s)", [notices.ids])
        self.assertEqual(set(self.env.cr.fetchall()), {
            (small.id, 'usual\t', False, 1), (large.id, 'usual\t', True, 2)})

    # === HOW MANY STATEMENTS === #

    def count_statements(self, run):
        self.env.flush_all()
        self.env.invalidate_all()
        before = self.env.cr.sql_log_count
        run.action_generate_notices()
        self.env.flush_all()
        return self.env.cr.sql_log_count - before

    def test_statements_do_not_grow_with_the_items(self):
        few = self.make_customers(20, 'Few')
        many = self.make_customers(20, 'Many')
        # Clones, since posting that many invoices takes a minute.
        self.clone(many, 9)
        warm = self.make_run(generate=False, partner_ids=few.ids)
        self.count_statements(warm)
        warm.action_cancel()
        first = self.make_run(generate=False, partner_ids=few.ids)
        many = self.env['res.partner'].search([('name', 'like', 'Many')])
        second = self.make_run(generate=False, partner_ids=many.ids)
        counts = self.count_statements(first), self.count_statements(second)
        self.assertEqual((first.notice_count, second.notice_count), (40, 400))
        self.assertGreater(second.exception_count, 150)
        self.assertLessEqual(counts[1], counts[0] + 5, "20 customers, and 200")
        # Again, where there are drafts and exceptions to replace.
        again = self.count_statements(first), self.count_statements(second)
        self.assertLessEqual(again[1], again[0] + 5)

    def clone(self, partners, times):
        """Clone customers with their posted entries."""
        self.env.flush_all()
        for table in ('res_partner', 'account_move', 'account_move_line'):
            self.env.cr.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
                [table])
            columns = [name for (name,) in self.env.cr.fetchall() if name != 'id']
            values = {name: f't."{name}"' for name in columns}
            if table == 'res_partner':
                values.update(commercial_partner_id='m.new')
            else:
                values.update(partner_id='p.new')
            if table == 'account_move':
                values.update(commercial_partner_id='p.new', name="t.name || '/' || m.new")
            if table == 'account_move_line':
                values.update(move_id='e.new')
            self.env.cr.execute(f"""
                CREATE TEMP TABLE clone_{table} ON COMMIT DROP AS
                SELECT t.id AS old, nextval(pg_get_serial_sequence('{table}', 'id')) AS new, round
                  FROM {table} t CROSS JOIN generate_series(1, %s) round
                 WHERE t.{'id' if table == 'res_partner' else 'partner_id'} = ANY(%s);
                INSERT INTO {table} (id, {', '.join(f'"{name}"' for name in columns)})
                SELECT m.new, {', '.join(values.values())}
                  FROM clone_{table} m
                  JOIN {table} t ON t.id = m.old
                  {"JOIN clone_res_partner p ON p.old = t.partner_id AND p.round = m.round"
                   if table != 'res_partner' else ''}
                  {"JOIN clone_account_move e ON e.old = t.move_id AND e.round = m.round"
                   if table == 'account_move_line' else ''}
            """, [times, partners.ids])  # noqa: S608
        self.env.invalidate_all(flush=False)
