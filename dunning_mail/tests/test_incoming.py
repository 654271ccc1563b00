"""What comes into a provider's mailbox, or names a notice: kept first, worked on until it is through, never lost."""
import email.policy
from datetime import timedelta
from email.message import EmailMessage
from unittest.mock import patch

import psycopg2

from odoo import fields
from odoo.exceptions import AccessError, UserError
from odoo.tests import new_test_user, tagged
from odoo.tools import mute_logger

from .common import MAIL_LOGGERS, ReportCase
from .reports import POSTFIX, POSTMASTER

INCOMING_LOGGER = 'odoo.addons.dunning_mail.models.dunning_incoming_mail'
RELAY_ID = '0102019acccc0000-aaaabbbb-cccc-dddd-eeee-ffff00001111-000000'


@tagged('post_install', '-at_install')
class TestIncoming(ReportCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mailbox = cls.make_mailbox()
        cls.keeper = new_test_user(
            cls.env, login='keeper', name='Hüter', email='keeper@muster.test',
            groups='account.group_account_invoice', company_id=cls.company.id)
        cls.provider.user_id = cls.keeper

    def setUp(self):
        super().setUp()
        self.make_letters_simple()

    def letter(self, sender='kunde@customer.test', text="Guten Tag", to='mahnung@muster.test', **headers):
        letter = EmailMessage()
        letter['From'] = f'Kunde <{sender}>'
        letter['To'] = to
        letter['Message-ID'] = f'<{len(text)}.{sum(text.encode())}@customer.test>'
        for name, value in {'Subject': 'Anfrage', **headers}.items():
            letter[name.replace('_', '-')] = value
        letter.set_content(text)
        return letter.as_bytes(policy=email.policy.SMTP)

    def last(self):
        return self.env['dunning.incoming.mail'].search([], limit=1)

    def assertAsked(self, mail):
        self.assertEqual(
            (mail.state, self.asked(mail), mail.activity_ids.user_id), ('asking', ['incoming'], self.keeper))

    def assertForgotten(self, mail):
        """It is where it belongs, and nobody reads it here."""
        self.assertEqual(
            (mail.state, mail.name, mail.email_from, mail.email_to, mail.body, mail.raw, mail.error),
            ('done', False, False, False, False, False, False))
        self.assertFalse(self.env['ir.attachment'].search([
            ('res_model', '=', mail._name), ('res_id', '=', mail.id), ('res_field', '!=', False)]))

    def texts(self, notice):
        return ' '.join(map(str, notice.message_ids.mapped('body')))

    # === WHAT BELONGS TO NO NOTICE === #

    def test_nobodys(self):
        """A new mail, an absence note and a postmaster's report that name nothing: a person has them in view."""
        for raw, kind in (
                (self.letter(text="Ich möchte eine Rechnungskopie."), 'letter'),
                (self.letter(text="Ich bin bis Montag nicht da.", Auto_Submitted='auto-replied', Precedence='bulk'),
                 'letter'),
                (self.letter('mailer-daemon@customer.test', "Ich bin ein Automat ohne Grund."), 'letter'),
                (self.letter(text="Bin weg.", to='bounce@answers.test'), 'letter'),
                (POSTMASTER.replace('{to}', 'nobody@customer.test').replace('{header}', ''), 'delivery')):
            with self.subTest(raw[:60]):
                self.receive(raw, self.mailbox)
                mail = self.last()
                self.assertAsked(mail)
                self.assertEqual(mail.kind, kind)
                self.assertTrue(mail.body)
                mail.with_user(self.keeper).action_done()
                self.assertEqual((mail.state, mail.activity_ids.ids), ('done', []))

    def test_responsible(self):
        """Without one, or when she has left, somebody who heads the accounts is asked."""
        for user in (self.keeper, self.env['res.users']):
            self.keeper.active = False
            self.provider.user_id = user
            self.receive(self.letter(text=f"Guten Tag {user.id}"), self.mailbox)
            heads = self.env.ref('account.group_account_manager').all_user_ids
            self.assertIn(self.last().activity_ids.user_id, heads)

    def test_given_by_a_person(self):
        """A letter gets into the notice's chatter; a report asks about it as any other does."""
        notice = self.send('Acme')
        self.receive(self.letter(text="Ich habe bezahlt."), self.mailbox)
        letter = self.last()
        with self.assertRaisesRegex(UserError, 'Anfrage'):
            letter.with_user(self.keeper).with_context(lang='en_US').action_assign()
        letter.with_user(self.keeper).notice_id = notice
        letter.with_user(self.keeper).action_assign()
        self.assertIn('Ich habe bezahlt', self.texts(notice))
        self.receive(POSTMASTER.replace('{to}', 'dead@else.test').replace('{header}', ''), self.mailbox)
        report = self.last()
        report.with_user(self.keeper).notice_id = notice
        report.with_user(self.keeper).action_assign()
        self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['answered', 'returned']))
        self.assertEqual((letter.state, report.state), ('done', 'done'))
        for fname in ('state', 'raw', 'kind'):
            with self.assertRaises(AccessError):
                letter.with_user(self.keeper)[fname] = 'new'

    def test_mailbox_with_a_target(self):
        """It makes leads, tickets or contacts of what is not about a notice; what is goes to the notice."""
        notice = self.send('Acme')
        self.receive(self.letter(text=f"Zu {notice.name}", sender=notice.email_to), self.mailbox, 'res.partner')
        self.assertTrue(self.env['res.partner'].search([('name', '=', 'Anfrage')]))
        self.receive(self.letter(text="Nochmals", In_Reply_To=notice.message_id), self.mailbox, 'res.partner')
        self.assertIn('Nochmals', self.texts(notice))
        self.receive(self.fill(POSTFIX, notice), self.mailbox, 'res.partner')
        self.assertEqual(self.asked(notice), ['answered', 'returned'])
        self.assertFalse(self.env['dunning.incoming.mail'].search([('state', '!=', 'done')]))

    def test_other_mail_is_cores(self):
        """Mail into another mailbox, and reports about Odoo's other mail, are taken in as ever."""
        other = self.mailbox.copy({'name': 'Other'})
        partner = self.make_partner('Chatter')
        message = partner.message_post(body="Hallo", message_type='comment')
        self.receive(self.letter(text="Danke", In_Reply_To=message.message_id), other)
        self.assertIn('Danke', self.texts(partner))
        self.assertFalse(self.last(), "nothing was kept")
        self.receive(self.letter(text="Danke auch", In_Reply_To=message.message_id), self.mailbox)
        self.assertIn('Danke auch', self.texts(partner))
        self.assertForgotten(self.last())
        header = f'Message-ID: {message.message_id}\nSubject: Hallo'
        self.receive(POSTFIX.replace('{to}', partner.email).replace('{header}', header).replace(
            '{envelope}', ''), self.mailbox)
        self.assertForgotten(self.last())
        self.receive(self.letter(text="Danke dafür", In_Reply_To=message.message_id, Subject='Privat'), self.mailbox)
        with self.assertRaises(ValueError), mute_logger('odoo.addons.mail.models.mail_thread'):
            self.take_in(self.letter(text="Nirgendwohin"), other)

    # === WHAT BELONGS TO ONE === #

    def test_named(self):
        """Number or payment reference, and somebody of the customer's: that notice. One of the two is not enough."""
        notice, other = self.send('Acme', 'Other')
        notice.sudo().payment_reference = 'RF18 5390 0754 7034'
        contact = self.make_contact(notice.partner_id, email='leute@acme.test')
        for sender, text, is_found in (
                (notice.email_to, f"Wegen {notice.name}: ist bezahlt.", True),
                (contact.email, "Zahlung unterwegs, Referenz RF18539007547034.", True),
                (notice.email_to, "Referenz RF18\n5390 0754 7034, danke.", True),
                (notice.email_to, "Ist bezahlt.", False),
                (notice.email_to, f"Wegen {notice.name}7: ist bezahlt.", False),
                (notice.email_to, f"Wegen {other.name}: ist bezahlt.", False),
                ('stranger@else.test', f"Wegen {notice.name}: ist das echt?", False)):
            with self.subTest(text):
                self.receive(self.letter(sender, text), self.mailbox)
                mail = self.last()
                self.assertEqual(text.splitlines()[0] in self.texts(notice), is_found)
                if not is_found:
                    self.assertAsked(mail)
        self.receive(self.fill(POSTMASTER, notice, header=f'(Mahnung {notice.name})'), self.mailbox)
        self.assertEqual((notice.delivery_state, self.asked(notice)), ('sent', ['answered', 'returned']))
        self.assertFalse(other.activity_ids)

    def test_answer_by_the_relays_id(self):
        """The customer's program knows the mail by the name that the relay gave it. In a company with a mail domain."""
        self.company.alias_domain_id = self.env['mail.alias.domain'].create({
            'name': 'answers.test', 'catchall_alias': 'catchall', 'bounce_alias': 'bounce'})
        long, short, stranger = self.send('Long', 'Short', 'Stranger')
        for notice, queue_id in ((long, RELAY_ID), (short, 'B0A3F21C'), (stranger, 'C0A3F21C')):
            notice.delivery_log_ids.filtered('queue_id').queue_id = queue_id
        for notice, sender, reference in (
                (long, 'colleague@customer.test', f'<{RELAY_ID}@eu-west-1.amazonses.test>'),
                (short, short.email_to, '<B0A3F21C@relay.test>')):
            with self.subTest(reference):
                self.receive(self.letter(
                    sender, f"Antwort von {sender}", to='catchall@answers.test', In_Reply_To=reference,
                    References=f'<first@customer.test> {reference}'))
                self.assertIn(f"Antwort von {sender}", self.texts(notice))
                self.assertIn(self.clerk.partner_id, notice.message_partner_ids)
        # What names no notice is core's matter: it refuses what was written to nobody.
        self.receive(self.letter(
            'else@else.test', "Fremd", to='catchall@answers.test', In_Reply_To='<C0A3F21C@relay.test>'))
        self.assertNotIn("Fremd", self.texts(stranger))
        self.assertTrue(self.env['mail.mail'].search([('email_to', 'ilike', 'else@else.test')]))
        # In the provider's mailbox a person looks at it instead.
        self.receive(self.letter('new@else.test', "Neu", to='catchall@answers.test'), self.mailbox)
        self.assertAsked(self.last())
        self.assertFalse(self.env['mail.mail'].search([('email_to', 'ilike', 'new@else.test')]))

    # === NOTHING IS LOST === #

    def test_kept_by_itself(self):
        """What the reader of the mailbox does afterwards cannot undo it; what is read twice is one mail."""
        raw = self.letter(text="Nur einmal")
        for _time in range(2):
            self.take_in(raw, self.mailbox)
        mail = self.env['dunning.incoming.mail'].search([])
        self.assertEqual((len(mail), mail.state, mail._get_raw()), (1, 'new', raw))
        self.run_incoming()
        self.assertAsked(mail)

    def test_collision(self):
        """Others write to the notice or the customer at the same moment: done again, at once or in the next pass."""
        notice, second = self.send('Acme', 'Second')
        Notice = self.env.registry['dunning.notice']
        original, collisions = Notice._apply_bounce, []

        def collide(notices, *args):
            original(notices, *args)
            if notices == notice and len(collisions) < collisions_wanted:
                collisions.append(notices)
                raise psycopg2.errors.SerializationFailure("could not serialize access due to concurrent update")
        self.patch(Notice, '_apply_bounce', collide)
        for collisions_wanted, passes in ((2, 1), (7, 2)):
            collisions.clear()
            number = f'{collisions_wanted}Xyz@'
            self.take_in(self.fill(POSTFIX, notice, is_proven=True).replace('4Xyz@', number))
            self.take_in(self.fill(POSTFIX, second, is_proven=True).replace('4Xyz@', f'9{number}'))
            for count in range(passes):
                mail = self.env['dunning.incoming.mail'].search([('found_notice_ids', 'in', notice.ids)])
                self.assertEqual(bool(count), len(collisions) == 5)
                self.run_incoming()
                self.assertEqual(second.delivery_state, 'failed', "one does not hold up the others")
            self.assertEqual(notice.delivery_state, 'failed')
            self.assertEqual(len(notice.report_ids), 1 if collisions_wanted == 2 else 2)
            mail = self.env['dunning.incoming.mail'].search([('state', '!=', 'done')])
            self.assertFalse(mail)

    def test_dropped_by_core(self):
        """What core drops without a word is nowhere else: a person has it in view. What it has already is not asked
        about."""
        domain = self.env['mail.alias.domain'].create({
            'name': 'answers.test', 'catchall_alias': 'catchall', 'bounce_alias': 'bounce'})
        self.company.alias_domain_id = domain
        partner = self.make_partner('Chatter')
        message = partner.message_post(body="Hallo", message_type='comment')
        self.env['mail.alias'].create({
            'alias_name': 'intern', 'alias_domain_id': domain.id, 'alias_contact': 'followers',
            'alias_model_id': self.env['ir.model']._get_id('res.partner'), 'alias_force_thread_id': partner.id,
            'alias_parent_model_id': self.env['ir.model']._get_id('res.partner'),
            'alias_parent_thread_id': partner.id})
        self.receive(self.letter('fremd@else.test', "Für die Abonnenten", to='intern@answers.test'), self.mailbox)
        self.assertAsked(self.last())
        self.assertIn("Für die Abonnenten", self.last().body)
        self.receive(self.letter(
            text="Schleife", In_Reply_To='<1-loop-detection-bounce-email@muster.test>'), self.mailbox)
        self.assertAsked(self.last())
        self.env['ir.config_parameter'].set_param('mail.gateway.loop.threshold', '1')
        # The clock that is turned is not PostgreSQL's.
        self.env['ir.config_parameter'].set_param('mail.gateway.loop.minutes', '1000000')
        first = self.letter(text="Einmal", In_Reply_To=message.message_id)
        self.receive(first, self.mailbox)
        self.assertForgotten(self.last())
        self.receive(self.letter(text="Zweimal", In_Reply_To=message.message_id), self.mailbox)
        self.assertAsked(self.last())
        self.assertNotIn("Zweimal", self.texts(partner))
        self.receive(first.replace(b'Subject: Anfrage', b'Subject: Anfrage (again)'), self.mailbox)
        self.assertForgotten(self.last())
        # Nor does a person lose it who gives it to a notice.
        notice = self.send('Acme')
        self.receive(self.letter(notice.email_to, f"Zu {notice.name}"), self.mailbox)
        self.receive(self.letter(notice.email_to, f"Nochmals {notice.name}"), self.mailbox)
        mail = self.last()
        self.assertAsked(mail)
        mail.with_user(self.keeper).notice_id = notice
        with self.assertRaisesRegex(UserError, 'Anfrage'), mute_logger(*MAIL_LOGGERS):
            mail.with_user(self.keeper).with_context(lang='en_US').action_assign()
        self.assertEqual(mail.state, 'asking')

    def test_bad_one(self):
        """One that cannot be worked on does not stop the others; after three times a person is asked."""
        notice = self.send('Acme')
        Incoming = self.env.registry['dunning.incoming.mail']
        original = Incoming._work_on_letter

        def fail(mail, message, report):
            if 'Gift' in mail.name:
                raise KeyError('gift')
            return original(mail, message, report)
        self.patch(Incoming, '_work_on_letter', fail)
        self.take_in(self.letter(text="x", Subject='Gift'), self.mailbox)
        self.take_in(self.fill(POSTFIX, notice, is_proven=True), self.mailbox)
        with mute_logger(INCOMING_LOGGER):
            self.run_incoming()
            bad = self.env['dunning.incoming.mail'].search([('name', '=', 'Gift')])
            self.assertEqual((notice.delivery_state, bad.state, bad.attempts), ('failed', 'new', 1))
            self.run_incoming()
            self.assertEqual(bad.attempts, 1, "not before its time")
            for _time in range(2):
                self.clock.tick(timedelta(minutes=6).total_seconds())
                self.run_incoming()
        self.assertAsked(bad)
        self.assertIn('gift', bad.error)

    def test_unreadable(self):
        """Whatever bytes come into the mailbox: somebody is asked."""
        for raw in (b'', b'\0\xff\xfe', b'Content-Type: multipart/mixed; boundary=\n\n--',
                    'Subject: =?x?b?!?=\n\nä'.encode(), b'From: \xff\nSubject: \xff\xfe\n\n\0',
                    b'Subject: =?utf-8?Q?Re=3A_a=00b?=\n\nNUL', b'Subject: x\nFrom: =?utf-8?B?AGE=?= <a@b.test>\n\nx',
                    b'To: =?utf-16?Q?=D8=00?= <a@b.test>\nSubject: =?utf-7?Q?+2AA-?=\n\nx'):
            with self.subTest(raw):
                self.receive(raw, self.mailbox)
                mail = self.last()
                for _time in range(2):
                    if mail.state == 'new':
                        self.clock.tick(timedelta(minutes=6).total_seconds())
                        with mute_logger(INCOMING_LOGGER):
                            self.run_incoming()
                self.assertAsked(mail)
                mail.activity_ids.unlink()

    def test_found_by_an_index(self):
        """Each mail that comes in is looked for among all steps of all notices."""
        self.env.cr.execute("""
            SELECT count(*) FROM pg_indexes
             WHERE tablename IN ('dunning_delivery_log', 'dunning_notice') AND indexdef ~ '[(]message_id[)]'""")
        self.assertEqual(self.env.cr.fetchone(), (2,))

    # === HOW LONG === #

    def test_retention(self):
        """Letters go after a month; a report stays with its notices until their personal data go."""
        notice, other = self.send('Acme', 'Other')
        self.receive(self.letter(notice.email_to, f"Zu {notice.name}"), self.mailbox)
        letter = self.last()
        self.receive(self.fill(POSTFIX, notice), self.mailbox)
        report = self.last()
        report.found_notice_ids |= other
        self.receive(self.letter(text="Wer liest das?"), self.mailbox)
        asking = self.last()
        self.env.flush_all()
        self.env.cr.execute("UPDATE dunning_incoming_mail SET write_date = %s", [
            fields.Datetime.now() - timedelta(days=31)])
        self.env.invalidate_all()
        self.env['dunning.incoming.mail']._gc_done()
        self.assertEqual((letter | report | asking).exists(), report | asking)
        self.assertIn('@', notice.report_ids.address)
        notice.sudo()._remove_personal_data('Kept no longer')
        self.assertEqual((report | asking).exists(), report | asking, "it is about another notice too")
        self.assertNotIn('@', notice.report_ids.address or '')
        other.sudo()._remove_personal_data('Kept no longer')
        self.assertEqual((report | asking).exists(), asking)

    def test_nobody_can_be_told(self):
        """One mail that nobody can be asked about does not keep the others."""
        first, second = self.send('Acme', 'Other')
        Incoming = self.env.registry['dunning.incoming.mail']
        work_on, broken = Incoming._work_on, []

        def fail(mail):
            if not broken:
                broken.append(mail.id)
            if mail.id in broken:
                raise ValueError('broken')
            return work_on(mail)

        def raise_error(_mail, _error):
            raise ValueError('nobody')

        with patch.object(Incoming, '_work_on', fail), patch.object(Incoming, '_note_failure', raise_error), \
                mute_logger(INCOMING_LOGGER):
            for notice in (first, second):
                self.take_in(self.letter(notice.email_to, f"Zu {notice.name}"), self.mailbox)
            self.run_incoming()
        self.assertEqual(self.last().state, 'done')

    def test_customer_who_was_archived(self):
        notice = self.send('Acme')
        notice.partner_id.with_env(self.env).email = 'new@customer.test'
        notice.partner_id.with_env(self.env).active = False
        self.receive(self.letter('new@customer.test', f"Zu {notice.name}"), self.mailbox)
        self.assertEqual(self.last().found_notice_ids.ids, notice.ids)
