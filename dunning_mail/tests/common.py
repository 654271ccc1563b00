import email
import email.policy
import importlib.util
import io
import os
import pathlib
import unittest
import unittest.mock
from contextlib import contextmanager
from datetime import date, timedelta
from unittest.mock import patch

from freezegun import freeze_time
from pypdf import PdfReader, PdfWriter

from odoo import Command, fields
from odoo.tests import TransactionCase, new_test_user
from odoo.tools import mute_logger

from odoo.addons.report_pdf_engine.tools import pdf

TODAY = date(2026, 11, 24)
ENGINE_LOGGER = 'odoo.addons.dunning_mail.models.dunning_engine'
OUTCOME_LOGGER = 'odoo.addons.dunning_mail.models.dunning_outcome'
CRON_LOGGER = 'odoo.addons.base.models.ir_cron'
MAIL_LOGGERS = ('odoo.addons.mail.models.mail_thread', 'odoo.addons.mail.models.mail_mail', 'odoo.models.unlink')


def catch_documents(report, records):
    """Return what a report would hand to its engine: a list of documents in HTML, with what they refer to."""
    caught = []

    def stream(_pool, documents, **_values):
        caught.extend(documents)
        return iter(())

    with patch.object(pdf.Pool, 'stream', stream):
        report.render_documents(records)
    return caught


def load_smtpd():
    """Return the module of the development SMTP server, or None where it is not at hand."""
    path = pathlib.Path(os.environ.get('DUNNING_TEST_SMTPD', ''))
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location('dunning_test_smtpd', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DunningCommon(TransactionCase):
    """A company with a chart of accounts, customers, overdue invoices; a clerk with no more rights than she needs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        clock = freeze_time(TODAY.isoformat() + ' 08:00:00', tick=True)
        cls.clock = clock.start()
        cls.addClassCleanup(clock.stop)
        for code in ('de_DE', 'de_CH', 'fr_FR', 'it_IT'):
            cls.env['res.lang']._activate_lang(code)
        cls.company = cls.env.company
        if not cls.company.chart_template:
            cls.env['account.chart.template'].try_loading('generic_coa', company=cls.company, install_demo=False)
        cls.env['account.move.line'].search([
            ('account_type', '=', 'asset_receivable'), ('reconciled', '=', False), ('company_id', '=', cls.company.id),
        ]).no_followup = True
        cls.currency = cls.company.currency_id
        cls.foreign = cls.env.ref('base.EUR' if cls.currency != cls.env.ref('base.EUR') else 'base.USD')
        cls.foreign.active = True
        cls.env['res.currency.rate'].search([('currency_id', '=', cls.foreign.id)]).unlink()
        cls.env['res.currency.rate'].create({
            'currency_id': cls.foreign.id, 'name': '2026-01-01', 'rate': 2.0, 'company_id': cls.company.root_id.id})
        cls.procedure = cls.env.ref('dunning_mail.procedure_standard')
        cls.level_1, cls.level_2, cls.level_3 = cls.procedure.level_ids.sorted('sequence')
        cls.company.write({
            'dunning_procedure_id': cls.procedure.id, 'dunning_provider_id': False, 'dunning_min_amount': 0,
            'dunning_fallback_lang': 'de_DE', 'dunning_print_list': False, 'name': 'Muster & Söhne AG',
            'email': 'info@muster.test'})
        cls.clerk = new_test_user(
            cls.env, login='clerk', name='Petra Muster', email='petra@muster.test',
            groups='account.group_account_invoice', lang='de_DE', company_id=cls.company.id)
        cls.manager = new_test_user(
            cls.env, login='dunning_manager', name='Max Leiter', email='max@muster.test',
            groups='account.group_account_manager', company_id=cls.company.id)

    def setUp(self):
        super().setUp()
        self.clock.move_to(f'{TODAY} 08:00:00')

    # === RECORDS === #

    @classmethod
    def make_partner(cls, name, lang='de_DE', email='auto', **values):
        if email == 'auto':
            email = f"{''.join(c for c in name.lower() if c.isascii() and c.isalnum())}@customer.test"
        partner = cls.env['res.partner'].create({
            'name': name, 'is_company': True, 'email': email, 'street': 'Bahnhofstrasse 1', 'zip': '8001',
            'city': 'Zürich', 'country_id': cls.env.ref('base.ch').id, **values})
        partner.lang = lang
        return partner

    @classmethod
    def make_contact(cls, partner, name='Buchhaltung', kind='invoice', **values):
        """A person of a customer; `kind` is the type of address."""
        return cls.make_partner(name, parent_id=partner.id, type=kind, is_company=False, **values)

    @classmethod
    def make_invoice(cls, partner, amount=100.0, due='2026-10-01', move_type='out_invoice', currency=None, **values):
        """Post an invoice without tax; `due` is the due date."""
        move = cls.env['account.move'].create({
            'move_type': move_type, 'partner_id': partner.id, 'invoice_date': '2026-09-01',
            'invoice_date_due': due, 'invoice_payment_term_id': False,
            'currency_id': (currency or cls.currency).id, 'is_move_sent': True,
            'invoice_line_ids': [Command.create({
                'name': 'Service', 'quantity': 1, 'price_unit': amount, 'tax_ids': False})],
            **values})
        move.invoice_date_due = due
        move.action_post()
        return move

    @classmethod
    def receivable(cls, move):
        return move.line_ids.filtered(lambda line: line.account_type == 'asset_receivable')

    @classmethod
    def pay(cls, move, amount=None, day='2026-11-20'):
        """Reconcile a payment with an invoice, in full or in part."""
        journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)
        item = cls.receivable(move)
        amount = amount or abs(item.amount_residual_currency)
        entry = cls.make_unallocated(move.partner_id, amount, day, journal=journal, currency=move.currency_id)
        (item | cls.receivable(entry)).reconcile()
        return entry

    @classmethod
    def make_unallocated(cls, partner, amount, day='2026-11-20', journal=None, currency=None):
        """Post a payment entry that nothing is reconciled with."""
        journal = journal or cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)
        currency = currency or cls.currency
        balance = currency._convert(amount, cls.currency, cls.company, fields.Date.to_date(day))
        receivable = partner.with_company(cls.company).property_account_receivable_id
        entry = cls.env['account.move'].create({
            'move_type': 'entry', 'journal_id': journal.id, 'date': day,
            'line_ids': [
                Command.create({
                    'account_id': journal.default_account_id.id, 'balance': balance, 'currency_id': currency.id,
                    'amount_currency': amount}),
                Command.create({
                    'account_id': receivable.id, 'partner_id': partner.id, 'balance': -balance,
                    'currency_id': currency.id, 'amount_currency': -amount}),
            ]})
        entry.action_post()
        return entry

    @classmethod
    def make_paid_out(cls, partner, amount, day='2026-11-20', currency=None):
        """Post money paid out to a customer, which nothing is reconciled with."""
        return cls.make_unallocated(partner, -amount, day, currency=currency)

    @classmethod
    def make_payment(cls, partner, amount, *invoices, day='2026-11-20', currency=None, **values):
        """Register a payment as Odoo does where no outstanding account is set: without an entry."""
        journal = cls.env['account.journal'].search(
            [('type', '=', 'bank'), ('company_id', '=', cls.company.id)], limit=1)
        (journal.inbound_payment_method_line_ids | journal.outbound_payment_method_line_ids).payment_account_id = False
        # As with an accounting app, which reconciles with the bank statement only.
        with patch.object(
                cls.env.registry['account.move'], '_get_invoice_in_payment_state', lambda _self: 'in_payment'):
            payment = cls.env['account.payment'].create({
                'payment_type': 'inbound', 'partner_type': 'customer', 'partner_id': partner.id, 'amount': amount,
                'date': day, 'journal_id': journal.id, 'currency_id': (currency or cls.currency).id,
                'invoice_ids': [Command.set([invoice.id for invoice in invoices])], **values})
            payment.action_post()
            cls.env.flush_all()
        assert not payment.move_id and payment.state == 'in_process'
        return payment

    @classmethod
    def make_run(cls, day=TODAY, generate=True, user=None, lang='en_US', **values):
        day = fields.Date.to_date(day)
        if day != fields.Date.today():
            # A run is issued on its own day.
            cls.clock.move_to(f'{day} 08:00:00')
        run = cls.env['dunning.run'].with_user(user or cls.clerk).with_context(lang=lang).create({
            'date': day, **values})
        if generate:
            run.action_generate_notices()
        return run

    @staticmethod
    def drop_texts(level, language):
        """Take the texts in a language off a level, those of all countries that speak it."""
        level.text_ids.filtered(lambda text: text.lang.startswith(f'{language}_')).unlink()

    def dun(self, day=TODAY, **values):
        """Run, print and mark as printed: every notice counts afterwards."""
        run = self.make_run(day, **values)
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        return run

    def forge(self, attachment, content):
        """Put other bytes, None for none, in the place of what is kept, as somebody in the database or on the disk
        would."""
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE ir_attachment SET store_fname = NULL, db_datas = %s WHERE id = %s", [content, attachment.id])
        attachment.invalidate_recordset()

    @staticmethod
    def days(count):
        return TODAY + timedelta(days=count)


@unittest.skipUnless(load_smtpd(), "needs the development SMTP server (DUNNING_TEST_SMTPD)")
class DunningMailCommon(DunningCommon):
    """With a real SMTP server on loopback: verified TLS and login."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        certs = pathlib.Path(os.environ['DUNNING_TEST_CERTS'])
        cls.smtpd_module = load_smtpd()
        cls.smtp = cls.enterClassContext(cls.smtpd_module.SmtpServer(
            cert=str(certs / 'server.pem'), key=str(certs / 'server.key'), user='dunning', password='geheim'))
        # The authority of the development certificates, as an administrator would have installed it.
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, {'SSL_CERT_FILE': str(certs / 'bundle.pem')}))
        cls.provider = cls.make_provider()
        cls.company.dunning_provider_id = cls.provider
        cls.engine = cls.env.ref('dunning_mail.ir_cron_engine')

    def setUp(self):
        super().setUp()
        self.smtp.clear()

    @classmethod
    def make_provider(cls, **values):
        return cls.env['dunning.provider'].create({
            'name': 'Test provider', 'smtp_host': 'localhost', 'smtp_port': cls.smtp.port,
            'smtp_user': 'dunning', 'smtp_pass': 'geheim', 'email_from': 'mahnung@muster.test', 'send_interval': 0,
            **values})

    def run_engine(self, engine=None):
        """Run the scheduled action as the scheduler does, in this transaction."""
        with self.enter_registry_test_mode():
            self.env.flush_all()
            result = (engine or self.engine).with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.env.invalidate_all()
        self.assertIs(result, True, "the scheduled action failed")

    def make_letters_simple(self):
        """Do without the making of letters, which takes longer than all the rest."""
        self.patch(self.env.registry['dunning.notice'], '_make_documents', lambda notices: {
            notice.id: f'%PDF-1.7 {notice.name} {notice.amount_total}'.encode() for notice in notices})

    def turn_clock_while_waiting(self):
        """Turn the clock wherever the engine would wait.

        :return: list that takes up the seconds
        """
        waits = []

        def wait(_engine, seconds):
            waits.append(seconds)
            self.clock.tick(seconds)
        self.patch(self.env.registry['dunning.engine'], '_wait', wait)
        return waits

    def release(self, *partners, amount=100.0, **run_values):
        """Dun partners, an invoice each, and release the notices.

        :param partners: `res.partner`, or names of customers to be made
        :return: `dunning.notice` in the order of the partners
        """
        partners = [self.make_partner(partner) if isinstance(partner, str) else partner for partner in partners]
        for partner in partners:
            self.make_invoice(partner, amount)
        run = self.make_run(partner_ids=[partner.id for partner in partners], **run_values)
        run.action_print_and_send()
        notices = self.env['dunning.notice'].browse(
            run.notice_ids.filtered(lambda notice, partner=partner: notice.partner_id == partner).id
            for partner in partners)
        self.assertEqual(notices.mapped('problem'), [False] * len(partners))
        self.assertEqual(notices.mapped('delivery_state'), ['released'] * len(partners))
        return notices

    def mails(self):
        return [message.email for message in self.smtp.messages]


def make_pdf(pages=1, width=595, password=None):
    """Return a PDF of blank pages."""
    writer = PdfWriter()
    for _page in range(pages):
        writer.add_blank_page(width, 842)
    if password:
        writer.encrypt(password, algorithm='RC4-128')
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def read_pdf(content):
    return ' '.join(
        ' '.join(page.extract_text().replace('\0', '').split()) for page in PdfReader(io.BytesIO(content)).pages)


class OneCustomerCase(DunningCommon):

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme')

    def make_letter(self, amount=100.0, **values):
        invoice = self.make_invoice(self.partner, amount)
        run = self.make_run(**values)
        run.action_print_and_send()
        return invoice, run


class IssueCase(DunningCommon):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Nothing is handed over here: a login that leads nowhere is enough.
        cls.provider = cls.env['dunning.provider'].create({
            'name': 'Provider', 'smtp_host': 'localhost', 'smtp_port': 1, 'email_from': 'mahnung@muster.test'})
        cls.company.dunning_provider_id = cls.provider

    def propose(self, name='Acme', amount=100.0, **values):
        """A draft notice of a run of its own."""
        partner = self.make_partner(name, **values)
        self.make_invoice(partner, amount)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def propose_three(self):
        """A run with notices in two languages: run, Acme's, Bäcker's, Coop's."""
        partners = [self.make_partner('Acme'), self.make_partner('Bäcker', lang='fr_FR'), self.make_partner('Coop')]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run()
        return run, *(run.notice_ids.filtered(lambda n, p=partner: n.partner_id == p) for partner in partners)

    def customer(self, notice):
        """The customer as somebody sees it who may change it: clerks need not be allowed to."""
        return notice.partner_id.with_env(self.env)

    @staticmethod
    def pages(content):
        return [page.extract_text().replace('\0', '') for page in PdfReader(io.BytesIO(content)).pages]

    @classmethod
    def text(cls, notice):
        return '\n'.join(cls.pages(notice.document_id.sudo().raw))


class RecheckCase(DunningCommon):

    def setUp(self):
        super().setUp()
        self.clerk.lang = 'en_US'

    def issue(self, *names, email=False, **values):
        """Issue a notice for each customer in one run, on paper by default.

        :return: `dunning.notice` in the order of the names, as the clerk sees them
        """
        partners = [self.make_partner(name, email=email, **values) for name in names]
        for partner in partners:
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[partner.id for partner in partners])
        run.action_print_and_send()
        self.assertFalse(any(run.notice_ids.mapped('problem')), run.notice_ids.mapped('problem'))
        return self.in_order(run, partners)

    @staticmethod
    def in_order(run, partners):
        return run.notice_ids.browse(
            run.notice_ids.filtered(lambda notice, partner=partner: notice.partner_id == partner).id
            for partner in partners)

    def invoice_of(self, notice):
        return notice.line_ids.move_id.with_env(self.env)

    def hand_out(self, run):
        """The letters as their address gives them."""
        content, words = run._hand_out_letters()
        return (read_pdf(content) if content else ''), words

    def go_to(self, day):
        self.clock.move_to(f'{self.days(day)} 08:00:00')

    # What may happen between two steps, and what comes of an unfrozen letter by it.

    def pay_all(self, notice):
        self.pay(self.invoice_of(notice))

    def pay_part(self, notice):
        self.pay(self.invoice_of(notice), 40.0)

    def credit_note(self, notice):
        self.make_invoice(notice.partner_id.with_env(self.env), 100.0, move_type='out_refund')

    def hold_customer(self, notice):
        notice.partner_id.with_env(self.env).write({
            'dunning_hold_until': self.days(60), 'dunning_hold_reason': 'Ratenzahlung'})

    def hold_invoice(self, notice):
        self.invoice_of(notice).dunning_hold_until = self.days(60)

    def exclude_item(self, notice):
        notice.line_ids.move_line_id.with_env(self.env).no_followup = True

    def reset_entry(self, notice):
        self.invoice_of(notice).button_draft()

    def archive_customer(self, notice):
        notice.partner_id.with_env(self.env).active = False

    GONE = {
        'pay_all': "Paid: INV", 'credit_note': "covered by credits", 'hold_customer': "Ratenzahlung",
        'hold_invoice': "On hold until", 'exclude_item': "Excluded from follow-up",
        'reset_entry': "the entry is not posted any more", 'archive_customer': "has been archived"}


class ArchiveCase(DunningCommon):

    def make_printed(self, *names, day=TODAY, **values):
        """Notices that were printed on that day.

        :param names: of the customers; values are of their invoices
        """
        partners = [self.make_partner(name) for name in names]
        for partner in partners:
            self.make_invoice(partner, **values)
        run = self.make_run(day, partner_ids=[Command.set([partner.id for partner in partners])])
        run.action_print_and_send()
        run._hand_out_letters()
        run.action_mark_printed()
        return run.notice_ids

    def run_check(self):
        with self.enter_registry_test_mode():
            self.env.ref('dunning_mail.ir_cron_archive').method_direct_trigger()
        self.env.invalidate_all()


class EngineCase(DunningMailCommon):
    """Everything is real but the clock and the letters, whose making takes longer than all the rest."""

    def setUp(self):
        super().setUp()
        self.waits = self.turn_clock_while_waiting()
        self.make_letters_simple()

    @contextmanager
    def capture_triggers(self):
        """Yield a list that takes up the moments at which scheduled actions are to be woken."""
        moments = []
        original = self.env.registry['ir.cron']._trigger_list

        def trigger_list(cron, at_list):
            moments.extend(at_list)
            return original(cron, at_list)
        with patch.object(self.env.registry['ir.cron'], '_trigger_list', trigger_list):
            yield moments

    def activities(self, records, kind):
        return records.activity_ids.filtered(
            lambda activity: activity.activity_type_id == self.env.ref(f'dunning_mail.mail_activity_{kind}'))

    def accepted(self, notice=None):
        """How often the server took mails, or those of one notice, whatever their Message-ID."""
        return len([message for message in self.smtp.messages
                    if not notice or message.email['X-Odoo-Objects'] == f'dunning.notice-{notice.id}'])

    def assertDelivery(self, notices, state):
        self.assertEqual(set(notices.mapped('delivery_state')), {state}, notices.mapped('delivery_info'))


class MailCase(DunningMailCommon):

    def send(self, *partners, **values):
        notices = self.release(*partners, **values)
        self.run_engine()
        self.assertEqual(set(notices.mapped('delivery_state')), {'sent'}, notices.mapped('delivery_info'))
        return notices

    def message_of(self, notice):
        return next(message for message in self.smtp.messages
                    if message.email['X-Odoo-Objects'] == f'dunning.notice-{notice.id}')

    def parsed(self, notice):
        return email.message_from_bytes(self.message_of(notice).content, policy=email.policy.default)

    def parts(self, notice):
        """Return (text, html, list of attachments) as the customer's mail program reads them."""
        mail = self.parsed(notice)
        return (mail.get_body(('plain',)).get_content(), mail.get_body(('html',)).get_content(),
                list(mail.iter_attachments()))


class ReportCase(MailCase):
    """Mails that come in, and the scheduled action that works on them."""

    def header_of(self, notice):
        return self.message_of(notice).content.split(b'\r\n\r\n')[0].decode()

    def fill(self, template, notice, to=None, header=None, message_id=None, is_proven=False):
        """Put a notice's mail into the template of a report.

        :param is_proven: whether the system that reports it repeats the envelope's number
        """
        envelope = f'Original-Envelope-Id: {notice._get_envelope_id()}\n' if is_proven else ''
        return template.replace('{envelope}', envelope).replace('{to}', to or notice.email_to).replace(
            '{header}', (self.header_of(notice) if header is None else header).strip()).replace(
            '{id}', message_id or notice.message_id)

    def receive(self, mail, mailbox=None, model=False):
        """Let a mail come in as Odoo fetches it, and work on it.

        :param mail: text, or bytes as they lie in the mailbox
        :param mailbox: `fetchmail.server`
        :param model: what the mailbox makes of what belongs nowhere
        """
        self.take_in(mail, mailbox, model)
        self.run_incoming()

    def take_in(self, mail, mailbox=None, model=False):
        if isinstance(mail, str):
            mail = '\r\n'.join(mail.splitlines()).encode()
        Thread = self.env['mail.thread'].with_user(self.env.ref('base.user_root'))
        if mailbox:
            Thread = Thread.with_context(default_fetchmail_server_id=mailbox.id)
        with mute_logger(*MAIL_LOGGERS), self.enter_registry_test_mode():
            Thread.message_process(model, mail)
        self.env.invalidate_all()

    def run_incoming(self):
        with mute_logger(*MAIL_LOGGERS), self.enter_registry_test_mode():
            self.env.ref('dunning_mail.ir_cron_incoming').method_direct_trigger()
        self.env.invalidate_all()

    @classmethod
    def make_mailbox(cls):
        """The provider's mailbox, as an administrator chooses it."""
        mailbox = cls.env['fetchmail.server'].create({
            'name': 'Mahnungen', 'server_type': 'imap', 'server': 'imap.muster.test', 'user': 'mahnung@muster.test',
            'password': 'x'})
        cls.provider.incoming_server_id = mailbox
        return mailbox

    def asked(self, record):
        """The kinds of activities of a record, without their prefix."""
        return sorted(activity.activity_type_id.get_external_id()[activity.activity_type_id.id].partition(
            '.mail_activity_')[2] for activity in record.activity_ids)
