import psycopg2

from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import Form, new_test_user, tagged

from .common import TODAY, DunningCommon


class RestCase(DunningCommon):
    """Customers who promise and contest."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.company.resource_calendar_id = False
        cls.reason = cls.env.ref('dunning_mail.dispute_reason_quality')

    def setUp(self):
        super().setUp()
        self.partner = self.make_partner('Acme', email=False)

    def go_to(self, day):
        """Let a morning come."""
        self.clock.move_to(f'{self.days(day)} 08:00:00')
        self.run_morning()

    def run_morning(self):
        self.env.flush_all()
        with self.enter_registry_test_mode():
            self.env.ref('dunning_mail.ir_cron_promise').method_direct_trigger()
        self.env.invalidate_all()

    def promise(self, *moves, lines=((10, None),), user=None, **values):
        """Let a customer promise to pay invoices: (day, amount), all that is due where there is no amount."""
        items = self.receivable(self.env['account.move'].union(*moves))
        Promise = self.env['dunning.promise'].with_user(user or self.clerk)
        total = sum(Promise._get_amounts_due(items).values())
        return Promise._make(
            items.with_user(user or self.clerk), [(self.days(day), amount or total) for day, amount in lines], **values)

    def dispute(self, *moves, amount=0.0, user=None, **values):
        items = self.receivable(self.env['account.move'].union(*moves))
        return self.env['dunning.dispute'].with_user(user or self.clerk).create({
            'item_ids': [Command.set(items.ids)], 'amount': amount, 'reason_id': self.reason.id, **values})

    def claimed(self, day=0, partner=None):
        """What a run of a day would claim of each invoice, in a preview that leaves nothing behind."""
        partner = partner or self.partner
        run = self.env['dunning.run'].new({
            'company_id': self.company.id, 'date': self.days(day), 'due_until': self.days(day),
            'partner_ids': partner.ids, 'user_id': self.clerk.id})
        notices, exceptions = self.env['dunning.proposal'].with_company(self.company)._propose(run)
        self.exceptions = {(values['document'], values['reason']): values for values in exceptions}
        return {line['name']: line['amount_residual'] for values in notices
                for _command, _id, line in values['line_ids'] if line['kind'] == 'due'}

    def activities(self, record):
        return record.activity_ids.filtered(lambda activity: activity.activity_type_id.get_external_id()[
            activity.activity_type_id.id].startswith('dunning_mail.'))


@tagged('post_install', '-at_install')
class TestResting(RestCase):
    """What is promised is left out, everywhere, as long as it is not late."""

    def test_proposal(self):
        invoice, other = self.make_invoice(self.partner), self.make_invoice(self.partner, 40.0)
        self.promise(invoice)
        self.assertEqual(self.claimed(), {other.name: 40.0})
        words = self.exceptions[invoice.name, 'resting']['description']
        self.assertIn('12/04/2026', words)
        # A run of a day on which it would be late has it.
        self.assertEqual(self.claimed(12), {other.name: 40.0})
        self.assertEqual(self.claimed(13), {invoice.name: 100.0, other.name: 40.0})

    def test_part_is_laid_on_the_newest(self):
        old, new = self.make_invoice(self.partner, due='2026-09-15'), self.make_invoice(self.partner, due='2026-10-15')
        self.promise(old, new, lines=[(10, 120.0)])
        self.assertEqual(self.claimed(), {old.name: 80.0})
        run = self.make_run(partner_ids=self.partner.ids)
        line = run.notice_ids.line_ids
        self.assertEqual((line.amount_residual, line.amount_resting, run.notice_ids.amount_total), (80.0, 20.0, 80.0))

    def test_credits_are_for_what_is_dunned(self):
        promised, free = self.make_invoice(self.partner, due='2026-09-15'), self.make_invoice(self.partner, 60.0)
        self.promise(promised)
        self.make_unallocated(self.partner, 25.0)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        self.assertEqual((notice.amount_total, notice.due_line_ids.move_id), (35.0, free))

    def test_released_or_printed_meanwhile(self):
        """Held, not sent, and the log says why; what rests in part is made anew."""
        other = self.make_partner('Other', email=False)
        whole, part, unpromised = (
            self.make_invoice(self.partner), self.make_invoice(other, due='2026-10-15'),
            self.make_invoice(other, 50.0, due='2026-09-15'))
        run = self.make_run(partner_ids=(self.partner | other).ids)
        run.action_print_and_send()
        self.promise(whole)
        self.promise(part, lines=[(5, 30.0)])
        run._hand_out_letters()
        first, second = (run.notice_ids.filtered(lambda one, p=p: one.partner_id == p) for p in (self.partner, other))
        self.assertEqual(first.state, 'cancelled')
        self.assertIn('Promised until', first.delivery_info)
        self.assertIn('Promised until', first.delivery_log_ids.sorted('id')[-1].text)
        self.assertEqual((second.state, second.amount_total), ('issued', 120.0))
        self.assertEqual(
            {line.move_id: line.amount_residual for line in second.line_ids}, {part: 70.0, unpromised: 50.0})

    def test_comes_back_with_the_level_it_had(self):
        invoice = self.make_invoice(self.partner)
        self.dun(partner_ids=self.partner.ids)
        self.go_to(2)
        promise = self.promise(invoice, lines=[(20, None)])
        self.assertEqual(self.claimed(15), {})
        self.go_to(23)
        self.assertEqual((promise.state, promise.is_missed), ('broken', True))
        run = self.make_run(self.days(23), partner_ids=self.partner.ids)
        line = run.notice_ids.line_ids
        self.assertEqual((line.level_id, line.previous_level_id), (self.level_2, self.level_1))
        self.assertIn('Promise of 11/26/2026 not kept', line.level_reason)


@tagged('post_install', '-at_install')
class TestValuing(RestCase):

    def test_kept_and_undone(self):
        """By days of value, when something is reconciled and when it is undone; the person is asked once."""
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        self.pay(invoice, 40.0, self.days(3))
        self.assertEqual((promise.state, promise.amount_received, promise.next_date), ('open', 40.0, self.days(10)))
        payment = self.pay(invoice, 60.0, self.days(9))
        self.assertEqual((promise.state, promise.amount_received, promise.next_date), ('kept', 100.0, False))
        self.receivable(payment).remove_move_reconcile()
        self.assertEqual((promise.state, promise.amount_received), ('open', 40.0))
        self.go_to(13)
        self.assertEqual((promise.state, len(self.activities(promise))), ('open', 0), "it is in the books, in time")
        payment.button_draft()
        self.run_morning()
        self.assertEqual((promise.state, len(self.activities(promise))), ('partly', 1))
        self.go_to(14)
        self.assertEqual(len(self.activities(promise)), 1)
        self.assertEqual(self.activities(promise).user_id, self.clerk)
        self.assertEqual(self.partner.dunning_missed_count, 1)
        # What the bank has booked in time and becomes known now.
        payment.action_post()
        (self.receivable(invoice) | self.receivable(payment)).reconcile()
        self.assertEqual((promise.state, promise.is_missed, len(self.activities(promise))), ('kept', False, 0))
        self.assertEqual(self.partner.dunning_missed_count, 0)

    def test_too_late(self):
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        self.go_to(13)
        self.pay(invoice, day=self.days(13))
        self.assertEqual((promise.state, promise.amount_received), ('broken', 100.0))
        self.assertEqual(self.partner.dunning_missed_count, 1)

    def test_payment_on_its_way(self):
        """Registered and not in the books yet: nobody is told that it was not kept."""
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        payment = self.make_payment(self.partner, 100.0, invoice, day=self.days(9))
        self.go_to(13)
        self.assertEqual((promise.state, promise.is_missed, len(self.activities(promise))), ('open', False, 0))
        self.assertEqual(self.claimed(13), {}, "covered by what is on its way")
        payment.action_cancel()
        self.go_to(14)
        self.assertEqual((promise.state, len(self.activities(promise))), ('broken', 1))

    def test_instalment_on_its_way(self):
        """Of a plan, what is late counts, and not all of it; a payment that nobody has reconciled yet too."""
        plans = []
        for kind in ('registered', 'named', 'posted', 'late', 'little'):
            partner = self.make_partner(kind, email=False)
            invoice = self.make_invoice(partner, 300.0)
            plan = self.promise(invoice, lines=[(10, 100.0), (20, 100.0), (30, 100.0)], falls_due_whole=True)
            plans.append((kind, partner, invoice, plan))
            if kind in ('registered', 'named'):
                self.make_payment(partner, 100.0, *([invoice] if kind == 'named' else []), day=self.days(9))
            else:
                self.make_unallocated(
                    partner, 99.0 if kind == 'little' else 100.0, day=self.days(13 if kind == 'late' else 9))
        self.go_to(13)
        for kind, partner, invoice, plan in plans:
            with self.subTest(kind):
                is_missed = kind in ('late', 'little')
                self.assertEqual((plan.state, plan.is_missed, len(self.activities(plan))), (
                    'broken' if is_missed else 'open', is_missed, int(is_missed)))
                claimed = self.claimed(13, partner)
                self.assertEqual(claimed, {invoice.name: 300.0} if is_missed else {})

    def test_what_was_there_before(self):
        """What was paid before pays nothing of what is promised, open or reconciled by now; what exceeds it does."""
        for kind in ('credit', 'reconciled', 'registered', 'more', 'refund'):
            with self.subTest(kind):
                partner = self.make_partner(kind, email=False)
                invoice = self.make_invoice(partner, 500.0)
                if kind == 'registered':
                    self.make_payment(partner, 200.0, day='2026-11-20')
                elif kind == 'refund':
                    credit = self.make_invoice(partner, 200.0, move_type='out_refund')
                else:
                    credit = self.make_unallocated(partner, 200.0, day='2026-03-10')
                action = invoice.with_user(self.clerk).action_dunning_promise()
                form = Form(self.env[action['res_model']].with_user(self.clerk).with_context(**action['context']))
                self.assertEqual(form.amount, 300.0)
                plan = self.promise(invoice, lines=[(10, 100.0), (40, 200.0)])
                self.assertEqual(self.claimed(0, partner), {}, "what is not promised is there")
                if kind == 'reconciled':
                    (self.receivable(invoice) | self.receivable(credit)).reconcile()
                elif kind == 'more':
                    self.make_unallocated(partner, 100.0, day=self.days(5))
                self.clock.move_to(f'{self.days(13)} 08:00:00')
                plan._value()
                self.assertEqual((plan.state, plan.is_missed), ('open', kind != 'more'))
                self.assertEqual(plan.next_date, self.days(10))
                self.clock.move_to(f'{TODAY} 08:00:00')

    def test_net_of_what_is_left_of_credits(self):
        """What is due besides is covered by them first."""
        self.make_unallocated(self.partner, 200.0, day='2026-03-10')
        promised, _other = self.make_invoice(self.partner, 500.0), self.make_invoice(self.partner, 150.0)
        later = self.make_invoice(self.partner, 900.0, due=self.days(30))
        for moves, expected in ((promised, 450.0), (promised | _other, 450.0), (later, 900.0)):
            self.assertEqual(self.env['dunning.promise']._get_amount_wanted(self.receivable(moves)), expected)

    def test_credit_note(self):
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        self.go_to(13)
        self.assertEqual(promise.state, 'broken')
        refund = self.make_invoice(self.partner, move_type='out_refund')
        (self.receivable(invoice) | self.receivable(refund)).reconcile()
        self.assertEqual((promise.state, self.partner.dunning_missed_count), ('kept', 0))

    def test_plan(self):
        invoice = self.make_invoice(self.partner, 300.0)
        plan = self.promise(invoice, lines=[(10, 100.0), (20, 100.0), (30, 100.0)])
        self.go_to(13)
        self.assertEqual((plan.state, plan.is_missed, len(self.activities(plan))), ('open', True, 1))
        self.assertEqual(self.claimed(13), {invoice.name: 100.0})
        self.pay(invoice, 100.0, self.days(14))
        self.assertEqual(self.claimed(14), {})
        self.pay(invoice, 200.0, self.days(20))
        self.assertEqual((plan.state, plan.is_missed), ('kept', True))

    def test_each_instalment_that_is_late_asks(self):
        invoice = self.make_invoice(self.partner, 300.0)
        plan = self.promise(invoice, lines=[(10, 100.0), (20, 100.0), (30, 100.0)])
        self.go_to(13)
        plan.activity_feedback(['dunning_mail.mail_activity_promise'])
        self.go_to(14)
        self.assertFalse(self.activities(plan))
        self.go_to(23)
        self.assertEqual((plan.state, plan.late_count, len(self.activities(plan))), ('open', 2, 1))
        self.go_to(33)
        self.assertEqual((plan.state, len(self.activities(plan))), ('broken', 1), "in place of the last one")
        # What is over as a whole is told once.
        whole = self.promise(self.make_invoice(self.partner, 200.0), lines=[(34, 100.0), (42, 100.0)],
                             falls_due_whole=True, user=self.manager)
        self.go_to(37)
        whole.activity_feedback(['dunning_mail.mail_activity_promise'])
        self.go_to(46)
        self.pay(whole.item_ids.move_id.with_env(self.env), 10.0, self.days(46))
        self.assertFalse(self.activities(whole))

    def test_earlier_payment_is_taken_back(self):
        """A direct debit that comes back breaks no promise for what was open beside it."""
        invoice = self.make_invoice(self.partner)
        earlier = self.pay(invoice, 40.0)
        promise = self.promise(invoice)
        self.pay(invoice, 60.0, self.days(3))
        self.assertEqual((promise.state, promise.amount), ('kept', 60.0))
        self.receivable(earlier).remove_move_reconcile()
        earlier.button_draft()
        self.assertEqual((promise.state, self.claimed(1)), ('kept', {invoice.name: 40.0}))
        self.go_to(13)
        self.assertEqual((promise.state, promise.is_missed), ('kept', False))
        self.assertEqual(self.claimed(13), {invoice.name: 40.0})

    def test_payment_of_what_is_dunned(self):
        """It is not for what was promised for later, and that rests until its day."""
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice, lines=[(10, 60.0)])
        self.assertEqual(self.claimed(), {invoice.name: 40.0})
        self.pay(invoice, 40.0, self.days(3))
        self.assertEqual((promise.state, self.claimed(12)), ('open', {}))
        self.go_to(13)
        self.assertEqual((promise.state, self.claimed(13)), ('partly', {invoice.name: 60.0}))

    def test_open_now(self):
        """What was promised for later is neither open nor paid of a notice that has left it out."""
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice, lines=[(10, 60.0)])
        notice = self.dun(partner_ids=self.partner.ids).notice_ids

        def read():
            self.env.invalidate_all()
            return notice.amount_open, notice.amount_paid_since
        self.assertEqual(read(), (40.0, 0.0))
        self.pay(invoice, 30.0, self.days(3))
        self.assertEqual(read(), (10.0, 30.0))
        self.pay(invoice, 10.0, self.days(4))
        self.assertEqual((*read(), promise.state), (0.0, 40.0, 'open'))

    def test_plan_that_falls_due_as_a_whole(self):
        invoice = self.make_invoice(self.partner, 300.0)
        plan = self.promise(invoice, lines=[(10, 100.0), (20, 200.0)], falls_due_whole=True)
        self.go_to(13)
        self.assertEqual(plan.state, 'broken')
        self.assertEqual(self.claimed(13), {invoice.name: 300.0})

    def test_items_gone_meanwhile(self):
        """Reset to draft, another customer's: what is not the customer's open item is no matter of the promise."""
        invoice, other = self.make_invoice(self.partner), self.make_invoice(self.partner, 50.0)
        promise = self.promise(invoice, other)
        invoice.button_draft()
        self.run_morning()
        self.assertEqual((promise.state, promise.amount_received), ('open', 0.0))
        self.pay(other, day=self.days(1))
        self.assertEqual((promise.state, promise.amount_received), ('kept', 50.0))
        other.button_draft()
        self.go_to(13)
        invoice.action_post()
        self.run_morning()
        self.assertIn(promise.state, ('kept', 'broken'))

    def test_another_customers_meanwhile(self):
        """What she has promised lets nothing of his rest."""
        other = self.make_partner('Other', email=False)
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        invoice.button_draft()
        invoice.partner_id = other
        invoice.action_post()
        self.assertEqual(self.claimed(partner=other), {invoice.name: 100.0})
        self.pay(invoice, day=self.days(1))
        self.go_to(13)
        self.assertEqual((promise.state, promise.amount_received), ('cancelled', 0.0))

    def test_nothing_left_of_it(self):
        invoice = self.make_invoice(self.partner)
        promise = self.promise(invoice)
        invoice.button_draft()
        self.go_to(11)
        self.assertEqual(promise.state, 'open')
        self.go_to(13)
        self.assertEqual(promise.state, 'cancelled')

    def test_fault_of_one_does_not_stop_the_others(self):
        promises = [self.promise(self.make_invoice(self.make_partner(name))) for name in ('A', 'B')]
        self.env.flush_all()
        apply, faulty = self.env.registry['dunning.promise']._apply_facts, promises[0].id

        def fail(promise, facts):
            if promise.id == faulty:
                raise ValueError("fault")
            return apply(promise, facts)
        self.patch(self.env.registry['dunning.promise'], '_apply_facts', fail)
        with self.assertLogs('odoo.addons.dunning_mail.models.dunning_promise', 'ERROR'):
            self.go_to(13)
        self.assertEqual([promise.state for promise in promises], ['open', 'broken'])
        invoice = promises[0].item_ids.move_id.with_env(self.env)
        with self.assertLogs('odoo.addons.dunning_mail.models.dunning_promise', 'ERROR'):
            self.pay(invoice)
        self.assertEqual(invoice.amount_residual, 0.0, "accounting goes on")

    def test_others_in_the_way(self):
        """Each promise of the morning is tried by itself, once more where somebody writes at the same time."""
        promises = [self.promise(self.make_invoice(self.make_partner(name))) for name in ('A', 'B')]
        self.env.flush_all()
        apply, tried = self.env.registry['dunning.promise']._apply_facts, []

        def fail(promise, facts):
            tried.append(promise.id)
            if tried.count(promise.id) == 1 and promise.id == promises[1].id:
                raise psycopg2.errors.SerializationFailure
            return apply(promise, facts)
        self.patch(self.env.registry['dunning.promise'], '_apply_facts', fail)
        self.go_to(13)
        self.assertEqual([promise.state for promise in promises], ['broken', 'broken'])
        self.assertEqual(sorted(tried), sorted([promises[0].id, promises[1].id, promises[1].id]))


@tagged('post_install', '-at_install')
class TestMaking(RestCase):

    def open_dialog(self, record, user=None):
        action = record.with_user(user or self.clerk).action_dunning_promise()
        return Form(self.env[action['res_model']].with_user(user or self.clerk).with_context(**action['context']))

    def test_from_customer_invoice_and_notice(self):
        due, later = self.make_invoice(self.partner), self.make_invoice(self.partner, 30.0, due=self.days(20))
        foreign = self.make_invoice(self.partner, 10.0, currency=self.foreign)
        with self.open_dialog(self.partner) as form:
            self.assertEqual((form.amount, form.date, form.partner_id), (100.0, self.days(14), self.partner))
            self.assertEqual(form.item_ids.ids, self.receivable(due).ids)
        with self.open_dialog(later) as form:
            self.assertEqual(form.amount, 30.0)
        with self.open_dialog(foreign) as form:
            self.assertEqual((form.amount, form.currency_id), (10.0, self.foreign))
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids.filtered(
            lambda one: one.currency_id == self.currency)
        form = self.open_dialog(notice)
        self.assertEqual(form.amount, 100.0)
        promise = self.env['dunning.promise'].browse(form.save().action_make()['res_id'])
        self.assertEqual((promise.state, promise.amount, promise.user_id), ('open', 100.0, self.clerk))
        # What is promised already is not proposed once more.
        with self.open_dialog(self.partner) as form:
            self.assertEqual((form.currency_id, form.amount), (self.foreign, 10.0))

    def test_plan(self):
        """The last one takes the rest; on days on which people work."""
        self.company.resource_calendar_id = self.env['resource.calendar'].create({'name': 'Mon to Fri'})
        self.make_invoice(self.partner, 100.0)
        form = self.open_dialog(self.partner)
        form.date, form.count, form.period = '2026-11-28', 3, 'month'  # a Saturday
        self.assertEqual([line['amount'] for line in form.line_ids._records], [33.33, 33.33, 33.34])
        plan = self.env['dunning.promise'].browse(form.save().action_make()['res_id'])
        self.assertEqual(
            [(str(line.date), line.amount) for line in plan.line_ids],
            [('2026-11-30', 33.33), ('2026-12-28', 33.33), ('2027-01-28', 33.34)])
        self.assertTrue(plan.falls_due_whole)

    def test_day_that_no_calendar_has(self):
        self.make_invoice(self.partner)
        form = self.open_dialog(self.partner)
        form.date, form.count = '9999-12-31', 12
        with self.assertRaisesRegex(UserError, 'too far away'):
            form.save().action_make()

    def test_plan_by_amount(self):
        self.make_invoice(self.partner, 203.0)
        make = self.open_dialog(self.partner).save()
        make.write({'instalment': 50.0, 'period': 'week', 'line_ids': [Command.clear()]})
        plan = self.env['dunning.promise'].browse(make.action_make()['res_id'])
        self.assertEqual(plan.line_ids.mapped('amount'), [50.0, 50.0, 50.0, 50.0, 3.0])
        self.assertEqual((plan.line_ids[1].date - plan.line_ids[0].date).days, 7)

    def test_extension_names_the_old_one(self):
        invoice = self.make_invoice(self.partner)
        old = self.promise(invoice)
        with self.assertRaisesRegex(UserError, 'open promise for'):
            self.promise(invoice)
        context = old.action_extend()['context']
        form = Form(self.env['dunning.promise.make'].with_user(self.clerk).with_context(**context))
        form.date = self.days(30)
        new = self.env['dunning.promise'].browse(form.save().action_make()['res_id'])
        self.assertEqual((new.previous_id, old.state, old.amount, new.state), (old, 'cancelled', 100.0, 'open'))
        self.assertEqual(old.line_ids.date, self.days(10))

    def test_all_is_promised_already(self):
        """Another promise for it is an extension; where several cover it, a person says of which one."""
        first, second = self.make_invoice(self.partner), self.make_invoice(self.partner, 50.0)
        notice = self.make_run(partner_ids=self.partner.ids).notice_ids
        old = self.promise(first, second, stops_interest=True)
        for record in (self.partner, first, notice):
            with self.subTest(record._name), self.open_dialog(record) as form:
                self.assertEqual((form.previous_id, form.amount, form.stops_interest), (old, 150.0, True))
        form = self.open_dialog(second)
        form.date = self.days(30)
        new = self.env['dunning.promise'].browse(form.save().action_make()['res_id'])
        self.assertEqual((new.previous_id, new.item_ids.move_id, old.state), (old, first | second, 'cancelled'))
        new.action_cancel()
        one, two = self.promise(first), self.promise(second)
        with self.open_dialog(second) as form:
            self.assertEqual(form.previous_id, two)
        with self.assertRaisesRegex(UserError, 'Extend') as raised:
            self.open_dialog(self.partner)
        for promise, invoice in ((one, first), (two, second)):
            self.assertIn(f'{promise.display_name} ({invoice.name})', str(raised.exception))
        two.action_cancel()
        with self.open_dialog(self.partner) as form:
            self.assertEqual((form.previous_id.id, form.amount), (False, 50.0), "what is not promised yet")

    def test_what_was_late_stays_late(self):
        """An extension does not make it undone."""
        invoice = self.make_invoice(self.partner)
        plan = self.promise(invoice, lines=[(2, 50.0), (20, 50.0)])
        self.go_to(5)
        self.assertEqual((plan.state, self.partner.dunning_missed_count), ('open', 1))
        form = Form(self.env['dunning.promise.make'].with_user(self.clerk).with_context(
            **plan.action_extend()['context']))
        self.assertEqual(form.missed_count, 1)
        form.save().action_make()
        self.env.invalidate_all()
        self.assertEqual((plan.state, self.partner.dunning_missed_count), ('cancelled', 1))
        self.assertFalse(self.activities(plan))

    def test_what_cannot_be(self):
        invoice, other = self.make_invoice(self.partner), self.make_invoice(self.make_partner('Other'))
        foreign = self.make_invoice(self.partner, 10.0, currency=self.foreign)
        paid = self.make_invoice(self.partner)
        self.pay(paid)
        draft = self.make_invoice(self.partner)
        draft.button_draft()
        contested = self.make_invoice(self.partner)
        self.dispute(contested)
        for moves, lines, words in (
                ([invoice], [(10, 100.01)], 'only'), ([invoice], [(-1, 10.0)], 'is over'),
                ([invoice], [(10, 0.001)], 'amount'), ([invoice], [(10, -5.0)], 'amount'),
                ([invoice], [(4000, 10.0)], 'too far away'), ([invoice], [], 'a day and an amount'),
                ([invoice, other], [(10, 100.0)], 'one customer'),
                ([invoice, foreign], [(10, 100.0)], 'currencies'),
                ([paid], [(10, 100.0)], 'no open item'), ([draft], [(10, 100.0)], 'no open item'),
                ([contested], [(10, 100.0)], 'contests'), ([], [(10, 100.0)], 'Choose the items'),
                ([invoice], [(number, 0.5) for number in range(1, 122)], '120')):
            with self.subTest(words=words), self.assertRaisesRegex(UserError, words):
                self.promise(*moves, lines=lines, user=self.manager)
        self.assertFalse(self.env['dunning.promise'].search([('partner_id', '=', self.partner.id)]))

    def test_two_companies(self):
        branch = self.env['res.company'].create({'name': 'Branch', 'parent_id': self.company.id})
        self.env.cr.precommit.run()
        self.env.user.company_ids += branch
        move = self.env['account.move'].with_company(branch).create({
            'move_type': 'out_invoice', 'partner_id': self.partner.id, 'company_id': branch.id,
            'invoice_date': '2026-09-01', 'invoice_date_due': '2026-10-01', 'invoice_payment_term_id': False,
            'invoice_line_ids': [Command.create({'name': 'S', 'quantity': 1, 'price_unit': 20, 'tax_ids': False})]})
        move.action_post()
        with self.assertRaisesRegex(UserError, 'several companies'):
            self.promise(self.make_invoice(self.partner), move, user=self.env.user)
        # What she has not kept there, the head company knows too.
        self.promise(move, user=self.env.user)
        self.go_to(13)
        self.assertEqual(self.env['dunning.promise']._count_missed(self.partner, self.company), 1)
        self.assertEqual(self.partner.with_company(self.company).dunning_missed_count, 1)

    def test_limits_of_a_clerk(self):
        self.company.write({
            'dunning_promise_max_days': 30, 'dunning_promise_max_lines': 2, 'dunning_promise_max_missed': 1})
        invoice = self.make_invoice(self.partner)
        for lines in ([(31, None)], [(1, 10.0), (2, 10.0), (3, 10.0)]):
            with self.assertRaisesRegex(UserError, 'head of accounts'):
                self.promise(invoice, lines=lines)
        self.promise(invoice, lines=[(31, 10.0), (32, 10.0), (33, 10.0)], user=self.manager).action_cancel()
        self.promise(invoice, lines=[(1, None)])
        self.go_to(4)
        with self.assertRaisesRegex(UserError, 'has not kept 1'):
            self.promise(invoice)
        self.promise(invoice, user=self.manager)

    def test_limit_counts_from_the_first_promise(self):
        """Neither an extension nor a cancelled promise begins the days anew."""
        self.company.dunning_promise_max_days = 30
        invoice, other = self.make_invoice(self.partner), self.make_invoice(self.partner)
        first, second = self.promise(invoice, lines=[(30, None)]), self.promise(other, lines=[(30, None)])
        self.go_to(20)
        for lines, words in (([(31, None)], '12/24/2026, counted from 11/24/2026'), ([(51, None)], 'head of accounts')):
            with self.assertRaisesRegex(UserError, words):
                self.promise(invoice, lines=lines, previous=first)
        second.action_cancel()
        with self.assertRaisesRegex(UserError, '12/24/2026'):
            self.promise(other, lines=[(40, None)])
        self.promise(other, lines=[(29, None)])
        extended = self.promise(invoice, lines=[(50, None)], previous=first, user=self.manager)
        with self.assertRaisesRegex(UserError, 'head of accounts'):
            self.promise(invoice, lines=[(49, None)], previous=extended)

    def test_a_clerk_of_another_company(self):
        other = self.env['res.company'].create({'name': 'Other AG'})
        stranger = new_test_user(
            self.env, login='stranger', groups='account.group_account_invoice', company_id=other.id,
            company_ids=[Command.set(other.ids)])
        invoice = self.make_invoice(self.partner)
        with self.assertRaises(AccessError):
            self.promise(invoice, user=stranger)
        promise = self.promise(invoice)
        with self.assertRaises(AccessError):
            promise.with_user(stranger).action_cancel()
        with self.assertRaisesRegex(ValidationError, 'does not work in'), self.env.cr.savepoint():
            promise.with_user(self.clerk).user_id = stranger
        with self.assertRaises(AccessError):
            self.env['dunning.promise'].with_user(self.clerk).create({'partner_id': self.partner.id})

    def test_history_is_not_overwritten(self):
        promise = self.promise(self.make_invoice(self.partner), note="Friday, for sure")
        for user in (self.clerk, self.manager):
            for values in ({'note': 'x'}, {'date': TODAY}, {'state': 'kept'}, {'line_ids': [Command.clear()]}):
                with self.assertRaises(AccessError):
                    promise.with_user(user).write(values)
            with self.assertRaises(AccessError):
                promise.line_ids.with_user(user).write({'amount': 1.0})
        promise.with_user(self.clerk).user_id = self.manager

    def test_customers_merged_and_archived(self):
        other = self.make_partner('Acme Ltd', email=False)
        invoice = self.make_invoice(other)
        promise = self.promise(invoice)
        self.env['base.partner.merge.automatic.wizard'].create({})._merge((self.partner | other).ids, self.partner)
        self.env.invalidate_all()
        self.assertEqual(promise.partner_id, self.partner)
        self.assertEqual(self.claimed(), {}, "it rests for whom it belongs to now")
        self.pay(invoice, day=self.days(1))
        self.assertEqual(promise.state, 'kept')
        self.partner.active = False
        self.assertEqual(promise.partner_id.name, 'Acme')
