"""Interest profiles: what is installed, what is checked, whose they are."""

from datetime import date
from decimal import Decimal
from unittest.mock import patch

from psycopg2 import IntegrityError

from odoo import Command
from odoo.exceptions import UserError, ValidationError
from odoo.tests import Form, tagged
from odoo.tools import convert_file, mute_logger

from odoo.addons.dunning_mail.models.default_rates import DEFAULT_RATES

from .common import DunningCommon

CODES = ('de', 'at', 'ch', 'eu')


@tagged('post_install', '-at_install')
class TestInterestProfile(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.installed = {code: cls.env.ref(f'dunning_mail.interest_profile_{code}') for code in CODES}
        cls.german = cls.installed['de']

    def make_profile(self, **values):
        return self.env['dunning.interest.profile'].create({
            'name': 'Own', 'business_method': 'base', 'business_rate': 9, 'consumer_method': 'fixed',
            'consumer_rate': 4, 'rate_ids': [
                Command.create({'date_from': '2026-01-01', 'rate': 1.27}),
                Command.create({'date_from': '2026-07-01', 'rate': 1.52})],
            **values})

    # === WHAT IS INSTALLED === #

    def test_installed_rates(self):
        for code, day, business, consumer in (
                ('de', '2002-01-01', '11.57', '7.57'), ('de', '2016-07-01', '8.12', '4.12'),
                ('de', '2025-07-01', '10.27', '6.27'), ('de', '2026-06-30', '10.27', '6.27'),
                ('de', '2026-12-31', '10.52', '6.52'), ('de', '2027-01-01', None, None),
                ('de', '2001-12-31', None, None),
                ('at', '2022-12-31', '8.58', '4'), ('at', '2024-12-31', '13.08', '4'),
                ('at', '2026-12-31', '10.73', '4'), ('at', '2027-01-01', None, '4'), ('at', '2016-06-30', None, '4'),
                ('ch', '1999-01-01', '5', '5'), ('ch', '2040-01-01', '5', '5'),
                # 0.75 was the central bank's rate, and 0 from 2016 on.
                ('eu', '2013-01-01', '8.75', ''), ('eu', '2022-12-31', '8.00', ''), ('eu', '2023-07-01', '12.00', ''),
                ('eu', '2026-07-01', '10.40', ''), ('eu', '2027-01-01', None, ''), ('eu', '2012-12-31', None, '')):
            for kind, rate in (('business', business), ('consumer', consumer)):
                with self.subTest(code=code, day=day, kind=kind):
                    rates = self.installed[code]._get_rates(kind)
                    known = [value for first, value in rates if first <= date.fromisoformat(day)]
                    if rate == '':
                        self.assertEqual(rates, [])
                    else:
                        self.assertEqual(known[-1] if known else None, rate and Decimal(rate))

    def test_installed_rules(self):
        self.assertEqual(
            [(profile.begin, profile.day_count, profile.currency_id.name, profile.lump_sum,
              str(profile.rates_until or '')) for profile in self.installed.values()],
            [('notice', 'act_365', 'EUR', 40, '2026-12-31'), ('notice', 'act_365', 'EUR', 40, '2026-12-31'),
             ('notice', '30_360', 'CHF', 0, ''), ('notice', 'act_365', 'EUR', 40, '2026-12-31')])
        self.assertFalse(any(profile.company_id or profile.is_moved_to_workday for profile in self.installed.values()))
        countries = {code: set(profile.country_ids.mapped('code')) for code, profile in self.installed.items()}
        self.assertEqual([countries[code] for code in ('de', 'at', 'ch')], [{'DE'}, {'AT'}, {'CH'}])
        self.assertLess({'FR', 'IT', 'NL'}, countries['eu'])
        self.assertFalse({'DE', 'AT', 'CH', 'LI'} & countries['eu'])
        self.assertIn('derived', self.installed['eu'].note)

    def test_nobody_has_one_who_chose_none(self):
        self.assertFalse(self.env['res.company'].create({'name': 'New'}).dunning_interest_profile_id)
        self.assertFalse(self.procedure._get_interest_profile(self.company))
        self.assertFalse(self.procedure.browse()._get_interest_profile(self.company))

    def test_offered_by_country(self):
        for code, offered in (('DE', {'de'}), ('AT', {'at'}), ('CH', {'ch'}), ('FR', {'eu'}), ('LI', set())):
            company = self.env['res.company'].create({
                'name': code, 'country_id': self.env.ref(f'base.{code.lower()}').id})
            settings = self.env['res.config.settings'].with_company(company).create({})
            with self.subTest(country=code):
                found = self.env['dunning.interest.profile'].search([
                    '|', ('country_ids', '=', False), ('country_ids', 'in', settings.dunning_country_ids.ids)])
                self.assertEqual({key for key, profile in self.installed.items() if profile in found}, offered)

    # === WHAT UPDATES DO === #

    def update(self, **rates):
        """Bring new base rates as an update would."""
        more = {f'interest_profile_{code}': [
            *DEFAULT_RATES[f'interest_profile_{code}'],
            *((date.fromisoformat(day), rate) for day, rate in days)] for code, days in rates.items()}
        with patch.dict(DEFAULT_RATES, more):
            convert_file(self.env, 'dunning_mail', 'data/dunning_interest_profile.xml', {}, mode='update')
            self.env['dunning.interest.profile']._install_rates()

    def read_rates(self, profile):
        return {str(row.date_from): row.rate for row in profile.rate_ids}

    def test_new_half_years(self):
        before = self.read_rates(self.german)
        self.update()
        self.assertEqual(self.read_rates(self.german), before)
        self.update(de=[('2027-01-01', 1.9)])
        self.assertEqual(self.read_rates(self.german), {**before, '2027-01-01': 1.9})
        self.assertEqual(str(self.german.rates_until), '2027-06-30')
        self.assertEqual(str(self.installed['at'].rates_until), '2026-12-31')

    def test_what_a_user_said_holds(self):
        rows = {str(row.date_from): row for row in self.german.rate_ids}
        rows['2026-07-01'].rate = 7
        rows['2025-07-01'].unlink()
        self.german.write({'rates_until': False, 'rate_ids': [
            Command.create({'date_from': '2027-01-01', 'rate': 3}),
            Command.create({'date_from': '2026-10-01', 'rate': 2})]})
        self.german.business_rate = 8.5
        before = self.read_rates(self.german)
        self.update(de=[('2027-01-01', 1.9), ('2027-07-01', 1.8)])
        self.assertEqual(self.read_rates(self.german), {**before, '2027-07-01': 1.8})
        self.assertEqual((self.german.rates_until, self.german.business_rate), (False, 8.5))
        # One that was deleted after an update does not come back with the next one.
        self.german.rate_ids.filtered(lambda row: str(row.date_from) == '2027-07-01').unlink()
        self.update(de=[('2027-01-01', 1.9), ('2027-07-01', 1.8)])
        self.assertEqual(self.read_rates(self.german), before)

    def test_confirmed_for_less_than_an_update_brings(self):
        """Nothing breaks, and it is tried again with the next update."""
        self.german.rates_until = '2026-09-30'
        before = self.read_rates(self.german)
        self.update(de=[('2027-01-01', 1.9)])
        self.assertEqual(self.read_rates(self.german), before)
        self.german.rates_until = False
        self.update(de=[('2027-01-01', 1.9)])
        self.assertEqual(self.read_rates(self.german)['2027-01-01'], 1.9)

    def test_deleted_profiles_stay_deleted(self):
        self.installed['eu'].unlink()
        copy = self.german.copy()
        before = self.read_rates(copy)
        self.update(eu=[('2027-01-01', 2.9)], de=[('2027-01-01', 1.9)])
        self.assertFalse(self.env.ref('dunning_mail.interest_profile_eu', raise_if_not_found=False))
        # A copy is its maker's alone.
        self.assertEqual(self.read_rates(copy), before)
        self.assertFalse(copy.rates_installed_until)

    # === WHAT IS CHECKED === #

    def test_rates_missing(self):
        for values in ({'rate_ids': False}, {'rate_ids': False, 'business_method': 'none', 'consumer_method': 'base'}):
            with self.subTest(values), self.assertRaisesRegex(ValidationError, "“Own”.*base rate.*has none"):
                self.make_profile(**values)
        profile = self.make_profile(rate_ids=False, business_method='fixed')
        with self.assertRaisesRegex(ValidationError, "has none"):
            profile.business_method = 'base'
        # What is deleted by other ways is unknown, and said to be.
        profile = self.make_profile()
        profile.rate_ids.unlink()
        self.assertEqual(profile._get_rates('business'), [])
        self.assertIn('has no base rate', profile.rates_warning)

    def test_two_rates_for_one_day(self):
        profile = self.make_profile()
        with mute_logger('odoo.sql_db'), self.assertRaises(IntegrityError), self.cr.savepoint():
            profile.rate_ids = [Command.create({'date_from': '2026-07-01', 'rate': 2})]
        self.make_profile(name='Another one may have the same day')

    def test_confirmed_until(self):
        profile = self.make_profile(rates_until='2026-12-31')
        for write in (
                lambda: profile.write({'rate_ids': [Command.create({'date_from': '2027-01-01', 'rate': 2})]}),
                lambda: profile.write({'rates_until': '2026-06-30'}),
                lambda: self.env['dunning.interest.rate'].create({
                    'profile_id': profile.id, 'date_from': '2027-01-01', 'rate': 2}),
                lambda: profile.rate_ids[0].write({'date_from': '2027-02-01'})):
            with self.assertRaisesRegex(ValidationError, "“Own”.*confirmed"), self.cr.savepoint():
                write()
        profile.write({
            'rates_until': '2027-06-30', 'rate_ids': [Command.create({'date_from': '2027-01-01', 'rate': 2})]})

    @mute_logger('odoo.sql_db')
    def test_impossible_values(self):
        profile = self.make_profile()
        for values in ({'business_rate': -1}, {'consumer_rate': 101}, {'lump_sum': -40}, {'least_amount': -1},
                       {'day_count': False}, {'begin': False}, {'currency_id': False}):
            with self.subTest(values), self.assertRaises(IntegrityError), self.cr.savepoint():
                profile.write(values)
                profile.flush_recordset()
        with self.assertRaisesRegex(UserError, "no amount"):
            profile.with_user(self.manager).write({'business_rate': float('nan')})
        with self.assertRaises(IntegrityError), self.cr.savepoint():
            profile.rate_ids[0].rate = 1000
            profile.flush_model()

    def test_negative_base(self):
        """It lowers the rate, and nobody owes less than nothing."""
        profile = self.make_profile(business_rate=2, consumer_method='base', consumer_rate=0.5, rate_ids=[
            Command.create({'date_from': '2026-01-01', 'rate': -0.88})])
        self.assertEqual([profile._get_rates(kind) for kind in ('business', 'consumer')], [
            [(date(2026, 1, 1), Decimal('1.12'))], [(date(2026, 1, 1), Decimal(0))]])

    def test_in_use(self):
        profile = self.make_profile()
        self.company.dunning_interest_profile_id = profile
        self.procedure.interest_profile_id = profile
        with self.assertRaisesRegex(UserError, f"“Own” is in use by {self.company.name}, Standard"):
            profile.action_archive()
        with mute_logger('odoo.sql_db'), self.assertRaises(IntegrityError), self.cr.savepoint():
            profile.unlink()
        self.company.dunning_interest_profile_id = self.procedure.interest_profile_id = False
        profile.action_archive()

    def test_words(self):
        self.assertFalse(self.german.rates_warning)
        self.clock.move_to('2027-01-01 08:00:00')
        self.german.invalidate_recordset()
        self.assertRegex(self.german.rates_warning, r"“Germany: base rate”.*confirmed until 12/31/2026.*no interest")
        self.assertFalse(self.installed['ch'].rates_warning)
        self.assertIn('has no base rate for', self.german._describe_unknown_rate(date(2001, 12, 31)))
        # Who needs no base rate, misses none.
        self.german.write({'business_method': 'fixed', 'consumer_method': 'none'})
        self.assertFalse(self.german._describe_unknown_rate(date(2030, 1, 1)))

    def test_a_run_says_so(self):
        run = self.make_run(generate=False)
        self.assertFalse(run.interest_warning)
        self.company.dunning_interest_profile_id = self.german
        self.assertFalse(run.interest_warning)
        run.date = '2027-01-02'
        self.assertIn('confirmed until', run.interest_warning)
        # Another procedure may have another one.
        self.company.dunning_interest_profile_id = False
        run.invalidate_recordset()
        self.assertFalse(run.interest_warning)
        self.procedure.interest_profile_id = self.installed['at']
        run.invalidate_recordset()
        self.assertIn('Austria', run.interest_warning)
        run.procedure_ids = self.procedure.copy({'interest_profile_id': self.installed['ch'].id})
        run.invalidate_recordset()
        self.assertFalse(run.interest_warning)

    # === WHOSE THEY ARE === #

    def test_procedure_before_company(self):
        own, general = self.make_profile(), self.make_profile(name='General')
        self.company.dunning_interest_profile_id = general
        self.assertEqual(self.procedure._get_interest_profile(self.company), general)
        self.procedure.interest_profile_id = own
        self.assertEqual(self.procedure._get_interest_profile(self.company), own)
        self.assertEqual(self.procedure.browse()._get_interest_profile(self.company), general)
        self.assertEqual(self.procedure.with_user(self.clerk)._get_interest_profile(self.company).env.user, self.clerk)
        # Archived by other ways than the button.
        self.env.cr.execute("UPDATE dunning_interest_profile SET active = FALSE WHERE id = %s", [own.id])
        own.invalidate_recordset()
        self.assertEqual(self.procedure._get_interest_profile(self.company), general)

    def test_same_companies(self):
        other = self.env['res.company'].create({'name': 'Other AG'})
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        mine, theirs = self.make_profile(company_id=self.company.id), self.make_profile(company_id=other.id)
        own = self.procedure.copy({'company_id': self.company.id})
        of_branch = self.procedure.copy({'company_id': branch.id})
        own.interest_profile_id = of_branch.interest_profile_id = mine
        self.assertEqual(of_branch._get_interest_profile(branch), mine)
        for procedure, profile in ((own, theirs), (self.procedure, mine), (of_branch, theirs)):
            with self.assertRaisesRegex(ValidationError, f"{profile.company_id.name}"), self.cr.savepoint():
                procedure.interest_profile_id = profile
        with self.assertRaises(ValidationError), self.cr.savepoint():
            self.company.dunning_interest_profile_id = theirs
        branch.dunning_interest_profile_id = mine
        # Nor is a profile taken away from those who use it.
        with self.assertRaises(ValidationError), self.cr.savepoint():
            mine.company_id = other
        branch.dunning_interest_profile_id = False
        with self.assertRaisesRegex(ValidationError, "Standard"), self.cr.savepoint():
            mine.company_id = other
        with self.assertRaises(ValidationError), self.cr.savepoint():
            own.company_id = False

    def test_screens(self):
        with Form(self.env['dunning.interest.profile'].with_user(self.manager)) as form:
            form.name = 'By hand'
            form.business_method = 'base'
            form.business_rate = 9
            form.rates_until = '2026-12-31'
            with form.rate_ids.new() as row:
                row.date_from = '2026-07-01'
                row.rate = 1.52
        self.assertEqual(form.record._get_rates('business')[0][1], Decimal('10.52'))
        self.company.dunning_interest_profile_id = form.record
        settings = self.env['res.config.settings'].create({})
        self.assertEqual(settings.dunning_interest_profile_id, form.record)
        self.assertFalse(settings.dunning_interest_warning)
        form.record.rates_until = '2026-10-01'
        self.assertIn('confirmed until', self.env['res.config.settings'].create({}).dunning_interest_warning)


@tagged('post_install', '-at_install')
class TestDebtorKind(DunningCommon):

    def test_kinds(self):
        company = self.make_partner('Firm')
        person = self.make_partner('Person', is_company=False)
        trader = self.make_partner('Trader', is_company=False, vat='CHE-123.456.788 MWST')
        without = self.make_partner('Slash', is_company=False, vat='/')
        contact = self.make_contact(company, 'Buchhaltung')
        said = self.make_partner('Said', dunning_debtor_kind='consumer')
        automatic = self.make_partner('Automatic', dunning_debtor_kind='auto')
        partners = company | person | trader | without | contact | said | automatic
        expected = {
            company: 'business', person: 'consumer', trader: 'business', without: 'consumer', contact: 'business',
            said: 'consumer', automatic: 'business'}
        self.assertEqual(
            partners._get_dunning_debtor_kinds(self.company),
            {partner.id: kind for partner, kind in expected.items()})
        self.assertEqual(partners.browse()._get_dunning_debtor_kinds(self.company), {})
        # What was said of the customer holds for his contacts.
        company.dunning_debtor_kind = 'consumer'
        self.assertEqual(contact._get_dunning_debtor_kinds(self.company), {contact.id: 'consumer'})

    def test_each_company_says_its_own(self):
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        other = self.env['res.company'].create({'name': 'Other AG'})
        partner = self.make_partner('Firm', dunning_debtor_kind='consumer')

        def read():
            return [partner._get_dunning_debtor_kinds(company)[partner.id] for company in (self.company, branch, other)]

        self.assertEqual(read(), ['consumer', 'consumer', 'business'])
        partner.with_company(branch).dunning_debtor_kind = 'auto'
        self.assertEqual(read(), ['consumer', 'business', 'business'])

    def test_statements(self):
        few = self.make_partner('One') | self.make_partner('Two')
        many = few | self.env['res.partner'].create([{'name': f'Customer {number}'} for number in range(50)])
        few._get_dunning_debtor_kinds(self.company)
        for partners in (few, many):
            self.env.invalidate_all()
            self.env.flush_all()
            with self.assertQueryCount(2):
                self.assertEqual(len(partners._get_dunning_debtor_kinds(self.company)), len(partners))
