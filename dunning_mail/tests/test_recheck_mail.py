"""Mails before, between and after their attempts: is the claim still true?"""

from datetime import timedelta
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import mute_logger

from ..tools import mail_header
from .common import TODAY, DunningMailCommon, RecheckCase, make_pdf, read_pdf


@tagged('post_install', '-at_install')
class TestMails(DunningMailCommon, RecheckCase):
    """Mails before, between and after their attempts."""

    def setUp(self):
        super().setUp()
        self.turn_clock_while_waiting()

    def fail_after_data(self, name='Acme'):
        """A mail that the server refused when it had all of it."""
        notice = self.release(name)
        self.smtp.set_rules('* eod 554 5.6.0 Not to our taste')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('failed', True))
        # Others are accepted meanwhile: several refused in a row would be the provider's fault.
        self.provider.sudo()._forget_refusals()
        return notice.with_user(self.clerk)

    def bounce(self, name='Acme'):
        """A mail that was taken and came back."""
        notice = self.release(name)
        self.run_engine()
        notice.sudo()._set_delivery('failed', "The mail came back: 550 5.7.1 policy")
        return notice.with_user(self.clerk)

    def fail_before_data(self, name='Acme'):
        """A mail that was never handed over."""
        notice = self.release(name)
        self.smtp.set_rules('* data 554 5.6.1 Not this kind')
        self.run_engine()
        self.smtp.set_rules('')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('failed', False))
        self.provider.sudo()._forget_refusals()
        return notice.with_user(self.clerk)

    def become_unclear(self, name='Acme'):
        notice = self.release(name)
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.assertEqual(notice.status, 'unclear')
        self.clock.tick(timedelta(minutes=11).total_seconds())
        return notice.with_user(self.clerk)

    def test_failed_then_settled(self):
        """Refused after DATA, bounced, or refused before: paid meanwhile, it goes neither on paper nor out again."""
        for fail in (self.fail_after_data, self.bounce, self.fail_before_data):
            for change in (self.pay_all, self.credit_note):
                for way in ('action_set_paper', 'action_retry'):
                    with self.subTest(fail=fail.__name__, change=change.__name__, way=way), \
                            self.env.cr.savepoint() as savepoint:
                        self.smtp.clear()
                        notice = fail()
                        taken = len(self.smtp.messages)
                        change(notice)
                        answer = getattr(notice, way)()
                        self.assertEqual(notice.state, 'cancelled')
                        self.assertRegex(notice.delivery_info, "Paid: INV|covered by credits")
                        self.assertIn(notice.name, answer['params']['message'])
                        self.assertFalse(notice.activity_ids)
                        self.run_engine()
                        self.assertEqual(len(self.smtp.messages), taken)
                        savepoint.rollback()
                        self.env.invalidate_all()

    def test_failed_then_held(self):
        """It goes on waiting for a person."""
        for fail in (self.fail_after_data, self.bounce, self.fail_before_data):
            for change in ('hold_customer', 'hold_invoice', 'archive_customer'):
                for way in ('action_set_paper', 'action_retry'):
                    with self.subTest(fail=fail.__name__, change=change, way=way), \
                            self.env.cr.savepoint() as savepoint:
                        notice = fail()
                        getattr(self, change)(notice)
                        with self.assertRaisesRegex(UserError, self.GONE[change]):
                            getattr(notice, way)()
                        self.assertEqual(notice.status, 'failed')
                        savepoint.rollback()
                        self.env.invalidate_all()
                        self.env.registry.clear_cache()

    def test_frozen_and_part_paid(self):
        """It leaves unchanged or not at all: a person is asked."""
        for fail in (self.fail_after_data, self.bounce):
            for way in ('action_set_paper', 'action_retry'):
                with self.subTest(fail=fail.__name__, way=way), self.env.cr.savepoint() as savepoint:
                    notice = fail()
                    content = notice.document_id.raw
                    self.pay_part(notice)
                    with self.assertRaisesRegex(UserError, "must not be changed"):
                        getattr(notice, way)()
                    self.assertEqual((notice.status, notice.document_id.raw), ('failed', content))
                    savepoint.rollback()
                    self.env.invalidate_all()

    def test_never_handed_over_and_part_paid(self):
        notice = self.fail_before_data()
        self.pay_part(notice)
        notice.action_set_paper()
        self.assertEqual((notice.status, notice.amount_total), ('paper', 60.0))
        self.assertIn('60,00', read_pdf(notice.document_id.raw))
        self.assertNotIn('100,00', read_pdf(notice.document_id.raw).replace('100,00 60,00', ''))

    def test_frozen_on_paper_then_changed(self):
        """Put on paper in time, paid before it is printed."""
        paid, part, fine = (self.fail_after_data(name) for name in ('Paid', 'Part', 'Fine'))
        notices = paid | part | fine
        notices.action_set_paper()
        self.assertEqual(notices.mapped('status'), ['paper'] * 3)
        self.pay_all(paid)
        self.pay_part(part)
        for notice in notices:
            notice.run_id._hand_out_letters()
        self.assertEqual(notices.mapped('status'), ['cancelled', 'held', 'paper'])
        self.assertIn("60.00 open instead of", part.delivery_info)
        self.assertEqual(part.activity_ids.user_id, self.clerk)
        self.assertTrue(fine.letter_opened_at)

    def test_unclear_stays(self):
        """It may have arrived: whatever has happened to the claim, that is what it is."""
        for change in ('pay_all', 'pay_part', 'hold_customer', 'exclude_item'):
            for way in ('action_set_paper', 'action_retry'):
                with self.subTest(change=change, way=way), self.env.cr.savepoint() as savepoint:
                    notice = self.become_unclear()
                    getattr(self, change)(notice)
                    with self.assertRaises(UserError):
                        getattr(notice, way)()
                    self.assertEqual((notice.state, notice.status, notice.is_counted), ('issued', 'unclear', True))
                    self.run_engine()
                    self.assertFalse(self.smtp.messages)
                    savepoint.rollback()
                    self.env.invalidate_all()
        notice = self.become_unclear()
        notice.action_set_paper()
        self.assertEqual(notice.status, 'paper')

    def test_unclear_and_dunned_by_another(self):
        """A first reminder does not follow the second one."""
        notice = self.become_unclear()
        self.go_to(20)
        second = self.make_run(self.days(20), partner_ids=notice.partner_id.ids)
        self.assertEqual(second.notice_ids.level_id, self.level_2)
        for state in ('draft', 'released', 'sent'):
            with self.subTest(state):
                if state == 'released':
                    second.action_print_and_send()
                elif state == 'sent':
                    self.run_engine()
                self.assertEqual(second.notice_ids.status, state)
                words = "dunned meanwhile" if state == 'sent' else "another open notice"
                for way in ('action_set_paper', 'action_retry'):
                    with self.assertRaisesRegex(UserError, words):
                        getattr(notice, way)()
                self.assertEqual(notice.status, 'unclear')

    def test_several_of_which_one_may_not(self):
        paid, fine = self.fail_before_data('Paid'), self.fail_before_data('Fine')
        held = self.fail_before_data('Held')
        self.pay_all(paid)
        self.hold_customer(held)
        action = (paid | fine | held).action_set_paper()
        self.assertEqual((paid | fine | held).mapped('status'), ['cancelled', 'paper', 'failed'])
        self.assertIn(paid.name, action['params']['message'])
        self.assertIn(held.name, action['params']['message'])
        self.assertNotIn(fine.name, action['params']['message'])

    def test_sent_again_after_its_deadline(self):
        """Issued and bounced on day 0; on day 20 it would ask for money until day 10."""
        for fail in (self.bounce, self.fail_after_data):
            with self.subTest(fail.__name__), self.env.cr.savepoint() as savepoint:
                notice = fail()
                taken = len(self.smtp.messages)
                self.go_to(20)
                for way in ('action_retry', 'action_set_paper'):
                    with self.assertRaisesRegex(UserError, "payable until 12/04/2026, which is over"):
                        getattr(notice, way)()
                self.run_engine()
                self.assertEqual((notice.status, len(self.smtp.messages)), ('failed', taken))
                savepoint.rollback()
                self.env.invalidate_all()
        notice = self.fail_before_data()
        self.go_to(20)
        notice.action_retry()
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_deadline), ('sent', self.days(20), self.days(30)))
        self.assertEqual(notice.date_left, self.days(20))

    def test_sent_again_in_time(self):
        notice = self.bounce()
        content = self.smtp.messages[0].content
        self.go_to(8)
        notice.action_retry()
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_left), ('sent', TODAY, self.days(8)))
        self.assertEqual(self.smtp.messages[1].content, content, "the same bytes")
        second = self.make_run(self.days(8 + 14), partner_ids=notice.partner_id.ids)
        self.assertFalse(second.notice_ids, "the next level counts from the day on which it left")

    def test_released_and_late(self):
        """A provider that was paused for a while: dated anew at the claim, mail and letter alike."""
        notice = self.release('Acme')
        self.go_to(4)
        self.run_engine()
        self.assertEqual((notice.status, notice.date, notice.date_deadline), ('sent', self.days(4), self.days(14)))
        mail = self.mails()[0]
        self.assertIn('8. Dezember 2026', mail.get_body(('plain',)).get_content())
        pdf = next(part for part in mail.walk() if part.get_content_type() == 'application/pdf')
        self.assertIn('8. Dezember 2026', read_pdf(pdf.get_payload(decode=True)))
        self.assertEqual(notice.line_ids.days_overdue, 58)

    def test_recipient_of_a_mail_left(self):
        partner = self.make_partner('Acme')
        contact = self.make_partner('Anna Alt', parent_id=partner.id, type='dunning', is_company=False)
        notice = self.release(partner)
        self.assertEqual(notice.email_to, 'annaalt@customer.test')
        contact.active = False
        self.make_partner('Nina Neu', parent_id=partner.id, type='dunning', is_company=False)
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['ninaneu@customer.test'])
        self.assertEqual(self.mails()[0]['To'], 'Nina Neu <ninaneu@customer.test>')
        pdf = next(part for part in self.mails()[0].walk() if part.get_content_type() == 'application/pdf')
        self.assertNotIn('Anna Alt', read_pdf(pdf.get_payload(decode=True)))

    def test_archived_between_release_and_slot(self):
        customer, procedure = self.release('Customer', 'Procedure')
        own = self.procedure.copy({'name': 'Own'})
        procedure.sudo().level_id = own.level_ids[0]
        customer.partner_id.active = False
        own.active = False
        self.run_engine()
        self.assertEqual((customer | procedure).mapped('state'), ['cancelled'] * 2)
        self.assertIn("Customer Customer has been archived", customer.delivery_info)
        self.assertIn("“Own” has been archived", procedure.delivery_info)
        self.assertFalse(self.smtp.messages)

    def test_due_date_extended_between_release_and_slot(self):
        for days, status in ((-20, 'sent'), (-3, 'cancelled'), (20, 'cancelled')):
            with self.subTest(days):
                self.smtp.clear()
                notice = self.release(f'Acme {days}')
                self.invoice_of(notice).invoice_date_due = self.days(days)
                self.run_engine()
                self.assertEqual(notice.status, status, notice.delivery_info)
                if status == 'sent':
                    self.assertIn('04.11.2026', self.mails()[0].get_body(('plain',)).get_content())
                else:
                    self.assertNotIn("Paid", notice.delivery_info)

    def test_account_closed_after_a_handover(self):
        partner = self.company.partner_id
        partner.bank_ids.unlink()
        account = self.env['res.partner.bank'].create({
            'acc_number': 'CH93 0076 2011 6238 5295 7', 'partner_id': partner.id, 'allow_out_payment': True})
        notice = self.fail_after_data()
        account.active = False
        with self.assertRaisesRegex(UserError, "Payments went to account CH9300762011623852957"):
            notice.action_retry()
        account.active = True
        notice.action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent')


@tagged('post_install', '-at_install')
class TestWhatLeaves(DunningMailCommon, RecheckCase):
    """Mails between two attempts."""

    def test_queued_then_printed(self):
        notice = self.release('Acme').with_user(self.clerk)
        notice.action_set_paper()
        notice.action_open_document()
        notice.action_mark_printed()
        self.run_engine()
        self.assertEqual((notice.status, len(self.smtp.messages)), ('printed', 0))

    def setUp(self):
        super().setUp()
        self.turn_clock_while_waiting()

    def meet_passing_fault(self, *names, rule='* eod 451 4.3.0 Later'):
        notices = self.release(*names)
        self.smtp.set_rules(rule)
        self.run_engine()
        self.smtp.set_rules('')
        self.smtp.clear()
        self.clock.tick(3600)
        return notices

    def test_address_changed_after_the_handover(self):
        """What was handed over for one address does not go to it once the customer has another one."""
        notice = self.meet_passing_fault('Acme')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('released', True))
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        for words in ('acme@customer.test', 'new@customer.test'):
            self.assertIn(words, notice.delivery_info)
        self.assertTrue(notice.activity_ids)
        with self.assertRaisesRegex(UserError, "may not be sent to another address"):
            notice.with_user(self.clerk).action_retry()

    def test_sender_changed_after_the_handover(self):
        """A server that has it would get another mail for the same notice."""
        notice = self.meet_passing_fault('Acme')
        self.provider.email_from = 'neu@muster.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        for words in ('mahnung@muster.test', 'neu@muster.test'):
            self.assertIn(words, notice.delivery_info)

    def test_letter_that_was_opened_goes_by_mail_now(self):
        notice = self.issue('Acme').with_user(self.clerk)
        notice.run_id._hand_out_letters()
        notice.partner_id.with_env(self.env).email = 'acme@customer.test'
        message = notice.action_retry()['params']['message']
        self.assertIn("take what was printed out of the post", message)
        self.assertEqual((notice.status, notice.letter_opened_at), ('released', False))
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_address_changed_before_the_handover(self):
        notice = self.meet_passing_fault('Acme', rule='* rcpt 451 4.7.1 Greylisted')
        self.assertEqual((notice.status, bool(notice.handover_at)), ('released', False))
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['new@customer.test'])
        self.assertEqual(self.mails()[0]['To'], 'Acme <new@customer.test>')

    def test_run_cancelled_during_the_handover(self):
        """The mail that was on its way then met a passing fault: it is not sent later; nor is one that had failed."""
        failed, notice = self.release('Failed AG', 'Acme')
        run = notice.run_id
        original = self.env.registry['dunning.engine']._apply_outcome

        def apply(engine, records, *args):
            if records.id == notice.id:
                run.with_user(self.clerk).action_cancel()
            return original(engine, records, *args)
        self.smtp.set_rules('failedag@customer.test rcpt 550 5.7.1 No\nacme@customer.test rcpt 451 4.7.1 Later')
        with patch.object(self.env.registry['dunning.engine'], '_apply_outcome', apply):
            self.run_engine()
        self.smtp.set_rules('')
        self.clock.tick(3600)
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.state, 'cancelled')
        self.assertIn("has been cancelled", notice.delivery_info)
        self.assertEqual(failed.status, 'failed')
        with self.assertRaisesRegex(UserError, "has been cancelled"):
            failed.with_user(self.clerk).action_retry()

    def test_trial_handover_freezes_nothing(self):
        """It never reached the customer: what has changed since is made anew."""
        self.provider.redirect_to = 'me@muster.test'
        notice = self.meet_passing_fault('Acme')
        self.assertTrue(notice.handover_at and notice.redirected_to)
        self.pay_part(notice)
        notice.partner_id.email = 'new@customer.test'
        self.run_engine()
        self.assertEqual((notice.status, notice.amount_total), ('sent', 60.0))
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['me@muster.test'])
        self.assertIn('60,00', read_pdf(notice.document_id.raw))

    def test_trial_handover_then_for_real(self):
        self.provider.redirect_to = 'me@muster.test'
        notice = self.meet_passing_fault('Acme')
        message_id = notice.message_id
        self.provider.redirect_to = False
        self.pay_part(notice)
        self.run_engine()
        self.assertEqual((notice.status, notice.amount_total), ('sent', 60.0))
        self.assertEqual(self.smtp.messages[0].rcpt_tos, ['acme@customer.test'])
        self.assertNotEqual(notice.message_id, message_id)

    def test_handed_over_then_trial(self):
        notice = self.meet_passing_fault('Acme')
        self.provider.redirect_to = 'me@muster.test'
        self.run_engine()
        self.assertFalse(self.smtp.messages)
        self.assertEqual(notice.status, 'held')
        self.assertIn("trial mode now", notice.delivery_info)

    def test_paper_lets_go_of_the_mail(self):
        notice, frozen = self.release('Acme', 'Frozen AG')
        self.smtp.set_rules(
            'frozenag@customer.test eod 554 5.6.0 Not to our taste\nacme@customer.test data 554 5.6.1 Not this kind')
        self.run_engine()
        self.smtp.set_rules('')
        (notice | frozen).with_user(self.clerk).action_set_paper()
        self.assertEqual((notice | frozen).mapped('status'), ['paper'] * 2)
        self.assertFalse(notice.mail_document_id or notice.provider_id or notice.email_to)
        name = frozen._get_file_name()
        self.assertIn(f'{name}.eml', frozen._get_evidence_files())
        notice.partner_id.sudo().action_clear_dunning_refused()
        notice.with_user(self.clerk).action_retry()
        self.run_engine()
        self.assertEqual(notice.status, 'sent')

    def test_wants_paper_now(self):
        notice = self.release('Acme')
        notice.partner_id.dunning_channel = 'paper'
        self.run_engine()
        self.assertEqual(notice.status, 'paper')
        self.assertFalse(notice.mail_document_id or notice.provider_id)
        self.assertIn("On paper. The customer wants paper.", notice.delivery_log_ids.mapped('text'))

    def test_mail_that_cannot_be_made_goes_on_paper(self):
        """The way out of a fault of the mail is paper: that fault must not be in the way."""
        notice = self.meet_passing_fault('Acme', rule='* data 554 5.6.1 Not this kind')
        self.assertEqual(notice.status, 'failed')
        self.pay_part(notice)

        def make(*_args):
            raise ValueError("no mail can be made of it")
        with patch.object(self.env.registry['dunning.notice'], '_make_mail', make):
            notice.with_user(self.clerk).action_set_paper()
        self.assertEqual((notice.status, notice.amount_total), ('paper', 60.0))

    def test_evidence_of_what_was_not_handed_over(self):
        notice = self.release('Acme')
        name = notice._get_file_name()
        self.assertNotIn(f'{name}.eml', notice._get_evidence_files())
        self.run_engine()
        self.assertIn(f'{name}.eml', notice._get_evidence_files())

    def test_nobody_can_be_asked(self):
        """The state is true all the same, and the others go on."""
        bad, good = self.release('Bad AG', 'Good AG')
        self.smtp.set_rules('badag@customer.test rcpt 550 5.1.1 Unknown')

        def schedule(*_args, **_values):
            raise ValueError("no activity")
        with patch.object(self.env.registry['dunning.notice'], 'activity_schedule', schedule), \
                mute_logger('odoo.addons.dunning_mail.models.dunning_notice_state'):
            self.run_engine()
            self.assertEqual((bad.status, good.status), ('failed', 'sent'))
            held, other = self.release('Held AG', 'Other AG')
            held.mail_document_id.sudo()._replace_dunning_mail(b'Subject: forged\r\n\r\n\r\n')
            with mute_logger('odoo.addons.dunning_mail.models.dunning_engine'):
                self.run_engine()
        self.assertEqual((held.status, other.status), ('held', 'sent'))

    def test_copies_of_invoices_are_those_of_now(self):
        self.level_1.attach_invoices = True
        notice = self.release('Acme')
        invoice = self.invoice_of(notice)
        before = notice.document_id
        self.attach(invoice, make_pdf(width=500))
        self.run_engine()
        self.assertEqual(self.attached(), [make_pdf(width=500)])
        self.assertEqual(notice.status, 'sent')
        self.assertFalse(before.exists(), "letter and mail go together")
        self.smtp.clear()
        other = self.release('Other')
        self.attach(self.invoice_of(other), make_pdf(width=510))
        self.attach(self.invoice_of(other), make_pdf(width=520))
        self.run_engine()
        self.assertEqual(self.attached(), [make_pdf(width=520)])

    def test_copy_that_cannot_be_read(self):
        self.level_1.attach_invoices = True
        notice = self.release('Acme')
        self.attach(self.invoice_of(notice), b'%PDF-1.4 broken')
        notice.invalidate_recordset()
        self.assertIn('cannot be read', notice.attachment_warning)
        self.run_engine()
        self.assertEqual((notice.status, self.attached()), ('sent', []))

    def attach(self, invoice, content):
        invoice.invoice_pdf_report_id.unlink()
        invoice.invalidate_recordset()
        self.env['ir.attachment'].create({
            'name': f'{invoice.name}.pdf'.replace('/', '-'), 'raw': content, 'mimetype': 'application/pdf',
            'res_model': 'account.move', 'res_id': invoice.id, 'res_field': 'invoice_pdf_report_file'})
        invoice.invalidate_recordset()

    def attached(self):
        """The files along with the letter in the mail that arrived."""
        [mail] = self.mails()
        return [part.get_payload(decode=True) for part in mail.walk()
                if part.get_content_type() == 'application/pdf'][1:]

    def test_sender_that_reads_otherwise_than_it_is_written(self):
        """A name that a mail cannot give back to the letter is no reason to make all mails anew."""
        for name in ('Müller  &  Söhne "Zürich", AG', 'A' * 90 + ' Ä' * 30, 'x <y> z', 'Tab\tulator AG'):
            with self.subTest(name), self.env.cr.savepoint() as savepoint:
                self.company.name = name
                notice = self.release('Acme')
                document = notice.document_id
                self.run_engine()
                self.assertEqual(notice.status, 'sent')
                self.assertEqual(notice.document_id, document)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_recipients_are_counted_as_they_are_now(self):
        """The provider's limit is not exceeded by addresses that were added after the release."""
        self.provider.hourly_limit = 3
        one, two = self.release('One', 'Two')
        for notice in (one, two):
            notice.partner_id.email = ', '.join(f'a{number}@{notice.id}.test' for number in range(2))
        slots = []
        original = self.env.registry['dunning.provider']._get_next_slot

        def get_slot(provider, now, recipient_count=1):
            slots.append(recipient_count)
            return original(provider, now, recipient_count)
        with patch.object(self.env.registry['dunning.provider'], '_get_next_slot', get_slot):
            self.run_engine()
        self.assertIn(2, slots)
        self.assertEqual(len(self.smtp.messages), 1, "the second one would be the fourth recipient of this hour")

    def test_headers_that_can_be_read_before(self):
        notice = self.release('Acme')
        self.assertEqual(str(mail_header.get(notice.mail_document_id.raw, 'To')), 'Acme <acme@customer.test>')
