import threading
import time

from odoo import api, models
from odoo.http import request
from odoo.tools import config

_BEGAN_AT = 'dunning_mail.pass_began_at'
_pass = threading.local()


class IrCron(models.Model):
    _inherit = 'ir.cron'

    @classmethod
    def _process_job(cls, cron_cr, job):
        # A worker runs all ready jobs of a database one after the other, and is killed when they take longer than its
        # limit together. It holds one cursor for all of them.
        _pass.began_at = cron_cr.cache.setdefault(_BEGAN_AT, time.monotonic())
        try:
            return super()._process_job(cron_cr, job)
        finally:
            _pass.began_at = None

    def method_direct_trigger(self):
        # By hand: a pass of its own.
        self.env.cr.cache.pop(_BEGAN_AT, None)
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
