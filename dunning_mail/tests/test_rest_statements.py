from odoo.tests import tagged

from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestStatements(RestCase):
    """However many things rest: the proposal asks the database at most five times more."""

    def count_statements(self, items):
        self.env.flush_all()
        self.env.invalidate_all()
        before = self.env.cr.sql_log_count
        rests = self.env['dunning.proposal'].with_context(lang='en_US')._find_resting(items.ids, self.days(0))
        return self.env.cr.sql_log_count - before, len(rests)

    def test_constant(self):
        moves = [self.make_invoice(self.make_partner(f'Customer {number}', email=False)) for number in range(9)]
        items = self.receivable(self.env['account.move'].union(*moves))
        counts = []
        for start in (0, 3, 6):
            self.promise(moves[start])
            self.dispute(moves[start + 1], amount=30.0)
            self.dispute(moves[start + 2])
            counts.append(self.count_statements(items))
        self.assertEqual([rests for _statements, rests in counts], [3, 6, 9])
        self.assertLessEqual(max(statements for statements, _rests in counts), 5)
        self.assertEqual(len({statements for statements, _rests in counts}), 1)
