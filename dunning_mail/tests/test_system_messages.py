"""What the system wrote into the chatter stays; a person's own notes are hers."""

from odoo import Command
from odoo.exceptions import AccessError, UserError
from odoo.tests import HttpCase, tagged
from odoo.tools import mute_logger

from .common import DunningCommon


@tagged('post_install', '-at_install')
class TestSystemMessages(HttpCase, DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.env.ref('base.user_admin')
        cls.provider = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})

    def make_notice(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids, lang='en_US')
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        notice = run.notice_ids.with_env(self.env)
        self.env.flush_all()
        self.env.cr.precommit.run()
        return notice

    def make_system_messages(self, notice):
        """Return messages of each type that is no comment, and one with tracked values."""
        types = [key for key, _label in self.env['mail.message']._fields['message_type'].selection if key != 'comment']
        self.assertIn('email_outgoing', types)
        messages = self.env['mail.message'].create([{
            'model': notice._name, 'res_id': notice.id, 'message_type': key, 'body': f'<p>{key}</p>',
            'author_id': self.clerk.partner_id.id} for key in types])
        tracked = notice.message_ids.filtered('tracking_value_ids')
        self.assertTrue(tracked)
        for record in (notice.run_id, self.provider):
            messages |= record.with_user(self.clerk).sudo()._message_log(body="What the system says")
        return messages | notice.message_ids.filtered(lambda message: message.message_type != 'comment')

    @mute_logger('odoo.addons.base.models.ir_rule', 'odoo.addons.base.models.ir_access')
    def test_cannot_be_changed_or_deleted(self):
        notice = self.make_notice()
        messages = self.make_system_messages(notice)
        bodies = messages.mapped('body')
        for user in (self.clerk, self.manager, self.admin):
            for message in messages:
                own = message.with_user(user)
                for values in ({'body': 'forged'}, {'subject': 'forged'}, {'date': '2020-01-01 00:00:00'},
                               {'message_type': 'comment'}, {'author_id': False}, {'email_from': 'x@y.test'},
                               {'model': 'res.partner', 'res_id': 1}, {'message_id': '<x@y>'}, {'subtype_id': False},
                               {'attachment_ids': [Command.clear()]}, {'is_internal': True},
                               {'tracking_value_ids': [Command.clear()]}):
                    with self.subTest(user=user.login, type=message.message_type, values=values), \
                            self.assertRaises(AccessError):
                        own.write(values)
                with self.subTest(user=user.login, type=message.message_type), self.assertRaises(AccessError):
                    own.with_context(_force_unlink=True).unlink()
        messages.invalidate_recordset()
        self.assertEqual(messages.mapped('body'), bodies)

    def test_tracked_values(self):
        notice = self.make_notice()
        values = notice.message_ids.sudo().tracking_value_ids
        self.assertTrue(values)
        for call in (lambda own: own.write({'new_value_char': 'forged'}), lambda own: own.unlink(),
                     lambda own: own.create({'mail_message_id': own[0].mail_message_id.id, 'new_value_char': 'forged'}),
                     lambda own: own[0].copy()):
            with self.assertRaises(AccessError):
                call(values.with_user(self.admin))

    @mute_logger('odoo.http')
    def test_routes(self):
        notice = self.make_notice()
        messages = self.make_system_messages(notice).filtered(lambda message: message.model == notice._name)
        bodies = messages.mapped('body')
        for login in ('clerk', 'admin'):
            self.authenticate(login, login)
            for message in messages:
                answer = self.url_open('/mail/message/update_content', json={'params': {
                    'message_id': message.id, 'update_data': {'body': '', 'attachment_ids': []}}})
                self.assertIn('error', answer.json())
        messages.invalidate_recordset()
        self.assertEqual(messages.mapped('body'), bodies)

    def test_own_notes(self):
        notice = self.make_notice()
        self.authenticate('clerk', 'clerk')
        answer = self.url_open('/mail/message/post', json={'params': {
            'thread_model': notice._name, 'thread_id': notice.id,
            'post_data': {'body': 'Told her on the telephone', 'message_type': 'comment'}}})
        message = self.env['mail.message'].browse(answer.json()['result']['message_id'])
        answer = self.url_open('/mail/message/update_content', json={'params': {
            'message_id': message.id, 'update_data': {'body': 'Told him', 'attachment_ids': []}}})
        self.assertNotIn('error', answer.json())
        message.invalidate_recordset()
        self.assertIn('Told him', message.body)
        own = message.with_user(self.clerk)
        own.toggle_message_starred()
        own.write({'body': 'Told them'})
        # But it does not become one of the system's.
        with self.assertRaises(UserError), self.env.cr.savepoint():
            own.write({'message_type': 'email_outgoing'})
        own.unlink()
        system = notice.message_ids[0].with_user(self.clerk)
        system.toggle_message_starred()
        self.assertTrue(system.starred)

    def test_other_chatters(self):
        """Elsewhere it is as core has it."""
        partner = self.make_partner('Acme')
        message = partner._message_log(body="Something")
        self.clerk.group_ids |= self.env.ref('base.group_partner_manager')
        message.with_user(self.clerk).write({'subject': 'x'})
        message.with_user(self.clerk).unlink()

    def test_draft_with_its_chatter_goes_with_its_run(self):
        self.make_invoice(self.make_partner('Acme'))
        run = self.make_run()
        notices = run.notice_ids
        run.unlink()
        self.assertFalse(notices.exists())
