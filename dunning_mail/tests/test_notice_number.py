"""Numbers, and one bad notice among good ones."""

import io
from unittest.mock import patch

import psycopg2
from pypdf import PdfReader

from odoo import Command
from odoo.tests import tagged
from odoo.tools import mute_logger

from .common import TODAY, DunningCommon

ISSUE_LOGGER = 'odoo.addons.dunning_mail.models.dunning_notice_issue'


@tagged('post_install', '-at_install')
class TestNumbers(DunningCommon):
    """A number that is taken is no number."""

    def setUp(self):
        super().setUp()
        self.sequence = self.env.ref('dunning_mail.sequence_dunning_notice')
        self.sequence.with_context(ir_sequence_date=TODAY)._next(sequence_date=TODAY)

    def issue(self, *names):
        partners = [self.make_partner(name, email=False) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        return run.notice_ids

    def set_next(self, number):
        self.sequence.date_range_ids.filtered(lambda one: one.date_from <= TODAY <= one.date_to).number_next = number

    def check_all_well(self, notices):
        self.assertFalse(any(notices.mapped('problem')), notices.mapped('problem'))
        self.assertEqual(set(notices.mapped('state')), {'issued'})
        self.assertTrue(all(notices.mapped('name')))
        self.assertEqual(len(set(notices.mapped('name'))), len(notices))
        for notice in notices:
            text = PdfReader(io.BytesIO(notice.document_id.raw)).pages[0].extract_text()
            self.assertIn(notice.name, text)
            self.assertEqual(notice.document_id.name, notice.name.replace('/', '-') + '.pdf')
            self.assertIn(notice.name, notice.message_ids[0].body)

    def test_sequence_set_back(self):
        first = self.issue('One', 'Two', 'Three')
        self.set_next(int(first.sorted('id')[0].name.rpartition('/')[2]))
        second = self.issue('Four', 'Five')
        self.check_all_well(first | second)

    def test_sequence_set_back_by_far(self):
        first = self.issue(*(f'Partner {number}' for number in range(30)))
        self.set_next(int(min(first.mapped('name')).rpartition('/')[2]))
        self.check_all_well(first | self.issue('Last'))

    def test_sequence_of_the_company_with_the_same_prefix(self):
        first = self.issue('One', 'Two')
        own = self.sequence.copy({'company_id': self.company.id, 'name': 'Own', 'date_range_ids': [Command.clear()]})
        own.date_range_ids.unlink()
        self.env['ir.sequence.date_range'].create({
            'sequence_id': own.id, 'date_from': '2026-01-01', 'date_to': '2026-12-31',
            'number_next_actual': int(first.sorted('id')[0].name.rpartition('/')[2])})
        self.check_all_well(first | self.issue('Three'))

    def test_sequence_without_gaps(self):
        first = self.issue('One', 'Two')
        self.sequence.implementation = 'no_gap'
        self.set_next(int(first.sorted('id')[0].name.rpartition('/')[2]))
        second = self.issue('Three', 'Four')
        self.check_all_well(first | second)
        numbers = sorted(int(name.rpartition('/')[2]) for name in (first | second).mapped('name'))
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 4)))

    def test_part_payment_is_not_lost_over_it(self):
        """Whatever befalls the number, the claim is what is open."""
        first = self.issue('One')
        partners = [self.make_partner(name, email=False) for name in ('Two', 'Three')]
        invoices = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(invoices[0], 40.0)
        self.set_next(int(first.name.rpartition('/')[2]))
        run.action_print_and_send()
        self.check_all_well(run.notice_ids)
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[0])
        self.assertEqual(two.amount_total, 60.0)

    @mute_logger(ISSUE_LOGGER, 'odoo.sql_db')
    def test_number_refused_by_the_database(self):
        """Another transaction took it at this very moment: the notice stays a draft, says so, and is issued later."""
        first = self.issue('One')
        partners = [self.make_partner(name, email=False) for name in ('Two', 'Three')]
        invoices = [self.make_invoice(partner) for partner in partners]
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        self.pay(invoices[0], 40.0)
        two = run.notice_ids.filtered(lambda notice: notice.partner_id == partners[0])
        original = self.env.registry['dunning.notice']._draw_numbers

        def draw(records, company, date, count):
            if records.env.context.get('is_free'):
                return original(records, company, date, count)
            return [first.name] * count
        with patch.object(self.env.registry['dunning.notice'], '_draw_numbers', draw):
            run.action_print_and_send()
            for notice in run.notice_ids:
                self.assertEqual((notice.state, notice.name, notice.document_id.id), ('draft', False, False))
                self.assertTrue(notice.problem)
            run.with_context(is_free=True).action_print_and_send()
        self.check_all_well(run.notice_ids)
        self.assertEqual(two.amount_total, 60.0)

    @mute_logger(ISSUE_LOGGER)
    def test_number_of_the_year_in_which_it_is_issued(self):
        """A number that was drawn in vain last year is not used in the next one."""
        partner = self.make_partner('One', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        notice = run.notice_ids
        notice.sudo().name = 'MA/2026/00099'
        self.clock.move_to('2027-01-04 08:00:00')
        run.action_print_and_send()
        self.assertEqual(str(notice.date), '2027-01-04')
        self.assertRegex(notice.name, r'^MA/2027/')

    def test_number_of_the_month(self):
        """Whatever of a date stands in numbers; one in which nothing of it stands is used."""
        sequence = self.env['ir.sequence'].search([('code', '=', 'dunning.notice')])
        for prefix, is_kept in (('MA/%(range_month)s/', False), ('MA/%(month)s/', False), ('MA/', True)):
            with self.subTest(prefix), self.env.cr.savepoint() as savepoint:
                self.clock.move_to(f'{TODAY} 08:00:00')
                sequence.prefix = prefix
                partner = self.make_partner('One', email=False)
                self.make_invoice(partner)
                run = self.make_run(partner_ids=partner.ids)
                run.notice_ids.sudo().name = 'MA/99999'
                self.clock.move_to('2026-12-04 08:00:00')
                run.action_print_and_send()
                self.assertEqual(str(run.notice_ids.date), '2026-12-04')
                self.assertEqual(run.notice_ids.name == 'MA/99999', is_kept)
                savepoint.rollback()

    @mute_logger(ISSUE_LOGGER)
    def test_no_sequence(self):
        self.env['ir.sequence'].search([('code', '=', 'dunning.notice')]).active = False
        notice = self.issue('One')
        self.assertEqual((notice.state, notice.name), ('draft', False))
        self.assertIn('dunning.notice', notice.problem)

    @mute_logger(ISSUE_LOGGER)
    def test_collision_of_transactions_is_for_the_caller(self):
        """PostgreSQL wants the whole transaction again: no notice is to blame."""
        partner = self.make_partner('One', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)

        def collide(*_args, **_values):
            raise psycopg2.errors.SerializationFailure
        with patch.object(self.env.registry['dunning.notice'], '_recheck', collide), \
                self.assertRaises(psycopg2.errors.SerializationFailure):
            run.action_print_and_send()
