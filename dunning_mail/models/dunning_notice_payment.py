from odoo import api, fields, models
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

    # === REFERENCE === #

    def _get_payment_account(self, accounts=None):
        """Return the `res.partner.bank` to pay into, empty when no account of the company takes the currency.

        :param accounts: the company's accounts, where they have been read already
        """
        self.ensure_one()
        company = self.company_id.sudo()
        accounts = (company.partner_id.bank_ids if accounts is None else accounts).filtered(lambda account: (
            account.currency_id in (self.currency_id, self.env['res.currency'])
            and account.company_id in (company, self.env['res.company'])
        ))
        # one kept in that very currency comes before one that takes any
        return accounts.sorted(lambda account: not account.currency_id)[:1]

    @api.model
    def _get_qr_iban(self, account):
        """Return the QR-IBAN of an account, which takes QR references only; False when it has none."""
        # The field is that of Switzerland's accounting addon.
        own = 'l10n_ch_qr_iban' in account._fields and account.l10n_ch_qr_iban
        number = own or account.sanitized_acc_number
        return number if qr.is_qr_iban(number) else False

    def _get_invoice_reference(self):
        """Return the invoice's own reference, as long as it stands for all that the notice claims."""
        self.ensure_one()
        moves = self.due_line_ids.move_id
        is_alone = len(self.due_line_ids | self.credit_line_ids) == 1
        return moves.payment_reference if is_alone and not self.amount_fee and not self.amount_interest else False

    def _get_payment_reference(self):
        """Return what a payment must bear to lead back to the notice.

        :return: the invoice's own reference, as long as it stands for all that the notice claims and the account takes
            it; else one of the notice's own: for a QR-IBAN a QR reference, for another IBAN an ISO 11649 one. False
            where there is neither.
        """
        reference = self._get_invoice_reference()
        account = self._get_payment_account()
        if account.acc_type != 'iban':
            return reference
        is_for_qr_iban = bool(self._get_qr_iban(account))
        compact = ''.join((reference or '').split())
        if reference and is_for_qr_iban == qr.is_qr_reference(compact):
            return compact if is_for_qr_iban else reference
        number = self._origin.id or 0
        if is_for_qr_iban:
            return qr.make_qr_reference(f'{QR_REFERENCE_PREFIX}{number:024}')
        return qr.make_creditor_reference(f'{CREDITOR_REFERENCE_PREFIX}{number:09}')

    # === PAYMENT PART === #

    def _get_payment_part(self, reference=None):
        """Decide which payment part the letter bears, and what its code says.

        :param str reference: what a payment must bear; by default what the notice says, of a draft what it would say
        :return: dict of `method` (`swiss`, `epc` or False), `lines` (the code's content, list of str), `reference` and
            `info` (why there is none, in words for the clerk)
        """
        self.ensure_one()
        if reference is None:
            is_draft = self.state in ('draft', 'excluded')
            reference = self._get_payment_reference() if is_draft else self.payment_reference
        account = self._get_payment_account().sudo()
        part = {'method': False, 'lines': [], 'reference': reference or '', 'info': ''}
        problem = self._get_payment_part_problem(account)
        if problem is not None:
            return dict(part, info=problem)
        problems = []
        for method, name in self._get_payment_part_methods(account):
            # The name of the number is the notice's, so that a person finds it; a reference that no machine reads
            # goes there instead.
            is_structured = qr.is_qr_reference(reference) or qr.is_creditor_reference(reference)
            free = (self.name or '') if is_structured and method == 'swiss' else reference or self.name or ''
            code = {'swiss': 'ch_qr', 'epc': 'sct_qr'}[method]
            error = (
                account._get_error_messages_for_qr(code, self.recipient_id, self.currency_id)
                or account._check_for_qr_code_errors(
                    code, self.amount_total, self.currency_id, self.recipient_id, free, reference or ''))
            if error:
                problems.append(f'{name}: {" ".join(str(error).split())}')
                continue
            lines = account._get_qr_vals(
                code, self.amount_total, self.currency_id, self.recipient_id, free, reference or '')
            if method == 'swiss':
                lines = [qr.clean_swiss_text(line) for line in lines]
            return dict(part, method=method, lines=lines)
        return dict(part, info='\n'.join(problems) or self.env._(
            "No kind of payment part fits account %(account)s and currency %(currency)s: a Swiss QR-bill needs a Swiss "
            "or Liechtenstein IBAN, CHF or EUR, and the addon for Switzerland's accounting (l10n_ch); an EPC code "
            "needs EUR, an IBAN of the SEPA zone, and the addon for SEPA QR codes (account_qr_code_sepa).",
            account=account.acc_number, currency=self.currency_id.name))

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

    def _get_payment_part_methods(self, account):
        """Return the kinds of payment part that account and currency let us try, the preferred one first.

        :param account: `res.partner.bank`
        :return: list of (`swiss` or `epc`, name for people)
        """
        available = dict(account.get_available_qr_methods_in_sequence())
        currency = self.currency_id.name
        methods = []
        if 'ch_qr' in available and currency in ('CHF', 'EUR') and account.sanitized_acc_number[:2] in ('CH', 'LI'):
            methods.append(('swiss', available['ch_qr']))
        # A QR-IBAN takes nothing but QR-bills.
        if 'sct_qr' in available and currency == 'EUR' and not qr.is_qr_iban(account.sanitized_acc_number):
            methods.append(('epc', available['sct_qr']))
        return methods

    def _prepare_payment_values(self):
        """Return what a notice that is about to be issued writes down about its payment.

        :return: dict of values
        """
        self.ensure_one()
        part = self._get_payment_part(self._get_payment_reference() or '')
        return {
            'payment_reference': part['reference'] or False, 'payment_part': part['method'],
            'payment_part_info': part['info'],
            'payment_account_number': self._get_payment_account().sanitized_acc_number or NO_ACCOUNT}

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
