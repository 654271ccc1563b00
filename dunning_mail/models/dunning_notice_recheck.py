import logging
from datetime import date, timedelta
from typing import NamedTuple

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import format_amount, format_date, format_datetime

from .dunning_notice_payment import NO_ACCOUNT
from .dunning_proposal_basis import Basis
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# What leaves later than so many days after its date is dated anew.
MAX_AGE_DAYS = 3
# What is asked of the lines.
LINE_FIELDS = (
    'notice_id', 'kind', 'move_line_id', 'name', 'date_due', 'days_overdue', 'amount_residual', 'level_id',
    'previous_notice_id', 'previous_date', 'is_level_set', 'payment_id', 'charge_id', 'rest_info')
# Reasons that are named one by one; a notice may have hundreds of items.
REASONS_SHOWN = 5


class Verdict(NamedTuple):
    """What has become of a notice's claim.

    :ivar code: `same`; `changed`: not all is as the notice says; `settled`: nothing is left to claim; `held`: nothing
        of it may be claimed now; `archived`: customer or procedure is out of use
    :ivar words: the reasons, for a clerk; empty for `same`
    :ivar values: of the notice, that would make it true
    :ivar lines: values of all its lines, that would make it true; None where they are
    :ivar gone: id of the `account.move.line` -> why it is not claimed any more
    :ivar charges: values of all its interest and lump sums, that would make it true; None where they are
    :ivar named: ids of charges of earlier notices that it has to name besides
    :ivar fee: what the fee becomes, since money for earlier ones has come or gone; None where it stays
    :ivar earlier: id of a line with a charge of an earlier notice, or with one that was given up -> what is asked for
        now, 0 for nothing
    """
    code: str
    words: str = ''
    values: dict = {}
    lines: list | None = None
    gone: dict = {}
    charges: list | None = None
    named: list = []
    fee: float | None = None
    earlier: dict = {}


class Leaving(NamedTuple):
    """What has become of notices that were about to leave.

    :ivar ready: `dunning.notice` that may leave
    :ivar anew: those of them whose letter and mail were made anew
    :ivar stopped: dict notice id -> why one does not leave, and what to do about it
    :ivar news: dict notice id -> what is new about those that were made anew
    """
    ready: models.BaseModel
    anew: models.BaseModel
    stopped: dict
    news: dict


class DunningNotice(models.Model):
    """Is the claim still true? The one place that asks, whichever way a notice is about to leave.

    `_recheck()` reads and judges, and writes nothing. `_make_true()` acts on it, right before a mail is handed over, a
    letter is handed out or opened, or a person sends something on its way again:

    ======== ========= =============== ================== =======================================================
    verdict  draft     released, paper failed             frozen (handed over or printed before)
    ======== ========= =============== ================== =======================================================
    settled  cancelled cancelled       cancelled          as the others of its delivery state
    held     cancelled cancelled       stays              as the others of its delivery state
    archived problem   cancelled       stays              as the others of its delivery state
    changed  mended    made anew       made anew          held back: it leaves unchanged or not at all
    ======== ========= =============== ================== =======================================================

    An unclear notice may have arrived: whatever the verdict, it stays, and is not sent on its way again.
    """
    _inherit = 'dunning.notice'

    # === READING === #

    def _recheck(self, keep_dates=False):
        """Ask all rules again on which these notices' claims rest, as things stand now. Writes nothing.

        :param bool keep_dates: a draft that a person works on: it keeps its date
        :return: dict notice id -> :class:`Verdict`
        """
        verdicts = {}
        for company, of_company in self.sudo().grouped('company_id').items():
            # What is read is the company's, whoever asks.
            for day, notices in of_company.with_company(company).grouped(self._get_day_of_leaving).items():
                lines = notices._fetch_lines()
                debts = notices.env['dunning.proposal']._load_for_recheck(notices, lines, day)
                basis = Basis(notices.env, company, day, debts)
                of_notice = lines.grouped('notice_id')
                for notice in notices:
                    verdicts[notice.id] = notice._judge_again(
                        of_notice.get(notice, lines.browse()), debts, basis, keep_dates)
                notices._check_charges(verdicts, basis, lines)
        return verdicts

    @api.model
    def _get_day_of_leaving(self, notice):
        """Return the day for which a notice is judged: the company's today, but of a draft of the future its date."""
        return max(notice._get_today(), notice.date if notice.state == 'draft' else date.min)

    def _fetch_lines(self):
        """Read the lines of these notices in one statement."""
        return self.env['dunning.notice.line'].search_fetch([('notice_id', 'in', self.ids)], LINE_FIELDS, order='id')

    def _judge_again(self, lines, debts, basis, keep_dates=False):
        """Say what has become of one notice's claim.

        :param lines: its `dunning.notice.line`
        :param dict debts: what `dunning.proposal._load_for_recheck()` returned
        :param basis: :class:`~.dunning_proposal.Basis` of the day on which it leaves
        :param bool keep_dates: leave date and deadline as they are
        :return: :class:`Verdict`
        """
        self.ensure_one()
        partner = self.partner_id.commercial_partner_id
        if archived := (self.partner_id | partner).filtered(lambda one: not one.active):
            return Verdict('archived', self.env._("Customer %s has been archived.", archived[0].display_name))
        # With its run, all is cancelled that is not just being sent: what was never claimed need not ask.
        if (self.claimed_at or self.delivery_state != 'released') and self.run_id.state == 'cancelled':
            return Verdict('held', self.env._("Dunning run %s has been cancelled.", self.run_id.name))
        if self.level_id and not self.level_id.is_in_use:
            return Verdict('archived', self.env._(
                "Dunning procedure “%s” has been archived.", self.level_id.procedure_id.name))
        if self.level_id and not self.company_id._may_use_dunning(self.level_id):
            return Verdict('archived', self.env._(
                "Dunning procedure “%s” has become another company's.", self.level_id.procedure_id.name))
        debt = debts.get((partner.id, self.currency_id.id))
        due_ids = set(lines.filtered(lambda line: line.kind == 'due').move_line_id.ids)
        items = [item for item in debt.items if item.line_id in due_ids] if debt else []
        values, words = self._find_news(basis, keep_dates, items)
        if self.kind == 'dunning':
            # A customer may have become a contact of another one. One by one: together they would not be read with
            # those of the other notices.
            for one in (partner, self.partner_id):
                until, reason = one._get_dunning_holds(basis.company).get(one.id, (date.min, ''))
                if until >= basis.day:
                    return Verdict('held', self.env['dunning.proposal']._describe_hold(until, reason))
        elif self.kind == 'plan':
            return self._judge_plan(values, words)
        elif not all(line.move_line_id for line in lines):
            return Verdict('changed' if words else 'same', '\n'.join(words), values)
        # What is asked of items is read for all notices together.
        items = lines.filtered(lambda line: line.kind != 'charge').with_prefetch(lines._prefetch_ids)
        code, reasons, lines, gone = self.env['dunning.proposal']._judge_lines(
            self, items, debts, basis, values.get('date') or self.date)
        shown = '\n'.join(reasons[:REASONS_SHOWN]) + (' …' if len(reasons) > REASONS_SHOWN else '')
        if code in ('settled', 'held'):
            return Verdict(code, shown, gone=gone)
        if code == 'changed':
            words.insert(0, shown or self.env._("The claim has changed since the notice was made."))
        return Verdict('changed' if words else 'same', '\n'.join(words), values, lines, gone)

    def _find_news(self, basis, keep_dates, items):
        """Find what of the notice itself, its lines aside, is not true any more.

        :param list items: the :class:`~.debt.Item` that are due on it, as they stand now
        :return: (values that mend it, list of words)
        """
        self.ensure_one()
        today, values, words = basis.day, {}, []
        recipient = self.recipient_id
        if not self._is_recipient_own() or not recipient.active:
            partner = self.partner_id.commercial_partner_id
            proposal = self.env['dunning.proposal'].sudo()
            new, is_named = proposal._choose_recipient(
                partner, proposal._find_recipients(partner, self.company_id)[partner.id], items, basis.contacts)
            values['recipient_id'] = new.id
            if self.level_id:
                values['lang'] = self.sudo()._choose_lang(partner, new, self.level_id, self.company_id, is_named)
            names = {'new': new.display_name, 'old': recipient.display_name}
            if not recipient.active:
                words.append(self.env._("Addressed anew to %(new)s: contact %(old)s has been archived.", **names))
            elif recipient.commercial_partner_id != partner:
                words.append(self.env._("Addressed anew to %(new)s: %(old)s is no longer with the customer.", **names))
            else:
                words.append(self.env._("Addressed anew to %(new)s: %(old)s belongs to another company.", **names))
        elif self.state == 'issued' and self.address_key and self._get_address_key() != self.address_key and (
                not self._is_frozen() or self.delivery_state == 'paper'):
            words.append(self.env._("Name or address of %s has changed.", recipient.display_name))
        if self.payment_account_number and self.state == 'issued':
            named = self.env['res.partner.bank'].sudo().browse(item.account_id for item in items if item.account_id)
            account = self._get_payment_account(basis.accounts, named)
            # Of an account that has a QR-IBAN beside its number, a letter names either.
            if self.payment_account_number not in self._get_account_numbers(account):
                words.append(self.env._(
                    "Payments went to account %(old)s, and go to %(new)s now.", old=self.payment_account_number,
                    new=account.sanitized_acc_number or NO_ACCOUNT))
        is_over = bool(self.date_deadline) and self.date_deadline < today
        if self._is_frozen():
            if is_over:
                words.append(self.env._(
                    "It was payable until %s, which is over.", format_date(self.env, self.date_deadline)))
        elif not keep_dates and (is_over or (today - self.date).days > MAX_AGE_DAYS):
            values['date'] = today
            if self.date_deadline and (is_over or not self.is_deadline_set):
                values['date_deadline'] = self._get_usual_deadline(today)
            deadline = values.get('date_deadline') or self.date_deadline
            day = format_date(self.env, today)
            words.append(self.env._(
                "Dated %(day)s, payable until %(deadline)s, since it leaves later than on the day that it bore.",
                day=day, deadline=format_date(self.env, deadline)) if deadline else self.env._(
                "Dated %s, since it leaves later than on the day that it bore.", day))
        return values, words

    def _get_usual_deadline(self, day):
        """Return the deadline that the level gives to a notice of a day; without a level, as long as it was."""
        self.ensure_one()
        return day + (timedelta(days=self.level_id.deadline_days) if self.level_id else self.date_deadline - self.date)

    def _is_recipient_own(self):
        """Whether the notice is addressed to the customer or a contact of it that the company may write to."""
        self.ensure_one()
        customer = self.partner_id.commercial_partner_id
        # As for a proposal's recipients. The customer itself is one whatever company it was given since.
        return self.recipient_id.commercial_partner_id == customer and (
            self.recipient_id in (self.partner_id, customer) or not self.recipient_id.company_id
            or self.recipient_id.company_id in self.company_id.parent_ids)

    # === ACTING === #

    def _make_true(self, verdicts=None, is_handover=False, needs_mail=False):
        """Bring issued notices that are about to leave to what is true now, and stop those that must not leave.

        :param dict verdicts: what `_recheck()` has just returned, where it was asked for already
        :param bool is_handover: the mail goes to the server next; then whoever sends it looks at the kept documents
        :param bool needs_mail: it is to go by mail: the kept mail has to be what was made too
        :return: :class:`Leaving`
        """
        verdicts = verdicts or self._recheck()
        as_they_were, anew, stopped = self.browse(), self.browse(), {}
        for notice in self.sudo():
            verdict = verdicts[notice.id]
            if verdict.code == 'same':
                fault = '' if is_handover else notice._describe_bad_document(needs_mail)
                if not fault:
                    as_they_were |= notice
                elif not notice._is_frozen():
                    # Nobody has it yet, so it can be made again.
                    anew |= notice
                else:
                    stopped[notice.id] = fault
                    if notice.delivery_state != 'unclear':
                        notice._stop(fault)
            elif notice.delivery_state == 'unclear':
                stopped[notice.id] = self.env._(
                    "%s\nThe customer may have it already. Find out whether it has arrived, or cancel it.",
                    verdict.words)
            elif verdict.code != 'changed':
                # What is on its way is taken off it; what waits for a person goes on waiting, unless it is paid.
                if notice.delivery_state == 'failed' and verdict.code != 'settled':
                    stopped[notice.id] = self.env._(
                        "%s\nThe notice stays as it is. Try again when this is no longer so, or cancel it.",
                        verdict.words)
                else:
                    opened = notice._describe_hand_out()
                    words = self.env._("Cancelled. %s", verdict.words)
                    notice._cancel(words)
                    stopped[notice.id] = f'{words} {opened}'.strip()
            elif notice._is_frozen():
                stopped[notice.id] = self.env._(
                    "%s\nWhat was sent or printed before must not be changed. Cancel the notice: the next run proposes "
                    "what is still due, with a new deadline.", verdict.words)
                notice._stop(stopped[notice.id])
            else:
                anew |= notice
        faults, news = anew._make_anew(verdicts)
        stopped.update(faults)
        anew = anew.filtered(lambda notice: notice.id not in faults)
        return Leaving(self & (as_they_were | anew), self & anew, stopped, news)

    def _describe_hand_out(self):
        """Say that a letter which was opened to be printed must not be posted; empty where none was."""
        self.ensure_one()
        if not self.letter_opened_at or self.printed_at:
            return ''
        return self.env._(
            "Its letter was opened for printing on %s: take what was printed out of the post.",
            format_datetime(self.env, self.letter_opened_at, dt_format='short'))

    def _make_anew(self, verdicts=None):
        """Make letter and mail of unfrozen notices again, as the verdicts say they should be.

        :param dict verdicts: notice id -> :class:`Verdict`; without them only the documents are made again
        :return: (dict notice id -> why one of them cannot be made: it waits for a person then; dict notice id -> what
            is new about one that was made)
        """
        faults, news, mended = {}, {}, self.browse()
        if not self:
            return faults, news
        # What others left to be written is not refused as a fault of some notice.
        self.env.flush_all()
        for notice in self.sudo():
            try:
                with self.env.cr.savepoint():
                    opened = notice._describe_hand_out()
                    words = notice._apply_verdict(verdicts[notice.id]) if verdicts else ''
                    notice.write(notice._prepare_making_values())
            except RETRYABLE:
                raise
            except UserError as error:
                faults[notice.id] = str(error)
            except Exception:
                _logger.exception("Dunning notice %s cannot be made anew", notice.id)
                faults[notice.id] = self.env._(
                    "The notice could not be made anew because of a technical fault. The server's log says more.")
            else:
                mended |= notice
                news[notice.id] = '\n'.join(filter(None, [words, opened]))
        documents = mended._make_documents()
        mails = mended._make_mails(documents)
        unmade = mended.browse()
        for notice in mended:
            made = documents[notice.id], mails.get(notice.id)
            if fault := next((one for one in made if isinstance(one, Exception)), None):
                faults[notice.id] = str(fault)
                unmade |= notice
                del news[notice.id]
        # The letters that they had claim what is not true any more.
        unmade._drop_documents()
        (mended - unmade)._store_documents(documents, mails)
        for notice in self.sudo().browse(faults):
            notice._stop(faults[notice.id])
        for notice in self.sudo().browse(news):
            if words := news[notice.id]:
                notice._log_step(self.env._("Made anew. %s", words))
                notice._log_note(self.env._("Made anew. %s", words))
        return faults, news

    def _apply_verdict(self, verdict):
        """Write down what has changed in an unfrozen notice's claim.

        :return: what has changed, in words
        """
        self.ensure_one()
        notice = self.sudo()
        old, lang = notice.amount_total, notice.lang
        if verdict.values:
            notice.write(verdict.values)
            if notice.lang != lang and notice.text_version_id:
                notice.text_version_id = False
                notice._check_texts()
                notice._fix_texts()
        notice._take_over(verdict)
        if not notice.currency_id.compare_amounts(old, notice.amount_total):
            return verdict.words
        return self.env._(
            "%(new)s instead of %(old)s: %(reasons)s", reasons=verdict.words,
            new=format_amount(self.env, notice.amount_total, notice.currency_id),
            old=format_amount(self.env, old, notice.currency_id))

    def _stop(self, words):
        """A notice cannot leave as it is: it waits for a person.

        :param str words: why, in words for a clerk
        """
        for notice in self.sudo():
            if notice.delivery_state == 'failed':
                notice._log_step(words)
                notice.delivery_info = words
            else:
                notice._set_failed(words, is_held_back=True)
            notice._ask_person('dunning_mail.mail_activity_failed', words)
        self.run_id._update_state()

    def _replace_lines(self, line_values):
        """Give an unfrozen notice the lines as they stand now."""
        self.ensure_one()
        self.sudo().line_ids.filtered(lambda line: line.kind != 'charge').with_context(
            dunning_replace_lines=True).unlink()
        self.sudo().write({'line_ids': [fields.Command.create(values) for values in line_values]})
        self._update_level_from_lines()

    # === OTHER NOTICES === #

    def _check_items_free(self):
        """Check that no other notice took the items meanwhile.

        :raise UserError: names the other notice
        """
        for notice in self.filtered(lambda notice: notice.kind == 'dunning'):
            due = notice.due_line_ids
            lines = {line.move_line_id.id: line for line in due}
            for last in self.env['dunning.notice.line'].sudo()._get_last_counted(list(lines)):
                line = lines[last.move_line_id]
                if last.notice_id not in (notice.id, line.previous_notice_id.id):
                    raise UserError(self.env._(
                        "%(item)s was dunned meanwhile by %(notice)s. This notice would go back to an earlier level: "
                        "cancel it.", item=line.name, notice=self.browse(last.notice_id).sudo().display_name))
            notice._check_not_reserved(due.move_line_id)

    def _check_not_reserved(self, items):
        """Check that no other open notice has items.

        :param items: `account.move.line`
        :raise UserError: names the other notice
        """
        other = self.env['dunning.notice.line'].sudo().search([
            ('move_line_id', 'in', items.ids), ('is_reserved', '=', True), ('notice_id', 'not in', self.ids)], limit=1)
        if other:
            raise UserError(self.env._(
                "%(item)s is on another open notice meanwhile (%(notice)s).", item=other.name,
                notice=other.notice_id.display_name))
