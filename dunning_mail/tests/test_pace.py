"""When the last mail will have left. No database."""

import random
import unittest
from datetime import datetime, timedelta
from itertools import zip_longest

from odoo.addons.dunning_mail.tools.pace import estimate_end

START = datetime(2026, 11, 24, 8)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class TestEstimateEnd(unittest.TestCase):

    def end(self, counts, interval=60, hourly=0, daily=0, history=(), opening=None, handover=0, not_before=()):
        mails = zip_longest(counts, not_before)
        return estimate_end(START, mails, interval, ((hourly, HOUR), (daily, DAY)), history, opening, handover)

    def test_pace_alone(self):
        for count, seconds in ((0, 0), (1, 0), (2, 60), (68, 67 * 60)):
            with self.subTest(count):
                self.assertEqual(self.end([1] * count), START + timedelta(seconds=seconds))
        self.assertEqual(self.end([1] * 1000, interval=0), START)

    def test_handover_takes_its_time(self):
        for count, interval, seconds in ((1, 0, 0), (101, 0, 200), (3, 60, 124)):
            with self.subTest(count=count, interval=interval):
                self.assertEqual(
                    self.end([1] * count, interval=interval, handover=2), START + timedelta(seconds=seconds))

    def test_not_before_its_next_attempt(self):
        self.assertEqual(self.end([1, 1], not_before=[None, START + HOUR]), START + HOUR)
        self.assertEqual(self.end([1, 1], not_before=[None, START - HOUR]), START + timedelta(minutes=1))
        self.assertEqual(
            self.end([1, 1], not_before=[START + HOUR, START + HOUR]), START + HOUR + timedelta(minutes=1))

    def test_hourly_limit(self):
        """Ten an hour: the eleventh waits until the first has left the window."""
        second = timedelta(seconds=1)
        self.assertEqual(self.end([1] * 10, hourly=10), START + timedelta(minutes=9))
        self.assertEqual(self.end([1] * 11, hourly=10), START + HOUR + second)
        self.assertEqual(self.end([1] * 21, hourly=10), START + 2 * (HOUR + second))

    def test_limits_count_recipients(self):
        self.assertEqual(self.end([5, 5, 1], hourly=10), START + timedelta(hours=1, seconds=1))
        # One to more than the limit allows goes when nothing else is in the window.
        self.assertEqual(self.end([1, 25], hourly=10), START + timedelta(hours=1, seconds=1))

    def test_what_left_before_counts(self):
        history = [(START - timedelta(minutes=50), 6), (START - timedelta(minutes=20), 4)]
        self.assertEqual(self.end([1], hourly=10, history=history), START + timedelta(minutes=10, seconds=1))
        self.assertEqual(self.end([7], hourly=10, history=history), START + timedelta(minutes=40, seconds=1))
        self.assertEqual(self.end([1], hourly=10, history=[(START - timedelta(hours=3), 10)]), START)

    def test_the_tighter_limit_decides(self):
        end = self.end([1] * 30, hourly=10, daily=20)
        self.assertGreater(end, START + DAY)
        self.assertLess(end, START + DAY + HOUR)

    def test_sending_hours(self):
        def opening(moment):
            """Eight to nine each day."""
            opens = moment.replace(hour=8, minute=0, second=0)
            return opens + DAY if moment >= opens + HOUR else max(moment, opens)
        self.assertEqual(self.end([1] * 60, opening=opening), START + timedelta(minutes=59))
        self.assertEqual(self.end([1] * 61, opening=opening), START + DAY)
        self.assertEqual(self.end([1] * 121, opening=opening), START + 2 * DAY)
        self.assertIsNone(self.end([1], opening=lambda moment: None))

    def test_random_plans_keep_the_limits(self):
        """Whatever the limits are: no window holds more than it may, and nothing leaves before its time."""
        rng = random.Random(7)
        for _round in range(50):
            counts = [rng.randint(1, 4) for _mail in range(rng.randint(1, 60))]
            hourly, interval = rng.randint(4, 20), rng.choice((0, 1, 60, 600))
            slots = [self.end(counts[:number + 1], interval=interval, hourly=hourly) for number in range(len(counts))]
            self.assertEqual(slots, sorted(slots))
            for number, slot in enumerate(slots):
                window = sum(
                    count for other, count in zip(slots[:number + 1], counts, strict=False) if slot - other <= HOUR)
                self.assertLessEqual(window, max(hourly, counts[number]))
                if number:
                    self.assertGreaterEqual((slot - slots[number - 1]).total_seconds(), interval)
