import psycopg2

from odoo import SUPERUSER_ID, Command, api
from odoo.exceptions import UserError
from odoo.tests import TransactionCase, tagged
from odoo.tools import mute_logger

from .common import TODAY


@tagged('post_install', '-at_install')
class TestTwoClerks(TransactionCase):
    """Two who agree on something of the same item at once, with two real connections: one of them is told."""

    def setUp(self):
        super().setUp()
        cursors = [self.env.registry.cursor() for _number in range(2)]
        for cursor in cursors:
            self.addCleanup(cursor.close)
            # Rather a failure than a test that waits.
            cursor.execute("SET lock_timeout = '5s'")
        self.first, self.second = (
            api.Environment(cursor, SUPERUSER_ID, {'tracking_disable': True, 'mail_create_nolog': True})
            for cursor in cursors)
        env = self.first
        journal = env['account.journal'].search([('type', '=', 'general')], limit=1)
        accounts = [env['account.account'].search([('account_type', '=', kind), ('active', '=', True)], limit=1)
                    for kind in ('asset_receivable', 'income')]
        partner = env['res.partner'].create({'name': 'Two clerks'})
        self.move = env['account.move'].create({
            'move_type': 'entry', 'journal_id': journal.id, 'date': TODAY, 'line_ids': [
                Command.create({'account_id': account.id, 'balance': balance, 'partner_id': partner.id,
                                'date_maturity': TODAY})
                for account, balance in zip(accounts, (100.0, -100.0), strict=True)]})
        self.move.action_post()
        self.item = self.move.line_ids.filtered(lambda line: line.balance > 0)
        env.cr.commit()
        self.addCleanup(self.clean_up, partner)

    def clean_up(self, partner):
        for env in (self.first, self.second):
            env.cr.rollback()
            env.invalidate_all()
        env = self.first
        env['dunning.promise'].search([('partner_id', '=', partner.id)]).unlink()
        env['dunning.dispute'].search([('partner_id', '=', partner.id)]).unlink()
        self.move.button_draft()
        self.move.with_context(force_delete=True).unlink()
        partner.unlink()
        env.cr.commit()

    def promise(self, env):
        company = self.item.company_id
        day = env['res.company'].browse(company.id)._get_dunning_day()
        return env['dunning.promise']._make(env['account.move.line'].browse(self.item.id), [(day, 60.0)])

    def dispute(self, env):
        return env['dunning.dispute'].create({
            'item_ids': [Command.set(self.item.ids)], 'amount': 60.0,
            'reason_id': env.ref('dunning_mail.dispute_reason_quality').id})

    def test_at_once(self):
        """As long as the other one is not through, this one is told to look again."""
        for make in (self.promise, self.dispute):
            for other in (self.promise, self.dispute):
                with self.subTest(f'{make.__name__}, {other.__name__}'):
                    make(self.first)
                    with self.assertRaisesRegex(UserError, 'Somebody else is agreeing'):
                        other(self.second)
                    self.first.cr.rollback()
                    self.second.cr.rollback()
                    self.first.invalidate_all()
                    self.second.invalidate_all()

    def test_just_before(self):
        """Who has begun before the other one was through, begins anew, and sees what was agreed on."""
        # What is read fixes what this transaction sees.
        self.second.cr.execute("SELECT 1 FROM account_move_line LIMIT 1")
        self.promise(self.first)
        self.first.cr.commit()
        with self.assertRaises(psycopg2.errors.SerializationFailure), mute_logger('odoo.sql_db'):
            self.promise(self.second)
        self.second.cr.rollback()
        self.second.invalidate_all()
        with self.assertRaisesRegex(UserError, 'There is an open promise'):
            self.promise(self.second)
