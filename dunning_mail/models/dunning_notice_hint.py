from collections import defaultdict
from typing import NamedTuple

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import LazyTranslate, format_amount, format_list

from ..tools import qr

_lt = LazyTranslate(__name__)

# What to look at before notices go out, by code and in the order in which it is shown.
KINDS = {
    'large': _lt("Above the amount that you may issue: stays a draft for the head of accounts"),
    'no_text': _lt("No texts in the customer's language"),
    'last_level': _lt("New at the last level"),
    'no_address': _lt("Postal address missing or not complete"),
    'address_size': _lt("Postal address too large for the window of the envelope"),
    'no_account': _lt("No bank account to pay into"),
    'accounts': _lt("Invoices ask for payment to several accounts"),
    'no_slip': _lt("QR-IBAN without a QR-bill"),
    'no_copy': _lt("No copy of an invoice goes along: its PDF is missing or cannot be read"),
    'not_sent': _lt("Invoice never sent to the customer"),
    'unallocated': _lt("Money of the customer that is not allocated"),
    'on_way': _lt("Money on its way"),
    'proposal': _lt("What the proposal says: vendor bills, hold of a parent company"),
    'short_code': _lt("Payment code bears a name or an address shortened"),
}
# `danger`: the notice does not go out; `info`: good to know. With all others (`warning`) a person decides.
SEVERITIES = {'large': 'danger', 'no_text': 'danger', 'short_code': 'info'}
LINE_FIELDS = ('notice_id', 'kind', 'move_line_id', 'payment_id', 'level_id', 'previous_level_id', 'amount_residual')
MOVE_FIELDS = ('name', 'move_type', 'is_move_sent', 'partner_bank_id', 'payment_reference')
PARTNER_FIELDS = (
    'name', 'complete_name', 'company_name', 'commercial_company_name', 'parent_id', 'commercial_partner_id',
    'is_company', 'type', 'lang', 'email', 'active', 'company_id', 'dunning_email_refused',
    'dunning_email_refused_date', 'dunning_email_refused_reason', 'dunning_refused_addresses')


class Hint(NamedTuple):
    """What a person should know of a draft.

    :ivar code: one of :data:`KINDS`
    :ivar words: in the user's language; empty where another hint of the notice says it already
    """
    code: str
    words: str


class DunningNotice(models.Model):
    """What a person should know of a draft before it is issued: asked here only, for one and for all of a run."""
    _inherit = 'dunning.notice'

    hints = fields.Text(
        compute='_compute_hints', search='_search_hints', help="What to look at before the notice is issued.")

    @api.depends(
        'state', 'lang', 'amount_total', 'proposal_hint', 'line_ids.move_line_id', 'company_id', 'currency_id',
        'level_id', *(f'{fname}.{part}' for fname in ('partner_id', 'recipient_id')
                      for part in ('name', 'street', 'street2', 'zip', 'city', 'country_id')))
    @api.depends_context('lang')
    def _compute_hints(self):
        found = self._find_hints()
        for notice in self:
            notice.hints = '\n'.join(filter(None, (hint.words for hint in found.get(notice.id, ())))) or False

    @api.model
    def _search_hints(self, operator, value):
        if operator not in ('in', 'not in') or set(value) != {False}:
            return NotImplemented
        # Nothing else has any: what was issued is what it is.
        found = self.search([('state', 'in', ('draft', 'excluded'))])._find_hints()
        return [('id', 'not in' if operator == 'in' else 'in', [
            notice_id for notice_id, hints in found.items() if any(hint.words for hint in hints)])]

    def _find_hints(self):
        """Find what a person should know of drafts, read in sets: however many they are, it takes as many statements.

        A hook for other addons.

        :return: dict notice id -> list of :class:`Hint`, in the order of :data:`KINDS`
        """
        notices, found = self.sudo().filtered(lambda notice: notice.state in ('draft', 'excluded')), defaultdict(list)
        if not notices:
            return found
        notices._fetch_for_hints()
        for find in (
                notices._find_limit_hints, notices._find_text_hints, notices._find_level_hints,
                notices._find_address_hints, notices._find_payment_hints, notices._find_copy_hints,
                notices._find_invoice_hints, notices._find_money_hints):
            for notice_id, code, words in find():
                found[notice_id].append(Hint(code, words))
        for notice in notices.filtered('proposal_hint'):
            found[notice.id] += [Hint('proposal', words) for words in notice.proposal_hint.splitlines()]
        order = {code: position for position, code in enumerate(KINDS)}
        for hints in found.values():
            hints.sort(key=lambda hint: order.get(hint.code, len(order)))
        return found

    def _fetch_for_hints(self):
        """Read what hints and channel need. Each by itself would be read for a thousand notices at a time."""
        if not all(self._ids):
            return
        self.fetch([
            fname for fname, field in self._fields.items() if field.store and field.column_type and field.prefetch])
        lines = self.line_ids
        lines.fetch(LINE_FIELDS)
        lines.move_line_id.fetch(['move_id'])
        lines.move_line_id.move_id.fetch(MOVE_FIELDS)
        partners = self.partner_id | self.recipient_id
        fnames = [*PARTNER_FIELDS, *partners._formatting_address_fields()]
        partners.fetch(fnames)
        more = (partners.commercial_partner_id | self.partner_id.child_ids) - partners
        more.fetch(fnames)
        partners |= more
        for company in self.company_id:
            for one in company._get_dunning_parents():
                partners.with_company(one).fetch(['dunning_channel'])

    # === ABOVE THE LIMIT, TEXTS, LEVEL === #

    def _find_limit_hints(self):
        for notice in self._get_above_limit():
            yield notice.id, 'large', notice._describe_above_limit()

    def _find_text_hints(self):
        # Asked once for each level and language, and not for a thousand notices at a time.
        for (kind, source, lang), notices in self.grouped(
                lambda notice: (notice.kind, notice._get_text_source(), notice.lang)).items():
            if source._get_text(lang, kind):
                continue
            for notice in notices:
                try:
                    notice._raise_for_missing_texts()
                except UserError as error:
                    yield notice.id, 'no_text', str(error)

    def _find_level_hints(self):
        last = {procedure.level_ids.sorted('sequence')[-1:].id for procedure in self.level_id.procedure_id}
        for notice in self:
            level = notice.level_id
            if level.id in last and any(
                    line.kind == 'due' and line.level_id == level != line.previous_level_id
                    for line in notice.line_ids):
                yield notice.id, 'last_level', self.env._(
                    "“%s” is the last level: nothing more follows it by itself.", level.name)

    # === ADDRESS === #

    def _find_address_hints(self):
        letters = {}
        for notice in self:
            address = notice._get_addressee()
            has_street, has_town = address.street or address.street2, address.city
            if has_street and has_town:
                letter = letters.setdefault(
                    notice.lang, self.env['report.dunning_mail.letter'].with_context(lang=notice.lang))
                if letter._get_address_size(notice.company_id, letter._get_address_lines(notice)).excess:
                    yield notice.id, 'address_size', self.env._(
                        "The postal address of %s takes more lines than the window of an envelope shows, even in "
                        "small letters.", notice.recipient_id.display_name)
                continue
            name = notice.recipient_id.display_name
            if has_town:
                words = self.env._("The postal address of %s has no street.", name)
            elif has_street:
                words = self.env._("The postal address of %s has no town.", name)
            else:
                words = self.env._("There is no postal address of %s: nobody could deliver the letter.", name)
            yield notice.id, 'no_address', words

    # === ACCOUNT AND CODE === #

    def _find_payment_hints(self):
        for notice in self:
            part, accounts = notice._get_payment_part(), notice._get_invoice_accounts()
            if not part['account']:
                yield notice.id, 'no_account', self.env._(
                    "No bank account of %(company)s takes %(currency)s. Add one to the company's contact.",
                    company=notice.company_id.name, currency=notice.currency_id.name)
            if len(accounts) > 1:
                yield notice.id, 'accounts', self.env._(
                    "The invoices ask for payment to different accounts: %(accounts)s. This notice asks for all of it "
                    "to the account %(account)s. The dunning settings can make a notice for each account.",
                    accounts=format_list(self.env, accounts.mapped(lambda account: account.acc_number)),
                    account=part['account'].acc_number)
            if qr.is_qr_iban(part['number']) and part['info']:
                yield notice.id, 'no_slip', self.env._(
                    "Account %(account)s is a QR-IBAN, which takes nothing but QR-bills, and this letter has none: "
                    "%(reason)s", account=qr.format_iban(part['number']), reason=part['info'])
            if part['is_shortened']:
                yield notice.id, 'short_code', self.env._(
                    "The payment code has less room than names and addresses take, so it bears them shortened.")

    # === INVOICES === #

    def _find_invoice_hints(self):
        for notice in self:
            unsent = notice.due_line_ids.move_id.filtered(
                lambda move: not move.is_move_sent and move.is_sale_document(include_receipts=True))
            if unsent:
                yield notice.id, 'not_sent', self.env._(
                    "As far as is known here, the customer was never sent %s.",
                    format_list(self.env, unsent.mapped('name')))

    def _find_copy_hints(self):
        notices = self.filtered(lambda notice: notice.level_id.attach_invoices)
        # Those of all notices together.
        copies = notices.line_ids.move_line_id.move_id.mapped('invoice_pdf_report_id')
        copies.fetch(['name', 'checksum', 'store_fname', 'db_datas', 'type', 'res_model', 'res_id', 'res_field'])
        for notice in notices:
            for words in notice._describe_missing_copies():
                yield notice.id, 'no_copy', words

    # === MONEY === #

    def _find_money_hints(self):
        unallocated, on_way = self._find_unallocated(), self._find_on_way()
        # What is there for charges was not forgotten: these are not asked for again.
        there = self.env['dunning.proposal']._read_there(self.partner_id.commercial_partner_id) if unallocated else {}
        for notice in self:
            for currency, amount in unallocated.get(notice.id, {}).items():
                amount -= there.get((*notice._get_customer_key(), currency.id), 0.0)
                if currency.compare_amounts(amount, 0) <= 0:
                    continue
                words = format_amount(self.env, amount, currency)
                if currency == notice.currency_id:
                    yield notice.id, 'unallocated', self.env._(
                        "Payments and credit notes of the customer are reconciled with nothing and not set off: %s.",
                        words)
                else:
                    is_said = (currency.symbol or currency.name) in (notice.proposal_hint or '')
                    yield notice.id, 'unallocated', '' if is_said else self.env._(
                        "Not set off, since it is in another currency: credits of %s.", words)
            if payments := on_way.get(notice.id):
                yield notice.id, 'on_way', self.env._(
                    "On its way and not set off: %s.", self._describe_on_way(payments))
            if set_off := [line for line in notice.line_ids if line.payment_id]:
                yield notice.id, 'on_way', self.env._(
                    "On its way and set off: %s. It is registered and not in the books yet.",
                    format_amount(self.env, -sum(line.amount_residual for line in set_off), notice.currency_id))
