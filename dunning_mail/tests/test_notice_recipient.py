"""Whose address stands on the letter."""

from odoo.exceptions import ValidationError
from odoo.tests import tagged

from .common import OneCustomerCase, read_pdf


@tagged('post_install', '-at_install')
class TestRecipient(OneCustomerCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Drafts say nothing of their account.
        cls.env['res.partner.bank'].create({
            'acc_number': 'CH9300762011623852957', 'partner_id': cls.company.partner_id.id})

    def test_recipient_of_another_customer(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        with self.assertRaises(ValidationError):
            notice.recipient_id = self.make_partner('Bravo')
        with self.assertRaises(ValidationError):
            notice.amount_fee = -500
        with self.assertRaises(ValidationError):
            notice.date_deadline = '2020-01-01'

    def test_recipient_who_left(self):
        contact = self.make_partner('Contact', parent_id=self.partner.id, type='dunning', is_company=False)
        self.make_invoice(self.partner)
        run = self.make_run()
        self.assertEqual(run.notice_ids.recipient_id, contact)
        contact.parent_id = self.make_partner('Bravo')
        run.action_print_and_send()
        self.assertEqual(run.notice_ids.recipient_id, self.partner)

    def test_address_of_another_company(self):
        other = self.env['res.company'].create({'name': 'Other'})
        self.make_partner('Foreign', parent_id=self.partner.id, type='dunning', is_company=False, company_id=other.id)
        self.make_invoice(self.partner)
        self.assertEqual(self.make_run().notice_ids.recipient_id, self.partner)

    # === WHOM THE INVOICES NAME === #

    def test_contact_that_all_invoices_name(self):
        """They were written to him, in his language: so is the notice."""
        geneva = self.make_contact(self.partner, 'Genève', 'contact', lang='fr_FR', city='Genève')
        lausanne = self.make_contact(self.partner, 'Lausanne', 'other', lang='fr_FR', city='Lausanne')
        self.make_contact(self.partner, 'Rechnungen', 'invoice', city='Bern')
        first, second = self.make_invoice(geneva), self.make_invoice(geneva)
        self.assertEqual(first.partner_id, geneva)
        run = self.make_run()
        self.assertEqual((run.notice_ids.recipient_id, run.notice_ids.lang), (geneva, 'fr_FR'))
        # two of them: today's rule
        third = self.make_invoice(lausanne)
        run.action_generate_notices()
        self.assertEqual(run.notice_ids.recipient_id.name, 'Rechnungen')
        self.assertEqual(run.notice_ids.lang, 'de_DE')
        # a dunning address comes first, whomever the invoices name
        self.pay(third)
        dunning = self.make_contact(self.partner, 'Mahnungen', 'dunning', lang='it_IT')
        run.action_generate_notices()
        self.assertEqual((run.notice_ids.recipient_id, run.notice_ids.lang), (dunning, 'de_DE'))
        self.assertEqual(run.notice_ids.due_line_ids.move_id, first | second)

    def test_contact_who_is_none_any_more(self):
        """One that was archived, was given to another company or went to another customer is written to no more."""
        other = self.env['res.company'].create({'name': 'Andere'})
        for index, values in enumerate(({'active': False}, {'company_id': other.id}, {
                'parent_id': self.make_partner('Bravo').id})):
            with self.subTest(values):
                partner = self.make_partner(f'Kunde {index}')
                contact = self.make_contact(partner, f'Kontakt {index}', 'contact')
                self.make_invoice(contact)
                contact.write(values)
                notice = self.make_run(partner_ids=partner.ids).notice_ids
                self.assertEqual(notice.recipient_id, partner)

    def test_contact_of_the_invoices_after_the_recipient_left(self):
        geneva = self.make_contact(self.partner, 'Genève', 'contact', lang='fr_FR')
        self.make_invoice(geneva)
        notice = self.make_run().notice_ids
        other = self.make_contact(self.partner, 'Anna', 'contact')
        notice.recipient_id = other
        other.active = False
        notice.run_id.action_print_and_send()
        self.assertEqual((notice.recipient_id, notice.lang), (geneva, 'fr_FR'))

    def test_recipient_left_and_nobody_speaks_his_language(self):
        """Before the notice is issued, and after: text and letter are in the language of whom they go to now."""
        for is_issued in (False, True):
            with self.subTest(is_issued=is_issued):
                partner = self.make_partner(f'Kunde {is_issued}', email=False, lang='de_DE')
                geneva = self.make_contact(partner, 'Genève', 'contact', lang='fr_FR', email=False)
                self.make_invoice(geneva)
                run = self.make_run(partner_ids=partner.ids)
                notice = run.notice_ids
                self.assertEqual((notice.recipient_id, notice.lang), (geneva, 'fr_FR'))
                if is_issued:
                    run.action_print_and_send()
                geneva.active = False
                if not is_issued:
                    run.action_print_and_send()
                text = read_pdf(run._hand_out_letters()[0])
                self.assertEqual((notice.recipient_id, notice.lang), (partner, 'de_DE'))
                self.assertIn('Zahlungserinnerung', text)
                self.assertNotIn('Rappel', text)

    def test_recipient_chosen_by_hand_brings_his_language(self):
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        contact = self.make_contact(self.partner, 'Jean', 'contact', lang='fr_FR')
        silent = self.make_contact(self.partner, 'Stumm', 'contact', lang=False)
        notice.recipient_id = contact
        self.assertEqual(notice.lang, 'fr_FR')
        notice.recipient_id = silent
        self.assertEqual(notice.lang, 'de_DE', "the customer's")
        notice.write({'recipient_id': contact.id, 'lang': 'it_IT'})
        self.assertEqual(notice.lang, 'it_IT', "a language chosen with him stays")
        self.drop_texts(self.level_1, 'fr')
        notice.write({'recipient_id': self.partner.id})
        notice.write({'recipient_id': contact.id})
        self.assertEqual(notice.lang, 'de_DE', "there are no texts in his")

    def test_contact_without_address(self):
        """The lines that he lacks are the company's: on letter, cover list and slip, and where letters are sorted."""
        self.partner.write({'street': 'Postweg 5', 'zip': '9000', 'city': 'St. Gallen', 'email': False})
        contact = self.env['res.partner'].create({
            'name': 'Buchhaltung', 'parent_id': self.partner.id, 'type': 'dunning', 'email': False})
        early = self.make_partner('Bern AG', zip='3000', city='Bern', email=False)
        self.make_invoice(self.partner)
        self.make_invoice(early)
        run = self.make_run()
        notice = run.notice_ids.filtered(lambda notice: notice.recipient_id == contact)
        letter = self.env['report.dunning_mail.letter']
        lines = letter._get_address_lines(notice)
        self.assertEqual(lines, ['Acme', 'Buchhaltung', 'Postweg 5', '9000 St. Gallen'])
        self.assertFalse(notice.hints)
        run.action_print_and_send()
        self.assertEqual(run._get_letters().mapped('partner_id.name'), ['Bern AG', 'Acme'])
        rows = self.env['report.dunning_mail.print_list']._get_report_values(run.ids)['rows']
        self.assertEqual([row['town'] for row in rows], ['3000 Bern', '9000 St. Gallen'])
        self.assertEqual([row['customer'] for row in rows], ['Bern AG', 'Acme'])
        self.assertEqual([row['recipient'] for row in rows], ['', 'Buchhaltung'])
        # the company moves: the letter is not true any more
        self.assertEqual(notice._recheck()[notice.id].code, 'same')
        self.partner.street = 'Neuweg 1'
        self.assertEqual(notice._recheck()[notice.id].code, 'changed')

    def test_contact_with_half_an_address(self):
        """A street of one town is never put before another town."""
        self.partner.write({'street': 'Postweg 5', 'zip': '9000', 'city': 'St. Gallen', 'email': False})
        self.make_invoice(self.partner)
        notice = self.make_run().notice_ids
        letter = self.env['report.dunning_mail.letter']
        for values, expected, is_hinted in (
                ({'street': 'Gartenweg 2'}, ['Gartenweg 2', '9000 St. Gallen'], False),
                ({'city': 'St. Gallen'}, ['Postweg 5', '9000 St. Gallen'], False),
                ({'zip': '1200', 'city': 'Genève'}, ['1200 Genève'], True),
                ({'country_id': self.env.ref('base.fr').id}, ['FRANCE'], True)):
            with self.subTest(values):
                contact = self.env['res.partner'].create({
                    'name': 'Buchhaltung', 'parent_id': self.partner.id, 'type': 'other', 'email': False, **values})
                if 'country_id' not in values:
                    contact.country_id = False
                notice.recipient_id = contact
                self.assertEqual(letter._get_address_lines(notice)[2:], expected)
                self.assertEqual(bool(notice.hints), is_hinted, notice.hints)

    def test_no_address_at_all(self):
        """A letter that nobody can deliver: the draft says so, if it is to be one."""
        partner = self.make_partner('Nirgends AG', street=False, zip=False, city=False, country_id=False, email=False)
        self.make_invoice(partner)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        self.assertIn('Nirgends AG', notice.hints)
        partner.write({'street': 'Weg 1', 'zip': '3000', 'city': 'Bern'})
        self.assertFalse(notice.hints)
