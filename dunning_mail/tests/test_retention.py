"""How long documents and personal data are kept, what goes then, and what stays."""

from datetime import date, timedelta

from freezegun import freeze_time

from odoo import Command, fields
from odoo.exceptions import AccessError, ValidationError
from odoo.tests import new_test_user, tagged
from odoo.tools import SQL, mute_logger

from .common import ArchiveCase

RETENTION_LOGGER = 'odoo.addons.dunning_mail.models.dunning_retention'
NAME = 'Zwetschgenried'


class RetentionCase(ArchiveCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.write({
            'dunning_retention_years': 10, 'fiscalyear_last_day': 31, 'fiscalyear_last_month': '12'})

    def make_old(self, name, day, is_paid=True):
        """A printed notice of an old day, its invoice paid."""
        day = fields.Date.to_date(day)
        notice = self.make_printed(
            name, day=day, invoice_date=day - timedelta(days=90), due=str(day - timedelta(days=60)))
        if is_paid:
            self.pay_lines(notice)
        return notice.with_env(self.env)

    def pay_lines(self, notice):
        for move in notice.with_env(self.env).line_ids.move_id:
            self.pay(move, day=move.invoice_date)

    def expired(self, day):
        self.clock.move_to(f'{day} 08:00:00')
        self.env.invalidate_all()
        return self.env['dunning.archive']._get_expired(self.company)

    def in_database(self, word):
        """Return in which tables a word stands, with the number of rows."""
        self.env.flush_all()
        tables = [table for [table] in self.env.execute_query(SQL(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname = current_schema()"))]
        found = {}
        for table in tables:
            [[count]] = self.env.execute_query(SQL(
                "SELECT count(*) FROM %s t WHERE to_jsonb(t)::text ILIKE %s", SQL.identifier(table), f'%{word}%'))
            if count:
                found[table] = count
        return found


@tagged('post_install', '-at_install')
class TestRetentionDay(RetentionCase):

    def test_end_of_which_year(self):
        """The later of 31 December and the fiscal year's end."""
        for last_day, month, day, years, free in (
            (31, '12', '2015-03-10', 10, '2026-01-01'),
            (31, '12', '2015-12-31', 10, '2026-01-01'),
            (31, '12', '2016-01-01', 10, '2027-01-01'),
            (30, '6', '2015-03-10', 10, '2026-01-01'),
            (30, '6', '2015-06-30', 10, '2026-01-01'),
            (30, '6', '2015-07-01', 10, '2026-07-01'),
            (30, '6', '2015-08-10', 10, '2026-07-01'),
            (30, '6', '2015-08-10', 7, '2023-07-01'),
            # February, in years with and without its 29th
            (28, '2', '2015-02-28', 10, '2026-01-01'),
            (28, '2', '2015-03-01', 10, '2026-03-01'),
            (29, '2', '2016-02-29', 10, '2027-01-01'),
            (29, '2', '2015-04-01', 1, '2017-03-01'),
            (29, '2', '2016-04-01', 1, '2018-03-01'),
            (29, '2', '2014-04-01', 1, '2016-03-01'),
        ):
            self.company.write({
                'fiscalyear_last_day': last_day, 'fiscalyear_last_month': month, 'dunning_retention_years': years})
            with self.subTest(year_end=(last_day, month), day=day, years=years):
                self.assertEqual(
                    self.company._get_dunning_free_day(fields.Date.to_date(day)), fields.Date.to_date(free))
        self.company.dunning_retention_years = 0
        self.assertIs(self.company._get_dunning_free_day(date(2015, 1, 1)), False)
        for years in (-1, 101):
            with self.assertRaises(ValidationError):
                self.company.dunning_retention_years = years

    def test_fiscal_year_of_any_length(self):
        """As addons with fiscal years of their own say it."""
        original = self.env.registry['res.company'].compute_fiscalyear_dates

        def compute_fiscalyear_dates(company, day):
            if date(2015, 7, 1) <= day <= date(2016, 12, 31):
                return {'date_from': date(2015, 7, 1), 'date_to': date(2016, 12, 31)}
            return original(company, day)
        self.patch(self.env.registry['res.company'], 'compute_fiscalyear_dates', compute_fiscalyear_dates)
        notice = self.make_old('Lang AG', '2015-08-10')
        self.assertFalse(self.expired('2026-12-31'))
        self.assertEqual(self.expired('2027-01-01'), notice)

    def test_not_a_day_too_early(self):
        self.company.write({'fiscalyear_last_day': 30, 'fiscalyear_last_month': '6'})
        early = self.make_old('Frühjahr AG', '2015-03-10')
        late = self.make_old('Sommer AG', '2015-08-10')
        self.assertFalse(self.expired('2025-12-31'))
        self.assertEqual(self.expired('2026-01-01'), early)
        self.assertEqual(early.removable_from, date(2026, 1, 1))
        self.assertEqual(late.removable_from, date(2026, 7, 1))
        self.assertEqual(self.expired('2026-06-30'), early)
        self.assertEqual(self.expired('2026-07-01'), early | late)

    def test_what_happened_last(self):
        """Not the date that it bears decides: it left, came back, was cancelled or answered later."""
        notice = self.make_old('Spät AG', '2014-12-20')
        self.assertEqual(notice.removable_from, date(2025, 1, 1))
        with freeze_time('2015-01-05 10:00:00'):
            notice.sudo().printed_at = fields.Datetime.now()
        self.assertEqual(notice.date_left, date(2015, 1, 5))
        self.assertEqual(notice.removable_from, date(2026, 1, 1))
        with freeze_time('2016-02-01 10:00:00'):
            notice._cancel("Wrong")
        self.env.invalidate_all()
        self.assertEqual(notice.removable_from, date(2027, 1, 1))
        with freeze_time('2017-02-01 10:00:00'):
            notice.message_post(body="Their answer", message_type='email')
        self.env.invalidate_all()
        self.assertEqual(notice.removable_from, date(2028, 1, 1))
        self.assertFalse(self.expired('2027-12-31'))
        self.assertEqual(self.expired('2028-01-01'), notice)


@tagged('post_install', '-at_install')
class TestRetentionOpen(RetentionCase):

    def test_what_is_open_stays(self):
        paid, unpaid = self.make_old('Bezahlt AG', '2015-03-10'), self.make_old('Offen AG', '2015-03-10', is_paid=False)
        others = {}
        self.company.dunning_provider_id = self.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})
        for name in ('released', 'paper', 'sending', 'failed', 'unclear', 'draft'):
            notice = others[name] = self.make_waiting(f'{name} AG', name)
            if name in ('sending', 'failed', 'unclear'):
                notice._set_delivery('sending', 'x')
            if name in ('failed', 'unclear'):
                notice._set_delivery(name, 'x')
        for notice in others.values():
            self.pay_lines(notice)
        excluded = self.make_waiting('Ausgeschlossen AG', 'draft')
        excluded.action_exclude()
        self.pay_lines(excluded)
        self.assertEqual(self.expired('2026-01-01'), paid | excluded)
        self.run_check()
        self.assertTrue(paid.data_removed_at)
        for name, notice in {**others, 'unpaid': unpaid}.items():
            with self.subTest(name):
                self.assertFalse(notice.data_removed_at)
                self.assertTrue(notice._describe_why_kept())
        # Once somebody has seen to them they go, in their time.
        self.pay_lines(unpaid)
        self.assertEqual(self.expired('2026-01-02'), unpaid)
        others['failed']._cancel("Over")
        self.env.invalidate_all()
        self.assertFalse(self.expired('2036-12-31') & others['failed'])
        self.assertIn(others['failed'], self.expired('2037-01-01'))

    def test_archived_company(self):
        """Nobody works there any more, and the persons are still persons."""
        notice = self.make_old('Alt AG', '2015-03-10')
        # Core does not archive a company that is a user's own.
        self.env.flush_all()
        self.env.cr.execute("UPDATE res_company SET active = FALSE WHERE id = %s", [self.company.id])
        self.clock.move_to('2026-01-01 08:00:00')
        self.run_check()
        self.assertTrue(notice.data_removed_at)

    def make_waiting(self, name, state):
        partner = self.make_partner(name, email=False if state == 'paper' else 'auto')
        self.make_invoice(partner, invoice_date='2014-12-01', due='2015-01-01')
        run = self.make_run('2015-03-10', partner_ids=partner.ids)
        if state != 'draft':
            run.action_print_and_send()
            self.assertEqual(run.notice_ids.delivery_state, 'paper' if state == 'paper' else 'released')
        return run.notice_ids.with_env(self.env)


@tagged('post_install', '-at_install')
class TestPersonalData(RetentionCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # As an administrator or another addon adds fields.
        for model in cls.MODELS:
            cls.env['ir.model.fields'].create([{
                'name': f'x_{kind}', 'ttype': kind, 'model_id': cls.env['ir.model']._get_id(model), 'state': 'manual',
            } for kind in ('char', 'text', 'html')])

    MODELS = (
        'dunning.notice', 'dunning.notice.line', 'dunning.delivery.log', 'dunning.notice.report',
        'dunning.run.exception', 'dunning.run')
    RETAINED = {
        'dunning.notice': {'name', 'payment_reference', 'document_sha256', 'mail_sha256'},
        'dunning.notice.line': {'name'},
        'dunning.delivery.log': {'code', 'tls_version', 'document_sha256', 'mail_sha256'},
        'dunning.notice.report': {'status'},
        'dunning.run.exception': {'document'},
        'dunning.run': {'name'},
    }

    def make_full(self, day='2015-03-10'):
        """A notice about which there is all that can be, its run, and somebody whom the run left out."""
        day = fields.Date.to_date(day)
        dates = {'invoice_date': day - timedelta(days=90), 'due': str(day - timedelta(days=60))}
        partner = self.make_partner(f'{NAME} AG')
        contact = self.make_contact(partner, f'Frieda {NAME}')
        self.make_invoice(partner, **dates)
        held = self.make_partner(f'{NAME} & Cie')
        self.make_invoice(held, **dates)
        held.write({'dunning_hold_until': day + timedelta(days=60), 'dunning_hold_reason': f'{NAME} is ill'})
        run = self.make_run(day, partner_ids=[Command.set((partner | held).ids)])
        notice = run.notice_ids
        notice.recipient_id = contact
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        run, notice = run.with_env(self.env), notice.with_env(self.env)
        notice.message_post(
            body=f'{NAME} wrote', attachments=[(f'{NAME}.txt', NAME.encode())], message_type='email',
            author_id=contact.id)
        notice.message_subscribe(partner_ids=contact.ids)
        notice.activity_schedule('mail.mail_activity_data_todo', user_id=self.clerk.id, note=f'Call {NAME}')
        notice.activity_schedule('mail.mail_activity_data_todo', user_id=self.clerk.id, summary=NAME).action_feedback(
            f'{NAME} was called')
        run._message_log(body=f'{NAME} was left out')
        self.env['ir.attachment'].create({
            'name': f'{NAME}.png', 'raw': b'x', 'res_model': notice._name, 'res_id': notice.id, 'res_field': 'x_char'})
        run._store_joined(notice)
        self.pay_lines(notice)
        self.assertTrue(run.exception_ids)
        # Every field that can hold words holds the name, whichever it is.
        self.env.flush_all()
        for records in (notice, notice.line_ids, notice.delivery_log_ids, run.exception_ids, run):
            for fname in self.get_words(records):
                json = records._fields[fname].column_type[0] == 'jsonb'
                if fname not in self.RETAINED[records._name] and fname not in ('letters_key', 'message_id'):
                    self.env.cr.execute(SQL(
                        "UPDATE %s SET %s = %s WHERE id = ANY(%s)", SQL.identifier(records._table),
                        SQL.identifier(fname), f'["{NAME}"]' if json else NAME, records.ids))
        self.env.invalidate_all()
        return notice

    @staticmethod
    def get_words(records):
        return {fname for fname, field in records._fields.items() if field.store and field.column_type
                and field.column_type[0] in ('varchar', 'text', 'jsonb', 'bytea', 'json')
                and field.type not in ('selection', 'reference')}

    def read_all(self, records):
        self.env.flush_all()
        rows = self.env.execute_query(SQL(
            "SELECT to_jsonb(t) FROM %s t WHERE id = ANY(%s) ORDER BY id", SQL.identifier(records._table),
            records.ids))
        return [row for [row] in rows]

    def test_only_what_is_listed_stays(self):
        for model in self.MODELS:
            with self.subTest(model):
                words = self.get_words(self.env[model])
                self.assertEqual(words - self.env[model]._get_personal_fields(), self.RETAINED[model] & words)
                self.assertIn('x_html', self.env[model]._get_personal_fields())

    def test_nothing_is_left_of_a_person(self):
        notice = self.make_full()
        run, partner, contact = notice.run_id, notice.partner_id, notice.recipient_id
        all_of_it = (notice, notice.line_ids, notice.delivery_log_ids, run.exception_ids, run)
        before = [self.read_all(records) for records in all_of_it]
        there = self.in_database(NAME)
        for table in ('dunning_notice', 'dunning_run_exception', 'dunning_delivery_log', 'mail_activity',
                      'mail_message', 'ir_attachment'):
            self.assertIn(table, there)
        self.clock.move_to('2025-12-31 08:00:00')
        self.run_check()
        self.assertEqual(self.in_database(NAME), there, "not a day too early")
        self.clock.move_to('2026-01-01 08:00:00')
        dry_run = self.company.action_preview_dunning_retention()
        self.assertEqual(self.env['dunning.notice'].search(dry_run['domain']), notice)
        self.assertEqual(self.in_database(NAME), there, "a dry run removes nothing")
        self.run_check()
        left = self.in_database(NAME)
        # The customer and the accounts have their own rules.
        self.assertLessEqual(set(left), {
            'res_partner', 'account_move', 'account_move_line', 'mail_message', 'mail_tracking_value'})
        self.env.cr.execute(
            "SELECT DISTINCT model FROM mail_message t WHERE to_jsonb(t)::text ILIKE %s", [f'%{NAME}%'])
        self.assertLessEqual({model for [model] in self.env.cr.fetchall()}, {'res.partner', 'account.move'})
        self.assertFalse(self.env['mail.followers'].search_count([
            ('res_model', 'like', 'dunning.'), ('partner_id', '=', contact.id)]))
        # What is no word stands as it stood.
        removed = {'document_id', 'mail_document_id', 'recipient_id', 'data_removed_at', 'document_removed_at',
                   'letters_id', 'write_date', 'write_uid', 'document_checked_at', 'is_document_damaged'}
        for records, rows in zip(all_of_it, before, strict=True):
            gone = records._get_personal_fields() | removed
            for row, now in zip(rows, self.read_all(records), strict=True):
                self.assertEqual(
                    {key: value for key, value in now.items() if key not in gone},
                    {key: value for key, value in row.items() if key not in gone})
        self.assertEqual((notice.partner_id, notice.recipient_id), (partner, partner))
        self.assertTrue(notice.document_sha256 and notice.name and notice.data_removed_at)
        self.assertIn('10 years', notice.message_ids.body)
        self.assertEqual([text for text in notice.delivery_log_ids.mapped('text') if text], [
            f'Documents and personal data were removed: {self.company.name} keeps them for 10 years from the end of '
            f'the year.'])
        self.assertIn('10 years', run.message_ids.body)
        # Nothing is found twice, and the person can be deleted.
        self.assertFalse(self.expired('2040-01-01'))
        self.assertFalse(self.env['dunning.archive']._get_expired_runs(self.company))
        contact.unlink()

    def test_dry_run_tells_the_day(self):
        """The list that the settings open."""
        self.make_old(NAME, '2015-03-10')
        self.clock.move_to('2026-01-01 08:00:00')
        action = self.env['res.config.settings'].create({}).action_preview_dunning_retention()
        view = self.env['dunning.notice'].get_view(action['views'][0][0], 'list')
        self.assertIn('removable_from', view['arch'])
        [row] = self.env['dunning.notice'].search_read(action['domain'], ['removable_from'])
        self.assertEqual(row['removable_from'], date(2026, 1, 1))

    def test_trials_count_no_more_than_before(self):
        notice = self.make_full()
        self.env.cr.execute(
            "UPDATE dunning_notice SET delivery_state = 'sent', printed_at = NULL, is_counted = FALSE,"
            " date_left = NULL, redirected_to = 'test@muster.test' WHERE id = %s", [notice.id])
        self.env.invalidate_all()
        self.assertEqual(self.expired('2030-01-01'), notice)
        self.run_check()
        self.env.add_to_compute(notice._fields['is_counted'], notice)
        self.env.add_to_compute(notice._fields['date_left'], notice)
        self.assertEqual((notice.is_counted, notice.date_left, notice.redirected_to), (False, False, '-'))

    def test_one_that_cannot_be_removed(self):
        notices = [self.make_old(f'{name} AG', '2015-03-10') for name in ('Eins', 'Zwei', 'Drei')]
        original = self.env.registry['dunning.notice']._remove_what_hangs_on

        def remove(records):
            if records._name == 'dunning.notice' and notices[1] in records:
                raise ValueError("cannot be removed")
            return original(records)
        self.patch(self.env.registry['dunning.notice'], '_remove_what_hangs_on', remove)
        self.clock.move_to('2026-01-01 08:00:00')
        with mute_logger(RETENTION_LOGGER):
            self.run_check()
        self.assertEqual([bool(notice.data_removed_at) for notice in notices], [True, False, True])
        self.assertTrue(notices[1].sudo().document_id)


@tagged('post_install', '-at_install')
class TestDataRequest(RetentionCase):

    def request(self, partners, user=None):
        partners = partners.with_user(user or self.manager).with_context(lang='en_US')
        return self.env['dunning.data.request'].with_user(user or self.manager).with_context(lang='en_US').browse(
            partners.action_request_dunning_data()['res_id'])

    def test_time_is_not_over(self):
        notice = self.make_old(NAME, '2015-03-10')
        self.clock.move_to('2025-12-31 08:00:00')
        request = self.request(notice.partner_id)
        self.assertIn(f'{notice.name} (03/10/2015, {self.company.name}): must be kept until 12/31/2025: 10 years',
                      request.description)
        self.assertFalse(request.can_remove)
        request.action_remove()
        self.assertFalse(notice.data_removed_at)
        self.company.dunning_retention_years = 0
        self.assertIn('is kept for good', self.request(notice.partner_id).description)

    def test_time_is_over(self):
        notice, open_one = self.make_old(NAME, '2015-03-10'), self.make_old('Offen AG', '2015-03-10', is_paid=False)
        other = self.make_old('Andere AG', '2015-03-10')
        young = self.dun_again(notice.partner_id, '2020-03-10')
        # Whose customer was archived, or has become another's contact, asks all the same.
        notice.partner_id.active = False
        self.clock.move_to('2026-01-01 08:00:00')
        request = self.request(notice.partner_id | open_one.partner_id)
        self.assertIn('claims what is still open', request.description)
        self.assertIn(f'{young.name} (03/10/2020', request.description)
        request.action_remove()
        self.assertEqual(
            [bool(one.data_removed_at) for one in (notice, young, open_one, other)], [True, False, False, False])
        self.assertIn('Must be kept', self.request(notice.partner_id).description)

    def dun_again(self, partner, day):
        self.make_invoice(partner, invoice_date='2020-01-01', due='2020-02-01')
        run = self.dun(day, partner_ids=partner.ids)
        self.pay_lines(run.notice_ids)
        return run.notice_ids.with_env(self.env)

    def test_merged_customers(self):
        notice = self.make_old(NAME, '2015-03-10')
        target = self.make_partner('Nachfolger AG')
        self.env['base.partner.merge.automatic.wizard']._merge((notice.partner_id | target).ids, target)
        self.env.invalidate_all()
        self.clock.move_to('2026-01-01 08:00:00')
        self.request(target).action_remove()
        self.assertTrue(notice.data_removed_at)

    def test_who_was_only_left_out(self):
        partner = self.make_partner(NAME)
        self.make_invoice(partner, invoice_date='2014-12-01', due='2015-01-01')
        partner.write({'dunning_hold_until': '2015-06-01', 'dunning_hold_reason': f'{NAME} is ill'})
        self.make_old('Andere AG', '2015-03-10')
        run = self.make_run('2015-03-10', partner_ids=partner.ids)
        run.sudo().state = 'done'
        self.assertIn(NAME, run.exception_ids.description)
        self.clock.move_to('2026-01-01 08:00:00')
        self.request(partner).action_remove()
        self.assertEqual(run.exception_ids.description, '-')

    def test_rights(self):
        notice = self.make_old(NAME, '2015-03-10')
        self.clock.move_to('2026-01-01 08:00:00')
        with self.assertRaises(AccessError):
            self.request(notice.partner_id, self.clerk)
        other = self.env['res.company'].create({'name': 'Other company'})
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_manager', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        request = self.request(notice.partner_id, stranger)
        self.assertNotIn(notice.name, request.description)
        request.action_remove()
        self.assertFalse(notice.data_removed_at)
