import logging
from datetime import date, timedelta

from odoo import api, fields, models
from odoo.tools import SQL, format_date, split_every

from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# Records in one transaction.
BATCH = 200
# What words can be kept in, and what stands there once they are gone where something has to stand.
EMPTIED_TYPES = {'char': '-', 'text': '-', 'html': '-', 'json': '{}', 'properties': '{}', 'binary': ''}
# Messages that somebody wrote, and not the system.
CORRESPONDENCE = ('comment', 'email', 'email_outgoing')


class DunningGuard(models.AbstractModel):
    """What of a record is a person's, and goes once it is kept no longer."""
    _inherit = 'dunning.guard'

    @api.model
    def _get_retained_fields(self):
        """Return the names of the fields whose words stay for good. Whatever is not listed goes, whichever addon
        defined it; numbers, amounts, days, states and links are no words and stay.

        :return: set of names
        """
        return set()

    @api.model
    def _get_personal_fields(self):
        """Return the names of the stored fields that are emptied.

        :return: set of names
        """
        return {
            fname for fname, field in self._fields.items()
            if field.store and field.column_type and field.type in EMPTIED_TYPES
        } - self._get_retained_fields()

    def _empty_personal_fields(self, **values):
        """Empty what is not retained. In SQL: neither does the chatter track what it was, nor is anything derived anew.

        :param values: further columns to write, as :class:`~odoo.tools.SQL` or plain values
        """
        if not self:
            return
        self.env.flush_all()
        for fname in self._get_personal_fields():
            field = self._fields[fname]
            values.setdefault(fname, EMPTIED_TYPES[field.type] if field.required else None)
        if values:
            self.env.execute_query(SQL(
                "UPDATE %s SET %s WHERE id = ANY(%s) RETURNING id", SQL.identifier(self._table),
                SQL(', ').join(SQL("%s = %s", SQL.identifier(fname), value) for fname, value in values.items()),
                self.ids))
        self.env.invalidate_all()

    def _remove_what_hangs_on(self):
        """Remove messages with their answers, activities, followers and files of these records."""
        def find(model, fname='res_model', *conditions):
            return self.env[model].sudo().with_context(active_test=False).search(
                [(fname, '=', self._name), ('res_id', 'in', self.ids), *conditions])
        find('mail.activity').unlink()
        find('mail.scheduled.message', 'model').unlink()
        find('mail.message', 'model').unlink()
        find('mail.followers').unlink()
        # Those of fields as well, which a search leaves out else.
        find('ir.attachment', 'res_model', ('id', '!=', False)).unlink()


class DunningNotice(models.Model):
    """How long a notice is kept, and what goes afterwards."""
    _inherit = 'dunning.notice'

    data_removed_at = fields.Datetime(
        "Personal Data Removed", readonly=True, copy=False,
        help="When documents, mails, chatter, addresses and words about the customer were removed: the time for "
        "keeping them was over.")
    removable_from = fields.Date(
        "May Go From", compute='_compute_removable_from',
        help="The first day on which documents and personal data need not be kept any more. Counted from the end of "
        "the calendar year or of the fiscal year, whichever is later.")

    @api.model
    def _get_retained_fields(self):
        return super()._get_retained_fields() | {
            'name', 'payment_reference', 'document_sha256', 'mail_sha256'}

    @api.depends(
        'date', 'date_left', 'state', 'delivery_state', 'data_removed_at', 'company_id.dunning_retention_years')
    def _compute_removable_from(self):
        last_days = self._get_last_days()
        for notice in self:
            last_day = not notice.data_removed_at and last_days.get(notice.id)
            notice.removable_from = last_day and notice.company_id._get_dunning_free_day(last_day)

    def _get_last_days(self):
        """Return the days on which something last happened to these notices: they were dated, left, came back, were
        cancelled, or somebody wrote about them.

        :return: dict notice id -> date
        """
        self.flush_recordset()
        self.env['dunning.delivery.log'].flush_model(['date', 'notice_id'])
        self.env['mail.message'].flush_model(['date', 'model', 'res_id', 'message_type'])
        moments = dict(self.env.execute_query(SQL(
            """
            SELECT n.id, GREATEST(
                       n.sent_at, n.handover_at, n.printed_at,
                       (SELECT max(l.date) FROM dunning_delivery_log l WHERE l.notice_id = n.id),
                       (SELECT max(m.date) FROM mail_message m
                         WHERE m.model = 'dunning.notice' AND m.res_id = n.id AND m.message_type = ANY(%s)))
              FROM dunning_notice n
             WHERE n.id = ANY(%s)
            """, list(CORRESPONDENCE), self.ids)))
        days = {}
        for notice in self._origin:
            moment = moments.get(notice.id)
            days[notice.id] = max(filter(None, (
                notice.date, notice.date_left,
                moment and notice.company_id._get_dunning_day(moment, notice.user_id))))
        return days

    @api.model
    def _get_finished_domain(self):
        """Return which notices wait for nobody: neither are they on their way, nor has a person to see to them."""
        return [
            '|', ('state', 'in', ('cancelled', 'excluded')),
            '&', ('state', '=', 'issued'), '|', ('delivery_state', '=', 'sent'),
            '&', ('delivery_state', '=', 'paper'), ('printed_at', '!=', False)]

    @api.model
    def _get_settled_domain(self):
        """Return which notices claim nothing any more: as long as they do, they may be needed before a court."""
        return [('line_ids', 'not any', [
            ('kind', '=', 'due'), ('move_line_id.parent_state', '=', 'posted'),
            ('move_line_id.reconciled', '=', False)]), ('charge_ids', 'not any', [('state', '=', 'booked')])]

    def _describe_why_kept(self):
        """Say why documents and personal data of a notice are kept; empty where they may go now.

        :return: translated text
        """
        self.ensure_one()
        company = self.company_id.sudo()
        if not company.dunning_retention_years:
            return self.env._(
                "is kept for good: %(company)s has set no time in the settings of Invoicing, under Dunning",
                company=company.name)
        if self.removable_from > company._get_dunning_day():
            return self.env._(
                "must be kept until %(day)s: %(years)s years from the end of the year, as the law of accounting wants "
                "it",
                day=format_date(self.env, self.removable_from - timedelta(days=1)),
                years=company.dunning_retention_years)
        if not self.filtered_domain(self._get_finished_domain()):
            return self.env._(
                "is not finished (%(status)s): somebody has to see to it first",
                status=dict(self._fields['status']._description_selection(self.env))[self.status])
        if not self.sudo().search_count([('id', '=', self.id), *self._get_settled_domain()]):
            return self.env._("claims what is still open, and is needed as long as that is claimed")
        return ''

    def _remove_personal_data(self, words):
        """Remove the documents and all that is said of persons. Numbers, amounts, days, states, hashes and links stay.

        :param str words: why, for the chatter
        """
        notices = self.sudo().with_context(active_test=False)
        attachments = self.env['ir.attachment'].union(*(
            run._get_own_attachment('letters_id') for run in notices.run_id.filtered('letters_id')))
        notices.run_id.filtered('letters_id').write({'letters_id': False, 'letters_key': False})
        # Copies of letters, which are joined again for whoever wants to print what is left.
        attachments.unlink()
        now = fields.Datetime.now()
        notices.line_ids._empty_personal_fields()
        notices.charge_ids._empty_personal_fields()
        notices.delivery_log_ids._empty_personal_fields()
        self.env['dunning.incoming.mail']._remove_about(notices)
        notices.report_ids._empty_personal_fields()
        self.env['dunning.run.exception'].sudo().search([('notice_id', 'in', self.ids)])._empty_personal_fields()
        notices._empty_personal_fields(
            document_id=None, mail_document_id=None, is_document_damaged=False, data_removed_at=now,
            document_removed_at=SQL("COALESCE(document_removed_at, %s)", now),
            # The person at the customer's; the customer stands in the books.
            recipient_id=SQL("partner_id"),
            # That it was a trial decides whether it counted.
            redirected_to=SQL("CASE WHEN redirected_to IS NOT NULL THEN '-' END"))
        notices._remove_what_hangs_on()
        notices._message_log_batch(dict.fromkeys(notices.ids, words))
        notices._log_step(words)


class DunningNoticeLine(models.Model):
    _inherit = 'dunning.notice.line'

    @api.model
    def _get_retained_fields(self):
        # The number of the invoice.
        return super()._get_retained_fields() | {'name'}


class DunningCharge(models.Model):
    _inherit = 'dunning.charge'

    @api.model
    def _get_retained_fields(self):
        # Days, rates and amounts.
        return super()._get_retained_fields() | {'detail', 'kept_ids'}


class DunningDeliveryLog(models.Model):
    _inherit = 'dunning.delivery.log'

    @api.model
    def _get_retained_fields(self):
        return super()._get_retained_fields() | {'code', 'tls_version', 'document_sha256', 'mail_sha256'}


class DunningNoticeReport(models.Model):
    _inherit = 'dunning.notice.report'

    @api.model
    def _get_retained_fields(self):
        return super()._get_retained_fields() | {'status'}


class DunningRunException(models.Model):
    _inherit = 'dunning.run.exception'

    @api.model
    def _get_retained_fields(self):
        # The numbers of the invoices.
        return super()._get_retained_fields() | {'document'}


class DunningRun(models.Model):
    """What a run says of customers: its chatter, and who was left out and why."""
    _inherit = 'dunning.run'

    data_removed_at = fields.Datetime("Personal Data Removed", readonly=True, copy=False)

    @api.model
    def _get_retained_fields(self):
        return super()._get_retained_fields() | {'name'}

    def _remove_personal_data(self, words):
        """Remove all that is said of persons, but for what its notices are still needed for.

        :param str words: why, for the chatter
        """
        runs = self.sudo()
        runs.exception_ids._empty_personal_fields()
        runs._empty_personal_fields(data_removed_at=fields.Datetime.now(), letters_id=None)
        runs._remove_what_hangs_on()
        runs._message_log_batch(dict.fromkeys(runs.ids, words))


class DunningArchive(models.AbstractModel):
    """How long documents and personal data are kept, and that they go then."""
    _inherit = 'dunning.archive'

    @api.model
    def _get_expired(self, company):
        """Return the notices that the company keeps no longer. This is the dry run as well.

        :param company: `res.company`
        :return: `dunning.notice`
        """
        notices = self.env['dunning.notice']
        today = company._get_dunning_day()
        return notices.search(
            [*self._get_expired_domain(company), *notices._get_finished_domain(), *notices._get_settled_domain()],
            order='date, id',
        ).filtered(lambda notice: notice.removable_from <= today)

    @api.model
    def _get_expired_domain(self, company):
        """Return which records may be old enough: none of a younger calendar year is, whatever the fiscal year."""
        years = company.sudo().dunning_retention_years
        if years <= 0:
            return [('id', '=', False)]
        return [
            ('company_id', '=', company.id), ('data_removed_at', '=', False),
            ('date', '<', date(max(company._get_dunning_day().year - years, 1), 1, 1))]

    @api.model
    def _get_expired_runs(self, company):
        """Return the runs whose chatter and exceptions the company keeps no longer.

        :param company: `res.company`
        :return: `dunning.run`
        """
        today = company._get_dunning_day()
        return self.env['dunning.run'].search(
            [*self._get_expired_domain(company), ('state', 'in', ('done', 'cancelled'))], order='date, id',
        ).filtered(lambda run: company._get_dunning_free_day(run.date) <= today)

    @api.model
    def _list_expired(self, company):
        """Return all that the company keeps no longer: list of recordsets."""
        return [self._get_expired(company), self._get_expired_runs(company)]

    @api.model
    def _apply_retention(self):
        """Remove what is kept no longer: documents, and all that is said of persons; in portions, as long as there is
        time. What cannot be removed does not keep the others."""
        # Persons have the same rights where the company is archived.
        companies = self.env['res.company'].sudo().with_context(active_test=False).search(
            [('dunning_retention_years', '>', 0)])
        expired = [
            (company, records.sudo()) for company in companies for archive in [self.with_company(company)]
            for records in archive._list_expired(company)]
        remaining = sum(len(records) for _company, records in expired)
        for company, records in expired:
            words = self._get_removal_words(company)
            for ids in split_every(BATCH, records.ids):
                removed = self.with_company(company)._remove_portion(records.browse(ids), words)
                _logger.info("Dunning retention of %s: documents and personal data of %s (%s) removed",
                             company.name, records._name, removed.ids)
                remaining -= len(ids)
                if not self.env['ir.cron']._commit_progress(len(ids), remaining=remaining) and remaining:
                    return

    @api.model
    def _get_removal_words(self, company):
        """Say why documents and personal data were removed."""
        return self.env._(
            "Documents and personal data were removed: %(company)s keeps them for %(years)s years from the end of the "
            "year.", company=company.name, years=company.dunning_retention_years)

    @api.model
    def _remove_portion(self, records, words):
        """Remove documents and personal data of some records together; where one has a fault, one by one.

        :return: those of which they were removed
        """
        try:
            with self.env.cr.savepoint():
                records._remove_personal_data(words)
            return records
        except RETRYABLE:
            raise
        except Exception:
            if len(records) == 1:
                _logger.exception("Personal data of %s cannot be removed", records)
                return records.browse()
            return records.browse().union(*(self._remove_portion(record, words) for record in records))
