from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Domain
from odoo.tools import float_compare

from ..tools import qr

# The largest amount that a QR-bill and an EPC code can say.
LARGEST_AMOUNT = 999_999_999.99
# That the company had no account to pay into is noted down too.
NO_ACCOUNT = '-'
# Own references begin so: with zeros begin those that the Swiss accounting makes of invoice numbers.
QR_REFERENCE_PREFIX = '99'
CREDITOR_REFERENCE_PREFIX = 'DN'


class DunningNotice(models.Model):
    """How a notice is paid: its reference, and the QR code that holds all of it."""
    _inherit = 'dunning.notice'

    payment_part = fields.Selection(
        [('swiss', 'Swiss QR-bill'), ('epc', 'EPC QR code (SEPA)')], readonly=True, copy=False,
        help="What the letter bears for paying by a scan.")
    payment_part_info = fields.Text(
        "Why No Payment Part", readonly=True, copy=False,
        help="What in account, currency or address does not allow a payment part on the letter.")
    payment_account_number = fields.Char(
        "Account to Pay Into", readonly=True, copy=False, help="The account that the issued letter names.")
    payment_reference_search = fields.Char(
        "Reference of a Payment", compute='_compute_payment_reference_search',
        search='_search_payment_reference_search')

    @api.depends('payment_reference')
    def _compute_payment_reference_search(self):
        for notice in self:
            notice.payment_reference_search = qr.format_reference(notice.payment_reference or '')

    def _search_payment_reference_search(self, operator, value):
        """Find notices by a reference as a bank or a person writes it: with spaces, or within other words."""
        if operator == 'in':
            words = [word for word in value if isinstance(word, str)]
        elif isinstance(value, str) and operator in ('ilike', 'like', '=ilike', '=like'):
            words = [value.strip('%')]
        else:
            return NotImplemented
        candidates = set().union(*map(qr.find_references, words))
        if operator == 'in':
            return Domain('payment_reference', 'in', list(candidates))
        return Domain.OR([Domain('payment_reference', 'ilike', candidate) for candidate in candidates or {''}])

    @api.model
    def _find_by_references(self, words, company):
        """Find the issued notices that payments name.

        :param words: texts of payments
        :param company: `res.company`
        :return: dict text -> `dunning.notice`, the newest one where several bear the reference of the same invoice
        """
        candidates = {text: qr.find_references(text) for text in set(filter(None, words))}
        if not any(candidates.values()):
            return {}
        notices = self.sudo().search([
            ('payment_reference', 'in', list(set().union(*candidates.values()))), ('state', '=', 'issued'),
            ('company_id', '=', company.id)], order='id desc')
        found = {}
        for text, references in candidates.items():
            notice = notices.filtered(
                lambda notice, references=references: notice.payment_reference in references)[:1]
            if notice:
                found[text] = self.browse(notice.id)
        return found

    # === ACCOUNT AND REFERENCE === #

    def _get_payment_account(self, accounts=None, named=None):
        """Return the `res.partner.bank` to pay into: what the invoices name, else the company's first one.

        :param accounts: the company's accounts, where they have been read already
        :param named: the accounts that the invoices name, where that is known already
        :return: empty when no account takes the currency. Where the invoices name several, the first one in the
            company's order
        """
        self.ensure_one()
        own = (self.company_id.sudo().partner_id.bank_ids if accounts is None else accounts).filtered(
            self._takes_account)
        # one kept in that very currency comes before one that takes any
        own = own.sorted(lambda account: not account.currency_id)
        named = self._get_invoice_accounts() if named is None else named.filtered(self._takes_account)
        return ((own & named) | named | own)[:1]

    def _takes_account(self, account):
        """Whether the notice's total may be paid into an account: it is in use, and takes the currency."""
        return (
            account.active and account.currency_id in (self.currency_id, self.env['res.currency'])
            and account.company_id in (self.company_id, self.env['res.company']))

    def _get_invoice_accounts(self):
        """Return the accounts that the invoices of the due items name, as far as they can be paid into."""
        self.ensure_one()
        moves = self.due_line_ids.sudo().move_id.filtered(lambda move: move.is_sale_document(include_receipts=True))
        return moves.partner_bank_id.filtered(self._takes_account)

    @api.model
    def _get_qr_iban(self, account):
        """Return the QR-IBAN of an account, which takes QR references only; False when it has none."""
        # The field is that of Switzerland's accounting addon.
        own = 'l10n_ch_qr_iban' in account._fields and account.l10n_ch_qr_iban
        number = ''.join((own or account.sanitized_acc_number or '').split())
        return number if qr.is_qr_iban(number) else False

    @api.model
    def _get_account_numbers(self, account):
        """Return the numbers by which an account can be paid into, as they are compared."""
        return {account.sanitized_acc_number or NO_ACCOUNT, *filter(None, [self._get_qr_iban(account)])}

    def _get_invoice_reference(self):
        """Return the invoice's own reference, as long as it stands for all that the notice claims."""
        self.ensure_one()
        moves = self.due_line_ids.move_id
        is_alone = len(self.due_line_ids | self.credit_line_ids) == 1
        return moves.payment_reference if is_alone and not self.amount_fee and not self.amount_interest else False

    def _get_own_reference(self, is_qr):
        """Return a reference of the notice's own: a QR reference, or one by ISO 11649."""
        number = self._origin.id or 0
        if is_qr:
            return qr.make_qr_reference(f'{QR_REFERENCE_PREFIX}{number:024}')
        return qr.make_creditor_reference(f'{CREDITOR_REFERENCE_PREFIX}{number:09}')

    def _list_payment_ways(self, account):
        """Return the numbers of an account, each with the reference that it takes, the preferred one first.

        A QR-IBAN takes QR references only, and no other number takes those. The invoice's own reference goes before
        one of the notice's, where that number takes it.

        :param account: `res.partner.bank`, may be empty
        :return: list of (number without spaces, what a payment must bear to lead back here; False for nothing)
        """
        reference = self._get_invoice_reference()
        number = account.sanitized_acc_number or ''
        if account.acc_type != 'iban':
            return [(number, reference)]
        compact, ways = ''.join((reference or '').split()), []
        if qr_iban := self._get_qr_iban(account):
            ways.append((qr_iban, compact if qr.is_qr_reference(compact) else self._get_own_reference(True)))
        if number != qr_iban:
            if qr.is_creditor_reference(compact):
                reference = compact.upper()
            elif not compact or qr.is_qr_reference(compact) or not qr.is_transferable(reference):
                reference = self._get_own_reference(False)
            ways.append((number, reference))
        return ways

    # === PAYMENT PART === #

    def _get_payment_part(self, is_new=None):
        """Decide how the notice is to be paid, all of it together: account, reference, and what a code says.

        :param bool is_new: choose the reference too; by default of a draft only, and what was issued keeps its own
        :return: dict of `account` (`res.partner.bank`, may be empty), `number` (without spaces), `reference`, `method`
            (`swiss`, `epc` or False), `lines` (the code's content, list of str), `is_shortened` (the code has less room
            than names and addresses take) and `info` (why there is no code, in words for the clerk)
        """
        self.ensure_one()
        account = self._get_payment_account().sudo()
        ways = self._list_payment_ways(account)
        if not (self.state in ('draft', 'excluded') if is_new is None else is_new):
            reference = self.payment_reference or ''
            is_qr = qr.is_qr_reference(reference)
            number = next((number for number, _own in ways if qr.is_qr_iban(number) == is_qr), ways[-1][0])
            ways = [(number, reference)]
        infos = []
        for number, reference in ways:
            part = {
                'account': account, 'number': number, 'reference': reference or '', 'method': False, 'lines': [],
                'is_shortened': False, 'info': ''}
            part.update(self._find_payment_code(account, number, reference or ''))
            if part['method']:
                return part
            infos.append(part['info'])
        # Whoever gets no code is told the number that all banks take.
        return dict(part, info=infos[0])

    def _find_payment_code(self, account, number, reference):
        """Return what of a payment part is known of one of the account's numbers.

        :return: dict, part of what `_get_payment_part()` returns
        """
        problem = self._get_payment_part_problem(account)
        if problem is not None:
            return {'info': problem}
        problems = []
        for method, name in self._get_payment_part_methods(account, number):
            try:
                return {'method': method, **getattr(self, f'_make_{method}_code')(account, reference)}
            except UserError as error:
                problems.append(f'{name}: {" ".join(str(error).split())}')
        return {'info': '\n'.join(problems) or self.env._(
            "No kind of payment part fits account %(account)s and currency %(currency)s: a Swiss QR-bill needs a Swiss "
            "or Liechtenstein IBAN, CHF or EUR, and the addon for Switzerland's accounting (l10n_ch); an EPC code "
            "needs EUR, an IBAN of the SEPA zone, and the addon for SEPA QR codes (account_qr_code_sepa).",
            account=account.acc_number, currency=self.currency_id.name)}

    def _make_swiss_code(self, account, reference):
        """Return what a Swiss QR-bill says.

        :return: dict of `lines` and `is_shortened`
        :raise UserError: why there can be none
        """
        debtor = self._get_addressee()
        # The name of the number is the notice's, so that a person finds it; a reference that no machine reads goes
        # there instead.
        is_structured = qr.is_qr_reference(reference) or qr.is_creditor_reference(reference)
        free = (self.name or '') if is_structured else reference or self.name or ''
        structured = reference if is_structured else ''
        self._raise_for_code(account, 'ch_qr', debtor, free, structured)
        lines, is_shortened = qr.fit_swiss(account._get_qr_vals(
            'ch_qr', self.amount_total, self.currency_id, debtor, free, structured))
        fault = qr.find_swiss_fault(lines)
        if fault:
            raise UserError({
                'creditor': self.env._("The name or address of your company is not complete."),
                'debtor': self.env._("The name or address of %s is not complete.", debtor.display_name),
                'amount': self.env._("The total cannot be paid by a QR code."),
            }.get(fault) or self.env._("Account and reference do not fit together."))
        return {'lines': lines, 'is_shortened': is_shortened}

    def _make_epc_code(self, account, reference):
        """Return what an EPC code says; as `_make_swiss_code()`."""
        reference = reference or self.name or ''
        self._raise_for_code(
            account, 'sct_qr', self._get_addressee(), reference,
            reference if qr.is_creditor_reference(reference) else '')
        try:
            lines, is_shortened = qr.make_epc(
                account.acc_holder_name or account.partner_id.name, account.sanitized_acc_number, self.amount_total,
                reference, account.bank_bic or '')
        except ValueError as error:
            raise UserError({
                'bic': self.env._(
                    "For an IBAN from outside the European Economic Area the code must name the BIC. Enter it at the "
                    "bank of account %s.", account.acc_number),
                'amount': self.env._("The total cannot be paid by a QR code."),
                'name': self.env._("Account %s has no holder.", account.acc_number),
            }.get(str(error)) or self.env._("It would be more than the code can hold.")) from None
        return {'lines': lines, 'is_shortened': is_shortened}

    def _raise_for_code(self, account, method, debtor, free, structured):
        """Ask core whether it would make such a code.

        :raise UserError: why it would not
        """
        error = (
            account._get_error_messages_for_qr(method, debtor, self.currency_id)
            or account._check_for_qr_code_errors(
                method, self.amount_total, self.currency_id, debtor, free, structured))
        if error:
            raise UserError(error)

    def _get_payment_part_problem(self, account):
        """Return why there can be no payment part, whichever kind; None if there can.

        :param account: `res.partner.bank`, may be empty
        :return: words for the clerk; empty where nobody wants to know
        """
        if not self.company_id.sudo().dunning_payment_part:
            return ''
        if not account:
            return self.env._(
                "No bank account of %(company)s takes %(currency)s. Add one to the company's contact.",
                company=self.company_id.name, currency=self.currency_id.name)
        if account.acc_type != 'iban':
            return self.env._("The account %s is no IBAN.", account.acc_number)
        if float_compare(self.amount_total, 0.01, precision_digits=2) < 0 or self.amount_total > LARGEST_AMOUNT:
            return self.env._("The total cannot be paid by a QR code.")
        return None

    def _get_payment_part_methods(self, account, number):
        """Return the kinds of payment part that account and currency let us try, the preferred one first.

        :param account: `res.partner.bank`
        :param str number: which of its numbers the letter names
        :return: list of (`swiss` or `epc`, name for people)
        """
        available = dict(account.get_available_qr_methods_in_sequence())
        currency = self.currency_id.name
        methods = []
        # Core names the QR-IBAN in a QR-bill wherever there is one.
        is_for_slip = number == (self._get_qr_iban(account) or number)
        if 'ch_qr' in available and currency in ('CHF', 'EUR') and number[:2] in ('CH', 'LI') and is_for_slip:
            methods.append(('swiss', available['ch_qr']))
        # A QR-IBAN takes nothing but QR-bills.
        if 'sct_qr' in available and currency == 'EUR' and not qr.is_qr_iban(number):
            methods.append(('epc', available['sct_qr']))
        return methods

    def _prepare_payment_values(self):
        """Return what a notice that is about to be issued writes down about its payment.

        :return: dict of values
        """
        self.ensure_one()
        part = self._get_payment_part(is_new=True)
        return {
            'payment_reference': part['reference'] or False, 'payment_part': part['method'],
            'payment_part_info': part['info'], 'payment_account_number': part['number'] or NO_ACCOUNT}

    # === PAYMENTS === #

    @api.model
    def _search_by_payment(self, operator, value, fnames):
        """Find payments by the notice whose reference they bear.

        :param str operator: `in` or `any`
        :param value: ids of notices, or a domain of notices
        :param fnames: fields of the payment that may hold the reference
        :return: domain of payments; as the reference is looked for as it is stored and as it is printed, what a payer
            wrote around it does not matter
        """
        if operator == 'in':
            notices = self.browse([record_id for record_id in value if record_id])
        elif operator == 'any':
            notices = self.search(value)
        else:
            return NotImplemented
        references = set()
        for notice in notices.filtered('payment_reference'):
            printed = qr.format_reference(notice.payment_reference).replace('\u00a0', ' ')
            references |= {notice.payment_reference, printed}
        return Domain.OR([
            Domain(fname, 'ilike', reference) for fname in fnames for reference in references])

    def _get_open_items_action(self):
        """Open the due items of these notices that are still open."""
        items = self.due_line_ids.move_line_id
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Items of the Dunning Notice"),
            'res_model': 'account.move.line',
            'view_mode': 'list,form',
            'domain': [('id', 'in', items.ids), ('reconciled', '=', False)],
            'context': {'create': False},
        }
