from datetime import timedelta

from odoo import api, fields, models

# Every kept document is read again after so many days.
CHECK_AFTER_DAYS = 7
# Documents in one transaction.
BATCH = 200


class DunningArchive(models.AbstractModel):
    """Looks after the documents that are kept: are they still what was made?"""
    _name = 'dunning.archive'
    _description = 'Dunning Archive'

    @api.model
    def _process(self):
        """Entry of the scheduled action: check the documents, then remove what its company keeps no longer."""
        if self._check_documents():
            self._apply_retention()

    @api.model
    def _get_unchecked_domain(self):
        limit = fields.Datetime.now() - timedelta(days=CHECK_AFTER_DAYS)
        return [
            '|', ('document_id', '!=', False), ('mail_document_id', '!=', False),
            '|', ('document_checked_at', '=', False), ('document_checked_at', '<', limit)]

    @api.model
    def _check_documents(self):
        """Read every kept PDF and mail again and compare them with their SHA-256; whoever answers hears of damage.

        :return: whether all were checked in the time that there was
        """
        Notice = self.env['dunning.notice'].sudo().with_context(tracking_disable=True)
        domain = self._get_unchecked_domain()
        while notices := Notice.search(domain, order='document_checked_at, id', limit=BATCH):
            for notice in notices:
                notice._check_kept()
            notices.document_checked_at = fields.Datetime.now()
            remaining = Notice.search_count(domain)
            if not self.env['ir.cron']._commit_progress(len(notices), remaining=remaining) and remaining:
                return False
        return True
