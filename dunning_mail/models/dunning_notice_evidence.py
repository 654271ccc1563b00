from odoo import models
from odoo.exceptions import UserError

from ..tools import evidence

# Their ids stand in an address that browsers and proxies take.
MAX_EVIDENCE = 500
EVIDENCE_FIELDS = (
    'name', 'kind', 'company_id', 'partner_id', 'recipient_id', 'level_id', 'lang', 'currency_id', 'date',
    'date_deadline', 'date_left', 'amount_total', 'state', 'delivery_state', 'delivery_info', 'provider_id',
    'email_to', 'redirected_to', 'message_id', 'attempt_count', 'handover_at', 'sent_at', 'printed_at',
    'printed_by', 'document_sha256', 'mail_sha256')
EVIDENCE_LOG_FIELDS = (
    'date', 'user_id', 'attempt', 'state_from', 'state_to', 'stage', 'code', 'text', 'host', 'tls_version', 'queue_id',
    'message_id', 'recipient_count', 'provider_id')


class DunningNotice(models.Model):
    """What proves the delivery of notices, as one ZIP."""
    _inherit = 'dunning.notice'

    def action_export_evidence(self):
        """Download what proves the delivery as one ZIP: for each notice the PDF, the mail and the delivery log.

        :raise UserError: none of them has been issued, or they are too many for one file
        """
        self.check_access('read')
        issued = self.filtered(lambda notice: notice.state in ('issued', 'cancelled') and notice.name)
        if not issued:
            raise UserError(self.env._("There is no evidence yet: none of these dunning notices has been issued."))
        if len(issued) > MAX_EVIDENCE:
            raise UserError(self.env._(
                "%(count)s dunning notices are too many for one file. Choose %(limit)s at most.", count=len(issued),
                limit=MAX_EVIDENCE))
        return {
            'type': 'ir.actions.act_url',
            'url': f"/dunning_mail/evidence?ids={','.join(map(str, issued.ids))}",
            'target': 'download',
        }

    def _make_evidence(self):
        """Pack the evidence of these notices.

        :return: open file with a ZIP
        """
        return evidence.pack((notice._get_file_name(), notice._get_evidence_files()) for notice in self)

    def _get_evidence_name(self):
        name = self._get_file_name() if len(self) == 1 else self.env._("Dunning notices")
        return f'{name}.zip'

    def _get_evidence_files(self):
        """Return what proves the delivery of a notice, as it is kept: a damaged document too, whose SHA-256 then
        differs from the one in the log.

        :return: dict of file name -> content
        """
        self.ensure_one()
        name = self._get_file_name()
        files = {
            f'{name}.pdf': self._get_own_attachment('document_id').raw}
        if self.handover_at:
            # Before that it is what might be sent, and proves nothing.
            files[f'{name}.eml'] = self._get_own_attachment('mail_document_id').raw
        facts = [
            (self._fields[fname]._description_string(self.env), self._get_evidence_value(fname))
            for fname in EVIDENCE_FIELDS]
        logs = self.delivery_log_ids.sorted('id')
        head = [logs._fields[fname]._description_string(self.env) for fname in EVIDENCE_LOG_FIELDS]
        rows = [[log._get_evidence_value(fname) for fname in EVIDENCE_LOG_FIELDS] for log in logs]
        files[self.env._("delivery log") + '.csv'] = evidence.make_csv(head, rows)
        files[self.env._("notice") + '.csv'] = evidence.make_csv((self.env._("Field"), self.env._("Value")), facts)
        return {file_name: content for file_name, content in files.items() if content}

    def _get_evidence_value(self, fname):
        return self.env['dunning.delivery.log']._describe_value(self, fname)
