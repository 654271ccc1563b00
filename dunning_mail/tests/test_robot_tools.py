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
                ('nothing but the suppressing header', AWAY, {'X_Auto_Response_Suppress': 'All'})):
            with self.subTest(name):
                self.assertEqual(self.find(text, **values), robot.Author.ROBOT)

    def test_one_strong_sign_asks(self):
        for text, values in (
                (PLEASE, {'Auto_Submitted': 'auto-generated'}), (PLEASE, {'X_Autoreply': 'yes'}),
                (AWAY, {'subject': 'Abwesenheitsnotiz: Mahnung'})):
            self.assertEqual(self.find(text, **values), robot.Author.UNSURE)

    def test_what_nobody_can_read(self):
        for text in ('', '\0' * 50, '> ' * 10000, 'ich bin ' * 5000):
            self.assertEqual(self.find(text, subject='=?broken?='), robot.Author.PERSON)

    def test_without_the_mail_that_it_answers(self):
        for text in ("Ja.\n\nAm 24.11.2026 schrieb Muster AG:\n> Guten Tag", "Ja.\n> Guten Tag",
                     "Ja.\nVon: Muster AG\nAn: x", "Ja.\n-----Original Message-----\nx"):
            self.assertEqual(robot.strip_quoted(text), "Ja.")


if __name__ == '__main__':
    unittest.main()
