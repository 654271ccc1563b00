import re

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Domain
from odoo.tools import SQL, format_amount, format_date

from ..tools import qr
from ..tools.ids import MAX_ID

# The references of instalments begin so; those of notices begin otherwise.
QR_REFERENCE_PREFIX = '98'
CREDITOR_REFERENCE_PREFIX = 'DP'
# Which instalment they are of.
NUMBER = re.compile(
    f'{QR_REFERENCE_PREFIX}(?P<qr>[0-9]{{24}})[0-9]|RF[0-9]{{2}}{CREDITOR_REFERENCE_PREFIX}(?P<creditor>[0-9]{{9,19}})')


class DunningPromise(models.Model):
    """How a promise is confirmed to the customer: by a notice of kind `plan`, which goes the way of all notices."""
    _inherit = 'dunning.promise'

    notice_ids = fields.One2many('dunning.notice', 'promise_id', string="Confirmations", readonly=True)
    confirmation_id = fields.Many2one(
        'dunning.notice', compute='_compute_confirmation_id', help="The last one that was issued and not cancelled.")
    confirmation_status = fields.Selection(
        selection=lambda self: self.env['dunning.notice']._fields['status']._description_selection(self.env),
        compute='_compute_confirmation_id')

    @api.depends('notice_ids.status')
    def _compute_confirmation_id(self):
        for promise in self:
            promise.confirmation_id = promise.notice_ids.filtered(
                lambda notice: notice.state == 'issued').sorted('id')[-1:]
            promise.confirmation_status = promise.confirmation_id.status

    def _get_slip_notice(self):
        """Return the `dunning.notice` whose slips the customer has: the last one, also one that was cancelled since."""
        return self.notice_ids.filtered(lambda notice: notice.state in ('issued', 'cancelled')).sorted(
            lambda notice: (notice.state == 'issued', notice.id))[-1:]

    def _find_last(self):
        """Return what stands in place of promises that were extended.

        :return: dict `dunning.promise` -> the last one of those that extend it, itself where there is none
        """
        following = {
            promise.previous_id: promise
            for promise in self.sudo().search([('previous_id', 'in', self.ids)], order='id')} if self else {}
        last = self.browse().union(*following.values())._find_last() if following else {}
        return {promise: last[following[promise]] if promise in following else promise for promise in self}

    # === WHAT A PERSON MAY PRESS === #

    def action_send_confirmation(self):
        """Issue the confirmation: by mail, or on paper, as the customer wants it.

        :return: action that opens it
        :raise UserError: it cannot be: names what is in the way
        """
        self.ensure_one()
        self.check_access('write')
        if self.confirmation_id:
            raise UserError(self.env._(
                "%(promise)s is confirmed by %(notice)s already. Cancel that one first, if the customer is to get "
                "another one.", promise=self.display_name, notice=self.confirmation_id.display_name))
        notice = self._make_confirmation()
        notice._issue()
        if notice.state != 'issued':
            raise UserError(notice.problem or notice.delivery_info or self.env._("There is nothing to confirm."))
        self._message_log(body=self.env._("Confirmation %s was issued.", notice.name))
        return notice.with_env(self.env).get_formview_action()

    def action_preview_confirmation(self):
        """Show the letter as it would be, or the one that was issued.

        :raise UserError: it cannot be issued: names what is in the way
        """
        self.ensure_one()
        if self.confirmation_id:
            return self.confirmation_id.action_open_document()
        self.check_access('write')
        if fault := self._find_confirmation_fault():
            raise UserError(fault)
        return {'type': 'ir.actions.act_url', 'url': f'/dunning_mail/promise/{self.id}/confirmation', 'target': 'new'}

    def action_open_confirmation(self):
        """Open the notice that confirms the promise."""
        self.ensure_one()
        return self.confirmation_id.get_formview_action()

    # === MAKING === #

    def _make_confirmation(self):
        """Make the draft of a confirmation, in place of an earlier one.

        :return: `dunning.notice` as superuser
        :raise UserError: the promise is over, or its amounts are not true any more
        """
        self.ensure_one()
        if fault := self._find_confirmation_fault():
            raise UserError(fault)
        self._drop_drafts()
        return self.env['dunning.notice']._as_system().create(self._prepare_confirmation_values())

    def _render_confirmation(self):
        """Return the letter as it would be, as PDF; its notice does not stay.

        :return: bytes
        :raise UserError: it cannot be issued: names what is in the way
        """
        notice = self._make_confirmation()
        content = notice._make_documents()[notice.id]
        notice.unlink()
        if isinstance(content, Exception):
            raise content
        return content

    def _drop_drafts(self):
        """Let go of confirmations that nobody has issued."""
        self.sudo().notice_ids.filtered(lambda notice: notice.state in ('draft', 'excluded')).unlink()

    def _prepare_confirmation_values(self):
        self.ensure_one()
        company, partner = self.company_id, self.partner_id.commercial_partner_id
        proposal = self.env['dunning.proposal'].sudo().with_company(company)
        recipient = proposal._find_recipients(partner, company)[partner.id]
        source = partner.sudo().with_company(company).dunning_procedure_id or company.sudo().dunning_procedure_id
        return {
            'kind': 'plan', 'promise_id': self.id, 'company_id': company.id, 'user_id': self.env.uid,
            'partner_id': partner.id, 'recipient_id': recipient.id, 'currency_id': self.currency_id.id,
            'date': company._get_dunning_day(),
            'lang': self.env['dunning.notice']._choose_lang_among(
                (partner.lang, recipient.lang), source, company, 'plan'),
            'line_ids': [fields.Command.create({
                'kind': 'due', 'move_line_id': item.id, 'name': item.move_id.name, 'date_invoice': item.invoice_date
                or item.date, 'date_due': item.date_maturity or item.date, 'amount_invoiced': item.amount_currency,
                # As it was agreed on.
                'amount_residual': (self.opened or {}).get(str(item.id), 0.0),
            }) for item in self._get_items_by_age()]}

    def _get_items_by_age(self):
        """Return the covered items, oldest first."""
        return self.sudo().item_ids.sorted(lambda item: (item.date_maturity or item.date, item.id))

    def _find_confirmation_fault(self):
        """Say why the promise cannot be confirmed as it was made; empty where it can.

        A payment is no fault: what was agreed on stays so. But nobody is asked to pay on a day that is over.
        """
        self.ensure_one()
        promise = self.sudo()
        if promise.state != 'open':
            return self.env._(
                "%(promise)s is not open any more: %(state)s.", promise=promise.display_name,
                state=dict(promise._fields['state']._description_selection(self.env))[promise.state])
        facts = promise._read_facts(SQL("p.id = %s", promise.id))[promise.id]
        if gone := promise.item_ids - promise.item_ids.browse(line_id for line_id, _due, _left in facts.items):
            return self.env._(
                "%(items)s: no longer an item of %(promise)s. Extend the promise for what is left of it.",
                items=', '.join(gone.move_id.mapped(lambda move: move.name or '/')), promise=promise.display_name)
        required = facts.money.get_required(facts.terms.total)
        if promise.currency_id.compare_amounts(required, facts.terms.total) < 0:
            return self.env._(
                "%(promised)s was promised, and credit notes leave %(owed)s to be paid. Extend the promise for that.",
                promised=format_amount(self.env, facts.terms.total, promise.currency_id),
                owed=format_amount(self.env, required, promise.currency_id))
        today = promise.company_id._get_dunning_day(user=promise.user_id)
        if facts.terms.find_over(facts.money, today):
            promise._load_on_way({promise.id: facts})
        if over := facts.terms.find_over(facts.money, today):
            return self.env._(
                "%(promise)s: what was promised for %(day)s is over and was not paid in time. Extend the promise.",
                promise=promise.display_name, day=format_date(self.env, over[0]))
        return ''

    def _describe_terms(self):
        """Return what is agreed on beside days and amounts, in the language of the environment: list of str."""
        self.ensure_one()
        terms = []
        if self.stops_interest:
            terms.append(self.env._(
                "From %s on, no interest on arrears is charged on what is promised here, as long as it is paid as "
                "agreed.", format_date(self.env, self.date, date_format='long')))
        elif self._has_interest():
            terms.append(self.env._("Interest on arrears goes on accruing until payment."))
        if self.falls_due_whole:
            terms.append(self.env._(
                "If an instalment is not paid in time, all that is still open falls due at once."))
        return terms

    def _has_interest(self):
        """Whether the company claims interest of this customer at all."""
        self.ensure_one()
        company, partner = self.company_id.sudo(), self.partner_id.sudo().with_company(self.company_id)
        procedure = partner.dunning_procedure_id or company.dunning_procedure_id
        return bool(procedure._get_interest_profile(company)) and any(procedure.level_ids.mapped('charge_interest'))


class DunningPromiseLine(models.Model):
    """How an instalment is paid, and found again by what a payment bears."""
    _inherit = 'dunning.promise.line'

    number = fields.Integer(compute='_compute_number', help="Of the instalment in its plan.")
    payment_reference = fields.Char(
        readonly=True, copy=False, help="What the payment slip of this instalment bears.")

    @api.depends('promise_id.line_ids.date')
    def _compute_number(self):
        for line in self:
            lines = line.promise_id.line_ids.sorted(lambda other: (other.date, other.id))
            line.number = lines.ids.index(line.id) + 1 if line.id in lines.ids else 0

    def _get_own_reference(self, is_qr):
        """Return the reference of the instalment: a QR reference, or one by ISO 11649."""
        self.ensure_one()
        if is_qr:
            return qr.make_qr_reference(f'{QR_REFERENCE_PREFIX}{self.id:024}')
        return qr.make_creditor_reference(f'{CREDITOR_REFERENCE_PREFIX}{self.id:09}')

    def _get_own_references(self):
        """Return what slips of these instalments may bear, whichever number of an account they are for: set of str."""
        return {line._get_own_reference(is_qr) for line in self if line.payment_reference for is_qr in (False, True)}

    @api.model
    def _find_by_references(self, words, company):
        """Find the instalments that payments of a company name.

        :param words: texts of payments
        :param company: `res.company`
        :return: dict text -> `dunning.promise.line`; whatever has become of its promise
        """
        found = self._search_references(words, Domain('promise_id.company_id', '=', company.id))
        return {text: lines[:1] for text, lines in found.items()}

    @api.model
    def _search_references(self, words, domain):
        """Find the instalments whose references are in the words of payments, each as a whole.

        A reference is the instalment's for good: another account, or another confirmation, changes nothing about the
        slips that the customer has.

        :param words: texts of payments
        :param domain: :class:`~odoo.fields.Domain` of the instalments
        :return: dict text -> `dunning.promise.line`, the older ones first
        """
        candidates = {text: qr.find_references(text) for text in set(filter(None, words))}
        numbers = {int(match['qr'] or match['creditor']) for reference in set().union(*candidates.values()) if (
            match := NUMBER.fullmatch(reference))}
        if not numbers:
            return {}
        lines = self.sudo().search(Domain('id', 'in', [number for number in numbers if number <= MAX_ID]) & Domain(
            'payment_reference', '!=', False) & domain, order='id')
        own = {line: line._get_own_references() for line in lines}
        return {text: self.browse(named.ids) for text, references in candidates.items() if (
            named := lines.filtered(lambda line, references=references: not references.isdisjoint(own[line])))}

    def _get_settled_items(self):
        """Return what a payment of these instalments settles: the covered items that are the customer's and still open,
        oldest first; then what the promise covers that has taken the place of theirs.

        :return: `account.move.line`
        """
        items = self.env['account.move.line']
        promises = self.promise_id.sudo()
        for promise in promises.union(promises, *promises._find_last().values()):
            partner = promise.partner_id.commercial_partner_id
            items |= promise._get_items_by_age().filtered_domain(items._get_dunning_debit_domain()).filtered(
                lambda item, partner=partner: item.partner_id.commercial_partner_id == partner)
        return items

    @api.model
    def _group_by_references(self, words, company):
        """Say for which promises payments are: with the slip of one that was extended, for the one in its place.

        :return: dict text -> id of the `dunning.promise`
        """
        found = self._find_by_references(words, company)
        last = self.union(*found.values()).sudo().promise_id._find_last()
        return {text: last[line.sudo().promise_id].id for text, line in found.items()}
