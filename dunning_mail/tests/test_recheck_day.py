"""A level counts from the day on which the notice left; what leaves late is dated anew."""

from odoo.tests import tagged

from .common import TODAY, DunningMailCommon, RecheckCase, read_pdf


@tagged('post_install', '-at_install')
class TestDays(RecheckCase):
    """A level counts from the day on which the notice left, and what leaves late is dated anew."""

    def test_letter_handed_out_late_is_dated_anew(self):
        notice = self.issue('Acme')
        self.go_to(9)
        text, _words = self.hand_out(notice.run_id)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(9), self.days(19)))
        self.assertEqual(notice.line_ids.days_overdue, 54 + 9, "counted to the day in the letter")
        self.assertIn('3. Dezember 2026', text)
        self.assertIn('13. Dezember 2026', text)
        self.assertNotIn('24. November 2026', text)
        notice.run_id.action_mark_printed()
        self.assertEqual(notice.date_left, self.days(9))

    def test_within_three_days_it_keeps_its_date(self):
        notice = self.issue('Acme')
        sha256 = notice.document_sha256
        self.go_to(3)
        self.hand_out(notice.run_id)
        self.assertEqual((notice.date, notice.document_sha256), (TODAY, sha256))
        self.go_to(4)
        self.hand_out(notice.run_id)
        self.assertEqual(notice.date, self.days(4))

    def test_deadline_of_a_person_stays_as_long_as_it_is_not_over(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        notice = run.notice_ids
        notice.date_deadline = self.days(45)
        run.action_print_and_send()
        self.go_to(9)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(9), self.days(45)))
        self.go_to(50)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(50), self.days(60)))

    def test_deadline_follows_the_level_though_its_days_were_changed(self):
        """Whether a person set it is noted, and not read from the days that the level has by now."""
        late, set_by_hand = self.make_partner('Late', email=False), self.make_partner('Set', email=False)
        for partner in (late, set_by_hand):
            self.make_invoice(partner)
        run = self.make_run(partner_ids=[late.id, set_by_hand.id])
        notice, other = self.in_order(run, [late, set_by_hand])
        other.date_deadline = other.date_deadline
        other.date_deadline = self.days(20)
        run.action_print_and_send()
        self.level_1.deadline_days = 20
        self.go_to(5)
        self.hand_out(run)
        self.assertEqual((notice.date, notice.date_deadline), (self.days(5), self.days(25)))
        self.assertEqual((other.date, other.date_deadline), (self.days(5), self.days(20)))

    def test_time_zone_of_who_asks_counts_for_nothing(self):
        """What day it is must not depend on whose browser asked."""
        self.company.partner_id.tz = False
        self.clerk.tz = False
        self.clock.move_to('2026-11-24 12:30:00')
        for tz in ('Pacific/Auckland', 'America/Los_Angeles', False):
            company = self.company.with_user(self.clerk).with_context(tz=tz)
            self.assertEqual(str(company._get_dunning_day()), '2026-11-24', tz)

    def test_printed_on_the_last_days(self):
        """Handed out at once, posted on day 9 of 10: the next level counts from there."""
        notice = self.issue('Acme')
        notice.run_id._hand_out_letters()
        self.go_to(9)
        notice.run_id.action_mark_printed()
        self.assertEqual((notice.date, notice.date_left), (TODAY, self.days(9)))
        item = notice.line_ids.move_line_id
        self.assertEqual((item.dunning_level_id, item.dunning_last_date), (self.level_1, self.days(9)))
        partner_ids = notice.partner_id.ids
        self.assertFalse(self.make_run(self.days(11), partner_ids=partner_ids).notice_ids)
        self.assertFalse(self.make_run(self.days(9 + 14), partner_ids=partner_ids).notice_ids)
        second = self.make_run(self.days(9 + 15), partner_ids=partner_ids).notice_ids
        self.assertEqual((second.level_id, second.line_ids.previous_date), (self.level_2, self.days(9)))
        self.assertEqual(second.line_ids.previous_notice_id, notice)

    def test_draft_issued_late(self):
        partner = self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        run = self.make_run(partner_ids=partner.ids)
        self.go_to(5)
        run.action_print_and_send()
        self.assertEqual((run.notice_ids.date, run.notice_ids.date_deadline), (self.days(5), self.days(15)))
        self.assertEqual(run.notice_ids.line_ids.days_overdue, 54 + 5)

    def test_texts_stay_those_of_the_issue(self):
        text = self.level_1._get_text('de_DE')
        text.letter_title = 'Freundliche Erinnerung {{ object.name }}'
        notice = self.issue('Acme')
        text.letter_title = 'Letzte Warnung'
        text.letter_intro = '<p>Ganz andere Worte.</p>'
        self.pay_part(notice)
        printed, _words = self.hand_out(notice.run_id)
        self.assertIn(f'Freundliche Erinnerung {notice.name}', printed)
        self.assertIn('60,00', printed)
        self.assertNotIn('Letzte Warnung', printed)
        self.assertNotIn('andere Worte', printed)
        other = self.issue('Other')
        self.assertIn('Letzte Warnung', read_pdf(other.document_id.raw), "what is issued now says what they say now")

    def test_texts_that_were_deleted(self):
        notice = self.issue('Acme')
        self.drop_texts(self.level_1, 'de')
        self.pay_part(notice)
        text, words = self.hand_out(notice.run_id)
        self.assertIn('60,00', text)
        self.assertIn('Made anew', words[0])


@tagged('post_install', '-at_install')
class TestTimeZones(DunningMailCommon):
    """Today is the company's day, for buttons, jobs and engine alike."""

    def setUp(self):
        super().setUp()
        self.company.partner_id.tz = False
        self.clerk.tz = False
        self.clerk.lang = 'en_US'

    def at(self, moment):
        self.clock.move_to(moment)

    def test_helper(self):
        company = self.company
        for moment, tz, day in (
                ('2026-07-01 22:30:00', 'Europe/Zurich', '2026-07-02'),
                ('2026-07-01 21:30:00', 'Europe/Zurich', '2026-07-01'),
                ('2026-07-01 12:30:00', 'Pacific/Auckland', '2026-07-02'),
                ('2026-07-01 05:30:00', 'America/Los_Angeles', '2026-06-30'),
                ('2026-07-01 23:59:00', False, '2026-07-01')):
            self.at(moment)
            company.partner_id.tz = tz
            self.assertEqual(str(company.sudo()._get_dunning_day()), day, (moment, tz))
            self.assertEqual(str(company.with_user(self.env.ref('base.user_root'))._get_dunning_day()), day)
        self.at('2026-07-01 12:30:00')
        self.clerk.tz = 'Pacific/Auckland'
        self.assertEqual(str(company._get_dunning_day(user=self.clerk)), '2026-07-02', "the responsible user's")
        company.partner_id.tz = 'Europe/Zurich'
        self.assertEqual(str(company._get_dunning_day(user=self.clerk)), '2026-07-01', "the company's comes first")

    def test_hold_that_ended_yesterday(self):
        """At half past midnight in Zürich yesterday's hold is over, though it is still yesterday in UTC."""
        for tz, moment in (('Europe/Zurich', '2026-11-24 23:30:00'), ('Pacific/Auckland', '2026-11-24 13:00:00')):
            with self.subTest(tz), self.env.cr.savepoint() as savepoint:
                self.at('2026-11-24 08:00:00')
                self.company.partner_id.tz = 'Europe/Zurich'
                notice = self.release(f'Acme {tz[:6]}')
                self.company.partner_id.tz = tz
                notice.partner_id.dunning_hold_until = '2026-11-24'
                self.at(moment)
                self.run_engine()
                self.assertEqual(notice.status, 'sent', notice.delivery_info)
                self.assertEqual(str(notice.date_left), '2026-11-25')
                savepoint.rollback()
                self.env.invalidate_all()

    def test_hold_that_is_not_over_yet(self):
        self.clerk.tz = 'America/Los_Angeles'
        notice = self.release('Acme')
        notice.partner_id.dunning_hold_until = '2026-11-24'
        self.at('2026-11-25 05:00:00')
        self.run_engine()
        self.assertEqual(notice.state, 'cancelled', "it is still the evening of the 24th there")

    def test_run_and_buttons(self):
        self.company.partner_id.tz = 'Pacific/Auckland'
        self.make_invoice(self.make_partner('Acme', email=False))
        self.at('2026-11-24 12:00:00')
        run = self.env['dunning.run'].with_user(self.clerk).create({})
        self.assertEqual(str(run.date), '2026-11-25')
        run.action_generate_notices()
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.status, 'paper')
        run._hand_out_letters()
        run.action_mark_printed()
        self.assertEqual(str(run.notice_ids.date_left), '2026-11-25')

    def test_schedule(self):
        self.company.partner_id.tz = 'Pacific/Auckland'
        schedule = self.env['dunning.schedule'].create({
            'name': 'Weekly', 'user_id': self.clerk.id, 'next_date': '2026-11-25'})
        cron = self.env.ref('dunning_mail.ir_cron_schedule')
        for moment, count in (('2026-11-24 10:00:00', 0), ('2026-11-24 12:00:00', 1)):
            self.at(moment)
            with self.enter_registry_test_mode():
                self.env.flush_all()
                cron.method_direct_trigger()
            self.env.invalidate_all()
            self.assertEqual(len(schedule.run_ids), count, moment)
        self.assertEqual(str(schedule.run_ids.date), '2026-11-25')
        self.assertEqual(str(schedule.next_date), '2026-12-02')
