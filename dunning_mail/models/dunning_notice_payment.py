from odoo import api, fields, models

from ..tools import qr

# That the company had no account to pay into is noted down too.
NO_ACCOUNT = '-'
# Own references begin so: with zeros begin those that the Swiss accounting makes of invoice numbers.
QR_REFERENCE_PREFIX = '99'
CREDITOR_REFERENCE_PREFIX = 'DN'


class DunningNotice(models.Model):
    """How a notice is paid: into which account, with which of its numbers, reference and code."""
    _inherit = 'dunning.notice'

    payment_part = fields.Selection(
        [('swiss', 'Swiss QR-bill'), ('epc', 'EPC QR code (SEPA)')], readonly=True, copy=False,
        help="What the letter bears for paying by a scan.")
    payment_part_info = fields.Text(
        "Why No Payment Part", readonly=True, copy=False,
        help="What in account, currency or address does not allow a payment part on the letter.")
    payment_account_number = fields.Char(
        "Account to Pay Into", readonly=True, copy=False, help="The account that the issued letter names.")
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
        is_alone = len(self.due_line_ids | self.credit_line_ids) == 1 and not self.currency_id.compare_amounts(
            self.amount_total, self.amount_overdue - self.amount_credit)
        return moves.payment_reference if is_alone else False

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
        return self._choose_payment_part(account, ways, self.amount_total)

    def _choose_payment_part(self, account, ways, amount):
        """Choose the first of several ways of paying an amount for which there is a code.

        :param account: `res.partner.bank`, may be empty
        :param list ways: (number, reference), the preferred one first
        :param amount: to be paid
        :return: as `_get_payment_part()`
        """
        infos = []
        for number, reference in ways:
            part = {
                'account': account, 'number': number, 'reference': reference or '', 'method': False, 'lines': [],
                'is_shortened': False, 'info': ''}
            part.update(self._find_payment_code(account, number, reference or '', amount))
            if part['method']:
                return part
            infos.append(part['info'])
        # Whoever gets no code is told the number that all banks take.
        return dict(part, info=infos[0])

    def _prepare_payment_values(self):
        """Return what a notice that is about to be issued writes down about its payment.

        :return: dict of values
        """
        self.ensure_one()
        part = self._get_payment_part(is_new=True)
        return {
            'payment_reference': part['reference'] or False, 'payment_part': part['method'],
            'payment_part_info': part['info'], 'payment_account_number': part['number'] or NO_ACCOUNT}
