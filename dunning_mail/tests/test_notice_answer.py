from email.message import EmailMessage

from odoo import Command
from odoo.tests import Form, tagged

from .common import ReportCase
from .test_promise import RestCase


@tagged('post_install', '-at_install')
class TestAnswer(ReportCase, RestCase):
    """A person's answer lets the items of a notice rest for some days; a robot's does nothing."""

    def setUp(self):
        super().setUp()
        self.partner.email = 'acme@customer.test'
        self.invoice = None
        self.notice = self.send(self.partner)
        self.invoice = self.notice.line_ids.move_id.with_env(self.env)
        self.count = 0

    def answer(self, text="Die Ware ist nie angekommen.", sender='Anna <acme@customer.test>', subject='AW: Mahnung',
               **headers):
        self.count += 1
        mail = EmailMessage()
        mail['From'], mail['To'], mail['Subject'] = sender, 'mahnung@muster.test', subject
        mail['In-Reply-To'] = self.notice.message_id
        if headers.pop('has_id', True):
            mail['Message-ID'] = f'<answer-{self.count}@customer.test>'
        for name, value in headers.items():
            mail[name.replace('_', '-')] = value
        mail.set_content(f'{text}\n\nAm 24.11.2026 schrieb Muster AG:\n> Guten Tag')
        self.receive(mail.as_bytes())

    def assertAnswered(self, state, until, asked=True):
        self.assertEqual((self.notice.answer_state, self.notice.answer_rest_until), (state, until))
        self.assertEqual('answered' in self.asked(self.notice), asked)

    def test_rests_for_some_days(self):
        self.answer()
        self.assertAnswered('open', self.days(5))
        self.assertEqual((self.notice.answer_from, self.notice.answer_text),
                         ('acme@customer.test', "Die Ware ist nie angekommen."))
        activity = self.notice.activity_ids
        self.assertEqual(activity.user_id, self.clerk)
        self.assertIn('nie angekommen', str(activity.note))
        self.assertEqual(self.claimed(5), {})
        self.assertEqual([code for _name, code in self.exceptions], ['resting'])
        self.assertEqual(self.claimed(22), {self.invoice.name: 100.0})

    def test_handled(self):
        self.answer()
        self.company.dunning_answer_days = 40
        self.notice.with_user(self.clerk).action_answer_handled()
        self.assertAnswered('handled', False, asked=False)
        self.assertEqual(self.claimed(22), {self.invoice.name: 100.0})

    def test_one_answer_lets_rest_once(self):
        """What was handled rests no more, whoever writes afterwards."""
        self.company.dunning_answer_days = 40
        self.answer()
        self.notice.with_user(self.clerk).action_answer_handled()
        self.clock.move_to(f'{self.days(3)} 08:00:00')
        self.answer("Und wo bleibt die Gutschrift?")
        self.assertAnswered('open', False)
        self.assertEqual(self.claimed(22), {self.invoice.name: 100.0})
        self.clock.move_to(f'{self.days(8)} 08:00:00')
        self.answer("Hallo?", Auto_Submitted='auto-generated')
        self.assertAnswered('open', False)
        self.assertEqual(self.claimed(22), {self.invoice.name: 100.0})
        self.assertEqual(len(self.notice.activity_ids), 1)

    def test_machine_after_a_person(self):
        """What a person wrote stays in view, and goes on resting, until it is handled."""
        self.answer()
        self.answer("Ihre Meldung.", Auto_Submitted='auto-generated')
        self.assertAnswered('open', self.days(5))
        self.assertEqual(self.notice.answer_text, "Die Ware ist nie angekommen.")
        self.notice.with_user(self.clerk).action_answer_handled()
        self.answer("Ihre Meldung.", Auto_Submitted='auto-generated')
        self.assertEqual(self.notice.answer_text, "Ihre Meldung.", "nothing else waits")

    def test_person_after_a_machine(self):
        self.answer("Ihre Meldung.", Auto_Submitted='auto-generated')
        self.notice.with_user(self.clerk).action_answer_handled()
        self.answer()
        self.assertAnswered('open', self.days(5))

    def test_no_days(self):
        """0 days: a person is asked, and nothing rests, not even today."""
        self.company.dunning_answer_days = 0
        self.answer()
        self.assertAnswered('open', False)

    def test_robots_rest_nothing(self):
        away = "Ich bin bis 3. Dezember nicht im Büro."
        self.answer(away, subject='Automatische Antwort: Mahnung', Auto_Submitted='auto-replied')
        self.assertAnswered(False, False, asked=False)
        self.assertIn('nicht im', ' '.join(self.notice.message_ids.mapped('body')), "it can be read all the same")
        self.answer(away, Precedence='auto_reply')
        self.assertAnswered(False, False, asked=False)

    def test_one_sign_asks_and_rests_nothing(self):
        self.answer(Auto_Submitted='auto-generated')
        self.assertAnswered('open', False)

    def test_through_a_list(self):
        self.answer(
            Precedence='list', List_Id='<billing.customer.test>', sender='Anna via Billing <billing@customer.test>')
        self.assertAnswered('open', self.days(5))

    def test_without_a_name_of_its_own(self):
        self.answer(has_id=False)
        self.assertAnswered('open', self.days(5))

    def test_own_people(self):
        self.answer(sender=f'Petra <{self.clerk.email}>')
        self.assertAnswered(False, False, asked=False)

    def test_held_while_it_waits(self):
        """What is about to be sent once more is not, while the answer waits."""
        self.clerk.lang = 'en_US'
        self.answer()
        run = self.make_run(self.days(4), partner_ids=self.partner.ids)
        self.assertFalse(run.notice_ids)
        self.answer()
        self.notice.sudo().answer_rest_until = False
        run = self.make_run(self.days(22), partner_ids=self.partner.ids)
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.delivery_state, 'released')
        self.notice.sudo().answer_rest_until = self.days(23)
        self.run_engine()
        self.assertEqual(run.notice_ids.state, 'cancelled')
        self.assertIn('answered', run.notice_ids.delivery_info)

    def test_of_what_was_agreed_on(self):
        """Of several notices that are selected, only what is about one handles its answer."""
        self.answer()
        other = self.make_invoice(self.make_partner('Other', email=False))
        Promise = self.env['dunning.promise.make'].with_user(self.clerk).with_context(
            active_model='dunning.notice', active_ids=self.notice.ids)
        Promise.create({
            'item_ids': [Command.set(self.receivable(other).ids)],
            'amount': 100.0, 'date': self.days(5), 'count': 1}).action_make()
        self.assertAnswered('open', self.days(5))

    def test_what_a_person_does_about_it(self):
        notice = self.notice.with_user(self.clerk)
        self.answer("Wir zahlen am Freitag.")
        action = notice.action_dunning_promise()
        make = Form(self.env[action['res_model']].with_user(self.clerk).with_context(**action['context'])).save()
        promise = self.env['dunning.promise'].browse(make.action_make()['res_id'])
        self.assertAnswered('handled', False, asked=False)
        self.assertEqual(notice.promise_ids, promise)
        promise.with_user(self.clerk).action_cancel()
        self.answer("Die Hälfte ist kaputt.")
        action = notice.action_dunning_dispute()
        with Form(self.env['dunning.dispute'].with_user(self.clerk).with_context(**action['context'])) as form:
            form.reason_id = self.reason
        self.assertAnswered('handled', False, asked=False)
        self.answer("Ich bin im Spital.")
        action = notice.action_dunning_hold()
        with Form(self.env['dunning.hold'].with_user(self.clerk).with_context(**action['context'])) as form:
            form.reason = 'Spital'
        form.record.action_apply()
        self.assertAnswered('handled', False, asked=False)
        self.assertEqual((self.partner.dunning_hold_until, self.partner.dunning_hold_reason), (self.days(14), 'Spital'))
