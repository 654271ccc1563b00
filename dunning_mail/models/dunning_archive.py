import hashlib
from datetime import timedelta

from dateutil.relativedelta import relativedelta

from odoo import api, fields, models

# Every kept document is read again after so many days.
CHECK_AFTER_DAYS = 7
# Documents in one transaction.
BATCH = 200


class DunningArchive(models.AbstractModel):
    """Looks after the documents that are kept: are they still what was made, and how long are they kept."""
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
            ('document_id', '!=', False), '|', ('document_checked_at', '=', False),
            ('document_checked_at', '<', limit)]

    @api.model
    def _check_documents(self):
        """Read every kept document again and compare it with its SHA-256; whoever answers for it hears of damage.

        :return: whether all were checked in the time that there was
        """
        Notice = self.env['dunning.notice'].sudo().with_context(tracking_disable=True)
        domain = self._get_unchecked_domain()
        while notices := Notice.search(domain, order='document_checked_at, id', limit=BATCH):
            for notice in notices:
                content = notice._get_own_attachment('document_id').raw
                is_damaged = hashlib.sha256(content or b'').hexdigest() != notice.document_sha256
                if is_damaged and not notice.is_document_damaged:
                    notice._report_damage(bool(content))
                elif notice.is_document_damaged and not is_damaged:
                    notice.activity_feedback(['dunning_mail.mail_activity_damaged'])
                if is_damaged != notice.is_document_damaged:
                    notice.is_document_damaged = is_damaged
            notices.document_checked_at = fields.Datetime.now()
            # the files need not stay in memory
            notices.document_id.invalidate_recordset()
            remaining = Notice.search_count(domain)
            if not self.env['ir.cron']._commit_progress(len(notices), remaining=remaining) and remaining:
                return False
        return True

    # === RETENTION === #

    @api.model
    def _get_expired(self, company):
        """Return the notices whose documents the company keeps no longer. This is the dry run as well.

        :param company: `res.company`
        :return: `dunning.notice`
        """
        domain = self._get_expired_domain(company)
        return self.env['dunning.notice'].search(domain, order='date, id') if domain else self.env['dunning.notice']

    @api.model
    def _get_expired_domain(self, company):
        years = company.sudo().dunning_retention_years
        if years <= 0:
            return None
        limit = company._get_dunning_day() - relativedelta(years=years)
        return [
            ('company_id', '=', company.id), ('date', '<', limit), ('is_open', '=', False),
            ('state', 'in', ('issued', 'cancelled')),
            '|', ('document_id', '!=', False), ('mail_document_id', '!=', False)]

    @api.model
    def _apply_retention(self):
        """Remove the documents that are kept no longer; what the notices say remains."""
        companies = self.env['res.company'].sudo().search([('dunning_retention_years', '>', 0)])
        of_companies = {company: self.with_company(company)._get_expired(company).sudo() for company in companies}
        remaining = sum(map(len, of_companies.values()))
        for company, expired in of_companies.items():
            for start in range(0, len(expired), BATCH):
                notices = expired[start:start + BATCH]
                notices._remove_documents(self.env._(
                    "The document was removed: %(company)s keeps dunning documents for %(years)s years.",
                    company=company.name, years=company.dunning_retention_years))
                # Of all companies: else the scheduler would go on with the next one a week later.
                remaining -= len(notices)
                if not self.env['ir.cron']._commit_progress(len(notices), remaining=remaining):
                    return
