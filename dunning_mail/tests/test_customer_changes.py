"""What a clerk says of a customer or a contact counts, also when they are merged, moved, renamed or shared."""

from odoo import Command
from odoo.tests import new_test_user, tagged

from odoo.addons.dunning_mail.tools import mail_header

from .common import DunningCommon, DunningMailCommon, RecheckCase, read_pdf


@tagged('post_install', '-at_install')
class TestContacts(DunningCommon):

    def test_hold_on_the_contact_of_the_invoice(self):
        partner = self.make_partner('Acme', email=False)
        contact = self.make_contact(partner)
        invoice, other = self.make_invoice(contact), self.make_invoice(partner)
        contact.write({'dunning_hold_until': self.days(30), 'dunning_hold_reason': 'Reklamation'})
        run = self.make_run(partner_ids=partner.ids)
        self.assertEqual(run.notice_ids.line_ids.move_id, other, "the others are dunned")
        exception = run.exception_ids.filtered(lambda one: one.move_line_id.move_id == invoice)
        self.assertEqual(exception.reason, 'item_hold')
        self.assertIn('Reklamation', exception.description)

    def test_hold_of_a_customer_who_became_a_contact(self):
        group, partner = self.make_partner('Group', email=False), self.make_partner('Acme', email=False)
        self.make_invoice(partner)
        partner.dunning_hold_until = self.days(60)
        partner.write({'parent_id': group.id, 'is_company': False})
        run = self.make_run()
        self.assertFalse(run.notice_ids)
        self.assertEqual(run.exception_ids.filtered(lambda one: one.partner_id == group).reason, 'item_hold')

    def test_hold_that_is_over(self):
        partner = self.make_partner('Acme', email=False)
        contact = self.make_contact(partner)
        self.make_invoice(contact)
        contact.dunning_hold_until = self.days(-1)
        self.assertEqual(self.make_run(partner_ids=partner.ids).notice_ids.amount_total, 100.0)

    def test_notices_of_a_customer_who_became_a_contact(self):
        """They stand on the group's button; those of a company of the group that is a customer itself do not."""
        group, partner = self.make_partner('Group', email=False), self.make_partner('Acme', email=False)
        daughter = self.make_partner('Daughter', email=False, parent_id=group.id)
        for one in (partner, daughter):
            self.make_invoice(one)
            self.dun(partner_ids=one.ids)
        notice = self.env['dunning.notice'].search([('partner_id', '=', partner.id)])
        partner.write({'parent_id': group.id, 'is_company': False})
        self.env.invalidate_all()
        self.assertEqual((group | partner | daughter).mapped('dunning_notice_count'), [1, 1, 1])
        action = group.action_open_dunning_notices()
        self.assertEqual(self.env['dunning.notice'].search(action['domain']), notice)


@tagged('post_install', '-at_install')
class TestContactsOfMail(DunningMailCommon, RecheckCase):

    def propose(self, partner):
        self.make_invoice(partner)
        return self.make_run(partner_ids=partner.ids).notice_ids

    def test_contact_that_wants_paper(self):
        partner = self.make_partner('Acme')
        self.make_contact(partner).dunning_channel = 'paper'
        notice = self.propose(partner)
        self.assertEqual((notice.channel, notice.channel_info), ('paper', "The customer wants paper."))

    def test_mail_address_of_a_contact_of_another_company(self):
        """An address that another company keeps is not used, and a contact of its own is none of the customer's."""
        other = self.env['res.company'].create({'name': 'Andere AG'})
        kept_by_other, has_daughter = self.make_partner('Acme', email=False), self.make_partner('Group', email=False)
        self.make_contact(kept_by_other, email='secret@other.test', company_id=other.id)
        self.make_partner('Daughter', email='daughter@other.test', parent_id=has_daughter.id, type='invoice')
        for partner in (kept_by_other, has_daughter):
            with self.subTest(partner.name):
                notice = self.propose(partner)
                self.assertEqual((notice.channel, notice.channel_info), ('paper', "There is no mail address."))

    def test_recipient_given_to_another_company(self):
        other = self.env['res.company'].create({'name': 'Andere AG'})
        partner = self.make_partner('Acme', email=False)
        contact = self.make_contact(partner, 'Anna', 'dunning', email=False)
        self.make_invoice(partner)
        notice = self.make_run(partner_ids=partner.ids).notice_ids
        notice.run_id.action_print_and_send()
        self.assertEqual(notice.recipient_id, contact)
        contact.company_id = other
        text, _words = self.hand_out(notice.run_id)
        self.assertNotIn('Anna', text)
        self.assertEqual(notice.recipient_id, partner)
        self.assertIn("belongs to another company", notice.delivery_log_ids.sorted('id')[-2].text)

    def test_addresses_that_are_no_addresses(self):
        """What can be read out of a slip of the finger may be somebody else's address."""
        notice = self.propose(self.make_partner('Acme'))
        for text, usable in (
                ('hans.muster@customer.test', ['hans.muster@customer.test']),
                ('hans@customer.test; ANNA@Customer.test', ['hans@customer.test', 'anna@customer.test']),
                ('hans@customer.test,anna@customer.test,', ['hans@customer.test', 'anna@customer.test']),
                ('"Muster, Hans" <hans@customer.test>', ['hans@customer.test']),
                ('Muster, Hans <hans@customer.test>', ['hans@customer.test']),
                ('hans. muster@customer.test', []), ('hans,muster@customer.test', []),
                ('hans@customer.test oder anna', []), ('hans@customer', []), ('mailto:hans@customer.test', [])):
            self.assertEqual(notice._parse_addresses(text), usable, text)
            notice.partner_id.with_env(self.env).email = text
            self.assertEqual(notice.channel, 'mail' if usable else 'paper', text)

    def test_name_changed_before_it_leaves(self):
        """Mail and letter bear the name that the customer has when they leave."""
        mailed, = self.release('Acme')
        mailed.partner_id.name = 'Nova AG'
        self.run_engine()
        self.assertEqual(mailed.status, 'sent')
        self.assertIn('Nova AG', self.read_letter(mailed))
        self.assertIn("Name or address of Nova AG has changed.", '\n'.join(mailed.delivery_log_ids.mapped('text')))
        [letter] = self.issue('Bäcker')
        letter.partner_id.with_env(self.env).write({'street': 'Neugasse 7'})
        self.assertIn('Neugasse 7', self.hand_out(letter.run_id)[0])

    def read_letter(self, notice):
        [mail] = self.mails()
        [letter] = [part for part in mail.iter_attachments() if part.get_content_type() == 'application/pdf']
        self.assertEqual(letter.get_content(), notice.document_id.raw)
        return read_pdf(letter.get_content())

    def test_address_behind_the_clerk(self):
        """A clerk need not be allowed to see the address that a notice of hers goes to."""
        partner = self.make_partner('Acme', email=False)
        private = self.make_contact(partner, 'Privat', email='privat@customer.test')
        self.env['ir.rule'].create({
            'name': 'Private addresses', 'model_id': self.env['ir.model']._get_id('res.partner'),
            'domain_force': f"[('id', '!=', {private.id})]", 'groups': [
                Command.link(self.env.ref('account.group_account_invoice').id)]})
        notice = self.propose(partner).with_user(self.clerk)
        self.assertEqual((notice.channel, notice.channel_info), ('mail', 'privat@customer.test'))
        notice.run_id.action_print_and_send()
        self.assertFalse(notice.problem)
        self.run_engine()
        self.assertEqual(notice.email_to, 'privat@customer.test')
        self.assertEqual(notice.status, 'sent')


@tagged('post_install', '-at_install')
class TestMerge(DunningMailCommon):

    def merge(self, *partners):
        """Merge the last ones into the first, as an administrator does it in Contacts."""
        wizard = self.env['base.partner.merge.automatic.wizard'].create({})
        wizard._merge([partner.id for partner in partners], partners[0], extra_checks=False)
        self.env.invalidate_all()

    def test_run_filter(self):
        first, second = self.make_partner('Acme'), self.make_partner('Acme (2)')
        for partner in (first, second):
            self.make_invoice(partner)
        both = self.make_run(partner_ids=[first.id, second.id], generate=False)
        only = self.make_run(partner_ids=second.ids, generate=False)
        self.merge(first, second)
        self.assertFalse(second.exists())
        self.assertEqual((both.partner_ids, only.partner_ids), (first, first), "it does not become a run for everybody")
        only.action_generate_notices()
        self.assertEqual(only.notice_ids.amount_total, 200.0)

    def test_run_filter_with_an_archived_customer(self):
        first, second, archived = (self.make_partner(name) for name in ('Acme', 'Acme (2)', 'Gone'))
        run = self.make_run(partner_ids=[second.id, archived.id], generate=False)
        archived.active = False
        self.merge(first, second)
        self.assertEqual(run.with_context(active_test=False).partner_ids, first | archived)

    def test_hold_channel_and_dead_address(self):
        def made(name, **values):
            partner = self.make_partner(name)
            partner.write(values)
            return partner

        first = made('Acme', email='good@customer.test', dunning_hold_until=self.days(-10))
        second = made('Acme (2)', email='dead@customer.test', dunning_channel='paper',
                      dunning_hold_until=self.days(30), dunning_hold_reason='Ratenzahlung')
        second.sudo()._set_dunning_refused('550 5.1.1 No such user')
        self.merge(first, second)
        self.assertEqual(
            (first.dunning_hold_until, first.dunning_hold_reason, first.dunning_channel),
            (self.days(30), 'Ratenzahlung', 'paper'))
        self.assertFalse(first.dunning_email_refused, "the address that is kept is a good one")
        third = made('Acme (3)', email='dead@customer.test')
        fourth = made('Acme (4)', email='Dead@customer.test')
        fourth.sudo()._set_dunning_refused('550 5.1.1 No such user')
        self.merge(third, fourth)
        self.assertTrue(third.dunning_email_refused)
        self.assertIn('No such user', third.dunning_email_refused_reason)

    def test_debtor_kind(self):
        """One who is said to be a consumer, stays one: she owes less."""
        other = self.env['res.company'].create({'name': 'Other AG'})
        for kept, gone, merged in (
                ('business', 'consumer', 'consumer'), ('auto', 'business', 'business'), (False, 'auto', 'auto'),
                ('consumer', False, 'consumer'), (False, False, False)):
            first, second = self.make_partner('Acme'), self.make_partner('Acme (2)')
            first.dunning_debtor_kind, second.dunning_debtor_kind = kept, gone
            second.with_company(other).dunning_debtor_kind = 'business'
            self.merge(first, second)
            with self.subTest(kept=kept, gone=gone):
                self.assertEqual(first.dunning_debtor_kind, merged)
                self.assertEqual(first.with_company(other).dunning_debtor_kind, 'business')

    def test_released_notice(self):
        first, second = self.make_partner('Acme'), self.make_partner('Acme (2)')
        [notice] = self.release(second)
        self.merge(first, second)
        self.assertEqual((notice.partner_id, notice.recipient_id), (first, first))
        self.run_engine()
        self.assertEqual((notice.status, notice.email_to), ('sent', 'acme@customer.test'))


@tagged('post_install', '-at_install')
class TestResponsible(DunningMailCommon):

    def test_clerk_without_access_to_the_company(self):
        """Who has another job now is not asked; somebody who may act is."""
        notice, = self.release('Acme')
        self.assertEqual(notice._get_responsible_user(), self.clerk)
        self.clerk.group_ids = self.env.ref('base.group_user')
        self.assertNotEqual(notice._get_responsible_user(), self.clerk)
        self.assertTrue(notice.with_user(notice._get_responsible_user()).has_access('write'))

    def test_clerk_who_left_gets_no_answers(self):
        """A mail that was composed for a clerk does not ask for answers to her when she has left."""
        clerk = new_test_user(
            self.env, login='leaving', name='Anna Geht', email='anna@muster.test',
            groups='account.group_account_invoice', company_id=self.company.id)
        notice, = self.release('Acme', user=clerk)
        self.assertIn('anna@muster.test', str(mail_header.get(notice.mail_document_id.raw, 'Reply-To')))
        clerk.active = False
        self.run_engine()
        [mail] = self.mails()
        self.assertNotIn('anna@muster.test', str(mail))
        self.assertEqual(notice.status, 'sent')
