from datetime import timedelta

from odoo.tests import Form, tagged

from .common import TODAY, DunningCommon


@tagged('post_install', '-at_install')
class TestAccounting(DunningCommon):
    """What invoices, items and partners say about dunning."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.partner = cls.make_partner('Acme', email=False)
        cls.first = cls.make_invoice(cls.partner, 10)
        cls.run_1 = cls.make_run(cls.days(-20))
        cls.run_1.action_print_and_send()
        cls.run_1._hand_out_letters()
        cls.run_1.action_mark_printed()
        cls.second = cls.make_invoice(cls.partner, 20, due='2026-11-10')
        cls.third = cls.make_invoice(cls.partner, 40, due='2026-11-23')
        cls.run_2 = cls.make_run()
        cls.run_2.action_print_and_send()
        cls.run_2._hand_out_letters()
        cls.run_2.action_mark_printed()
        cls.moves = cls.first | cls.second | cls.third
        cls.lines = cls.receivable(cls.moves)
        cls.env.invalidate_all()

    def search(self, *leaf):
        """Invoices found; their items must be found, too."""
        clerk = self.env(user=self.clerk)
        moves = clerk['account.move'].search([leaf, ('id', 'in', self.moves.ids)], order='id')
        lines = clerk['account.move.line'].search([leaf, ('id', 'in', self.lines.ids)])
        self.assertEqual(moves, lines.move_id.sorted('id'))
        return moves.with_env(self.env)

    def test_level_and_date(self):
        nothing = self.env['dunning.level']
        expected = [(self.level_2, TODAY), (self.level_1, TODAY), (nothing, False)]
        for records in (self.moves, self.lines):
            records = records.with_user(self.clerk).sorted('id')
            self.assertEqual([(record.dunning_level_id, record.dunning_last_date) for record in records], expected)
        other_lines = self.first.line_ids - self.receivable(self.first)
        self.assertFalse(other_lines.dunning_level_id)
        self.assertFalse(self.env['account.move'].new().dunning_level_id)

    def test_set_apart(self):
        """Nothing is stored on the accounts' own tables, so that nothing locks them."""
        for model in ('account.move', 'account.move.line'):
            for fname in ('dunning_level_id', 'dunning_last_date'):
                self.assertFalse(self.env[model]._fields[fname].store)

    def test_number_of_queries(self):
        """One for all items, not one each."""
        self.env.invalidate_all()
        lines = self.lines.with_user(self.clerk)
        lines.mapped('name')
        with self.assertQueryCount(2):
            lines.mapped('dunning_level_id')

    def test_search_level(self):
        self.assertEqual(self.search('dunning_level_id', '=', self.level_1.id), self.second)
        self.assertEqual(self.search('dunning_level_id', '=', self.level_3.id), self.env['account.move'])
        self.assertEqual(self.search('dunning_level_id', 'in', self.procedure.level_ids.ids), self.first | self.second)
        self.assertEqual(self.search('dunning_level_id', '=', False), self.third)
        self.assertEqual(self.search('dunning_level_id', '!=', False), self.first | self.second)
        self.assertEqual(self.search('dunning_level_id', '!=', self.level_1.id), self.first | self.third)
        self.assertEqual(self.search('dunning_level_id', 'not in', self.level_1.ids), self.first | self.third)
        self.assertEqual(self.search('dunning_level_id', 'in', [False, self.level_2.id]), self.first | self.third)
        self.assertEqual(self.search('dunning_level_id', 'ilike', self.level_2.name), self.first)
        self.assertEqual(self.search('dunning_level_id.sequence', '>=', 1), self.first | self.second)

    def test_search_date(self):
        self.assertEqual(self.search('dunning_last_date', '=', TODAY), self.first | self.second)
        self.assertEqual(self.search('dunning_last_date', '=', False), self.third)
        self.assertEqual(self.search('dunning_last_date', '!=', False), self.first | self.second)
        self.assertEqual(self.search('dunning_last_date', '<', TODAY), self.env['account.move'],
                         "the last one matters, not an earlier one")
        self.assertEqual(self.search('dunning_last_date', '<=', TODAY), self.first | self.second)
        self.assertEqual(self.search('dunning_last_date', '>', TODAY - timedelta(days=1)), self.first | self.second)
        self.assertEqual(self.search('dunning_last_date', '>=', self.days(1)), self.env['account.move'])
        self.assertEqual(self.search('dunning_last_date', '!=', TODAY), self.third)

    def test_search_follows_what_counts(self):
        self.run_2.notice_ids.action_unmark_printed()
        self.assertEqual(self.search('dunning_level_id', '=', self.level_1.id), self.first)
        self.assertEqual(self.search('dunning_level_id', '=', False), self.second | self.third)
        self.assertEqual(self.search('dunning_last_date', '=', self.days(-20)), self.first)

    def test_several_items_of_one_entry(self):
        """An entry bears the highest level of its items."""
        term = self.env['account.payment.term'].create({'name': 'Instalments', 'line_ids': [
            (0, 0, {'value': 'percent', 'value_amount': 50, 'nb_days': days}) for days in (0, 70)]})
        partner = self.make_partner('Coop', email=False)
        move = self.env['account.move'].create({
            'move_type': 'out_invoice', 'partner_id': partner.id, 'invoice_date': '2026-09-01',
            'invoice_payment_term_id': term.id,
            'invoice_line_ids': [(0, 0, {'name': 'S', 'quantity': 1, 'price_unit': 100, 'tax_ids': False})]})
        move.action_post()
        self.dun(self.days(-30), partner_ids=partner.ids)
        self.dun(partner_ids=partner.ids)
        self.assertEqual(
            self.receivable(move).sorted('date_maturity').mapped('dunning_level_id'), self.level_2 | self.level_1)
        self.assertEqual((move.dunning_level_id, move.dunning_last_date), (self.level_2, TODAY))
        moves = self.env['account.move'].with_user(self.clerk)
        for level, found in ((self.level_1, False), (self.level_2, True)):
            self.assertEqual(move in moves.search([('dunning_level_id', '=', level.id)]), found)
        self.assertIn(move, moves.search([('dunning_last_date', '=', TODAY)]))
        self.assertNotIn(move, moves.search([('dunning_level_id', '=', False)]))

    # === SMART BUTTONS === #

    def test_counts_and_actions(self):
        draft = self.make_run(self.days(40))
        self.assertTrue(draft.notice_ids)
        contact = self.make_partner('Contact', parent_id=self.partner.id, is_company=False)
        for partner in (self.partner, contact):
            partner = partner.with_user(self.clerk)
            self.assertEqual(partner.dunning_notice_count, 2, "drafts are nobody's business yet")
            action = partner.action_open_dunning_notices()
            found = self.env[action['res_model']].with_user(self.clerk).search(action['domain'])
            self.assertLessEqual((self.run_1 | self.run_2).notice_ids, found)
        self.assertEqual(
            [move.dunning_notice_count for move in self.moves.with_user(self.clerk).sorted('id')], [2, 1, 1],
            "where it is listed for information only, too")
        action = self.second.with_user(self.clerk).action_open_dunning_notices()
        found = self.env[action['res_model']].search(action['domain'])
        self.assertEqual(found - draft.notice_ids, self.run_2.notice_ids)

    # === PARTNER === #

    def test_type_dunning(self):
        with Form(self.partner) as form, form.child_ids.new() as child:
            child.type = 'dunning'
            child.name = 'Mahnstelle'
            child.email = 'mahnstelle@customer.test'
        address = self.partner.child_ids
        self.assertEqual(address.type, 'dunning')
        self.assertEqual(address.commercial_partner_id, self.partner)
        self.assertEqual(self.partner.address_get(['dunning', 'invoice'])['dunning'], address.id)
        notice = self.make_run(self.days(40)).notice_ids
        self.assertEqual(notice.recipient_id, address)

    def test_type_survives_uninstalling(self):
        field = self.env['res.partner']._fields['type']
        self.assertEqual(field.ondelete['dunning'], 'set other')

    def test_email_change_clears_the_refusal(self):
        partner = self.make_partner('Coop')
        partner._set_dunning_refused('550 5.1.1 no such user')
        self.assertTrue(partner.dunning_email_refused)
        self.assertEqual(partner.dunning_email_refused_date, TODAY)
        self.assertEqual(partner.dunning_email_refused_reason, '550 5.1.1 no such user')
        self.assertIn('550 5.1.1', partner.message_ids[0].body)
        partner.write({'email': partner.email, 'phone': '+41 44 000 00 00'})
        self.assertTrue(partner.dunning_email_refused, "the same address is no correction")
        partner.email = 'neu@customer.test'
        self.assertFalse(partner.dunning_email_refused or partner.dunning_email_refused_date
                         or partner.dunning_email_refused_reason)

    def test_refusal_is_cleared_by_hand(self):
        partner = self.make_partner('Coop')
        partner._set_dunning_refused('550')
        partner.action_clear_dunning_refused()
        self.assertFalse(partner.dunning_email_refused)

    def test_copies_start_clean(self):
        partner = self.make_partner('Coop')
        partner.write({'dunning_hold_until': self.days(3), 'dunning_hold_reason': 'x'})
        partner._set_dunning_refused('550')
        copy = partner.copy()
        self.assertFalse(copy.dunning_hold_until or copy.dunning_hold_reason or copy.dunning_email_refused)
        self.first.dunning_hold_until = self.days(3)
        self.assertFalse(self.first.copy().dunning_hold_until)

    def test_procedure_by_company(self):
        other = self.env['res.company'].create({'name': 'Other AG'})
        own = self.procedure.copy({'name': 'Own'})
        self.partner.dunning_procedure_id = own
        self.assertFalse(self.partner.with_company(other).dunning_procedure_id)

    def test_settings(self):
        settings = self.env['res.config.settings'].create({})
        settings.write({
            'dunning_procedure_id': self.procedure.id, 'dunning_fallback_lang': 'it_IT', 'dunning_min_amount': 12.5})
        settings.execute()
        self.assertEqual(
            (self.company.dunning_procedure_id, self.company.dunning_fallback_lang, self.company.dunning_min_amount),
            (self.procedure, 'it_IT', 12.5))

    def test_new_company_has_the_standard_procedure(self):
        self.assertEqual(self.env['res.company'].create({'name': 'New AG'}).dunning_procedure_id, self.procedure)
