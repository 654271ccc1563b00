"""A copy of the database sends nothing by itself."""

import json
import logging
from unittest.mock import patch

from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.models.dunning_database import PARAMETER

from .common import EngineCase

LOGGER = 'odoo.addons.dunning_mail.models.dunning_database'


@tagged('post_install', '-at_install')
class TestDatabase(EngineCase):

    def keep(self, **changes):
        """Say that dunning mail was sent from another database before."""
        database = {**self.env['dunning.engine']._get_database(), **changes}
        self.env['ir.config_parameter'].set_param(PARAMETER, json.dumps(database))

    def kept(self):
        return self.env['dunning.engine']._get_kept_database()

    def test_new_installation(self):
        """Also one that was made from a template: nothing is known before the first pass."""
        for value in (False, 'nonsense', '[]'):
            self.env['ir.config_parameter'].set_param(PARAMETER, value)
            notice = self.release('One')
            self.run_engine()
            self.assertDelivery(notice, 'sent')
            self.assertEqual(self.kept(), self.env['dunning.engine']._get_database())
        self.env.cr.execute(
            "SELECT datname, oid::bigint FROM pg_database WHERE datname = current_database()")
        self.assertEqual((self.kept()['name'], self.kept()['oid']), self.env.cr.fetchone())

    def test_two_engines_start_together(self):
        """Each sees that nothing is known yet, and one of them is the first to say so."""
        self.keep()
        parameters = self.env.registry['ir.config_parameter']
        with patch.object(parameters, 'search', lambda self, *_args, **_values: self.browse()):
            self.env['dunning.engine']._keep_database()
        self.assertEqual(self.kept(), self.env['dunning.engine']._get_database())

    def test_copy_sends_nothing(self):
        other = self.make_provider(name='Other', email_from='other@muster.test')
        own = self.env['dunning.engine']._get_database()
        for name, changes in (
                ('on another machine', {'cluster': '1', 'oid': 1}),
                ('on another machine, by chance with the same oid', {'cluster': '1'}),
                ('beside it', {'name': 'productive', 'oid': 1}),
                ('nobody knows the cluster', {'cluster': None, 'oid': 1})):
            with self.subTest(name):
                self.smtp.clear()
                notice = self.release('One')
                self.keep(**changes)
                self.provider.activity_ids.unlink()
                for _pass in range(2):
                    self.run_engine()
                self.assertDelivery(notice, 'released')
                self.assertFalse(self.smtp.events('connect'))
                self.assertEqual({self.provider.state, other.state}, {'paused'})
                self.assertFalse(self.provider.resume_at)
                self.assertIn(changes.get('name', own['name']), self.provider.pause_reason)
                self.assertTrue(self.activities(self.provider, 'provider_paused'))
                # A person says that this is the one.
                (self.provider | other).action_resume()
                self.run_engine()
                self.assertDelivery(notice, 'sent')
                self.assertEqual(self.kept(), own)
                self.run_engine()
                self.assertEqual(self.provider.state, 'ready', "asked once")

    def test_pause_of_another_kind_is_no_way_round(self):
        self.provider.action_pause()
        self.keep(name='productive', oid=1)
        self.run_engine()
        self.assertIn('productive', self.provider.pause_reason, "who resumes it knows what she says by it")

    def test_restored_backup_goes_on(self):
        notice = self.release('One')
        self.keep(oid=4_000_000_000)
        with self.assertLogs(LOGGER, logging.WARNING):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertTrue(self.activities(self.provider, 'provider_paused'), "who answers for it is told")
        self.assertEqual(self.provider.state, 'ready')
        self.assertEqual(self.kept(), self.env['dunning.engine']._get_database())

    def test_copy_under_the_old_name(self):
        """The productive database was renamed, and a copy of it has its name now: the one that is there still sends."""
        self.env.cr.execute("SELECT oid::bigint FROM pg_database WHERE datname = 'template1'")
        [oid] = self.env.cr.fetchone()
        notice = self.release('One')
        self.keep(oid=oid)
        for _pass in range(2):
            self.run_engine()
        self.assertDelivery(notice, 'released')
        self.assertEqual(self.provider.state, 'paused')
        self.assertIn('template1', self.provider.pause_reason)
        self.provider.action_resume()
        self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertEqual(self.kept(), self.env['dunning.engine']._get_database())
        # What is kept there was not written by us.
        for odd in (None, 'x', -1):
            self.keep(oid=odd)
            with self.assertLogs(LOGGER, logging.WARNING):
                self.run_engine()
            self.assertEqual(self.provider.state, 'ready')

    def test_renamed_database_goes_on(self):
        notice = self.release('One')
        self.keep(name='before')
        with self.assertLogs(LOGGER, logging.WARNING):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
        self.assertFalse(self.activities(self.provider, 'provider_paused'))

    @mute_logger('odoo.sql_db')
    def test_without_the_right_to_ask_for_the_cluster(self):
        self.env.cr.execute("CREATE ROLE dunning_without_rights")
        self.env.cr.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        self.env.cr.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO dunning_without_rights")
        self.env.cr.execute("SET ROLE dunning_without_rights")
        try:
            database = self.env['dunning.engine']._get_database()
        finally:
            self.env.cr.execute("RESET ROLE")
        self.assertIsNone(database['cluster'])
        self.assertTrue(database['oid'])
        # The right was given, or taken, meanwhile.
        notice = self.release('One')
        self.keep(cluster=None)
        with self.assertLogs(LOGGER, logging.WARNING):
            self.run_engine()
        self.assertDelivery(notice, 'sent')
