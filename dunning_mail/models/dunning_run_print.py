import hashlib
import json
import logging
from collections import deque

from psycopg2 import OperationalError

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import plaintext2html, split_every

from odoo.addons.report_pdf_engine.tools import pdf_pages

from .dunning_run_issue import ISSUE_AT_ONCE

_logger = logging.getLogger(__name__)

# Letters that are put together while the clerk waits; more than these are put together in the background.
JOIN_AT_ONCE = 300


class DunningRun(models.Model):
    """The letters of a run as one PDF: in order, each on its own sheet, with a list on top."""
    _inherit = 'dunning.run'

    is_joining = fields.Boolean(readonly=True, copy=False, help="The letters are being put together.")
    letters_id = fields.Many2one(
        'ir.attachment', readonly=True, copy=False, ondelete='set null', index='btree_not_null')
    letters_key = fields.Char(readonly=True, copy=False)

    def action_print_letters(self):
        """Open all letters of the run that are to be printed as one PDF. Many are put together in the background first.

        What they claim is read again first: days may have gone by since they were made.

        :return: action for the web client
        :raise UserError: there is none
        """
        self.ensure_one()
        told, is_later = self._make_letters_true()
        letters = self._get_letters()
        if not letters and not told:
            raise UserError(self.env._("Dunning run %s has no letters to print.", self.name))
        action = self._open_letters() if letters and not is_later else None
        return self.env['dunning.notice']._notify(told, action) if told else action

    def action_reprint_letters(self):
        """Open the letters once more that have been printed.

        :return: action for the web client
        :raise UserError: there is none, or too many to put together as long as others are to be printed
        """
        self.ensure_one()
        letters = self._get_letters(printed=True)
        if not letters:
            raise UserError(self.env._("Dunning run %s has no printed letters.", self.name))
        if self._is_to_be_joined(letters) and self._get_letters():
            raise UserError(self.env._(
                "Print the new letters of dunning run %s first: so many are put together one lot after the other.",
                self.name))
        return self._open_letters(printed=True)

    def _make_letters_true(self):
        """Ask of the letters that are to be printed whether their claims are still true.

        What is settled is cancelled, what has changed is made anew, and what cannot leave as it is waits for a person.
        Many that have changed are left to the background. Who may only read sees what is there.

        :return: (list of words about letters that are left out or were made anew, whether it is done later)
        """
        self.ensure_one()
        if not self.has_access('write'):
            return [], False
        letters = self._get_letters()
        verdicts = letters._recheck()
        if sum(verdict.code == 'changed' for verdict in verdicts.values()) > ISSUE_AT_ONCE:
            return [self._join_later(letters)], True
        return self._act_on_letters(letters, verdicts), False

    def _act_on_letters(self, letters, verdicts=None):
        """Bring letters to what is true, and note in the run what has become of those that are not what they were.

        :param letters: `dunning.notice`
        :param dict verdicts: what their `_recheck()` has just returned
        :return: list of words
        """
        leaving = letters._make_true(verdicts)
        told = []
        for head, words in ((self.env._("Left out of the letters:"), leaving.stopped),
                            (self.env._("Made anew:"), leaving.news)):
            if lines := letters._name_each(words):
                told += [head, *lines]
        if told:
            self.sudo()._message_log(body=plaintext2html('\n'.join(told)))
        return told

    def _list_left_out(self):
        """Say which letters have been left out since letters of the run were marked as printed.

        :return: list of str
        """
        self.ensure_one()
        domain = [('notice_id.run_id', '=', self.id), ('state_from', '=', 'paper'),
                  ('state_to', 'in', ('cancelled', 'failed'))]
        if printed := list(filter(None, self.notice_ids.mapped('printed_at'))):
            domain.append(('date', '>', max(printed)))
        return [f'{log.notice_id._get_full_name()}: {log.text}'
                for log in self.env['dunning.delivery.log'].search(domain, order='id')
                if log.notice_id.state == 'cancelled' or log.notice_id.delivery_state == 'failed']

    def _open_letters(self, printed=False):
        """Open the letters; many are put together in the background first.

        :param bool printed: those that have been printed
        :return: action for the web client
        """
        letters = self._get_letters(printed)
        if self._is_to_be_joined(letters):
            return {
                'type': 'ir.actions.client',
                'tag': 'display_notification',
                'params': {'type': 'info', 'message': self._join_later(letters)},
            }
        return {
            'type': 'ir.actions.act_url', 'target': 'new',
            'url': f'/dunning_mail/run/{self.id}/letters' + ('?printed=1' if printed else '')}

    def _is_to_be_joined(self, letters):
        """Whether so many letters have to be put together in the background first."""
        return len(letters) > JOIN_AT_ONCE and not self._get_joined(letters)

    def _join_later(self, letters):
        """Have letters put together in the background.

        :return: words for the clerk
        """
        self.check_access('write')
        self.sudo().is_joining = True
        self.env.ref('dunning_mail.ir_cron_join').sudo()._trigger()
        return self.env._(
            "%(count)s letters are being put together in the background. Open them by the same button in a minute or "
            "two.", count=len(letters))

    def _hand_out_letters(self, printed=False):
        """Return the letters as one PDF, and note that whoever may print them has them now.

        Whichever way somebody comes here, by the button or by an address that was opened days ago: what the letters
        claim is read again first.

        :param bool printed: once more those that have been printed, as they were
        :return: (PDF as bytes, None where there is none; list of words about letters that are not what they were, or
            why there is none)
        :raise UserError: as `_join_letters()`
        """
        self.ensure_one()
        told, is_later = ([], False) if printed else self._make_letters_true()
        letters, broken = self._leave_out_broken(self._get_letters(printed))
        told = [*told, *broken]
        if not letters or is_later:
            return None, told
        may_print = self.has_access('write')
        if may_print and self._is_to_be_joined(letters):
            return None, [*told, self._join_later(letters)]
        content = self._get_joined(letters) or self._join_letters(letters)
        if may_print:
            letters._note_hand_out()
            self.company_id._note_dunning_letter_seen()
        return content, told

    def _leave_out_broken(self, letters):
        """Leave letters out whose kept document is gone or damaged: the others are printed all the same.

        :param letters: `dunning.notice`
        :return: (those that can be printed, list of words about the others)
        """
        faults = {notice.id: words for notice in letters if (words := notice._describe_bad_document())}
        told = letters._name_each(faults)
        return letters.filtered(lambda notice: notice.id not in faults), (
            [self.env._("Left out of the letters:"), *told] if told else [])

    def _get_letters(self, printed=False):
        """Return the letters that are to be printed, in the order that the company chose.

        :param bool printed: in place of them those that have been printed
        """
        self.ensure_one()
        return self.notice_ids.filtered(lambda notice: (
            notice.state == 'issued' and notice.delivery_state == 'paper' and notice.document_id
            and bool(notice.printed_at) == printed)).sorted(self._get_letter_key)

    def _get_letter_key(self, notice):
        """Return by what a letter is sorted; a hook for other addons.

        :param notice: `dunning.notice`, one record
        :return: tuple of values that can be compared
        """
        recipient, company = notice._get_addressee(), notice.company_id
        by_name = ((recipient.name or notice.partner_id.name or '').lower(), notice.id)
        if company.dunning_print_order == 'customer':
            return by_name
        country = recipient.country_id
        # letters within the country first: they make one bundle
        return (
            bool(country and country != company.country_id), country.code or '',
            ''.join((recipient.zip or '').split()), *by_name)

    def _join_letters(self, notices):
        """Put letters together: list, letters, and the invoices that follow them, each on a sheet of its own.

        :param notices: `dunning.notice` in their order
        :return: one PDF as bytes; a single letter byte for byte as it is kept
        :raise UserError: a document is missing or damaged, or pages and numbers do not match
        """
        self.ensure_one()
        company = self.company_id.sudo()
        parts, plan = deque(), []

        def add(number, content, notice):
            try:
                count = pdf_pages.count_pages(content)
            except pdf_pages.PdfError as error:
                _logger.warning("Dunning run %s: a document of %s is no PDF: %s", self.name, notice.name, error)
                raise UserError(self.env._(
                    "A PDF that belongs to dunning notice %s cannot be read. Take the invoices off its level, or "
                    "attach a good PDF to the invoice.", notice.name)) from None
            parts.append(content)
            plan.append((number, count))

        if len(notices) > 1 and company.dunning_print_list:
            add(None, self._render_print_list(notices), notices[0])
        for notice in notices:
            add(notice.name, notice._get_document_bytes(), notice)
            for _name, content, _mimetype in notice._get_invoice_documents():
                add(None, content, notice)
        is_duplex = company.dunning_print_duplex
        if len(parts) == 1 and not (is_duplex and plan[0][1] % 2):
            return parts[0]
        # Thousands of letters are a lot of memory: each is let go of as soon as it is in.
        notices.sudo().document_id.invalidate_recordset(['raw'])
        joined = pdf_pages.join(
            (parts.popleft() for _index in range(len(parts))),
            each=(lambda _index, count: count % 2) if is_duplex else None)
        if is_duplex:
            plan = [step for number, count in plan for step in ((number, count), (None, count % 2))]
        if problem := pdf_pages.check_joined(joined, plan, every_page=self._is_number_on_every_page(notices)):
            _logger.error("Dunning run %s: the letters were put together wrongly: %s", self.name, problem)
            raise UserError(self.env._(
                "The letters of dunning run %s were not put together correctly, so they are held back: a page does not "
                "carry the number of its own notice. Print them one by one, and tell your administrator.", self.name))
        return joined

    @api.model
    def _is_number_on_every_page(self, notices):
        """Whether all of these letters were made by engines with running footers, as far as is known now."""
        reports = self.env['ir.actions.report'].sudo().union(*(notice._get_report() for notice in notices))
        return all('wkhtmltopdf' not in (report.pdf_engine, report.find_pdf_engine()) for report in reports)

    def _render_print_list(self, notices):
        """Return the list of letters, as PDF.

        :param notices: `dunning.notice` in the order of the letters
        :raise UserError: it cannot be made
        """
        self.ensure_one()
        report = self.env.ref('dunning_mail.report_print_list')
        [document] = report.render_documents(
            self, data={'notice_ids': notices.ids}).values()
        if isinstance(document, Exception):
            raise document
        return document

    # === IN THE BACKGROUND === #

    def _get_joined_key(self, letters):
        company = self.company_id.sudo()
        values = [
            letters.ids, letters.mapped('document_sha256'), self._list_left_out(),
            company.dunning_print_order, company.dunning_print_duplex, company.dunning_print_list,
            [notice._get_invoices_key() for notice in letters]]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def _get_joined(self, letters):
        """Return the letters as they were put together in the background; None if that was another set of letters."""
        self.ensure_one()
        if self.letters_id and self.letters_key == self._get_joined_key(letters):
            attachment = self._get_own_attachment('letters_id')
            content = attachment.raw
            # What was altered on the disk is not printed.
            if content and attachment._compute_checksum(content) == attachment.checksum:
                return content
        return None

    @api.model
    def _process_joining(self):
        """Entry of the scheduled action: put together what is too much for a click."""
        waiting = self.sudo().search([('is_joining', '=', True)], order='id')
        # Whatever is left when the time is over, the scheduler is to call again for.
        self.env['ir.cron']._commit_progress(remaining=len(waiting))
        remaining = len(waiting)
        for run in waiting:
            if not run.try_lock_for_update(allow_referencing=True):
                continue
            run = run.with_company(run.company_id).with_context(lang=run.user_id.lang)
            try:
                for batch in split_every(ISSUE_AT_ONCE, run._get_letters().ids, run.notice_ids.browse):
                    with self.env.cr.savepoint():
                        run._act_on_letters(batch)
                    self.env['ir.cron']._commit_progress()
                letters, broken = run._leave_out_broken(run._get_letters() or run._get_letters(printed=True))
                with self.env.cr.savepoint():
                    run._store_joined(letters)
                words = run.env._("The letters are ready to be printed: button “Print Letters”.") if letters else (
                    run.env._("There are no letters to print any more."))
            except OperationalError:
                raise
            except UserError as error:
                words = str(error)
            except Exception:
                # One run must not keep the others waiting for ever.
                _logger.exception("Dunning run %s: the letters cannot be put together", run.name)
                words = run.env._("The letters could not be put together. The server's log says more.")
            else:
                words = '\n'.join([words, *broken])
            run.is_joining = False
            run.message_post(body=plaintext2html(words), partner_ids=run.user_id.partner_id.ids)
            remaining -= 1
            if not self.env['ir.cron']._commit_progress(1, remaining=remaining):
                return

    def _store_joined(self, letters):
        """Keep the joined letters until other ones are joined or the run is done: the evidence is the letters."""
        self.ensure_one()
        old = self._get_own_attachment('letters_id')
        self.letters_id = letters and self.env['ir.attachment']._create_dunning_documents([{
            'name': f"{self.name.replace('/', '-')}.pdf", 'raw': self._join_letters(letters),
            'mimetype': 'application/pdf', 'res_model': self._name, 'res_id': self.id}])
        self.letters_key = self._get_joined_key(letters)
        old.unlink()

    @api.autovacuum
    def _gc_joined_letters(self):
        """Remove joined letters that nobody will print any more: all of it is kept letter by letter."""
        done = self.sudo().search([('letters_id', '!=', False), ('state', 'in', ('done', 'cancelled'))])
        attachments = self.env['ir.attachment'].union(*(run._get_own_attachment('letters_id') for run in done))
        done.write({'letters_id': False, 'letters_key': False})
        attachments.unlink()
