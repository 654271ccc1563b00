from datetime import timedelta

from psycopg2 import errors as pg_errors

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import SQL

from .sets import insert_in_sets


class DunningRun(models.Model):
    """From dates and filters to drafts: the proposal is asked, and what it says is written."""
    _inherit = 'dunning.run'

    proposed_for = fields.Char(readonly=True, copy=False, help="Dates and filters of the proposal.")
    is_stale = fields.Boolean(
        compute='_compute_is_stale', help="Dates or filters were changed after the notices were generated.")

    @api.depends('state', 'date', 'due_until', 'procedure_ids', 'partner_ids', 'proposed_for')
    def _compute_is_stale(self):
        for run in self:
            run.is_stale = run.state == 'proposed' and run.proposed_for != run._get_proposal_key()

    def _get_proposal_key(self):
        """Return dates and filters in a form that can be compared."""
        self.ensure_one()
        # Whoever asks: what she may not see is among the filters all the same.
        self = self.sudo()
        return f'{self.date} {self.due_until} {sorted(self.procedure_ids.ids)} {sorted(self.partner_ids.ids)}'

    def action_generate_notices(self):
        """Propose the notices. Drafts of an earlier proposal are replaced, nothing else is touched.

        :return: notification for the web client
        :raise UserError: nothing can be proposed: names what is missing and where
        """
        self.check_access('write')
        found = 0
        for run in self:
            run._lock()
            run._check_ready()
            if run.state not in ('draft', 'proposed'):
                raise UserError(self.env._(
                    "Dunning run %s has been printed and sent. Make a new run for what is due now.", run.name))
            run = run.sudo().with_company(run.company_id)
            run._drop_proposal()
            try:
                notice_values, exception_values = self.env['dunning.proposal'].sudo().with_company(
                    run.company_id)._propose(run)
                with self.env.cr.savepoint():
                    notices = self.env['dunning.notice'].sudo()._insert_proposed(notice_values)
                    insert_in_sets(self.env['dunning.run.exception'].sudo(), exception_values)
            except pg_errors.UniqueViolation:
                raise UserError(self.env._(
                    "Another dunning run took some of the items at the same moment. Generate the notices again.",
                )) from None
            except pg_errors.ForeignKeyViolation:
                raise UserError(self.env._(
                    "A customer or an entry was deleted or merged at the same moment. Generate the notices again.",
                )) from None
            run.invalidate_recordset(['notice_ids', 'exception_ids'])
            run.write({'state': 'proposed', 'proposed_for': run._get_proposal_key()})
            found += len(notices)
        if found:
            message, kind = self.env._("Notices proposed: %s.", found), 'success'
        else:
            message, kind = self.env._(
                "No further notice is to be made on this date. The tab Exceptions says what is overdue and why it was "
                "left out.") if self.notice_ids else self.env._(
                "Nothing is to be dunned on this date. The tab Exceptions says what is overdue and why it was left "
                "out."), 'warning'
        return {
            'type': 'ir.actions.client',
            'tag': 'display_notification',
            'params': {'type': kind, 'message': message, 'next': {'type': 'ir.actions.client', 'tag': 'soft_reload'}},
        }

    def _drop_proposal(self):
        """Remove drafts and exceptions of an earlier proposal, in sets: what has history goes the ORM's way."""
        self.ensure_one()
        drafts = self.env['dunning.notice'].search([('run_id', '=', self.id), ('state', '=', 'draft')])
        used = set()
        for model in ('mail.message', 'mail.activity', 'mail.followers', 'ir.attachment'):
            fname = 'model' if model == 'mail.message' else 'res_model'
            used.update(self.env[model].sudo().search(
                [(fname, '=', 'dunning.notice'), ('res_id', 'in', drafts.ids)]).mapped('res_id'))
        drafts.filtered(lambda notice: notice.id in used).unlink()
        self.env.flush_all()
        self.env.execute_query(SQL(
            "DELETE FROM dunning_notice WHERE run_id = %s AND state = 'draft' RETURNING id", self.id))
        # With the drafts went what had been taken out of them. What was taken out of excluded notices can still be put
        # back.
        self.env.execute_query(SQL(
            """
            DELETE FROM dunning_run_exception e
             WHERE e.run_id = %s AND NOT (e.reason = 'taken_out' AND EXISTS (
                   SELECT 1 FROM dunning_notice n WHERE n.id = e.notice_id AND n.state = 'excluded'))
            RETURNING id
            """, self.id))
        self.env.invalidate_all(flush=False)

    def _check_ready(self):
        """Check what can be checked before anything is proposed.

        :raise UserError: names company, procedure, level and language, and where to mend it
        """
        for run in self.sudo():
            company = run.company_id
            if not company.dunning_procedure_id and not run.procedure_ids:
                raise UserError(self.env._(
                    "Company %s has no dunning procedure. Choose one under Invoicing > Configuration > Settings > "
                    "Customer Invoices > Dunning.", company.name))
            chosen = run.procedure_ids or company.dunning_procedure_id
            usable = chosen.filtered(lambda procedure, company=company: procedure._is_usable_by(company))
            if not usable and run.procedure_ids:
                raise UserError(self.env._(
                    "Dunning procedure “%s” is archived, or another company's. Choose another one, or activate it.",
                    chosen[0].name))
            if not usable:
                raise UserError(self.env._(
                    "The dunning procedure “%(procedure)s” of company %(company)s is archived, or another company's. "
                    "Choose another one under Invoicing > Configuration > Settings > Customer Invoices > Dunning.",
                    procedure=chosen.name, company=company.name))
            usable._check_ready(company)

    def _get_due_until(self):
        """Return the last due date of the items that the run looks at: what is due on its day is not overdue yet."""
        self.ensure_one()
        return min(self.due_until, self.date - timedelta(days=1))
