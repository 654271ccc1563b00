"""What customers have said is kept as long as the documents, and goes then."""

from odoo.tests import tagged
from odoo.tools import mute_logger

from .test_promise import RestCase
from .test_retention import NAME, RetentionCase


@tagged('post_install', '-at_install')
class TestSayings(RestCase, RetentionCase):

    def setUp(self):
        super().setUp()
        self.invoices = [self.make_invoice(self.partner) for _number in range(2)]
        self.saying = self.promise(self.invoices[0], note=f'{NAME} pays on Friday')
        self.contested = self.dispute(self.invoices[1], note=f'{NAME} says so', closing_note=NAME, file_name=NAME)
        self.contested.message_post(body=f'{NAME} again')

    def finish(self):
        for invoice in self.invoices:
            self.pay(invoice)
        self.contested.action_withdraw()

    def expired(self, day):
        self.clock.move_to(f'{day} 08:00:00')
        archive = self.env['dunning.archive']
        return sorted(record._name for records in archive._list_expired(self.company) for record in records
                      if record._name in ('dunning.promise', 'dunning.dispute'))

    @mute_logger('odoo.models.unlink')
    def test_goes_when_its_time_is_over(self):
        self.assertEqual(self.expired('2037-01-02'), [], "still open")
        self.clock.move_to('2026-11-24 08:00:00')
        self.finish()
        self.assertEqual(self.expired('2036-12-31'), [])
        self.assertEqual(self.expired('2037-01-01'), ['dunning.dispute', 'dunning.promise'])
        self.run_check()
        self.assertEqual({table for table in self.in_database(NAME) if table.startswith('dunning_')}, set())
        self.assertFalse(self.in_database(f'{NAME} again'))
        self.assertEqual((self.saying.amount, self.saying.state, self.contested.amount), (100.0, 'kept', 100.0))
        self.assertTrue(self.saying.data_removed_at and self.contested.data_removed_at)
        self.assertEqual(self.expired('2037-01-02'), [])

    @mute_logger('odoo.models.unlink')
    def test_a_person_asks_for_it(self):
        def ask(day):
            self.clock.move_to(f'{day} 08:00:00')
            request = self.env['dunning.data.request'].with_user(self.manager).create({'partner_ids': self.partner.ids})
            return request, request.description
        self.finish()
        request, words = ask('2027-01-01')
        self.assertIn(f'Must be kept: {self.saying.display_name}', words)
        self.assertFalse(request.can_remove)
        request, words = ask('2037-01-01')
        self.assertIn(f'Can be removed now: {self.contested.display_name}', words)
        self.assertTrue(request.can_remove)
        request.action_remove()
        self.assertFalse(self.saying.note or self.contested.note)
        self.assertNotIn(self.saying.display_name, ask('2037-01-01')[1])
