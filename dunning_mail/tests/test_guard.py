"""What a person may write is a list: everything else stays closed, to everybody and by every way."""

from odoo import Command, fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import HttpCase, tagged
from odoo.tools import SQL, mute_logger

from .common import TODAY, DunningCommon

# What a person may write: to a record as it is made in `GuardCase.make_records()`, and when one is created.
WRITABLE = {
    'dunning.provider': {
        'name', 'active', 'company_id', 'provider_type', 'engine_id', 'email_from', 'send_interval', 'hourly_limit',
        'daily_limit', 'calendar_id', 'redirect_to', 'incoming_server_id', 'user_id'},
    'dunning.procedure': {
        'name', 'company_id', 'level_ids', 'grace_days', 'grouping', 'interest_profile_id', 'text_ids', 'active'},
    'dunning.interest.profile': {
        'name', 'active', 'company_id', 'country_ids', 'currency_id', 'begin', 'day_count', 'is_moved_to_workday',
        'business_method', 'business_rate', 'consumer_method', 'consumer_rate', 'rate_ids', 'rates_until',
        'least_amount', 'lump_sum', 'note'},
    'dunning.interest.rate': {'profile_id', 'date_from', 'rate'},
    'dunning.level': {
        'procedure_id', 'sequence', 'name', 'delay_days', 'deadline_days', 'repeat', 'min_amount', 'send_by_mail',
        'report_id', 'archive_generated', 'attach_invoices', 'fee_ids', 'fee_method', 'charge_interest',
        'charge_lump_sum', 'text_ids', 'text_tone'},
    'dunning.level.fee': {
        'level_id', 'currency_id', 'debtor', 'amount_from', 'fixed', 'percent', 'minimum', 'maximum'},
    'dunning.level.text': {
        'kind', 'level_id', 'procedure_id', 'lang', 'mail_subject', 'mail_body', 'letter_title', 'letter_intro',
        'letter_closing'},
    'dunning.text.version': set(),
    'dunning.run': {'name', 'date', 'due_until', 'procedure_ids', 'partner_ids', 'user_id'},
    'dunning.run.exception': set(),
    'dunning.notice': {'recipient_id', 'date_deadline', 'lang', 'amount_fee'},
    'dunning.notice.line': set(),
    'dunning.assign.payment': {'partner_id', 'line_id', 'statement_line_id', 'notice_ids', 'is_new_money'},
    'dunning.charge': set(),
    'dunning.charge.change': {'action', 'charge_ids', 'notice_id', 'kind', 'amount', 'reason'},
    'dunning.notice.report': set(),
    'dunning.delivery.log': set(),
    'dunning.incoming.mail': {'notice_id'},
    'dunning.schedule': {
        'name', 'active', 'company_id', 'user_id', 'interval_number', 'interval_type', 'next_date', 'procedure_ids',
        'issue'},
    'dunning.level.change': {'notice_ids', 'level_id', 'reason'},
    'dunning.notice.confirm': {'notice_ids', 'action'},
    'dunning.data.request': {'partner_ids'},
    'dunning.preflight': set(),
    'dunning.preflight.line': set(),
    'dunning.restart': {'move_line_ids', 'reason'},
    'dunning.promise': {'user_id'},
    'dunning.promise.line': set(),
    'dunning.promise.make': {
        'previous_id', 'item_ids', 'amount', 'date', 'count', 'instalment', 'period', 'line_ids', 'source', 'note',
        'falls_due_whole', 'stops_interest', 'with_charges'},
    'dunning.promise.make.line': {'make_id', 'date', 'amount'},
    'dunning.dispute': {'reason_id', 'note', 'file', 'file_name', 'user_id', 'date_target', 'closing_note'},
    'dunning.dispute.reason': {'name', 'sequence', 'active', 'company_id'},
    'dunning.hold': {'partner_id', 'company_id', 'hold_until', 'reason'},
    'dunning.run.preview': {'run_id', 'date'},
    'dunning.text.preview': {'level_id', 'partner_id'},
}
CREATABLE = {
    **WRITABLE, 'dunning.notice': set(), 'dunning.run': WRITABLE['dunning.run'] | {'company_id'},
    'dunning.promise': set(), 'dunning.dispute': WRITABLE['dunning.dispute'] | {'item_ids', 'amount'}}
# Where a person's work has gone out, nothing of it is hers any more.
WRITABLE_ISSUED = {'dunning.notice': set(), 'dunning.run': set()}


class GuardCase(DunningCommon):
    """Users who have every right that the access lists could give: the guard is all that is left."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.env.ref('base.user_admin')
        cls.users = cls.clerk, cls.manager, cls.admin
        for name in cls.get_models():
            cls.env['ir.model.access'].create({
                'name': f'everything of {name}', 'model_id': cls.env['ir.model']._get_id(name), 'perm_read': True,
                'perm_write': True, 'perm_create': True, 'perm_unlink': True})
        cls.env['ir.rule'].search([('model_id.model', 'in', cls.get_models())]).active = False
        cls.provider = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})

    @classmethod
    def get_models(cls):
        """Return the names of all models of ours that have records."""
        return sorted(
            name for name, model in cls.env.registry.items()
            if name.startswith('dunning.') and not model._abstract and model._auto)

    def make_records(self, is_issued=False):
        """Return a record of each model."""
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        other = self.make_partner('On hold', email=False)
        self.make_invoice(other)
        other.dunning_hold_until = self.days(5)
        run = self.make_run(lang='en_US')
        notice = run.notice_ids
        if is_issued:
            run.action_print_and_send()
            run._hand_out_letters()
            run.action_mark_printed()
        item = self.receivable(self.make_invoice(self.make_partner('Promises', email=False)))
        promise = self.env['dunning.promise']._make(item, [(self.days(9), 10.0)])
        make = self.env['dunning.promise.make'].create({
            'item_ids': item.ids, 'amount': 10.0, 'date': self.days(9),
            'line_ids': [Command.create({'date': self.days(9), 'amount': 10.0})]})
        dispute = self.env['dunning.dispute'].create({
            'item_ids': item.ids, 'amount': 5.0, 'reason_id': self.env.ref('dunning_mail.dispute_reason_price').id})
        log = notice.delivery_log_ids[:1] or self.env['dunning.delivery.log'].create({'notice_id': notice.id})
        preflight = self.env['dunning.preflight'].create({
            'run_ids': run.ids, 'line_ids': [Command.create({'code': 'trial', 'name': 'x'})]})
        records = [
            run, notice, notice.due_line_ids, log, run.exception_ids, self.provider, self.procedure, self.level_1,
            self.env['dunning.level.fee'].create({'level_id': self.level_3.id, 'fixed': 5}),
            self.env['dunning.charge'].create({
                'notice_id': notice.id, 'partner_id': partner.id, 'company_id': self.company.id, 'kind': 'cost',
                'currency_id': self.currency.id, 'date': TODAY, 'amount': 5, 'amount_calculated': 5,
                'state': 'claimed' if is_issued else 'draft'}),
            self.level_1.text_ids[0], self.level_1.text_ids[0]._get_version(),
            self.env.ref('dunning_mail.interest_profile_de'),
            self.env.ref('dunning_mail.interest_profile_de').rate_ids[0],
            self.env['dunning.schedule'].create({'name': 'Weekly', 'user_id': self.clerk.id}),
            self.env['dunning.notice.report'].create({'notice_id': notice.id, 'address': 'acme@customer.test'}),
            self.env['dunning.incoming.mail'].create({'digest': f'{notice.id}', 'name': 'Anfrage'}),
            self.env['dunning.level.change'].create({
                'notice_ids': notice.ids, 'level_id': self.level_1.id, 'reason': 'x'}),
            self.env['dunning.notice.confirm'].create({'notice_ids': notice.ids, 'action': 'cancel'}),
            self.env['dunning.charge.change'].create({'action': 'waive', 'reason': 'x'}),
            self.env['dunning.assign.payment'].create({'partner_id': partner.id}),
            self.env['dunning.data.request'].create({'partner_ids': partner.ids}),
            self.env['dunning.restart'].create({'move_line_ids': notice.due_line_ids.move_line_id.ids, 'reason': 'x'}),
            promise, promise.line_ids, make, make.line_ids, dispute, dispute.reason_id,
            self.env['dunning.hold'].create({'partner_id': partner.id, 'reason': 'x'}),
            self.env['dunning.run.preview'].create({'run_id': run.id}),
            preflight,
            preflight.line_ids[:1],
            self.env['dunning.text.preview'].create({'level_id': self.level_1.id, 'partner_id': partner.id}),
        ]
        records = {record._name: record.with_env(self.env) for record in records}
        self.assertEqual(sorted(records), self.get_models(), "each model of ours has a record here")
        self.assertEqual({len(record) for record in records.values()}, {1})
        return records

    def get_guarded_fields(self, model):
        """Return the fields that hold something, less chatter and what the ORM keeps."""
        passing = {*self.env['mail.thread']._fields, *self.env['mail.activity.mixin']._fields, 'id', 'create_uid',
                   'create_date', 'write_uid', 'write_date'}
        return [field for field in model._fields.values()
                if (field.store or field.inverse) and field.name not in passing and not field.manual]

    def make_value(self, record, field):
        """Return a value as an attacker would choose it: of the right kind, and another one than is there."""
        match field.type:
            case 'boolean':
                return not record[field.name]
            case 'integer' | 'float' | 'monetary' | 'many2one_reference':
                return record[field.name] + 7
            case 'date':
                return fields.Date.add(TODAY, days=200)
            case 'datetime':
                return '2026-12-24 12:00:00'
            case 'selection':
                values = [key for key, _label in field._description_selection(self.env)]
                return next((value for value in reversed(values) if value != record[field.name]), False)
            case 'many2one':
                other = self.env[field.comodel_name].search([('id', '!=', record[field.name].id)], limit=1)
                return other.id
            case 'one2many' | 'many2many':
                return [Command.clear()]
            case 'json':
                return {'kind': 'due'}
        return 'forged'

    def read_row(self, record):
        self.env.flush_all()
        return self.env.execute_query(SQL(
            "SELECT to_jsonb(t) FROM %s t WHERE id = %s", SQL.identifier(record._table), record.id))

    def check_writes(self, is_issued):
        records = self.make_records(is_issued)
        for name, record in records.items():
            writable = {**WRITABLE, **(WRITABLE_ISSUED if is_issued else {})}[name]
            before = self.read_row(record)
            guarded = self.get_guarded_fields(record)
            self.assertEqual(writable - {field.name for field in guarded}, set())
            for user in self.users:
                for field in guarded:
                    if field.name in writable or (field.groups and not user.has_groups(field.groups)):
                        continue
                    value = self.make_value(record, field)
                    with self.subTest(model=name, user=user.login, field=field.name, issued=is_issued):
                        with self.assertRaises(UserError):
                            record.with_user(user).write({field.name: value})
                        with self.assertRaises(UserError):
                            record.with_user(user)[field.name] = value
                        record.invalidate_recordset()
            self.assertEqual(self.read_row(record), before, name)

    def check_creates(self):
        for name, record in self.make_records().items():
            for user in self.users:
                for field in self.get_guarded_fields(record):
                    if field.name in CREATABLE[name] or (field.groups and not user.has_groups(field.groups)):
                        continue
                    values = {field.name: self.make_value(record, field)}
                    with self.subTest(model=name, user=user.login, field=field.name):
                        with self.assertRaises(AccessError):
                            record.with_user(user).create(values)
                        if name not in ('dunning.notice', 'dunning.notice.line'):
                            with self.assertRaises(AccessError):
                                record.with_user(user).copy(values)

    def get_minimal_values(self, records):
        """Return what a person has to give for a new record of the models of which she may make one."""
        level = records['dunning.procedure'].create({'name': 'Own'})
        return {
            'dunning.run': {},
            'dunning.provider': {'name': 'Q', 'email_from': 'q@muster.test'},
            'dunning.procedure': {'name': 'Q'},
            'dunning.level': {'procedure_id': level.id, 'name': 'Q'},
            'dunning.interest.profile': {'name': 'Q'},
            'dunning.interest.rate': {
                'profile_id': records['dunning.interest.profile'].id, 'date_from': '1999-01-01', 'rate': 1},
            'dunning.level.text': {
                'level_id': self.level_1.id, 'lang': 'fr_CH', 'mail_subject': 'x', 'mail_body': 'x',
                'letter_title': 'x', 'letter_intro': 'x', 'letter_closing': 'x'},
            'dunning.schedule': {'name': 'Q'},
            'dunning.level.change': {
                'notice_ids': records['dunning.notice'].ids, 'level_id': self.level_1.id, 'reason': 'x'},
            'dunning.restart': {'move_line_ids': records['dunning.notice'].line_ids.move_line_id.ids, 'reason': 'x'},
            'dunning.hold': {'partner_id': records['dunning.notice'].partner_id.id, 'reason': 'x'},
            'dunning.dispute': {
                'item_ids': records['dunning.promise'].item_ids.ids, 'reason_id': records['dunning.dispute.reason'].id},
            'dunning.dispute.reason': {'name': 'Q'},
            'dunning.run.preview': {'run_id': records['dunning.run'].id},
            'dunning.text.preview': {
                'level_id': self.level_1.id, 'partner_id': records['dunning.notice'].partner_id.id},
        }

    def check_defaults(self):
        """Neither the context of a call nor a default of somebody's own gets a value into a closed field."""
        records = self.make_records()
        self.env['res.lang']._activate_lang('fr_CH')
        self.level_1.text_ids.filtered(lambda text: text.lang == 'fr_CH').unlink()
        for name, values in self.get_minimal_values(records).items():
            model = records[name].browse()
            closed = [field for field in self.get_guarded_fields(model) if field.name not in CREATABLE[name]
                      and not field.groups and field.type not in ('one2many', 'many2many')]
            forged = {field.name: self.make_value(records[name], field) for field in closed}
            with self.subTest(model=name), self.env.cr.savepoint() as savepoint:
                plain = model.with_user(self.manager).create(dict(values)).sudo()
                expected = {fname: plain[fname] for fname in forged}
                savepoint.rollback()
                by_context = model.with_user(self.manager).with_context(
                    **{f'default_{fname}': value for fname, value in forged.items()}).create(dict(values)).sudo()
                self.assertSame(by_context, expected, forged)
                savepoint.rollback()
                for fname, value in forged.items():
                    if model._fields[fname].type != 'json':
                        self.env['ir.default'].with_user(self.manager).sudo().set(
                            name, fname, value, user_id=self.manager.id)
                own_default = model.with_user(self.manager).create(dict(values)).sudo()
                self.assertSame(own_default, expected, forged)
                savepoint.rollback()
                self.env.registry.clear_cache()

    def assertSame(self, record, expected, forged):
        for fname, value in expected.items():
            is_own = fname in ('name', 'start_date') or (
                record._fields[fname].type == 'many2one' and record[fname] and record[fname] != value
                and record[fname].id != forged[fname])
            # made a second later
            is_now = record._fields[fname].type == 'datetime' and value and record[fname] and (
                record[fname] != fields.Datetime.to_datetime(forged[fname]))
            if not is_own and not is_now:
                self.assertEqual(record[fname], value, fname)


@tagged('post_install', '-at_install')
class TestGuard(GuardCase):

    def test_every_model_of_ours_is_guarded(self):
        self.assertEqual(sorted(WRITABLE), self.get_models())
        guard = self.env.registry['dunning.guard']
        for name in self.get_models():
            self.assertTrue(issubclass(self.env.registry[name], guard), name)

    def test_write(self):
        self.check_writes(is_issued=False)

    def test_write_when_issued(self):
        self.check_writes(is_issued=True)

    def test_create(self):
        self.check_creates()

    @mute_logger('odoo.models.unlink')
    def test_defaults(self):
        self.check_defaults()

    def test_what_is_listed_can_be_written(self):
        """A list that is too short would keep people from their work."""
        records = self.make_records()
        for name, record in records.items():
            for fname in sorted(WRITABLE[name]):
                field = record._fields[fname]
                user = self.admin if field.groups else self.manager
                value = record[fname]
                with self.subTest(model=name, field=fname):
                    record.with_user(user).write({fname: field.convert_to_write(value, record)})

    def test_chatter_and_manual_fields_pass(self):
        notice = self.make_records(is_issued=True)['dunning.notice'].with_user(self.clerk)
        notice.message_post(body="Told her on the telephone")
        notice.message_subscribe(self.manager.partner_id.ids)
        notice.activity_schedule('mail.mail_activity_data_todo', user_id=self.clerk.id)
        self.env['ir.model.fields'].create({
            'name': 'x_colour', 'model_id': self.env['ir.model']._get_id('dunning.notice'), 'ttype': 'char'})
        notice.write({'x_colour': 'red'})
        self.assertEqual(notice.x_colour, 'red')
        self.assertFalse(notice.is_edited)

    def test_context_of_a_button(self):
        """What a method writes as superuser does not take values from the caller's context either."""
        notice = self.make_records()['dunning.notice']
        run = notice.run_id.with_user(self.clerk).with_context(
            default_queue_id='FORGED', default_code='250', default_user_id=self.admin.id, default_public=True,
            default_message_id='<forged@muster.test>', default_date='2020-01-01 00:00:00', default_host='forged',
            default_access_token='forged', default_res_field='x', default_company_id=False, default_name='Forged',
            default_partner_id=self.company.partner_id.id, default_state='done', default_delivery_state='sent')
        run.action_print_and_send()
        self.env.invalidate_all()
        self.assertEqual((notice.state, notice.delivery_state), ('issued', 'paper'))
        log = notice.delivery_log_ids.sorted('id')[-1]
        self.assertEqual((log.user_id, log.date.date(), log.queue_id, log.code, log.host, log.message_id),
                         (self.clerk, TODAY, False, False, False, False))
        document = notice.document_id
        self.assertFalse(document.public or document.access_token or document.res_field)
        self.assertEqual((document.res_model, document.res_id), ('dunning.notice', notice.id))

    def test_edited_only_by_a_person(self):
        notice = self.make_records()['dunning.notice']
        notice.sudo().date_deadline = self.days(40)
        self.assertFalse(notice.is_edited)
        notice.with_user(self.clerk).message_subscribe(self.manager.partner_id.ids)
        self.assertFalse(notice.is_edited)
        notice.with_user(self.clerk).date_deadline = self.days(30)
        self.assertTrue(notice.is_edited)


@tagged('post_install', '-at_install')
class TestForeignAttachments(HttpCase, DunningCommon):
    """What is read or deleted through a stored pointer belongs to the record that points."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.foreign = cls.env['ir.attachment'].create({
            'name': 'salaries.pdf', 'raw': b'%PDF-1.4 salaries', 'mimetype': 'application/pdf',
            'res_model': 'res.company', 'res_id': cls.company.id})

    def make_letters(self):
        for name in ('Acme', 'Bravo'):
            self.make_invoice(self.make_partner(name, email=False))
        run = self.make_run()
        run.action_print_and_send()
        return run

    def point_at_foreign(self, run):
        """Forge what a person cannot write: as a fault elsewhere, or somebody in the database, would leave it."""
        letters = run._get_letters()
        run.sudo().write({'letters_id': self.foreign.id, 'letters_key': run._get_joined_key(letters)})

    @mute_logger('odoo.addons.dunning_mail.models.dunning_guard')
    def test_letters(self):
        run = self.make_letters()
        self.point_at_foreign(run)
        self.env.flush_all()
        self.authenticate('clerk', 'clerk')
        content = self.url_open(f'/dunning_mail/run/{run.id}/letters').content
        self.assertNotIn(b'salaries', content)
        self.assertTrue(content.startswith(b'%PDF'))

    @mute_logger('odoo.addons.dunning_mail.models.dunning_guard')
    def test_jobs_delete_nothing_foreign(self):
        run = self.make_letters()
        self.point_at_foreign(run)
        run.sudo()._store_joined(run._get_letters())
        self.assertTrue(self.foreign.exists())
        self.assertNotEqual(run.letters_id, self.foreign)
        self.point_at_foreign(run)
        run.sudo().state = 'cancelled'
        self.env['dunning.run']._gc_joined_letters()
        self.assertTrue(self.foreign.exists())
        self.assertFalse(run.letters_id)

    @mute_logger('odoo.addons.dunning_mail.models.dunning_guard')
    def test_documents_of_notices(self):
        run = self.make_letters()
        notice = run.notice_ids[0].sudo()
        own = notice.document_id
        notice.document_id = self.foreign
        self.assertNotIn('salaries', str(notice._get_evidence_files()))
        # Nobody has the letter yet: it is made again, and the file stays what it was.
        notice.with_user(self.clerk).action_open_document()
        self.assertNotEqual(notice.document_id, self.foreign)
        self.assertTrue(self.foreign.exists())
        notice.with_user(self.clerk).action_mark_printed()
        notice.document_id = self.foreign
        with self.assertRaises(UserError):
            notice.with_user(self.clerk).action_open_document()
        notice._remove_documents("Time is over.")
        self.assertTrue(self.foreign.exists())
        notice.mail_document_id = self.foreign
        self.assertNotIn('salaries', str(notice._get_evidence_files()))
        with self.assertRaises(UserError):
            notice.with_user(self.clerk).action_open_mail()
        notice._remove_documents("Time is over.")
        self.assertTrue(self.foreign.exists())
        self.assertTrue(own.exists())
