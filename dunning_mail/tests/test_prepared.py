import functools
from datetime import timedelta
from unittest.mock import patch

import psycopg2

from odoo import fields
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models import dunning_engine, dunning_notice_mail

from .test_engine import CRON_LOGGER, ENGINE_LOGGER, EngineCase


@tagged('post_install', '-at_install')
class TestPrepared(EngineCase):
    """Mails that are made ahead of their turn, and what is done while the server answers."""

    def setUp(self):
        super().setUp()
        self.made = []
        self.prepared = []
        registry = self.env.registry
        make_mail, prepare = registry['dunning.notice']._make_mail, registry['dunning.notice']._prepare_mails

        def watch_make(notice, today):
            self.made.append(notice.id)
            return make_mail(notice, today)

        def watch_prepare(notices):
            mails = prepare(notices)
            self.prepared += mails
            return mails
        # However loaded the machine is.
        self.patch(dunning_engine, 'ANSWER_SOON', 10)
        self.patch(registry['dunning.notice'], '_make_mail', watch_make)
        self.patch(registry['dunning.notice'], '_prepare_mails', watch_prepare)

    def run_engine_with(self, change):
        """Run the engine, and let somebody change something after the mails were made, before the first one's turn."""
        original = self.env.registry['dunning.engine']._prepare_mails
        changes = [change]

        def prepare(engine, provider, stock):
            is_done = original(engine, provider, stock)
            if changes:
                # As a transaction of its own.
                with self.env.cr.savepoint():
                    changes.pop()()
                    self.env.flush_all()
                engine.env.invalidate_all()
            return is_done
        with patch.object(self.env.registry['dunning.engine'], '_prepare_mails', prepare):
            self.run_engine()
        self.assertFalse(changes)

    def test_many_are_made_together(self):
        notices = self.release('One', 'Two', 'Three')
        self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertEqual((self.prepared, self.made), (notices.ids, []))
        for notice, message in zip(notices, self.smtp.messages, strict=True):
            self.assertEqual(message.email['Message-ID'], notice.message_id)
            self.assertEqual(notice.mail_document_id.raw, message.content)
            self.assertEqual(message.rcpt_tos, [notice.email_to])
            self.assertEqual(
                self.env['mail.message'].search([('message_id', '=', notice.message_id)]).res_id, notice.id)

    def test_same_as_made_in_turn(self):
        """Whichever way a mail is made, it says the same."""
        first, second = notices = self.release('One', 'Two')
        with self.enter_registry_test_mode():
            prepared = notices.sudo()._prepare_mails()
            for notice in notices.sudo():
                mail = notice.with_context(lang='de_DE')._make_mail(fields.Date.today())
                ours = prepared[notice.id].mail
                self.assertEqual(ours.addresses, mail.addresses)
                self.assertEqual(ours.message_values, mail.message_values)
                self.assertEqual(ours.is_archived, mail.is_archived)
                # Message-ID, time and boundaries are drawn anew each time.
                for mine, others in zip(self._parts(ours), self._parts(mail), strict=True):
                    self.assertEqual(mine, others)
        self.assertNotEqual(prepared[first.id].mail.message_id, prepared[second.id].mail.message_id)

    def _parts(self, mail):
        message = self.smtpd_module.email.message_from_bytes(mail.content)
        headers = [(key, value) for key, value in message.items() if key not in ('Message-Id', 'Date', 'Content-Type')]
        return [headers, *(part.get_payload(decode=True) for part in message.walk() if not part.is_multipart())]

    def test_with_an_interval_each_is_made_in_its_turn(self):
        self.provider.send_interval = 5
        notices = self.release('One', 'Two')
        self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertEqual((self.prepared, self.made), ([], notices.ids))

    def test_not_prepared(self):
        """What has to be decided or made again is left to its turn."""
        self.level_1.attach_invoices = True
        copies = self.release('Copies', 'Copies 2')
        self.assertFalse(copies.sudo()._prepare_mails())
        self.level_1.attach_invoices = False
        notices = self.release('Cheaper', 'Paid', 'Held', 'Moved', 'Tried', 'Late', 'Fine')
        cheaper, paid, held, moved, tried, late, fine = notices
        self.pay(cheaper.line_ids.move_id, 20)
        self.pay(paid.line_ids.move_id)
        held.partner_id.dunning_hold_until = self.days(5)
        moved.partner_id.email = 'moved@new.test'
        tried.sudo().handover_at = fields.Datetime.now()
        late.sudo().write({'date': self.days(-9), 'date_deadline': self.days(-1)})
        self.env.flush_all()
        self.assertEqual(list(notices.sudo()._prepare_mails()), fine.ids)

    def test_size_is_bounded(self):
        notices = self.release('One', 'Two', 'Three')
        self.patch(dunning_notice_mail, 'MAX_PREPARED', 100)
        self.assertEqual(len(notices.sudo()._prepare_mails()), 1)
        self.run_engine()
        self.assertDelivery(notices, 'sent')

    def test_what_changes_meanwhile_counts(self):
        """Between making and turn: whatever happens then, it is as if the mail had never been made."""
        def pay(notice):
            self.pay(notice.line_ids.move_id)

        def pay_part(notice):
            self.pay(notice.line_ids.move_id, 40)

        def credit(notice):
            self.make_unallocated(notice.partner_id, 500)

        def hold(notice):
            notice.partner_id.dunning_hold_until = self.days(5)

        def hold_item(notice):
            notice.line_ids.move_line_id.dunning_hold_until = self.days(5)

        def exclude(notice):
            notice.line_ids.move_line_id.no_followup = True

        def new_address(notice):
            notice.partner_id.email = 'new@customer.test'

        def dunning_address(notice):
            self.make_partner('Accounts', parent_id=notice.partner_id.id, type='dunning')

        def no_address(notice):
            notice.partner_id.email = False

        def wants_paper(notice):
            notice.partner_id.dunning_channel = 'paper'

        def refused(notice):
            notice.partner_id.sudo()._set_dunning_refused("550 gone")

        def level_on_paper(notice):
            notice.level_id.send_by_mail = False

        def cancel(notice):
            notice.run_id.with_user(self.manager).action_cancel()

        def text(notice):
            notice.text_id.mail_subject = 'Neuer Betreff'

        def rename_company(_notice):
            self.company.name = 'Neue Firma AG'

        def trial(_notice):
            self.provider.redirect_to = 'trial@muster.test'

        def sender(_notice):
            self.provider.email_from = 'neu@muster.test'

        def other_provider(_notice):
            self.company.dunning_provider_id = self.make_provider(active=False)

        def phone(_notice):
            self.clerk.phone = '+41 44 000 00 00'

        def state_of_run(notice):
            notice.run_id.sudo().state = 'cancelled'

        def pause(_notice):
            self.provider.action_pause()

        def subject(message):
            return message.email['Subject']

        cases = [
            (pay, 'cancelled', None), (credit, 'cancelled', None), (hold, 'cancelled', None),
            (hold_item, 'cancelled', None), (exclude, 'cancelled', None), (cancel, 'cancelled', None),
            (no_address, 'paper', None), (wants_paper, 'paper', None), (refused, 'paper', None),
            (level_on_paper, 'paper', None), (other_provider, 'paper', None),
            (state_of_run, 'cancelled', None), (phone, 'sent', None), (pause, 'released', None),
            (pay_part, 'sent', lambda message: b'60.0' in next(
                part.get_payload(decode=True) for part in message.email.walk()
                if part.get_content_type() == 'application/pdf')),
            (new_address, 'sent', lambda message: message.rcpt_tos == ['new@customer.test']),
            (dunning_address, 'sent', lambda message: message.rcpt_tos[0].startswith('first')),
            (text, 'sent', lambda message: 'Neuer Betreff' in subject(message)),
            (rename_company, 'sent', lambda message: 'Neue Firma AG' in message.email['From']),
            (trial, 'sent', lambda message: message.rcpt_tos == ['trial@muster.test']),
            (sender, 'sent', lambda message: message.mail_from == 'neu@muster.test'),
        ]
        for number, (change, status, check) in enumerate(cases):
            with self.subTest(change.__name__), self.env.cr.savepoint() as savepoint:
                self.smtp.clear()
                self.prepared.clear()
                self.made.clear()
                notice, other = self.release(f'First {number}', f'Second {number}')

                self.run_engine_with(functools.partial(change, notice))
                self.assertIn(notice.id, self.prepared)
                self.assertEqual(notice.id in self.made, change not in (cancel, pause))
                self.assertEqual(notice.status, status, notice.delivery_info)
                mails = [message for message in self.smtp.messages
                         if message.email['X-Odoo-Objects'] == f'dunning.notice-{notice.id}']
                self.assertEqual(len(mails), int(status == 'sent'))
                if check:
                    self.assertTrue(check(mails[0]), mails[0].email)
                if change in (pay, pay_part, credit, hold, hold_item, exclude, new_address, dunning_address, no_address,
                              wants_paper, refused):
                    self.assertDelivery(other, 'sent')
                    self.assertNotIn(other.id, self.made, "the others are as they were")
                savepoint.rollback()
                self.env.invalidate_all()
                self.env.registry.clear_cache()

    def test_fingerprint_is_steady(self):
        """What the engine itself writes with each mail does not count as a change."""
        notice, other = self.release('One', 'Two')
        before = notice.sudo()._get_fingerprints()
        self.assertEqual(set(before), {notice.id})
        with self.env.cr.savepoint():
            self.provider._set_next_slot(self.env['dunning.engine']._now())
            self.pay(other.line_ids.move_id)
            other.sudo()._cancel("Paid")
            self.make_partner('Somebody else')
            self.env.flush_all()
        self.assertEqual(notice.sudo()._get_fingerprints(), before)

    def test_fingerprint_covers_others(self):
        """Whoever else claims the same items, or a fee of the same customer; the company's provider; its answers."""
        notice, other = self.release('One', 'Two')
        notice, other = notice.sudo(), other.sudo()
        domain = self.env['mail.alias.domain'].create({'name': 'answers.test'})
        self.company.alias_domain_id = domain
        relative = self.make_partner('Relative', parent_id=notice.partner_id.id, is_company=False)
        line = other.line_ids.copy({
            'notice_id': other.id, 'move_line_id': notice.line_ids.move_line_id.id, 'kind': 'info'})
        self.env.flush_all()

        def dun(fee, partner):
            other.write({
                'partner_id': partner.id, 'recipient_id': partner.id, 'amount_fee': fee, 'is_counted': True})
        cases = {
            'items on another notice': lambda: line.write({'name': 'changed'}),
            'the other notice': lambda: other.write({'delivery_info': 'changed'}),
            'provider of the company': lambda: self.provider.write({'active': False}),
            'domain of answers': lambda: domain.write({'name': 'other.test'}),
            'clerk': lambda: self.clerk.write({'active': False}),
            'name of the clerk': lambda: self.clerk.partner_id.write({'name': 'Petra Neu'}),
            'recipient': lambda: notice.recipient_id.write({'street': 'Neue Gasse 2'}),
            'entry': lambda: notice.line_ids.move_id.write({'ref': 'changed'}),
            'level': lambda: notice.level_id.write({'name': 'Neuer Name'}),
        }
        for name, change in cases.items():
            with self.subTest(name), self.env.cr.savepoint() as savepoint:
                before = notice._get_fingerprints()
                with self.env.cr.savepoint():
                    change()
                self.assertNotEqual(notice._get_fingerprints(), before)
                savepoint.rollback()
                self.env.invalidate_all()
        line.sudo().with_context(dunning_replace_lines=True).unlink()
        for partner in (notice.partner_id, relative):
            with self.subTest(partner.name), self.env.cr.savepoint() as savepoint:
                before = notice._get_fingerprints()
                with self.env.cr.savepoint():
                    dun(20, partner)
                self.assertNotEqual(notice._get_fingerprints(), before)
                savepoint.rollback()
                self.env.invalidate_all()

    def test_sets_grow_while_they_are_quick(self):
        smallest, largest = dunning_engine.PREPARED_TOGETHER
        engine, stock = self.env['dunning.engine'].sudo(), dunning_engine.Stock()
        notices = self.release(*(f'Partner {number}' for number in range(smallest + 1)))
        seconds = [0]
        original = self.env.registry['dunning.notice']._prepare_mails

        def prepare(records):
            self.clock.tick(seconds[0])
            return original(records)
        self.patch(self.env.registry['dunning.notice'], '_prepare_mails', prepare)
        with self.enter_registry_test_mode(), self.env.registry.cursor() as cr:
            engine = engine.with_env(engine.env(cr=cr))
            provider = self.provider.with_env(engine.env)
            self.assertTrue(engine._prepare_mails(provider, stock))
            self.assertEqual(list(stock.mails), notices.ids[:smallest])
            self.assertEqual(stock.size, 2 * smallest)
            self.assertFalse(engine._prepare_mails(provider, stock), "there are some left")
            stock.mails.clear()
            self.assertTrue(engine._prepare_mails(provider, stock))
            self.assertEqual(list(stock.mails), notices.ids)
            stock.size = largest
            sizes = []
            seconds[0] = 2 * dunning_engine.PREPARING_SECONDS
            for _turn in range(6):
                stock.mails.clear()
                engine._prepare_mails(provider, stock)
                sizes.append(stock.size)
        self.assertEqual(sizes, [25, 12, 6, 3, 1, 1], "at last one by one")

    def test_one_that_hangs_on_its_neighbours(self):
        """What is left over of a payment counts or not, depending on the items that are read with it."""
        partner = self.make_partner('Neighbour')
        self.level_1.fee_amount = 20
        earlier = self.release(partner, amount=50)
        self.run_engine()
        self.assertTrue(earlier.is_counted)
        self.pay(earlier.line_ids.move_id)
        self.level_1.fee_amount = 0
        entry = self.make_unallocated(partner, 60)
        other = self.make_invoice(partner, 50, due='2026-08-15')
        (self.receivable(other) | self.receivable(entry)).reconcile()
        held = self.make_invoice(partner, 5, due='2026-11-01')
        self.receivable(held).dunning_hold_until = self.days(60)
        notice, neighbour = self.release(partner, 'Somebody')
        self.assertEqual(notice.amount_total, 90, "what is left over is set off, since it would settle the small one")
        self.assertEqual(list(notice.sudo()._prepare_mails()), [])
        self.run_engine()
        self.assertDelivery(notice | neighbour, 'sent')
        self.assertEqual(notice.amount_total, 90, "in its turn it claims what it did when it was proposed")

    def test_item_that_is_due_today(self):
        """It is not overdue, and counts neither when the notice is proposed nor right before it is sent."""
        partner = self.make_partner('Today')
        self.level_1.fee_amount = 20
        earlier = self.release(partner, amount=50)
        self.run_engine()
        self.pay(earlier.line_ids.move_id)
        self.level_1.fee_amount = 0
        entry = self.make_unallocated(partner, 60)
        other = self.make_invoice(partner, 50, due='2026-08-15')
        (self.receivable(other) | self.receivable(entry)).reconcile()
        self.make_invoice(partner, 5, due=self.days(0))
        notice = self.release(partner)
        self.assertEqual(notice.amount_total, 100, "what is left over only covers the fee")
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(notice.amount_total, 100)

    def test_collision_without_end(self):
        """The claim of the first notice never comes about: the pass fails, and does not spin."""
        notices = self.release('One', 'Two', 'Three')
        claims = []

        def claim(notice, *_args):
            claims.append(notice.id)
            raise psycopg2.errors.SerializationFailure
        with patch.object(self.env.registry['dunning.notice'], '_claim', claim), mute_logger(CRON_LOGGER), \
                self.enter_registry_test_mode():
            result = self.engine.with_user(self.env.ref('base.user_root')).method_direct_trigger()
        self.assertIsInstance(result, dict, "the fault is not hidden")
        self.assertEqual(len(claims), dunning_engine.CONFLICTS_IN_A_ROW + 1)
        self.env.invalidate_all()
        self.assertDelivery(notices, 'released')

    def test_a_run_that_cannot_be_finished(self):
        """It holds up neither the others nor what comes after it."""
        runs = self.release('One').run_id | self.release('Two').run_id
        self.run_engine()
        runs.sudo().state = 'processing'
        self.provider.send_interval = 3600
        self.release('Three', 'Four')
        original = self.env.registry['dunning.run']._update_state

        def update_state(run):
            if run.id == runs[0].id:
                raise ValueError("out of order")
            return original(run)
        with patch.object(self.env.registry['dunning.run'], '_update_state', update_state), \
                self.capture_triggers() as captured:
            self.run_engine()
        self.assertEqual(runs.mapped('state'), ['processing', 'done'])
        self.assertTrue(captured, "the engine comes back for the second one")

    def test_made_anew_when_they_are_old(self):
        notices = self.release('One', 'Two', 'Three')
        self.run_engine_with(lambda: self.clock.tick(dunning_engine.PREPARED_SECONDS + 1))
        self.assertDelivery(notices, 'sent')
        self.assertEqual((self.prepared, self.made), (2 * notices.ids, []))

    def test_day_counts(self):
        notices = self.release('One', 'Two')
        prepared = notices.sudo()._prepare_mails()[notices[0].id]
        self.clock.tick(timedelta(days=1).total_seconds())
        with self.enter_registry_test_mode():
            notices[0].sudo()._claim(fields.Datetime.now(), prepared)
        self.assertEqual(self.made, notices[0].ids)

    def test_a_fault_of_one_does_not_stop_the_others(self):
        notices = self.release('One', 'Two', 'Three')
        two = notices[1]
        original = self.env.registry['dunning.notice']._build_message

        def build(notice, texts):
            if notice.id == two.id:
                raise ValueError("no mail can be made of it")
            return original(notice, texts)
        with patch.object(self.env.registry['dunning.notice'], '_build_message', build), mute_logger(ENGINE_LOGGER):
            self.run_engine()
        self.assertEqual(notices.mapped('delivery_state'), ['sent', 'failed', 'sent'])
        self.assertIn("no mail can be made of it", two.delivery_info)
        self.assertEqual(self.accepted(), 2)

    def test_making_writes_nothing(self):
        """Whatever is written on the way is taken back."""
        notices = self.release('One', 'Two')
        original = self.env.registry['dunning.notice']._prepare_mails

        def prepare(records):
            records.partner_id.write({'ref': 'written on the way'})
            return original(records)
        with patch.object(self.env.registry['dunning.notice'], '_prepare_mails', prepare):
            self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertFalse(any(notices.partner_id.mapped('ref')))

    def test_scheduler_is_told(self):
        """Seldom, but of all mails."""
        self.patch(dunning_engine, 'REPORT_EVERY', 60)
        notices = self.release('One', 'Two', 'Three', 'Four')
        reports = []
        original = self.env.registry['ir.cron']._commit_progress

        def commit_progress(cron, processed=0, **values):
            reports.append(processed)
            return original(cron, processed, **values)
        with patch.object(self.env.registry['ir.cron'], '_commit_progress', commit_progress):
            self.run_engine()
        self.assertDelivery(notices, 'sent')
        self.assertEqual([count for count in reports if count], [1, 3], "the first at once, the rest at the end")

    def test_run_is_finished_once_more(self):
        """A last mail and a last letter that did not see each other leave a run that nobody would finish."""
        run = self.release('One').run_id
        self.run_engine()
        run.sudo().state = 'processing'
        self.run_engine()
        self.assertEqual(run.state, 'done')

    # === WHILE THE SERVER ANSWERS === #

    def _chatter(self, notice):
        return self.env['mail.message'].search([
            ('model', '=', 'dunning.notice'), ('res_id', '=', notice.id), ('message_type', '=', 'email_outgoing')])

    def _watch_log_mail(self):
        calls = []
        original = self.env.registry['dunning.notice']._log_mail

        def log_mail(notice, *args):
            calls.append(notice.delivery_state)
            return original(notice, *args)
        self.patch(self.env.registry['dunning.notice'], '_log_mail', log_mail)
        return calls

    def test_logged_while_the_server_answers(self):
        calls = self._watch_log_mail()
        notice = self.release('One')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(calls, ['sending'])
        self.assertEqual(len(self._chatter(notice)), 1)

    def test_a_refused_mail_is_not_in_the_chatter(self):
        notice = self.release('Refused')
        for action in ('550 5.1.1 No such user', '451 4.3.0 Come again', '550 5.7.508 Hourly sending limit exceeded'):
            with self.subTest(action), self.env.cr.savepoint() as savepoint:
                self.smtp.set_rules(f'* eod {action}')
                calls = self._watch_log_mail()
                original = self.env.registry['dunning.engine']._get_next
                turns = [1]

                def get_next(engine, *args, original=original, turns=turns):
                    return original(engine, *args) if turns and turns.pop() else (engine.env['dunning.provider'], None)
                with patch.object(self.env.registry['dunning.engine'], '_get_next', get_next):
                    self.run_engine()
                self.assertEqual(calls, ['sending'])
                self.assertIn(notice.delivery_state, ('failed', 'released'))
                self.assertFalse(self._chatter(notice))
                self.assertEqual(notice.delivery_log_ids.sorted('id')[-1].code.split()[0], action.split()[0])
                savepoint.rollback()
                self.env.invalidate_all()

    def test_unclear_is_in_the_chatter_once(self):
        notice = self.release('Gone')
        self.smtp.set_rules('* eod accept-then-drop')
        self.run_engine()
        self.assertDelivery(notice, 'unclear')
        self.assertEqual(len(self._chatter(notice)), 1)

    def test_slow_answer(self):
        """The transaction does not stay open for it, and nothing is lost."""
        self.patch(dunning_engine, 'ANSWER_SOON', 0.1)
        calls = self._watch_log_mail()
        notice = self.release('Slow')
        self.smtp.set_rules('* eod delay 1')
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(calls, ['sending', 'sent'], "rolled back, and written again with the outcome")
        self.assertEqual(len(self._chatter(notice)), 1)

    def test_collision_after_logging(self):
        """PostgreSQL refuses the outcome's transaction: chatter and outcome are written again, once."""
        notice = self.release('One')
        original = self.env.registry['dunning.engine']._apply_outcome
        faults = [psycopg2.errors.SerializationFailure()]
        flags = []

        def apply_outcome(engine, *args):
            flags.append(args[-1])
            if faults:
                raise faults.pop()
            return original(engine, *args)
        with patch.object(self.env.registry['dunning.engine'], '_apply_outcome', apply_outcome):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(flags, [True, False])
        self.assertEqual(len(self._chatter(notice)), 1)
        self.assertEqual(self.accepted(), 1)

    def test_fault_while_the_server_answers(self):
        """It hides neither the answer nor what follows from it."""
        notice = self.release('One')
        original = self.env.registry['dunning.notice']._log_mail

        def collide(_record):
            raise psycopg2.errors.SerializationFailure

        def break_transaction(record):
            record.env.cr.execute("SELECT 1 / 0")

        def break_down(_record):
            raise ValueError("out of order")
        for fault in (collide, break_transaction, break_down):
            with self.subTest(fault.__name__), self.env.cr.savepoint() as savepoint:
                left = [fault]

                def log_mail(record, *args, left=left):
                    if left:
                        left.pop()(record)
                    return original(record, *args)
                with patch.object(self.env.registry['dunning.notice'], '_log_mail', log_mail), \
                        mute_logger('odoo.sql_db'):
                    self.run_engine()
                self.assertFalse(left)
                self.assertDelivery(notice, 'sent')
                self.assertEqual(len(self._chatter(notice)), 1)
                savepoint.rollback()
                self.env.invalidate_all()
