import contextlib
import json
import logging

import psycopg2

from odoo import api, models
from odoo.tools import SQL, mute_logger

_logger = logging.getLogger(__name__)

PARAMETER = 'dunning_mail.database'


class DunningEngine(models.AbstractModel):
    """Which database is this? A copy that was not neutralized has the same logins and the same open notices, and would
    send all of them a second time.

    What the engine has worked in last is kept: cluster, oid and name of the database.

    ======================================= ===========================================================================
    nothing is kept yet                     a new installation: goes on
    the same                                goes on
    the same oid in the same cluster        renamed: goes on, and says so in the log
    another oid, same name and cluster,     a restored backup: goes on, and says so in the log and to the administrators
    and no database has the oid any more
    anything else                           may be a copy: every provider pauses until a person resumes one, which says
                                            that this is the database that dunning mail is sent from
    ======================================= ===========================================================================

    Where PostgreSQL does not tell the cluster, another oid may be anything.
    """
    _inherit = 'dunning.engine'

    @api.model
    def _get_database(self):
        """Return dict of `cluster` (str, or None where it may not be asked), `oid` and `name`."""
        [(oid, name)] = self.env.execute_query(SQL(
            "SELECT oid::bigint, datname FROM pg_database WHERE datname = current_database()"))
        cluster = None
        try:
            with self.env.cr.savepoint(flush=False):
                [(cluster,)] = self.env.execute_query(SQL("SELECT system_identifier::text FROM pg_control_system()"))
        except psycopg2.Error:
            _logger.debug("PostgreSQL does not tell its cluster: a copy is known by name and oid alone", exc_info=True)
        return {'cluster': cluster, 'oid': oid, 'name': name}

    @api.model
    def _find_database(self, oid):
        """Return the name that the database with an oid has in this cluster now, empty where there is none."""
        rows = self.env.execute_query(SQL(
            "SELECT datname FROM pg_database WHERE oid::bigint = %s", oid)) if isinstance(oid, int) else []
        return rows[0][0] if rows else ''

    @api.model
    def _keep_database(self):
        """Keep that dunning mail is sent from this database."""
        # Another engine may keep the same at the same moment.
        with contextlib.suppress(psycopg2.errors.UniqueViolation), mute_logger('odoo.sql_db'), self.env.cr.savepoint():
            self.env['ir.config_parameter'].sudo().set_param(PARAMETER, json.dumps(self._get_database()))

    @api.model
    def _get_kept_database(self):
        """Return what `_keep_database()` has kept, empty where there is nothing."""
        try:
            kept = json.loads(self.env['ir.config_parameter'].sudo().get_param(PARAMETER) or '{}')
        except ValueError:
            return {}
        return kept if isinstance(kept, dict) else {}

    @api.model
    def _check_database(self):
        """See whether mail may be sent from here, and pause every provider where it may not.

        :return: whether it may
        """
        kept, now = self._get_kept_database(), self._get_database()
        if kept == now:
            return True
        providers = self.env['dunning.provider'].sudo().search([('active', '=', True)])
        if kept:
            same = [kept.get('oid') == now['oid'], kept.get('name') == now['name']]
            original = ''
            if kept.get('cluster') and now['cluster']:
                may_go_on = kept['cluster'] == now['cluster'] and any(same)
                if may_go_on and not same[0]:
                    # A copy, if the other one is there still, under whichever name.
                    original = self._find_database(kept.get('oid'))
                    may_go_on = not original
            else:
                may_go_on = all(same)
            if not may_go_on:
                providers._pause_in_copy(original or kept.get('name') or '?', now['name'])
                return False
            _logger.warning("Dunning mail is sent from database %s now, before from %s", now, kept)
            if kept.get('oid') != now['oid']:
                providers._tell_restored()
        self._keep_database()
        return True


class DunningProvider(models.Model):
    """What is said and asked in a database that is not the one it was."""
    _inherit = 'dunning.provider'

    def _pause_in_copy(self, old, new):
        for provider in self:
            words = provider.env._(
                "This database (“%(new)s”) is not the one from which dunning mail was sent before (“%(old)s”). A copy "
                "would send all open notices a second time. If it is a copy, leave it paused, and archive the "
                "provider. If it is the productive database, which was moved or renamed, press “Resume”.",
                old=old, new=new)
            if provider.state != 'paused' or provider.pause_reason != words:
                provider._pause(words)

    def _tell_restored(self):
        """A backup was restored: what was sent after it was made is open again."""
        for provider in self:
            words = provider.env._(
                "This database was restored from a backup. What was sent after the backup was made looks as if it had "
                "not been: compare with the mail provider's log, and cancel what customers have.")
            provider._message_log(body=words)
            provider._schedule_pause_activity(words, provider.env._("The database was restored"))
