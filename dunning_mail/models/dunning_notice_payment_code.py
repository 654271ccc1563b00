from odoo import models
from odoo.exceptions import UserError
from odoo.tools import float_compare

from ..tools import qr

# The largest amount that a QR-bill and an EPC code can say.
LARGEST_AMOUNT = 999_999_999.99


class DunningNotice(models.Model):
    """The QR code that holds all of how a notice is paid, to the letter of the standards."""
    _inherit = 'dunning.notice'

    def _find_payment_code(self, account, number, reference, amount):
        """Return what of a payment part is known of one of the account's numbers.

        :param amount: to be paid
        :return: dict, part of what `_get_payment_part()` returns
        """
        problem = self._get_payment_part_problem(account, amount)
        if problem is not None:
            return {'info': problem}
        problems = []
        for method, name in self._get_payment_part_methods(account, number):
            try:
                return {'method': method, **getattr(self, f'_make_{method}_code')(account, reference, amount)}
            except UserError as error:
                problems.append(f'{name}: {" ".join(str(error).split())}')
        return {'info': '\n'.join(problems) or self.env._(
            "No kind of payment part fits account %(account)s and currency %(currency)s: a Swiss QR-bill needs a Swiss "
            "or Liechtenstein IBAN, CHF or EUR, and the addon for Switzerland's accounting (l10n_ch); an EPC code "
            "needs EUR, an IBAN of the SEPA zone, and the addon for SEPA QR codes (account_qr_code_sepa).",
            account=account.acc_number, currency=self.currency_id.name)}

    def _make_swiss_code(self, account, reference, amount):
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
        self._raise_for_code(account, 'ch_qr', amount, debtor, free, structured)
        lines, is_shortened = qr.fit_swiss(account._get_qr_vals(
            'ch_qr', amount, self.currency_id, debtor, free, structured))
        fault = qr.find_swiss_fault(lines)
        if fault:
            raise UserError({
                'creditor': self.env._("The name or address of your company is not complete."),
                'debtor': self.env._("The name or address of %s is not complete.", debtor.display_name),
                'amount': self.env._("The total cannot be paid by a QR code."),
            }.get(fault) or self.env._("Account and reference do not fit together."))
        return {'lines': lines, 'is_shortened': is_shortened}

    def _make_epc_code(self, account, reference, amount):
        """Return what an EPC code says; as `_make_swiss_code()`."""
        reference = reference or self.name or ''
        self._raise_for_code(
            account, 'sct_qr', amount, self._get_addressee(), reference,
            reference if qr.is_creditor_reference(reference) else '')
        try:
            lines, is_shortened = qr.make_epc(
                account.acc_holder_name or account.partner_id.name, account.sanitized_acc_number, amount,
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

    def _raise_for_code(self, account, method, amount, debtor, free, structured):
        """Ask core whether it would make such a code.

        :raise UserError: why it would not
        """
        error = (
            account._get_error_messages_for_qr(method, debtor, self.currency_id)
            or account._check_for_qr_code_errors(
                method, amount, self.currency_id, debtor, free, structured))
        if error:
            raise UserError(error)

    def _get_payment_part_problem(self, account, amount):
        """Return why there can be no payment part, whichever kind; None if there can.

        :param account: `res.partner.bank`, may be empty
        :param amount: to be paid
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
        if float_compare(amount, 0.01, precision_digits=2) < 0 or amount > LARGEST_AMOUNT:
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
