import json

from odoo import fields, models
from odoo.exceptions import UserError

from ..tools import evidence
from .dunning_notice_document import KEPT

# Their ids stand in an address that browsers and proxies take.
MAX_EVIDENCE = 500
EVIDENCE_FIELDS = (
    'name', 'kind', 'company_id', 'partner_id', 'recipient_id', 'level_id', 'lang', 'currency_id', 'date',
    'date_deadline', 'date_left', 'amount_total', 'state', 'delivery_state', 'delivery_info', 'provider_id',
    'email_to', 'redirected_to', 'message_id', 'attempt_count', 'handover_at', 'sent_at', 'printed_at',
    'printed_by', 'document_sha256', 'mail_sha256')
# What is shown by the name that it had when the letter was made.
EVIDENCE_NAMES = {
    'company_id': 'company', 'partner_id': 'customer', 'recipient_id': 'recipient', 'level_id': 'level',
    'currency_id': 'currency'}
EVIDENCE_LOG_FIELDS = (
    'date', 'user_id', 'attempt', 'state_from', 'state_to', 'stage', 'code', 'text', 'host', 'tls_version', 'queue_id',
    'message_id', 'recipients', 'recipient_count', 'provider_id', 'document_sha256', 'mail_sha256')
# In `notice.json`; docs/check_evidence.py reads it. A change of what is there already gets another number.
EVIDENCE_FORMAT = 1
TEXTS = ('letter_title', 'letter_intro', 'letter_closing')


class DunningNotice(models.Model):
    """What proves the delivery of notices, as one ZIP."""
    _inherit = 'dunning.notice'

    def action_export_evidence(self):
        """Download what proves the delivery as one ZIP: for each notice the PDF, the mail and the delivery log.

        :raise UserError: none of them has been issued, or they are too many for one file
        """
        self.check_access('read')
        return {
            'type': 'ir.actions.act_url',
            'url': f"/dunning_mail/evidence?ids={','.join(map(str, self._get_with_evidence().ids))}",
            'target': 'download',
        }

    def _get_with_evidence(self):
        """Return those of these notices of which there is evidence.

        :raise UserError: none of them has been issued, or they are too many for one file
        """
        issued = self.filtered(lambda notice: notice.state in ('issued', 'cancelled') and notice.name)
        if not issued:
            raise UserError(self.env._("There is no evidence yet: none of these dunning notices has been issued."))
        if len(issued) > MAX_EVIDENCE:
            raise UserError(self.env._(
                "%(count)s dunning notices are too many for one file. Choose %(limit)s at most.", count=len(issued),
                limit=MAX_EVIDENCE))
        return issued

    def _make_evidence(self):
        """Pack the evidence of these notices.

        :return: open file with a ZIP
        """
        return evidence.pack((notice._get_file_name(), notice._get_evidence_files()) for notice in self)

    def _get_evidence_name(self):
        name = self._get_file_name() if len(self) == 1 else self.env._("Dunning notices")
        return f'{name}.zip'

    def _get_evidence_files(self):
        """Return what proves the delivery of a notice, as it is kept: what is damaged too, and then it says so.

        :return: dict of file name -> content
        """
        self.ensure_one()
        name = self._get_file_name()
        logs = self.delivery_log_ids.sorted('id')
        kept = {fname: self._read_kept(fname) for fname in KEPT}
        if not self._is_mail_of_handover(logs):
            # What might be sent proves nothing.
            kept['mail_document_id'] = b'', 'none'
        names = self._get_snapshot()
        files = {
            f'{name}.pdf': kept['document_id'][0],
            f'{name}.eml': kept['mail_document_id'][0],
            self.env._("delivery log") + '.csv': self._make_log_csv(logs),
            self.env._("notice") + '.csv': self._make_facts_csv(logs, names, kept),
            'notice.json': json.dumps(
                self._get_evidence_record(logs, names, kept), ensure_ascii=False, indent=1).encode()}
        return {file_name: content for file_name, content in files.items() if content}

    def _is_mail_of_handover(self, logs):
        """Whether the kept mail is the one that was handed over last.

        :param logs: the delivery log in its order
        """
        # One that was handed over for a trial may have been made anew since.
        last = logs.filtered(lambda log: log.state_to == 'sending')[-1:]
        return bool(self.handover_at) and (not last.mail_sha256 or last.mail_sha256 == self.mail_sha256)

    # === FOR PEOPLE === #

    def _make_log_csv(self, logs):
        head = [logs._fields[fname]._description_string(self.env) for fname in EVIDENCE_LOG_FIELDS]
        return evidence.make_csv(
            head, [[log._get_evidence_value(fname) for fname in EVIDENCE_LOG_FIELDS] for log in logs])

    def _make_facts_csv(self, logs, names, kept):
        facts = [(self._fields[fname]._description_string(self.env), self._get_evidence_value(fname, logs, names))
                 for fname in EVIDENCE_FIELDS]
        sources = {
            'issue': self.env._("As they were when the letter was made"),
            'upgrade': self.env._("Filled in at an upgrade: as they were then, not when the letter was made"),
            'now': self.env._("Not kept when the letter was made: as they are now")}
        facts += [
            (self.env._("Customer Number"), names.get('customer_number')),
            (self.env._("Address on the Letter"), '\n'.join(names.get('address') or ())),
            (self.env._("Clerk"), names.get('clerk')),
            (self.env._("Sender"), names.get('sender')),
            (self.env._("Subject"), names.get('subject')),
            (self.env._("Names"), sources.get(names.get('source'))),
            (self.env._("PDF"), self._describe_kept(kept['document_id'][1])),
            (self.env._("Mail"), self._describe_kept(kept['mail_document_id'][1]))]
        return evidence.make_csv((self.env._("Field"), self.env._("Value")), facts)

    def _describe_kept(self, standing):
        return {
            'verified': self.env._("It is what was made: its SHA-256 is the one that was noted down then."),
            'damaged': self.env._("DAMAGED: it is not what was made, its SHA-256 is another one."),
            'unverified': self.env._(
                "NOT VERIFIED: an earlier version noted down no SHA-256, so nobody can tell whether it is what was "
                "made."),
            'gone': self.env._("GONE: there was one, and its file is not there any more."),
            'removed': self.env._("It was removed by the company's rules for keeping documents."),
            'none': self.env._("There is none."),
        }[standing]

    def _get_evidence_value(self, fname, logs, names):
        if fname in EVIDENCE_NAMES:
            return names.get(EVIDENCE_NAMES[fname])
        if fname == 'provider_id':
            return self._get_provider_name(logs, names)
        if fname == 'printed_by':
            return self._get_printed_by(logs)
        return self.env['dunning.delivery.log']._describe_value(self, fname)

    def _get_provider_name(self, logs, names):
        """Return by which service provider it was sent last, or was to be sent."""
        return logs.filtered(lambda log: log.state_to == 'sending')[-1:].provider_name or names.get('provider') or ''

    def _get_printed_by(self, logs):
        """Return the name that whoever printed the letter had then."""
        by = self.printed_by
        return by and (
            logs.filtered(lambda log: log.user_id == by and log.stage == 'print')[-1:].user_name or by.sudo().name)

    # === FOR PROGRAMS === #

    def _get_evidence_record(self, logs, names, kept):
        """Return all of it with keys that are the same in every language.

        :return: dict that can be written as JSON; times are UTC
        """
        version = self.text_version_id.sudo()
        return {
            'format': EVIDENCE_FORMAT,
            'number': self.name,
            'names': names,
            'facts': {
                **{fname: self._get_plain_value(self, fname) for fname in EVIDENCE_FIELDS
                   if self._fields[fname].type != 'many2one' and fname not in KEPT.values()},
                'provider': self._get_provider_name(logs, names), 'printed_by': self._get_printed_by(logs) or ''},
            'words': {
                'mail_subject': self.mail_subject or '', 'mail_body': str(self.mail_body or ''),
                **{fname: version[fname] or '' for fname in TEXTS}},
            'files': {
                kind: {'sha256': self[KEPT[fname]] or '', 'standing': standing}
                for kind, (fname, (_content, standing)) in zip(('pdf', 'eml'), kept.items(), strict=True)},
            'steps': len(logs),
            'log': [{
                'step': step,
                'user': log.user_name or 'system', 'provider': log.provider_name or '',
                **{fname: self._get_plain_value(log, fname) for fname in EVIDENCE_LOG_FIELDS
                   if log._fields[fname].type != 'many2one'},
            } for step, log in enumerate(logs, 1)],
        }

    def _get_plain_value(self, record, fname):
        field, value = record._fields[fname], record[fname]
        if field.type == 'datetime':
            return value.isoformat(timespec='seconds') + 'Z' if value else None
        if field.type == 'date':
            return fields.Date.to_string(value) or None
        return value if value or field.type in ('integer', 'float', 'monetary', 'boolean') else ''
