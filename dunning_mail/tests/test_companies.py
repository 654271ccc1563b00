"""A company's matters are its own: what is shared is not one company's to change, and what is another's nobody's."""

import inspect

from psycopg2 import IntegrityError

from odoo import Command
from odoo.exceptions import AccessError, UserError
from odoo.models import MAGIC_COLUMNS
from odoo.service.model import call_kw
from odoo.tests import new_test_user, tagged
from odoo.tools import SQL, mute_logger

from .common import TODAY, DunningCommon

ROLES = {
    'portal': 'base.group_portal', 'internal': 'base.group_user', 'readonly': 'account.group_account_readonly',
    'clerk': 'account.group_account_invoice', 'head': 'account.group_account_manager'}
CONFIGURATION = (
    'dunning.provider', 'dunning.procedure', 'dunning.level', 'dunning.level.text', 'dunning.interest.profile',
    'dunning.interest.rate')


class CompaniesCase(DunningCommon):
    """Records of one company, shared ones, and users of another company, one of each role."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.env.ref('base.user_admin')
        cls.other = cls.env['res.company'].create({'name': 'Other AG', 'currency_id': cls.currency.id})
        cls.strangers = {role: new_test_user(
            cls.env, login=f'stranger_{role}', groups=group, company_id=cls.other.id,
            company_ids=[Command.set(cls.other.ids)]) for role, group in ROLES.items()}
        cls.head = cls.strangers['head']
        cls.shared_provider = cls.env['dunning.provider'].create({
            'name': 'Shared', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})
        cls.profile = cls.env['dunning.interest.profile'].create({
            'name': 'Shared', 'business_method': 'base', 'business_rate': 9,
            'rate_ids': [Command.create({'date_from': '2026-01-01', 'rate': 1.27})]})
        fee = cls.env['dunning.level.fee'].create({'level_id': cls.level_1.id, 'fixed': 5})
        cls.foreign = cls.make_records(cls.company, cls.clerk)
        cls.shared = {
            record._name: record for record in (
                cls.shared_provider, cls.procedure, cls.level_1, cls.level_1.text_ids[0], cls.profile,
                cls.profile.rate_ids, fee, cls.env.ref('dunning_mail.dispute_reason_price'))}
        cls.env.flush_all()

    @classmethod
    def make_configuration(cls, company):
        """Return a procedure, a level, its texts, a provider and an interest profile with a rate of a company."""
        procedure = cls.procedure.copy({'name': f'Of {company.name}', 'company_id': company.id})
        provider = cls.env['dunning.provider'].create({
            'name': f'Of {company.name}', 'email_from': 'q@muster.test', 'company_id': company.id})
        level = procedure.level_ids[0]
        profile = cls.profile.copy({'name': f'Of {company.name}', 'company_id': company.id})
        return {record._name: record for record in (
            procedure, level, level.text_ids[0], provider, profile, profile.rate_ids, level.fee_ids)}

    @classmethod
    def make_records(cls, company, user):
        """Return a record of each model of ours, all of one company."""
        records = cls.make_configuration(company)
        partner = cls.make_partner('Acme', email=False, company_id=company.id)
        held = cls.make_partner('On hold', email=False, company_id=company.id, dunning_hold_until=cls.days(5))
        cls.make_invoice(partner)
        cls.make_invoice(held)
        run = cls.make_run(lang='en_US', user=user)
        notice = run.notice_ids
        records |= {record._name: record for record in (
            run, notice, notice.due_line_ids, run.exception_ids, notice.charge_ids, notice.text_id._get_version(),
            cls.env['dunning.delivery.log'].create({'notice_id': notice.id}),
            cls.env['dunning.incoming.mail'].create({'notice_id': notice.id, 'digest': 'x'}),
            cls.env['dunning.notice.report'].create({'notice_id': notice.id}),
            cls.env['dunning.data.request'].create({'partner_ids': partner.ids}),
            cls.env['dunning.schedule'].create({'name': 'Weekly', 'user_id': user.id, 'company_id': company.id}))}
        item = cls.receivable(cls.make_invoice(cls.make_partner('Promises', email=False, company_id=company.id)))
        promise = cls.env['dunning.promise']._make(item, [(cls.days(9), 10.0)])
        reason = cls.env['dunning.dispute.reason'].create({'name': 'Taste', 'company_id': company.id})
        dispute = cls.env['dunning.dispute'].create({
            'item_ids': item.ids, 'amount': 5.0, 'reason_id': reason.id, 'user_id': user.id})
        env = cls.env(user=user)
        make = env['dunning.promise.make'].create({
            'item_ids': item.ids, 'amount': 10.0, 'date': cls.days(9),
            'line_ids': [Command.create({'date': cls.days(9), 'amount': 10.0})]})
        records |= {record._name: record for record in (
            promise, promise.line_ids, reason, dispute, make, make.line_ids,
            env['dunning.hold'].create({'partner_id': partner.id, 'reason': 'x'}))}
        records |= {record._name: record for record in (
            env['dunning.level.change'].create({
                'notice_ids': notice.ids, 'level_id': cls.level_1.id, 'reason': 'x'}),
            env['dunning.notice.confirm'].create({'notice_ids': notice.ids, 'action': 'cancel'}),
            env['dunning.assign.payment'].create({'partner_id': notice.partner_id.id}),
            env['dunning.charge.change'].create({
                'charge_ids': notice.charge_ids.ids, 'action': 'waive', 'reason': 'x'}),
            env['dunning.run.preview'].create({'run_id': run.id}),
            env['dunning.restart'].create({'move_line_ids': notice.line_ids.move_line_id.ids, 'reason': 'x'}),
            env['dunning.text.preview'].create({
                'level_id': records['dunning.level'].id, 'partner_id': partner.id}))}
        preflight = env['dunning.preflight'].sudo().create({
            'run_ids': run.ids,
            'line_ids': [Command.create({'code': 'not_sent', 'name': 'x', 'notice_ids': notice.ids})]})
        records |= {'dunning.preflight': preflight, 'dunning.preflight.line': preflight.line_ids}
        records |= {'res.partner': partner, 'account.move.line': notice.due_line_ids.move_line_id,
                    'account.move': notice.due_line_ids.move_line_id.move_id, 'res.company': company, 'res.users': user,
                    'resource.calendar': company.resource_calendar_id}
        return {name: record.with_env(cls.env) for name, record in records.items()}

    @classmethod
    def get_models(cls):
        return sorted(name for name, model in cls.env.registry.items()
                      if name.startswith('dunning.') and not model._abstract and model._auto)

    def read_row(self, record):
        self.env.flush_all()
        return self.env.execute_query(SQL(
            "SELECT to_jsonb(t) FROM %s t WHERE id = %s", SQL.identifier(record._table), record.id))

    def refuses(self, function):
        """Whether a call is refused; nothing of it stays."""
        with self.env.cr.savepoint() as savepoint:
            try:
                function()
                self.env.flush_all()
            except (UserError, ValueError, IntegrityError):
                return True
            finally:
                savepoint.rollback()
                self.env.invalidate_all()
        return False


@tagged('post_install', '-at_install')
class TestCompanies(CompaniesCase):

    def leave_one_company(self):
        self.env['res.users'].browse(user.id for user in self.strangers.values()).active = False
        (self.env['res.company'].search([]) - self.company).active = False

    def get_values(self, record):
        """Return values that a person may write, one field each: the same as they are, or another number."""
        for fname in sorted(record.browse()._get_writable_fields()):
            field = record._fields[fname]
            if field.type in ('integer', 'float', 'monetary'):
                yield {fname: record[fname] + 1}
            elif field.type == 'boolean':
                yield {fname: not record[fname]}
            elif field.type in ('many2one', 'char', 'text', 'html', 'selection') and not field.groups:
                yield {fname: field.convert_to_write(record[fname], record)}

    def check_closed(self, records, users):
        for name, record in records.items():
            if name not in self.get_models():
                continue
            before = self.read_row(record)
            for user in users:
                mine = record.with_user(user)
                for values in self.get_values(record):
                    with self.subTest(model=name, user=user.login, values=values):
                        self.assertTrue(self.refuses(lambda mine=mine, values=values: mine.write(values)))
                with self.subTest(model=name, user=user.login):
                    self.assertTrue(self.refuses(mine.unlink))
                    self.assertFalse(mine.has_access('write') or mine.has_access('unlink'))
            self.assertEqual(self.read_row(record), before, name)

    def test_foreign_records(self):
        foreign = {name: record for name, record in self.foreign.items() if name != 'dunning.text.version'}
        self.assertEqual(sorted({*foreign, 'dunning.text.version'} & {*self.get_models()}), self.get_models())
        self.check_closed(foreign, self.strangers.values())

    def test_shared_configuration(self):
        self.check_closed(self.shared, self.strangers.values())
        # Nor is it the matter of whoever heads the accounts of the company that uses it.
        self.check_closed(self.shared, [self.manager])

    def test_nothing_shared_is_made(self):
        for user in (self.head, self.manager):
            env = self.env(user=user)
            for name, values in {
                'dunning.provider': {'name': 'Q', 'email_from': 'q@muster.test', 'company_id': False},
                'dunning.procedure': {'name': 'Q', 'company_id': False},
                'dunning.interest.profile': {'name': 'Q', 'company_id': False},
                'dunning.interest.rate': {'profile_id': self.profile.id, 'date_from': '2026-07-01', 'rate': 1},
                'dunning.level': {'name': 'Q', 'sequence': 9, 'procedure_id': self.procedure.id},
                'dunning.level.text': {
                    'level_id': self.level_1.id, 'lang': 'en_US', 'mail_subject': 'x', 'mail_body': 'x',
                    'letter_title': 'x', 'letter_intro': 'x', 'letter_closing': 'x'},
            }.items():
                self.level_1.text_ids.filtered(lambda text: text.lang == 'en_US').unlink()
                with self.subTest(user=user.login, model=name):
                    self.assertTrue(self.refuses(lambda: env[name].create(dict(values))))  # noqa: B023
            level = self.level_1.with_user(user)
            self.assertTrue(self.refuses(level.action_install_default_texts))
            self.assertTrue(self.refuses(lambda: level.procedure_id.write({  # noqa: B023
                'level_ids': [Command.create({'name': 'Q', 'sequence': 9})]})))
            self.assertTrue(self.refuses(level.procedure_id.action_archive))

    def test_the_letter_is_everybodys(self):
        """Whether letters are kept is said on a level, and is a setting of the report that all companies share."""
        own = self.make_configuration(self.other)['dunning.level'].with_user(self.head)
        kept = own.archive_generated
        self.assertTrue(self.refuses(lambda: own.write({'archive_generated': not kept})))
        own.write({'archive_generated': kept, 'min_amount': 5})

    @mute_logger('odoo.sql_db')
    def test_pointing_at_foreign_records(self):
        """Fields of ours, on models of ours and of others, cannot be made to point at what is another company's."""
        own = {**self.make_configuration(self.other), 'dunning.schedule': self.env['dunning.schedule'].create({
            'name': 'Own', 'company_id': self.other.id, 'user_id': self.head.id})}
        # Nothing but the company is in the way.
        own['dunning.level'].sequence = 9
        texts = own['dunning.level'].text_ids
        own['dunning.level.text'] = texts.filtered(lambda text: text.lang == 'fr_FR')
        self.foreign['dunning.level'].text_ids.filtered(lambda text: text.lang == 'fr_FR').unlink()
        own['dunning.run'] = self.env['dunning.run'].with_user(self.head).create({'date': TODAY})
        own['res.partner'] = self.make_partner('Own', company_id=self.other.id)
        own['res.company'] = self.other
        own['res.config.settings'] = self.env['res.config.settings'].with_company(self.other).create({})
        tried = set()
        for name, record in own.items():
            for fname, field in record._fields.items():
                ours = name.startswith('dunning.') or fname.startswith('dunning_')
                if not ours or field.type not in ('many2one', 'many2many', 'one2many') or not (
                        field.store or field.inverse) or fname in MAGIC_COLUMNS or (
                        field.comodel_name not in self.foreign):
                    continue
                target = self.foreign[field.comodel_name]
                if name == 'dunning.run' and fname == 'partner_ids':
                    # A filter: the run itself proposes only what is the company's.
                    continue
                value = target.id if field.type == 'many2one' else [Command.link(target.id)]
                user = self.admin if name in ('res.company', 'res.config.settings') else self.head
                before = self.read_row(target)
                mine = record.with_user(user).with_company(self.other)
                with self.subTest(model=name, field=fname):
                    def point(mine=mine, fname=fname, value=value, name=name):
                        mine.write({fname: value})
                        if name == 'res.config.settings':
                            mine.execute()
                    if not field.readonly or name != 'res.config.settings':
                        self.assertTrue(self.refuses(point))
                        tried.add((name, fname))
                    self.assertEqual(self.read_row(target), before)
        self.assertLessEqual({
            ('dunning.provider', 'company_id'), ('dunning.provider', 'calendar_id'),
            ('dunning.procedure', 'company_id'), ('dunning.procedure', 'level_ids'), ('dunning.level', 'procedure_id'),
            ('dunning.procedure', 'interest_profile_id'), ('dunning.interest.profile', 'company_id'),
            ('dunning.interest.profile', 'rate_ids'), ('dunning.interest.rate', 'profile_id'),
            ('res.company', 'dunning_interest_profile_id'), ('res.config.settings', 'dunning_interest_profile_id'),
            ('dunning.level', 'text_ids'), ('dunning.level.text', 'level_id'), ('dunning.schedule', 'company_id'),
            ('dunning.schedule', 'user_id'), ('dunning.schedule', 'procedure_ids'), ('dunning.run', 'procedure_ids'),
            ('dunning.run', 'user_id'), ('res.partner', 'dunning_procedure_id'), ('res.company', 'dunning_provider_id'),
            ('res.company', 'dunning_procedure_id'), ('res.config.settings', 'dunning_provider_id')}, tried)

    def test_giving_away(self):
        """What is one's own is not moved to where one could not put it."""
        own = self.make_configuration(self.other)
        self.env.user.company_ids += self.other
        for name, values in {
            'dunning.provider': {'company_id': False}, 'dunning.procedure': {'company_id': False},
            'dunning.interest.profile': {'company_id': False},
            'dunning.interest.rate': {'profile_id': self.profile.id, 'date_from': '2026-07-01'},
            'dunning.level': {'procedure_id': self.procedure.id, 'sequence': 9},
            'dunning.level.text': {'level_id': self.level_2.id},
        }.items():
            with self.subTest(model=name):
                self.level_2.text_ids.unlink()
                mine = own[name].with_user(self.head)
                self.assertTrue(self.refuses(lambda: mine.write(values)))  # noqa: B023

    def test_branch(self):
        """The head company's configuration serves its branches, and is not theirs to change."""
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        user = new_test_user(
            self.env, login='branch', groups=ROLES['head'], company_id=branch.id, company_ids=[Command.set(branch.ids)])
        for name in CONFIGURATION:
            record = self.foreign[name].with_user(user)
            with self.subTest(model=name):
                self.assertTrue(record.has_access('read'))
                self.assertFalse(record.has_access('write'))
        self.env.user.company_ids += branch
        self.admin.company_ids += branch
        branch.dunning_procedure_id = self.foreign['dunning.procedure']
        branch.dunning_provider_id = self.foreign['dunning.provider']
        branch.dunning_interest_profile_id = self.foreign['dunning.interest.profile']
        partner = self.make_partner('Of the branch')
        partner.with_user(self.admin).with_company(branch).dunning_procedure_id = self.foreign['dunning.procedure']

    def test_who_may(self):
        """Administrators, and whoever heads the accounts of all companies."""
        administrator = new_test_user(
            self.env, login='administrator', groups='base.group_system', company_id=self.other.id,
            company_ids=[Command.set(self.other.ids)])
        self.head.company_ids = self.env['res.company'].search([])
        for user in (administrator, self.head):
            for name, values in {
                'dunning.provider': {'send_interval': 77}, 'dunning.procedure': {'grace_days': 3},
                'dunning.level': {'min_amount': 7}, 'dunning.level.text': {'letter_title': 'Mahnung'},
                'dunning.interest.profile': {'business_rate': 8}, 'dunning.interest.rate': {'rate': 1.5},
                'dunning.level.fee': {'fixed': 7},
            }.items():
                with self.subTest(user=user.login, model=name):
                    self.shared[name].with_user(user).write(values)
                    self.assertFalse(self.shared[name].with_user(user).is_locked)
            level = self.level_2.with_user(user)
            level.archive_generated = not level.archive_generated
            made = self.env['dunning.procedure'].with_user(user).create({
                'name': 'Q', 'level_ids': [Command.create({'name': 'Q', 'sequence': 1, 'text_tone': 'firm'})]})
            self.assertFalse(made.company_id)
            made.level_ids.action_install_default_texts()
            made.unlink()

    def test_one_company(self):
        """In a database with a single company all is that company's own; archived companies do not count."""
        self.leave_one_company()
        for name, record in self.shared.items():
            with self.subTest(model=name):
                mine = record.with_user(self.manager)
                self.assertTrue(mine.has_access('write'))
                self.assertFalse(mine.is_locked)
        self.level_1.with_user(self.manager).archive_generated = not self.level_1.archive_generated
        self.assertFalse(self.env['dunning.procedure'].with_user(self.manager).create({'name': 'Q'}).company_id)
        self.assertFalse(self.procedure.with_user(self.manager).copy().company_id)

    def test_words_and_way_out(self):
        procedure = self.procedure.with_user(self.head)
        self.assertTrue(procedure.is_locked)
        with self.assertRaisesRegex(AccessError, "“Standard”.*shared.*administrator.*uplicate"):
            procedure.level_ids[0].min_amount = 7
        copy = procedure.copy()
        self.assertEqual((copy.company_id, copy.is_locked), (self.other, False))
        copy.level_ids[0].min_amount = 7
        copy.level_ids[0].text_ids[0].letter_title = 'Mahnung'
        self.assertEqual(len(copy.level_ids), 3)
        self.assertEqual(self.shared_provider.with_user(self.head).copy().company_id, self.other)
        self.assertEqual(self.env['dunning.provider'].with_user(self.head).create({
            'name': 'Q', 'email_from': 'q@muster.test'}).company_id, self.other)
        made = self.env['dunning.procedure'].with_user(self.head).create({'name': 'Q'})
        self.assertEqual(made.company_id, self.other)

    def test_emergency_stop(self):
        """Who heads the accounts of one company may stop a shared provider; others set it going again."""
        provider = self.shared_provider.with_user(self.head)
        provider.action_pause()
        self.assertEqual(provider.state, 'paused')
        with self.assertRaises(AccessError):
            provider.action_resume()
        for role in ('clerk', 'readonly', 'internal', 'portal'):
            with self.subTest(role=role), self.assertRaises(AccessError):
                provider.with_user(self.strangers[role]).action_pause()
        with self.assertRaises(AccessError):
            self.foreign['dunning.provider'].with_user(self.head).action_pause()

    def test_forms_say_so(self):
        for name in CONFIGURATION:
            record = self.shared[name].with_user(self.head)
            arch = record.get_view(view_type='form')['arch']
            with self.subTest(model=name):
                self.assertIn('is_locked', arch)
                record.web_read({'is_locked': {}})

    def test_copies(self):
        """What may be created may be duplicated."""
        own = self.make_configuration(self.company)
        self.leave_one_company()
        for user in (self.manager, self.admin):
            provider = own['dunning.provider'].with_user(user).copy()
            self.assertEqual(provider.name, f'{own["dunning.provider"].name} (copy)')
            self.assertFalse(provider.sudo().smtp_pass_is_set or provider.sudo().smtp_host)
            self.assertTrue(provider.sudo().mail_server_id)
            procedure = own['dunning.procedure'].with_user(user).copy()
            self.assertEqual(len(procedure.level_ids.text_ids), len(own['dunning.procedure'].level_ids.text_ids))
            level = procedure.level_ids[0].copy()
            self.assertEqual(level.sequence, 4)
            self.assertEqual(level.text_ids.mapped('lang'), procedure.level_ids[0].text_ids.mapped('lang'))
        schedule = self.env['dunning.schedule'].with_user(self.manager).create({
            'name': 'Own', 'user_id': self.clerk.id})
        self.assertEqual(schedule.copy().user_id, self.clerk)
        run = self.foreign['dunning.run'].with_user(self.clerk).copy()
        self.assertEqual((run.state, len(run.notice_ids)), ('draft', 0))


# What parameters of public methods are filled with, by their names.
ARGUMENTS = {
    'vals': {}, 'values': {}, 'vals_list': [{}], 'fields': ['id'], 'fnames': ['id'], 'domain': [], 'default': {},
    'msg_dict': {
        'author_id': False, 'body': 'forged', 'message_id': '<forged@x.test>', 'email_from': 'forged@x.test',
        'to': 'forged@x.test', 'partner_ids': [], 'recipients': ''},
    'data': {}, 'message': '', 'body': 'forged'}


@tagged('post_install', '-at_install')
class TestPublicMethods(CompaniesCase):
    """Every method that can be called over RPC, called on foreign records: nothing changes by it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, record in cls.foreign.items():
            # They may have a follower, an activity and a message to tamper with.
            if 'message_follower_ids' in record._fields and name.startswith('dunning.'):
                record.message_post(body="A note")
                record.message_follower_ids.unlink()

    def get_methods(self, model, with_inherited):
        for name in dir(type(model)):
            function = getattr(type(model), name, None)
            if name.startswith('_') or not inspect.isfunction(function):
                continue
            definitions = [base.__dict__[name] for base in type(model).__mro__ if name in base.__dict__]
            modules = {getattr(definition, '__module__', '') or '' for definition in definitions}
            if any('.dunning_mail.' in module for module in modules) or (with_inherited and any(
                    module.startswith('odoo.addons.') for module in modules)):
                yield name, function

    def get_arguments(self, function):
        names = [
            parameter.name for parameter in list(inspect.signature(function).parameters.values())[1:]
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and (parameter.default is parameter.empty or parameter.name in ARGUMENTS)]
        for others in ('', [], 1) if set(names) - {*ARGUMENTS} else ('',):
            yield [ARGUMENTS.get(name, others) for name in names]

    def count_changes(self):
        self.env.flush_all()
        return dict(self.env.execute_query(SQL(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables "
            "WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND relname NOT LIKE 'bus%%'")))

    @mute_logger('odoo.models.unlink', 'odoo.addons.base.models.ir_model', 'odoo.addons.base.models.ir_rule',
                 'odoo.sql_db', 'odoo.addons.mail.models.mail_thread', 'odoo.domains', 'odoo.orm.models', 'py.warnings')
    def test_methods(self):
        # The auditor is of the very company: she reads all, and changes nothing.
        auditor = new_test_user(
            self.env, login='auditor', groups='account.group_account_readonly', company_id=self.company.id)
        called = set()
        records = {**self.foreign, **{f'shared {name}': record for name, record in self.shared.items()}}
        for label, record in records.items():
            name = record._name
            users = list(self.strangers.values())
            if name not in ('res.company', 'res.users', 'resource.calendar'):
                users.append(auditor)
            for method, function in self.get_methods(record, with_inherited=name == 'dunning.notice'):
                if label.startswith('shared ') and method in ('copy', 'action_pause', 'create'):
                    continue
                if method in ('action_clear_dunning_refused',):
                    # Checked by core: whoever may write the contact.
                    users = [user for user in users if not record.with_user(user).has_access('write')]
                called.add((name, method))
                for user in users:
                    for arguments in self.get_arguments(function):
                        self.call(label, record.with_user(user), method, arguments)
        self.assertLessEqual({
            ('dunning.notice', 'message_update'), ('dunning.notice', 'message_subscribe'),
            ('dunning.notice', 'action_set_paper'), ('dunning.run', 'action_cancel'),
            ('dunning.provider', 'action_resume'), ('dunning.level', 'action_install_default_texts'),
            ('dunning.schedule', 'action_run_now'), ('dunning.notice', 'write')}, called)

    def call(self, label, record, method, arguments):
        context = {'allowed_company_ids': record.env.user.company_ids.ids}
        with self.env.cr.savepoint() as savepoint:
            before = self.count_changes()
            try:
                call_kw(record.browse(), method, [record.ids, *arguments], {'context': context})
                self.env.flush_all()
            except Exception:
                after = before
            else:
                after = self.count_changes()
            savepoint.rollback()
            self.env.invalidate_all()
        # A wizard, or a record of one's own, that comes of it is no change of what is there.
        changed = {table for table, count in after.items() if count != before.get(table)}
        with self.subTest(record=label, user=record.env.user.login, method=method, arguments=str(arguments)):
            self.assertEqual(changed, set())


@tagged('post_install', '-at_install')
class TestSaidOfCustomers(CompaniesCase):
    """Hold and channel are said for one's own company and its branches."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.branch = cls.env['res.company'].create({
            'name': 'Branch', 'parent_id': cls.company.id, 'dunning_procedure_id': cls.procedure.id})
        cls.env.user.company_ids += cls.other | cls.branch
        cls.partner = cls.make_partner('Coop')
        cls.contact = cls.make_contact(cls.partner)
        cls.invoice = cls.make_invoice(cls.contact)

    def say(self, partner, company, **values):
        partner.with_company(company).write({f'dunning_{key}': value for key, value in values.items()})

    def propose(self):
        run = self.make_run(partner_ids=self.partner.ids, lang='en_US')
        return run.notice_ids, run.exception_ids.mapped('description')

    def test_hold(self):
        for held in (self.partner, self.contact):
            with self.subTest(held=held.name), self.env.cr.savepoint() as savepoint:
                self.say(held, self.other, hold_until=self.days(9), hold_reason='Elsewhere')
                self.assertFalse(held.with_company(self.company).dunning_hold_until)
                notice, words = self.propose()
                self.assertEqual((len(notice), words), (1, []))
                self.assertEqual(notice._recheck()[notice.id].code, 'same')
                notice.run_id.action_cancel()
                self.say(held, self.company, hold_until=self.days(5), hold_reason='Here')
                notice, words = self.propose()
                self.assertFalse(notice)
                self.assertIn('Here', words[0])
                savepoint.rollback()
                self.env.invalidate_all()

    def test_hold_after_the_proposal(self):
        for held in (self.partner, self.contact):
            with self.subTest(held=held.name), self.env.cr.savepoint() as savepoint:
                notice, _words = self.propose()
                self.say(held, self.other, hold_until=self.days(9))
                self.assertEqual(notice._recheck()[notice.id].code, 'same')
                self.say(held, self.branch, hold_until=self.days(9))
                self.assertEqual(notice._recheck()[notice.id].code, 'same')
                self.say(held, self.company, hold_until=self.days(9))
                self.assertEqual(notice._recheck()[notice.id].code, 'held')
                savepoint.rollback()
                self.env.invalidate_all()

    def test_branch(self):
        """A hold of the head company holds in its branches too; of two, the longer one."""
        holds = self.env['dunning.proposal'].sudo()
        for head, own, expected in (
                (9, None, (9, 'Head')), (None, 7, (7, 'Own')), (9, 7, (9, 'Head')), (7, 9, (9, 'Own')),
                (-1, None, (-1, 'Head')), (None, None, None)):
            with self.subTest(head=head, own=own):
                self.say(self.partner, self.company, hold_until=head and self.days(head), hold_reason='Head')
                self.say(self.partner, self.branch, hold_until=own and self.days(own), hold_reason='Own')
                found = self.partner._get_dunning_holds(self.branch).get(self.partner.id)
                self.assertEqual(found, expected and (self.days(expected[0]), expected[1]))
                self.env.flush_all()
                until, reason = self.env['res.partner']._get_dunning_hold_sql('p', self.branch)
                [row] = holds.env.execute_query(SQL(
                    "SELECT %s, %s FROM res_partner p WHERE id = %s", until, reason, self.partner.id))
                self.assertEqual(row if row[0] else None, found)

    def test_channel(self):
        notice, _words = self.propose()
        self.say(self.partner, self.other, channel='paper')
        self.say(self.partner, self.branch, channel='paper')
        self.assertNotIn("wants paper", notice._choose_channel()[1])
        self.assertTrue(self.partner._want_dunning_on_paper(self.branch))
        self.say(self.partner, self.company, channel='paper')
        self.assertIn("wants paper", notice._choose_channel()[1])
        self.say(self.partner, self.branch, channel=False)
        self.assertTrue(self.partner._want_dunning_on_paper(self.branch))
        self.say(self.partner, self.branch, channel='level')
        self.assertFalse(self.partner._want_dunning_on_paper(self.branch))
        self.assertTrue((self.partner | self.contact)._want_dunning_on_paper(self.company))

    def test_read_in_sets(self):
        """However many customers there are, holds and channels are read together, those of a head company too."""
        partners = self.env['res.partner'].union(*(self.make_partner(f'Set {number}') for number in range(12)))
        for partner in partners:
            self.make_invoice(partner)
        notices = self.env['dunning.notice'].browse(self.make_run(partner_ids=partners.ids).notice_ids.ids)
        self.assertEqual(len(notices), 12)

        def count(function, records):
            self.env.flush_all()
            self.env.invalidate_all()
            before = self.env.cr.sql_log_count
            function(records)
            return self.env.cr.sql_log_count - before
        for name, function in (
                ('recheck', lambda found: found._recheck()),
                ('holds', lambda found: [one.partner_id._get_dunning_holds(self.branch) for one in found]),
                ('channel', lambda found: [one._wants_paper() for one in found]),
                ('branch', lambda found: [one.partner_id._want_dunning_on_paper(self.branch) for one in found])):
            with self.subTest(name):
                function(notices)
                self.assertEqual(count(function, notices), count(function, notices.browse(notices[:2].ids)))

    def test_strangers_word(self):
        """What a clerk of another company says of a shared customer is said there."""
        self.strangers['clerk'].group_ids += self.env.ref('base.group_partner_manager')
        mine = self.partner.with_user(self.strangers['clerk'])
        mine.write({'dunning_hold_until': self.days(9), 'dunning_hold_reason': 'x', 'dunning_channel': 'paper'})
        self.env.invalidate_all()
        own = self.partner.with_company(self.company)
        self.assertEqual((own.dunning_hold_until, own.dunning_hold_reason, own.dunning_channel), (False,) * 3)
        Partner = self.env['res.partner']
        found = [('dunning_hold_until', '>=', TODAY), ('id', '=', self.partner.id)]
        self.assertFalse(Partner.with_company(self.company).search(found))
        self.assertTrue(Partner.with_company(self.other).search(found))

    def test_merge(self):
        gone = self.env['res.company'].create({'name': 'Gone'})
        gone.active = False
        first, second = self.make_partner('One', email='x@x.test'), self.make_partner('Two', email='x@x.test')
        self.say(first, self.company, hold_until=self.days(3), hold_reason='Short')
        self.say(second, self.company, hold_until=self.days(8), hold_reason='Long', channel='paper')
        self.say(first, self.other, hold_until=self.days(6), hold_reason='First', channel='level')
        self.say(second, gone, hold_until=self.days(5), hold_reason='Archived')
        self.say(first, gone, channel='paper')
        self.env['base.partner.merge.automatic.wizard'].create({})._merge((first | second).ids, first)
        self.env.invalidate_all()
        for company, expected in (
                (self.company, (self.days(8), 'Long', 'paper')), (self.other, (self.days(6), 'First', 'level')),
                (gone, (self.days(5), 'Archived', 'paper')), (self.branch, (False, False, False))):
            with self.subTest(company=company.name):
                self.assertEqual(first._get_dunning_holds(company).get(first.id), (expected[0] and expected[:2]) or (
                    self.days(8), 'Long'), "a branch holds with its head company")
                kept = first.with_company(company)
                self.assertEqual(
                    (kept.dunning_hold_until, kept.dunning_hold_reason, kept.dunning_channel), expected)


@tagged('post_install', '-at_install')
class TestPreviews(CompaniesCase):
    """A preview shows nothing that the user could not see otherwise."""

    def preview(self, user, level, partner, companies=None):
        preview = self.env['dunning.text.preview'].with_user(user).with_context(
            allowed_company_ids=(companies or user.company_ids).ids).create({
                'level_id': level.id, 'partner_id': partner.id})
        return ' '.join(str(preview[fname] or '') for fname in ('mail_body', 'letter_html', 'error'))

    def test_branch(self):
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        user = new_test_user(self.env, login='branch', groups=ROLES['clerk'], company_id=branch.id,
                             company_ids=[Command.set(branch.ids)], lang='en_US')
        shared = self.make_partner('Shared', lang='en_US')
        number = self.make_invoice(shared, 777).name
        for level in (self.foreign['dunning.level'], self.level_1):
            shown = self.preview(user, level, shared)
            self.assertIn('INV/0001', shown, "an example")
            self.assertNotIn(number, shown)
            self.assertNotIn('777', shown)
        both = new_test_user(self.env, login='both', groups=ROLES['clerk'], company_id=branch.id, lang='en_US',
                             company_ids=[Command.set((branch | self.company).ids)])
        self.assertIn(number, self.preview(both, self.foreign['dunning.level'], shared, self.company | branch))
        own = self.make_configuration(self.other)['dunning.level']
        both.company_ids += self.other
        # Looked at from the first of her companies: one that has the level.
        self.assertNotIn(number, self.preview(both, own, shared, self.company | self.other))

    def test_foreign(self):
        clerk = self.strangers['clerk']
        own = self.make_configuration(self.other)['dunning.level']
        partner, number = self.foreign['res.partner'], self.foreign['account.move'].name
        for level, of in ((own, partner), (self.foreign['dunning.level'], self.make_partner('Any')),
                          (self.level_1, partner)):
            shown = self.preview(clerk, level, of)
            self.assertNotIn(number, shown)
            self.assertNotIn(partner.name, shown)
        preview = self.env['dunning.run.preview'].with_user(clerk).create({'run_id': self.foreign['dunning.run'].id})
        self.assertNotIn(partner.name, str(preview.result))
        self.assertEqual(preview.notice_count, 0)
        for name in (
                'dunning.level.change', 'dunning.notice.confirm', 'dunning.preflight', 'dunning.preflight.line',
                'dunning.run.preview', 'dunning.text.preview'):
            with self.subTest(model=name), self.assertRaises(AccessError):
                self.foreign[name].with_user(clerk).read()
