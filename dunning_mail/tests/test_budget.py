"""How much time a pass has. No database."""

import math
import unittest

from odoo.addons.dunning_mail.tools import budget


class TestBudget(unittest.TestCase):
    """Whatever the scheduler's limit, the worst case stays below it."""

    def _walk(self, limit, used, step, answer):
        """Return when a pass is over in which the server is as slow as it can be at every step."""
        now = 0.0
        plan = budget.make_budget(limit, used, step=step, answer=answer, clock=lambda: now)
        if plan.wait <= 0:
            return used, plan
        now = plan.waits_until
        now += plan.connect
        limits = plan.get_handover_limits()
        end = now + limits['total_timeout']
        now += limits['envelope_timeout'] + limits['body_timeout']
        self.assertLessEqual(now, end)
        self.assertGreater(end - now, 0, "something is left for the answer")
        now = min(now + limits['answer_timeout'], end)
        return used + now, plan

    def test_worst_case(self):
        for limit in (10, 30, 60, 120, 300, 3600):
            for used in (0, limit * 0.2, limit * 0.5, limit * 0.9):
                for step, answer in ((30, 600), (2, 2), (300, 6000)):
                    with self.subTest(limit=limit, used=used, step=step):
                        ends, _plan = self._walk(limit, used, step, answer)
                        self.assertLess(ends, limit)

    def test_default_limit(self):
        ends, plan = self._walk(120, 0, 30, 600)
        self.assertEqual((plan.waits_until, plan.ends_at, plan.handover), (50, 110, 45))
        self.assertEqual(ends, 110)

    def test_early_handover_has_more_time(self):
        plan = budget.make_budget(120, step=30, answer=600, clock=lambda: 0.0)
        self.assertEqual(plan.get_handover_limits()['total_timeout'], 110)
        self.assertEqual(plan.get_handover_limits()['answer_timeout'], 110)

    def test_no_limit(self):
        plan = budget.make_budget(None, step=30, answer=600, clock=lambda: 0.0)
        self.assertEqual(plan.ends_at, math.inf)
        self.assertEqual(
            plan.get_handover_limits(), {'envelope_timeout': 30, 'body_timeout': 300, 'answer_timeout': 600})

    def test_used_up(self):
        plan = budget.make_budget(120, 80, step=30, answer=600, clock=lambda: 0.0)
        self.assertLessEqual(plan.wait, 0)
