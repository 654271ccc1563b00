import threading
import time
import weakref

from odoo import api, models
from odoo.http import request
from odoo.tools import config

_pass = threading.local()


class IrCron(models.Model):
    _inherit = 'ir.cron'

    @classmethod
    def _process_job(cls, cron_cr, job):
        # A worker runs all ready jobs of a database one after the other, and is killed when they take longer than its
        # limit together. It holds one cursor for all of them; what is kept in its cache is gone with the commit after
        # each.
        cursor = getattr(_pass, 'cursor', None)
        if cursor is None or cursor() is not cron_cr:
            _pass.cursor, _pass.cursor_since = weakref.ref(cron_cr), time.monotonic()
        _pass.began_at = _pass.cursor_since
        try:
            return super()._process_job(cron_cr, job)
        finally:
            _pass.began_at = None

    def method_direct_trigger(self):
        # By hand: a pass of its own.
        _pass.cursor = None
        return super().method_direct_trigger()

    @api.model
    def _get_dunning_pass(self):
        """Return how long the scheduler lets a pass of this worker run.

        :return: (seconds, or None without a limit; seconds that jobs before this one have used up of them)
        """
        began_at = getattr(_pass, 'began_at', None)
        used = time.monotonic() - began_at if began_at else 0
        limit = config['limit_time_real']
        if began_at and not request:
            limit_cron = config['limit_time_real_cron']
            # As service/server.py reads them: -1 is that of requests, 0 is none with workers, and that of requests
            # without.
            if limit_cron > 0 or (limit_cron == 0 and config['workers']):
                limit = limit_cron
        return limit or None, used
