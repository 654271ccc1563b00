"""Sending hours and holidays."""

from datetime import datetime

from odoo import Command, fields
from odoo.exceptions import ValidationError
from odoo.tests import tagged

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestSendingHours(EngineCase):

    def setUp(self):
        super().setUp()
        # Monday to Friday, 9 to 12 and 14 to 16 in Zürich; that is an hour earlier in UTC.
        self.calendar = self.env['resource.calendar'].create({
            'name': 'Sending hours', 'tz': 'Europe/Zurich', 'company_id': False, 'attendance_ids': [
                Command.clear(),
                *(Command.create({
                    'name': 'x', 'dayofweek': str(day), 'hour_from': begin, 'hour_to': end, 'day_period': period})
                    for day in range(5) for begin, end, period in ((9, 12, 'morning'), (14, 16, 'afternoon')))]})

    def test_opening(self):
        self.provider.calendar_id = self.calendar
        for moment, opening in (
                ('2026-11-24 08:30:00', '2026-11-24 08:30:00'),  # Tuesday, open
                ('2026-11-24 05:00:00', '2026-11-24 08:00:00'),
                ('2026-11-24 11:00:00', '2026-11-24 13:00:00'),  # closes this very moment
                ('2026-11-24 15:00:01', '2026-11-25 08:00:00'),
                ('2026-11-27 20:00:00', '2026-11-30 08:00:00'),  # over the weekend
                ('2026-07-03 06:59:59', '2026-07-03 07:00:00')):  # summer time
            self.assertEqual(
                self.provider._get_opening(fields.Datetime.to_datetime(moment)), fields.Datetime.to_datetime(opening))

    def test_holidays(self):
        self.provider.calendar_id = self.calendar
        self.env['resource.calendar.leaves'].create({
            'name': 'Works holiday', 'calendar_id': self.calendar.id, 'company_id': False,
            'date_from': '2026-11-24 00:00:00', 'date_to': '2026-11-25 22:59:59'})
        self.assertEqual(
            self.provider._get_opening(datetime(2026, 11, 24, 9)), datetime(2026, 11, 26, 8))
        self.env['resource.calendar.leaves'].create({
            'name': 'Closed down', 'calendar_id': self.calendar.id, 'company_id': False,
            'date_from': '2026-11-20 00:00:00', 'date_to': '2027-11-20 00:00:00'})
        self.assertGreater(self.provider._get_opening(datetime(2026, 11, 24, 9)), datetime(2026, 12, 1))

    def test_sent_within_hours_only(self):
        self.provider.calendar_id = self.calendar
        self.clock.move_to('2026-11-24 10:59:50')
        self.provider.send_interval = 30
        first, second = self.release('One', 'Two')
        with self.capture_triggers() as captured:
            self.run_engine()
        self.assertDelivery(first, 'sent')
        self.assertDelivery(second, 'released')
        self.assertFalse([moment for moment in captured if moment < datetime(2026, 11, 24, 12, 50)],
                         "not woken again and again through lunch")
        self.assertTrue(captured)
        self.clock.move_to('2026-11-24 13:00:05')
        self.run_engine()
        self.assertDelivery(second, 'sent')

    def test_limit_reached_in_the_evening(self):
        """A limit that allows mail again when the doors are closed: next morning."""
        self.provider.write({'calendar_id': self.calendar.id, 'hourly_limit': 1})
        self.clock.move_to('2026-11-24 14:30:00')
        self.release('One', 'Two')
        self.run_engine()
        self.assertEqual(self.accepted(), 1)
        self.assertEqual(self.provider._get_next_slot(fields.Datetime.now()), datetime(2026, 11, 25, 8))

    def test_calendar_without_hours(self):
        with self.assertRaisesRegex(ValidationError, 'no working hours'):
            self.calendar.attendance_ids.unlink()
            self.provider.with_context(lang='en_US').calendar_id = self.calendar
