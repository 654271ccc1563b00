"""What a server says reaches people without the login, wherever it is kept or shown."""

import base64
import logging

from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import EngineCase


@tagged('post_install', '-at_install')
class TestSecrets(EngineCase):

    def test_login_is_in_no_words_of_the_server(self):
        """Whoever reads notices, logs, chatter and activities: at no step and nowhere."""
        self.provider.write({'smtp_user': 'dunning', 'smtp_pass': 'geheim'})
        clerk = self.env(user=self.clerk)
        token = base64.b64encode(b'\0dunning\0geheim').decode()
        for stage, code in (
                ('connect', 554), ('ehlo', 421), ('starttls', 454), ('auth', 535), ('mail', 550), ('rcpt', 550),
                ('rcpt', 450),
                ('data', 554), ('eod', 554), ('eod', 250)):
            with self.subTest(stage=stage, code=code):
                self.provider.sudo().write({
                    'state': 'ready', 'pause_reason': False, 'resume_at': False, 'fault_count': 0,
                    'next_send_at': False})
                self.provider.activity_ids.unlink()
                notice = self.release(f'{stage} {code}')
                self.smtp.clear()
                self.smtp.set_rules(f'* {stage} {code} Refused: DUNNING, geheim, {token} and dunning%40x are stopped')
                with self.assertLogs('odoo.addons.dunning_mail', 'DEBUG') as logs:
                    logging.getLogger('odoo.addons.dunning_mail').debug("there is a log")
                    self.run_engine()
                    shown = []
                    try:
                        self.provider.action_test_connection()
                    except UserError as error:
                        shown.append(str(error))
                self.env.invalidate_all()
                shown += [
                    *logs.output, self.provider.with_env(clerk).pause_reason, notice.with_env(clerk).delivery_info,
                    *notice.delivery_log_ids.mapped('text'), *notice.delivery_log_ids.mapped('queue_id'),
                    *notice.activity_ids.mapped('note'), *self.provider.activity_ids.mapped('note'),
                    *notice.message_ids.mapped('body'),
                    *self.provider.message_ids.mapped('body'), notice.partner_id.dunning_email_refused_reason]
                text = '\n'.join(str(one) for one in shown)
                self.assertIn('are stopped', text)
                for secret in ('DUNNING', 'geheim', token, token.rstrip('=')):
                    self.assertNotIn(secret, text)
