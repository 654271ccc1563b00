"""What buttons do to notices that may not simply go, and what whoever presses them is told."""

from datetime import timedelta
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from .common import DunningMailCommon, RecheckCase


@tagged('post_install', '-at_install')
class TestSelections(DunningMailCommon, RecheckCase):
    """Buttons on many notices."""

    def fail(self, *names):
        notices = self.release(*names)
        self.smtp.set_rules('* rcpt 550 5.1.1 Unknown')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual(set(notices.mapped('status')), {'failed'})
        return notices.with_user(self.clerk)

    def test_two_with_the_same_item(self):
        """One goes, the other says why not; the database's own message is nobody's."""
        first = self.fail('Acme')
        second = self.make_run(partner_ids=first.partner_id.ids)
        self.smtp.set_rules('* rcpt 550 5.1.1 Unknown')
        first.partner_id.sudo().action_clear_dunning_refused()
        second.action_print_and_send()
        self.run_engine()
        self.smtp.set_rules('')
        both = first | second.notice_ids.with_user(self.clerk)
        self.assertEqual(both.mapped('status'), ['failed', 'failed'])
        for way in ('action_set_paper', 'action_retry'):
            with self.env.cr.savepoint() as savepoint:
                both.partner_id.sudo().action_clear_dunning_refused()
                message = getattr(both, way)()['params']['message']
                self.assertIn("is on another open notice meanwhile", message)
                self.assertEqual(sorted(both.mapped('status'))[0], 'failed')
                self.assertIn(sorted(both.mapped('status'))[1], ('paper', 'released'))
                savepoint.rollback()
                self.env.invalidate_all()

    def test_a_fault_of_one_is_not_that_of_the_others(self):
        bad, good = self.fail('Bad AG', 'Good AG')
        for notice in (bad, good):
            self.pay_part(notice)
        original = self.env.registry['dunning.notice']._apply_verdict

        def apply(notice, verdict):
            if notice.id == bad.id:
                raise ZeroDivisionError
            return original(notice, verdict)
        with patch.object(self.env.registry['dunning.notice'], '_apply_verdict', apply), \
                mute_logger('odoo.addons.dunning_mail.models.dunning_notice_recheck'):
            message = (bad | good).action_set_paper()['params']['message']
        self.assertIn("technical fault", message)
        self.assertEqual((bad.status, bad.amount_total), ('failed', 100.0))
        self.assertEqual((good.status, good.amount_total), ('paper', 60.0))

    def test_list_actions_tell(self):
        """What the buttons of a single notice say, the menu of the list says too."""
        paid, good = self.fail('Paid AG', 'Good AG')
        self.pay_all(paid)
        action = self.env.ref('dunning_mail.dunning_notice_action_set_paper').with_user(self.clerk).with_context(
            active_model='dunning.notice', active_ids=(paid | good).ids).run()
        self.assertIn('Paid AG', action['params']['message'])
        self.assertEqual((paid.state, good.status), ('cancelled', 'paper'))

    def test_list_actions_ask(self):
        notice = self.release('Acme').with_user(self.clerk)
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.clock.tick(timedelta(minutes=11).total_seconds())
        self.assertEqual(notice.status, 'unclear')
        for name, words in (('retry', "may get them twice"), ('set_paper', "a second time on paper"),
                            ('cancel', "cannot be undone"), ('mark_printed', "From now on these notices count")):
            with self.subTest(name):
                action = self.env.ref(f'dunning_mail.dunning_notice_action_{name}').with_user(
                    self.clerk).with_context(active_model='dunning.notice', active_ids=notice.ids).run()
                self.assertEqual((notice.state, notice.status), ('issued', 'unclear'))
                confirm = self.env['dunning.notice.confirm'].with_user(self.clerk).browse(action['res_id'])
                self.assertIn(words, confirm.question)
                if name == 'mark_printed':
                    with self.assertRaises(UserError):
                        confirm.action_confirm()
                    continue
                with self.env.cr.savepoint() as savepoint:
                    confirm.action_confirm()
                    self.assertEqual(notice.status, {
                        'retry': 'released', 'set_paper': 'paper', 'cancel': 'cancelled'}[name])
                    self.env.flush_all()
                    savepoint.rollback()
                self.env.invalidate_all()
        self.assertIn('Acme', self.env['dunning.notice.confirm'].with_user(self.clerk).create(
            {'notice_ids': notice.ids, 'action': 'retry'}).question)
        confirm = self.env['dunning.notice.confirm'].with_user(self.clerk).create(
            {'notice_ids': notice.ids, 'action': 'cancel'})
        confirm.action_confirm()
        self.assertEqual(notice.state, 'cancelled')

    def test_no_address(self):
        notice = self.issue('Acme').with_user(self.clerk)
        with self.assertRaises(UserError) as caught:
            notice.action_retry()
        self.assertNotIn("Good Again", str(caught.exception), "there is no address that could be good again")
        refused = self.fail('Refused AG')
        with self.assertRaisesRegex(UserError, "Address Is Good Again"):
            refused.action_retry()
