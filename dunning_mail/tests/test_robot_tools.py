"""A person's letter, or a machine's: decided by several signs. No database. Without Odoo too, in a moment:

    python dunning_mail/tests/test_robot_tools.py
"""

import email
import pathlib
import sys
import unittest

try:
    from odoo.tests import BaseCase, tagged

    from ..tools import robot
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from tools import robot

    BaseCase = unittest.TestCase

    def tagged(*_tags):
        return lambda case: case

PLEASE = "Guten Tag\nDie Ware ist nie angekommen. Bitte prüfen Sie das.\nFreundliche Grüsse\nA. Keller"
AWAY = "Ich bin bis zum 3. Dezember nicht im Büro. Nach meiner Rückkehr melde ich mich."


@tagged('post_install', '-at_install')
class TestAuthor(BaseCase):

    def find(self, text, sender='Anna Keller <anna@acme.test>', subject='AW: 1. Mahnung MA/2026/00001', **headers):
        header = {'From': sender, 'Subject': subject} | {
            name.replace('_', '-'): value for name, value in headers.items()}
        message = email.message_from_string(''.join(f'{name}: {value}\n' for name, value in header.items()) + '\nx')
        return robot.find_author(message, text)

    def test_persons(self):
        for name, values in {
            'plain': {},
            'says no': {'Auto_Submitted': 'no'},
            'through a list': {'Precedence': 'list', 'List_Id': '<buchhaltung.acme.test>'},
            'through a group that marks all as bulk': {
                'Precedence': 'bulk', 'List_Id': '<billing.acme.test>', 'X_Auto_Response_Suppress': 'All'},
            'asks assistants to be silent': {'X_Auto_Response_Suppress': 'DR, OOF, AutoReply'},
            'from a role': {'sender': 'Buchhaltung <info@acme.test>'},
            'writes from a system that takes no answers': {'sender': 'no-reply@tickets.acme.test'},
            'has kept our subject': {'subject': 'Re: Abwesenheit unserer Zahlung'},
        }.items():
            with self.subTest(name):
                self.assertEqual(self.find(PLEASE, **values), robot.Author.PERSON)
        for text in (
                "Wir zahlen am Freitag; den Rest nach meiner Rückkehr.",
                "Ihre Nachricht haben wir erhalten. Die Ware war defekt.",
                "Zugriff auf Ihre Mail hatte ich erst heute. Bezahlt ist alles.",
                "Ich war letzte Woche nicht im Büro und habe gestern bezahlt.",
                "I was out of office, sorry. We have paid today.",
                f"Die Rechnung ist bezahlt.\n\nAm 24.11.2026 um 08:00 schrieb Muster AG:\n> {AWAY}",
                "Nous sommes en désaccord: la machine est en panne.",
                "Unser Chef ist in den Ferien, er zahlt am Freitag."):
            with self.subTest(text):
                self.assertEqual(self.find(text), robot.Author.PERSON)

    def test_robots(self):
        for name, text, values in (
                ('by the standard', AWAY, {'Auto_Submitted': 'auto-replied'}),
                ('Exchange', AWAY, {'subject': 'Automatische Antwort: 1. Mahnung', 'X_Auto_Response_Suppress': 'All',
                                    'Auto_Submitted': 'auto-generated'}),
                ('in her own words, no sender', "Bin dann mal weg.", {
                    'Auto_Submitted': 'auto-replied (vacation)', 'Return_Path': '<>'}),
                ('French', "Je suis absente du bureau jusqu'au 3 décembre.", {
                    'subject': 'Réponse automatique : Rappel', 'Precedence': 'auto_reply'}),
                ('Italian', "Sarò in ferie fino al 3 dicembre.", {
                    'subject': 'Risposta automatica: Sollecito', 'X_Autoreply': 'yes'}),
                ('ticket system', "Your request has been received. Ticket 4711.", {
                    'subject': '[Ticket #4711] 1. Mahnung', 'sender': 'no-reply@support.acme.test'}),
                ('with a day in it', "Ich bin bis 3. Dezember nicht im Büro.", {'Precedence': 'auto_reply'}),
                ('through a list, with a subject', AWAY, {
                    'subject': 'Out of Office: Mahnung', 'List_Id': '<x.acme.test>', 'X_Autorespond': 'x'}),
                ('subject and no sender', "Bis bald!", {
                    'subject': 'Automatic reply: Reminder', 'Return_Path': '<>'})):
            with self.subTest(name):
                self.assertEqual(self.find(text, **values), robot.Author.ROBOT)

    def test_one_strong_sign_asks(self):
        for name, text, values in (
                ('header', PLEASE, {'Auto_Submitted': 'auto-generated'}),
                ('old header', PLEASE, {'X_Autoreply': 'yes'}),
                ('subject', "Bis bald!", {'subject': 'Automatische Antwort: 1. Mahnung'}),
                ('French subject', "À bientôt", {'subject': 'Réponse automatique : Rappel'}),
                ('no sender', "Your mail was put into the queue of Support.", {'Return_Path': '<>'}),
                ('subject and words', AWAY, {'subject': 'Abwesenheitsnotiz: Mahnung'}),
                ('words and what silences others', AWAY, {'X_Auto_Response_Suppress': 'All'})):
            with self.subTest(name):
                self.assertEqual(self.find(text, **values), robot.Author.UNSURE)
        for text in (
                "Ich bin bis 12.8. außer Haus.", "Ich bin vom 1. bis 12.8. ausser Haus.",
                "Vielen Dank für Ihre Nachricht. Ich befinde mich bis zum 12.8. im Urlaub.",
                "Zurzeit bin ich abwesend.", "I will be out of the office until 12 August.",
                "Je suis actuellement en déplacement.", "Non sono in ufficio fino al 12 agosto."):
            with self.subTest(text):
                self.assertEqual(self.find(text), robot.Author.UNSURE)

    def test_persons_behind_programs(self):
        """What programs put on all that passes through them makes nobody a machine: a person looks."""
        paid = "Wir haben am 3.3. bezahlt."
        for name, text, values in (
                ('agent of a ticket system', paid, {
                    'Auto_Submitted': 'auto-generated', 'X_Auto_Response_Suppress': 'All',
                    'subject': '[Ticket #12] Re: 1. Mahnung'}),
                ('from an address that takes no answers', paid, {
                    'Auto_Submitted': 'auto-generated', 'sender': 'noreply@tickets.acme.test',
                    'subject': '[Case 12] 1. Mahnung'}),
                ('with a footer', paid + "\n" * 3 + "x" * 400 + "\nThis message was automatically generated.", {
                    'Auto_Submitted': 'auto-generated'}),
                ('silences assistants', "Wir zahlen Freitag; den Rest nach meiner Rückkehr.", {
                    'X_Auto_Response_Suppress': 'OOF'})):
            with self.subTest(name):
                self.assertEqual(self.find(text, **values), robot.Author.UNSURE)
        # Who answers an assistant's mail keeps its subject.
        self.assertEqual(self.find(paid, subject='Re: Automatic reply: Reminder'), robot.Author.PERSON)

    def test_what_nobody_can_read(self):
        for text in ('', '\0' * 50, '> ' * 10000, 'ich bin ' * 5000):
            self.assertEqual(self.find(text, subject='=?broken?='), robot.Author.PERSON)

    def test_without_the_mail_that_it_answers(self):
        for text in ("Ja.\n\nAm 24.11.2026 schrieb Muster AG:\n> Guten Tag", "Ja.\n> Guten Tag",
                     "Ja.\nVon: Muster AG\nAn: x", "Ja.\n-----Original Message-----\nx"):
            self.assertEqual(robot.strip_quoted(text), "Ja.")


if __name__ == '__main__':
    unittest.main()
