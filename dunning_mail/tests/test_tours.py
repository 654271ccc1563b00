import io

from pypdf import PdfReader

from odoo import fields
from odoo.tests import HttpCase, tagged

from .common import DunningMailCommon
from .test_checklist import ChecklistCase
from .test_preflight import PreflightCase
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestTours(DunningMailCommon, HttpCase):
    """The clerk's way on screen, in a real browser."""

    def test_configure_provider(self):
        self.start_tour('/odoo/dunning-providers', 'dunning_provider', login='admin')
        provider = self.env['dunning.provider'].search([('name', '=', 'Mahnwesen')])
        self.assertEqual(provider.smtp_port, self.smtp.port)
        self.assertEqual((provider.smtp_user, provider.send_interval), ('dunning', 20))
        self.assertEqual(provider.mail_server_id.smtp_pass, 'geheim')
        self.assertTrue([event for event in self.smtp.log if event['event'] == 'mail'], "the sender was offered")
        self.assertFalse(self.smtp.messages, "nothing was sent")

    def test_generate_and_send(self):
        self.clerk.lang = 'en_US'
        self.make_invoice(self.make_partner('Acme'), 250.0)
        self.make_invoice(self.make_partner('Other'), 80.0)
        self.start_tour('/odoo/dunning-runs/new', 'dunning_run', login='clerk')
        run = self.env['dunning.run'].search([], limit=1)
        states = {notice.partner_id.name: (notice.state, notice.delivery_state) for notice in run.notice_ids}
        self.assertEqual(states, {'Acme': ('issued', 'released'), 'Other': ('excluded', False)})

    def test_read_states(self):
        self.env.ref('base.user_admin').lang = 'en_US'
        self.smtp.set_rules('gone@*  rcpt  550 5.1.1 User unknown')
        for name in ('Acme', 'Gone'):
            self.make_invoice(self.make_partner(name))
        self.make_run().action_print_and_send()
        self.start_tour('/odoo/dunning-runs', 'dunning_states', login='admin')
        self.assertEqual(len(self.smtp.messages), 1)

    def test_paid_notice(self):
        self.clerk.lang = 'en_US'
        paid = self.make_invoice(self.make_partner('Acme', email=False), 250.0)
        self.make_invoice(self.make_partner('Other', email=False), 80.0)
        self.dun()
        self.pay(paid)
        self.start_tour('/odoo/dunning-notices', 'dunning_paid', login='clerk')

    def test_dispute(self):
        """From an answer to a dispute of a part, and to the credit note that ends it."""
        self.clerk.lang = 'en_US'
        invoice = self.make_invoice(self.make_partner('Acme', email=False), 250.0)
        notice = self.dun().notice_ids
        notice.sudo().write({
            'answer_state': 'open', 'answer_text': "Die Hälfte ist kaputt.", 'answered_at': '2026-11-24 07:00:00',
            'answer_rest_until': self.days(5)})
        self.start_tour('/odoo/dunning-notices', 'dunning_dispute', login='clerk')
        dispute = self.env['dunning.dispute'].search([('item_ids.move_id', '=', invoice.id)])
        self.assertEqual((dispute.amount, dispute.state, notice.answer_state), (30.0, 'accepted', 'handled'))
        self.assertEqual((dispute.refund_ids.state, dispute.refund_ids.amount_total), ('posted', 30.0))


@tagged('post_install', '-at_install')
class TestPromiseTours(DunningMailCommon, RestCase, HttpCase):

    def make_payable(self):
        self.company.partner_id.write({
            'street': 'Bundesplatz 3', 'zip': '3011', 'city': 'Bern', 'country_id': self.env.ref('base.ch').id})
        self.env['res.partner.bank'].create({
            'acc_number': 'CH9300762011623852957', 'partner_id': self.company.partner_id.id,
            'allow_out_payment': True})

    def test_promise(self):
        """A promise, and a plan in its place, with its letter and slips."""
        self.clerk.lang = 'en_US'
        self.make_payable()
        partner = self.partner
        partner.write({'email': 'acme@customer.test', 'lang': 'en_US'})
        self.make_invoice(partner, 250.0)
        self.start_tour(f'/odoo/res.partner/{partner.id}', 'dunning_promise', login='clerk')
        plan, promise = self.env['dunning.promise'].search([('partner_id', '=', partner.id)], order='id desc')
        self.assertEqual((promise.state, plan.state, plan.previous_id), ('cancelled', 'open', promise))
        self.assertEqual(plan.line_ids.mapped('amount'), [41.67] * 5 + [41.65])
        self.assertFalse(self.make_run(partner_ids=partner.ids).notice_ids)
        notice = plan.confirmation_id
        self.assertEqual((notice.status, notice.payment_part), ('released', 'swiss'))
        pages = PdfReader(io.BytesIO(notice.document_id.raw)).pages
        self.assertEqual(len(pages), 7)
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_promise_on_the_telephone(self):
        self.clerk.lang = 'en_US'
        partner = self.partner
        partner.customer_rank = 1
        self.make_invoice(partner, 250.0)
        self.make_invoice(self.make_partner('Other', customer_rank=1), 80.0)
        self.start_tour('/odoo/action-account.res_partner_action_customer', 'dunning_promise_phone', login='clerk')
        self.start_tour('/odoo/dunning-runs/new', 'dunning_promise_rests', login='clerk')
        self.env['dunning.run'].search([], limit=1).action_cancel()
        self.go_to(18)
        self.start_tour('/odoo/dunning-runs/new', 'dunning_promise_missed', login='clerk')
        notice = self.env['dunning.run'].search([], limit=1).notice_ids.filtered(
            lambda notice: notice.partner_id == partner)
        self.assertIn('not kept', notice.line_ids.level_reason)


@tagged('post_install', '-at_install')
class TestPreflightTour(PreflightCase, HttpCase):

    def test_preflight_with_each_warning(self):
        run, notices = self.prepare_run()
        self.start_tour(f'/odoo/dunning-runs/{run.id}', 'dunning_preflight', login='clerk')
        states = {name: notice.state for name, notice in notices.items()}
        self.assertEqual(
            states, {**dict.fromkeys(notices, 'issued'), 'Large': 'draft', 'Silent': 'draft', 'Coming': 'issued'})


@tagged('post_install', '-at_install')
class TestChecklistTour(ChecklistCase, HttpCase):

    def test_from_an_empty_database(self):
        self.clerk.lang = 'en_US'
        self.start_tour('/odoo/dunning-runs', 'dunning_checklist_red', login='clerk')
        self.set_up()
        self.start_tour('/odoo/dunning-runs', 'dunning_checklist_some', login='clerk')
        self.provider.redirect_to = 'probe@muster.test'
        notices = self.release('Gone')
        notices.action_open_document()
        self.run_engine()
        self.engine.lastcall = fields.Datetime.now()
        self.env['dunning.notice.report'].create({
            'notice_id': notices.id, 'address': 'gone@customer.test', 'action': 'failed', 'is_ours': True})
        self.start_tour('/odoo/dunning-runs', 'dunning_checklist_green', login='clerk')
