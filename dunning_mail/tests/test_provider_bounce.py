"""What stands in the way of bounces."""

from odoo.tests import tagged

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestBounceHints(EngineCase):
    """*Test Connection* says what stands in the way of bounces."""

    def _test(self):
        return self.provider.with_context(lang='en_US').action_test_connection()['params']

    def test_no_mailbox(self):
        params = self._test()
        self.assertEqual(params['type'], 'warning')
        self.assertIn('mahnung@muster.test', params['message'])
        self.assertIn('no mailbox', params['message'])

    def test_mailbox(self):
        mailbox = self.env['fetchmail.server'].create({
            'name': 'Bounces', 'server_type': 'imap', 'server': 'imap.muster.test', 'user': 'mahnung@muster.test',
            'password': 'x'})
        self.provider.incoming_server_id = mailbox
        self.assertIn('not confirmed', self._test()['message'])
        mailbox.state = 'done'
        self.assertEqual(self._test()['type'], 'success')
        mailbox.user = 'else@muster.test'
        self.assertIn('else@muster.test', self._test()['message'])
        mailbox.user = 'muster-login'
        self.assertEqual(self._test()['type'], 'success', "a login that is no address says nothing")
        mailbox.write({'error_date': '2026-11-24 07:00:00', 'error_message': 'Login failed'})
        self.assertIn('Login failed', self._test()['message'])
        mailbox.date = '2026-11-24 07:30:00'
        self.assertEqual(self._test()['type'], 'success')
