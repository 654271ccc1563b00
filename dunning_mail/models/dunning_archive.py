import hashlib
import logging
from datetime import timedelta

from dateutil.relativedelta import relativedelta

from odoo import api, fields, models
from odoo.exceptions import ValidationError

_logger = logging.getLogger(__name__)

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
                content = notice.document_id.raw
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
        limit = fields.Date.context_today(self) - relativedelta(years=years)
        return [
            ('company_id', '=', company.id), ('date', '<', limit), ('is_open', '=', False),
            ('state', 'in', ('issued', 'cancelled')),
            '|', ('document_id', '!=', False), ('mail_document_id', '!=', False)]

    @api.model
    def _apply_retention(self):
        """Remove the documents that are kept no longer; what the notices say remains."""
        for company in self.env['res.company'].sudo().search([('dunning_retention_years', '>', 0)]):
            expired = self.with_company(company)._get_expired(company).sudo()
            for start in range(0, len(expired), BATCH):
                notices = expired[start:start + BATCH]
                notices._remove_documents(self.env._(
                    "The document was removed: %(company)s keeps dunning documents for %(years)s years.",
                    company=company.name, years=company.dunning_retention_years))
                if not self.env['ir.cron']._commit_progress(len(notices), remaining=len(expired) - start - len(notices)):
                    return


class DunningNotice(models.Model):
    _inherit = 'dunning.notice'

    document_checked_at = fields.Datetime("Document Checked", readonly=True, copy=False)
    is_document_damaged = fields.Boolean(
        "Document Damaged", readonly=True, copy=False, help="The kept PDF is not what was made, or it is gone.")
    document_removed_at = fields.Datetime("Document Removed", readonly=True, copy=False)

    _document_check = models.Index("(document_checked_at NULLS FIRST) WHERE document_id IS NOT NULL")

    def _report_damage(self, is_there):
        """Tell whoever answers for the notice that its kept document is not what was made.

        :param bool is_there: False if the file is gone
        """
        self.ensure_one()
        notice = self.with_context(lang=self._get_responsible_user().lang)
        if is_there:
            words = notice.env._(
                "The kept document is damaged: it is not what was made (SHA-256 differs). Restore file %s of the file store "
                "from your backup.", notice.document_id.store_fname or '-')
        else:
            words = notice.env._(
                "The kept document is gone. Restore file %s of the file store from your backup.",
                notice.document_id.store_fname or '-')
        _logger.error("Dunning notice %s: the kept document %s is damaged or gone", notice.name, notice.document_id.id)
        notice._ask_person('dunning_mail.mail_activity_damaged', words)

    def _remove_documents(self, words):
        """Remove the kept documents and mails.

        :param str words: why, for the chatter; empty for none
        """
        for notice in self.sudo():
            attachments = notice.document_id | notice.mail_document_id
            notice.write({
                'document_id': False, 'mail_document_id': False, 'is_document_damaged': False,
                'document_removed_at': fields.Datetime.now()})
            attachments.unlink()
            if words:
                notice._message_log(body=words)


class ResCompany(models.Model):
    _inherit = 'res.company'

    @api.constrains('dunning_retention_years')
    def _check_dunning_retention_years(self):
        for company in self:
            if company.dunning_retention_years < 0:
                raise ValidationError(self.env._("A document cannot be kept for less than 0 years."))

    def action_preview_dunning_retention(self):
        """List the notices whose documents would be removed now; nothing is removed by it."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Documents That Would Be Removed"),
            'res_model': 'dunning.notice',
            'view_mode': 'list,form',
            'domain': [('id', 'in', self.env['dunning.archive']._get_expired(self).ids)],
            'context': {'create': False},
        }


class ResConfigSettings(models.TransientModel):
    _inherit = 'res.config.settings'

    def action_preview_dunning_retention(self):
        """List what the retention rule as it is saved would remove."""
        return self.company_id.action_preview_dunning_retention()
