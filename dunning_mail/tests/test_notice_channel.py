"""By mail or on paper, and to which addresses."""

from odoo.tests import tagged

from .common import IssueCase


@tagged('post_install', '-at_install')
class TestChannel(IssueCase):
    """By mail or on paper, and the reason why."""

    def assertPaper(self, notice, words):
        notice.env.invalidate_all()
        self.assertEqual(notice.channel, 'paper')
        self.assertIn(words, notice.channel_info)

    def assertMail(self, notice, *addresses):
        notice.env.invalidate_all()
        channel, info, current = notice._choose_channel()
        self.assertEqual((channel, info, current), ('mail', '', list(addresses)))
        self.assertEqual((notice.channel, notice.channel_info), ('mail', ', '.join(addresses)))

    def test_mail(self):
        notice = self.propose()
        self.assertMail(notice, 'acme@customer.test')
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.delivery_state, notice.email_to, notice.provider_id),
                         ('released', 'acme@customer.test', self.provider))
        self.assertFalse(notice.printed_at)

    def test_each_reason_for_paper(self):
        notice = self.propose()
        partner = self.customer(notice)
        self.level_1.send_by_mail = False
        self.assertPaper(notice, "This dunning level goes on paper")
        self.level_1.send_by_mail = True
        partner.dunning_channel = 'paper'
        self.assertPaper(notice, "The customer wants paper")
        partner.dunning_channel = 'level'
        for email in (False, '', ' '):
            partner.email = email
            self.assertPaper(notice, "There is no mail address")
        for email in ('not an address', 'acme', 'acme@', '@customer.test', 'acme@localhost', 'müller@customer.test',
                      'hans. muster@customer.test', 'a@b@customer.test', 'acme@-x-.test'):
            partner.email = email
            self.assertPaper(notice, email)
            self.assertIn("Acme", notice.channel_info)
        for email in ('acme@customer.test\nBcc: other@customer.test', 'acme\r\n@customer.test'):
            partner.email = email
            self.assertPaper(notice, "line break")
            self.assertNotIn('\n', notice.channel_info)
        partner.email = 'acme@customer.test'
        partner._set_dunning_refused('550 5.1.1 no such user')
        self.assertPaper(notice, '550 5.1.1 no such user')
        self.assertIn('acme@customer.test', notice.channel_info)
        partner.action_clear_dunning_refused()
        self.assertMail(notice, 'acme@customer.test')
        self.provider.active = False
        self.assertPaper(notice, "has been archived")
        self.company.dunning_provider_id = False
        self.assertPaper(notice, "No service provider")

    def test_reason_stands_on_the_issued_notice(self):
        notice = self.propose(email=False)
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.state, notice.delivery_state), ('issued', 'paper'))
        self.assertEqual((notice.delivery_info, notice.channel_info), ("There is no mail address.",) * 2)
        self.assertFalse(notice.email_to or notice.provider_id)
        log = notice.delivery_log_ids
        self.assertEqual((log.state_from or '', log.state_to, log.text), (
            '', 'paper', "On paper. There is no mail address."))

    def test_without_provider_the_run_says_so(self):
        self.company.dunning_provider_id = False
        notice = self.propose()
        self.assertIn("all notices go on paper", notice.run_id.provider_warning)
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.delivery_state, 'paper')

    def test_several_addresses_in_the_field(self):
        notice = self.propose()
        for email in ('a@customer.test, b@customer.test', 'a@customer.test; b@customer.test',
                      'Anna <a@customer.test>, "Bern, Hans" <b@customer.test>',
                      'A@customer.test,a@CUSTOMER.test,b@customer.test', 'a@customer.test\u00a0b@customer.test',
                      'a@customer.test b@customer.test'):
            self.customer(notice).email = email
            with self.subTest(email=email):
                self.assertMail(notice, 'a@customer.test', 'b@customer.test')

    def test_characters_that_nobody_sees(self):
        """What copying brings along is left out; what cannot be is named."""
        notice = self.propose()
        for email in ('a\u200bcme@customer.test', '\ufeffacme@customer.test', 'acme@cus\u00adtomer.test',
                      '\u202aacme@customer.test\u202c', 'Anna <acme@customer.test\u200d>', 'acme@customer.test\u2060'):
            self.customer(notice).email = email
            with self.subTest(email=ascii(email)):
                self.assertMail(notice, 'acme@customer.test')
        for email, name in (('\u0430cme@customer.test', 'CYRILLIC SMALL LETTER A'),
                            ('acme\uff20customer.test', 'FULLWIDTH COMMERCIAL AT'),
                            ('ac\u2019me@customer.test', 'RIGHT SINGLE QUOTATION MARK')):
            self.customer(notice).email = email
            with self.subTest(email=ascii(email)):
                self.assertPaper(notice, name)
                self.assertIn(f'U+{ord(name and next(c for c in email if ord(c) > 127)):04X}', notice.channel_info)

    def test_slash_between_addresses(self):
        """It cannot be in a domain, but it may stand in what comes before it."""
        notice = self.propose()
        for email in ('a@customer.test/b@customer.test', 'a@customer.test / b@customer.test',
                      'a@customer.test /b@customer.test'):
            self.customer(notice).email = email
            with self.subTest(email=email):
                self.assertMail(notice, 'a@customer.test', 'b@customer.test')
        self.customer(notice).email = 'buero/bern@customer.test'
        self.assertMail(notice, 'buero/bern@customer.test')
        self.customer(notice).email = 'a@customer.test/bern'
        self.assertPaper(notice, 'a@customer.test/bern')

    def test_international_domain(self):
        notice = self.propose(email='info@müller.test')
        self.assertMail(notice, 'info@xn--mller-kva.test')

    def test_blacklist_does_not_matter(self):
        """Who wants no newsletters owes all the same."""
        notice = self.propose()
        self.env['mail.blacklist']._add('acme@customer.test')
        self.assertMail(notice, 'acme@customer.test')

    def test_whose_address(self):
        partner = self.make_partner('Acme')
        self.make_invoice(partner)
        invoice_address = self.make_partner('Rechnung', parent_id=partner.id, type='invoice', is_company=False)
        dunning_address = self.make_partner('Mahnung', parent_id=partner.id, type='dunning', is_company=False)
        notice = self.make_run().notice_ids
        self.assertMail(notice, 'mahnung@customer.test')
        dunning_address.email = False
        self.assertMail(notice, 'rechnung@customer.test')
        self.assertEqual(notice.recipient_id, dunning_address, "the postal address stays")
        invoice_address.email = 'no address'
        self.assertMail(notice, 'acme@customer.test')
        invoice_address.email = 'rechnung@customer.test'
        invoice_address._set_dunning_refused('550')
        self.assertMail(notice, 'acme@customer.test')
        partner.email = False
        self.assertPaper(notice, 'rechnung@customer.test')

    def test_language_and_recipient_of_a_draft_can_be_changed(self):
        notice = self.propose()
        contact = self.make_partner('Buchhaltung', parent_id=notice.partner_id.id, is_company=False)
        notice.write({'recipient_id': contact.id, 'lang': 'fr_FR'})
        self.assertMail(notice, 'buchhaltung@customer.test')
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.email_to, 'buchhaltung@customer.test')
        self.assertIn('Buchhaltung', self.text(notice))
