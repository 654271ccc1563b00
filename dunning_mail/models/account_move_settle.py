import logging

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.fields import Command, Domain
from odoo.tools import format_amount, format_list

from .ir_actions_report import RETRYABLE
from .res_partner import DUNNING_GROUPS

_logger = logging.getLogger(__name__)

# Sums of payments that are tried, at most.
MANY = 5000


class AccountMove(models.Model):
    """Money that bears the reference of a notice: it settles that notice, once whoever posted it is through with it.

    When an entry is posted it is only marked: core's wizard, an online payment and importers of statements reconcile
    what they chose *after* posting. The scheduled action comes in a transaction of its own; what core's wizard has made
    is settled right after it.
    """
    _inherit = 'account.move'

    dunning_to_settle = fields.Boolean(
        readonly=True, copy=False, help="It bears the reference of a dunning notice, and was not looked at yet.")

    dunning_settled_ids = fields.Many2many(
        'dunning.notice', 'dunning_settled_rel', 'move_id', 'notice_id', string="Dunning Notices Settled",
        readonly=True, copy=False, groups=DUNNING_GROUPS,
        help="What this payment leaves is there for charges of these notices.")
    dunning_can_assign = fields.Boolean(
        compute='_compute_dunning_can_assign', help="A customer's money, something of which has no place yet.")

    _dunning_to_settle = models.Index("(id) WHERE dunning_to_settle")

    def _post(self, soft=True):
        posted = super()._post(soft)
        posted.sudo()._mark_to_settle()
        return posted

    def _mark_to_settle(self):
        """Mark the payments among these entries that name a notice, and wake who settles them."""
        payments = self.filtered(lambda move: move._get_credits_to_assign() or move._get_suspense_to_assign())
        named = self.browse()
        for company, moves in payments.grouped('company_id').items():
            words = {
                move: {*move._get_payment_words(), *move._get_credits_to_assign().mapped('name')} for move in moves}
            found = self.env['dunning.notice']._find_by_own_references(set().union(*words.values()), company)
            named |= moves.filtered(lambda move, words=words, found=found: not words[move].isdisjoint(found))
        if named:
            named.dunning_to_settle = True
            if job := self.env.ref('dunning_mail.ir_cron_settle', raise_if_not_found=False):
                job._trigger()

    def _compute_dunning_can_assign(self):
        for move in self:
            move.dunning_can_assign = bool(
                move.sudo()._get_suspense_to_assign() or move.sudo()._get_credits_to_assign())

    def action_dunning_assign_payment(self):
        """Open the dialog that shows what a payment would settle, and does it."""
        action = self.env['ir.actions.act_window']._for_xml_id('dunning_mail.dunning_assign_payment_action')
        return {**action, 'context': {'active_model': self._name, 'active_id': self[:1].id}}

    # === THE MONEY === #

    def _is_dunning_payment(self):
        """Whether the entry is a payment, by its journal or its origin."""
        self.ensure_one()
        return self.move_type == 'entry' and bool(
            self.journal_id.type in ('bank', 'cash', 'credit') or self.origin_payment_id)

    def _get_credits_to_assign(self):
        """Return what of a payment is an open credit of a customer: `account.move.line`."""
        if not self._is_dunning_payment():
            return self.env['account.move.line']
        return self.line_ids.filtered(lambda line: (
            line.account_type == 'asset_receivable' and line.parent_state == 'posted' and not line.reconciled
            and line.amount_residual_currency < 0))

    def _get_suspense_to_assign(self):
        """Return what of a bank's transaction came in and has no place yet: `account.move.line`."""
        if self.state != 'posted' or not self.statement_line_id:
            return self.env['account.move.line']
        return self.statement_line_id._seek_for_lines()[1].filtered(lambda line: line.amount_currency < 0)

    def _get_payment_words(self):
        """Return the texts of a payment that may name a notice."""
        self.ensure_one()
        payment = self.origin_payment_id
        return list(filter(None, (
            self.statement_line_id.payment_ref, payment.payment_reference, payment.memo, self.ref)))

    def _find_named_notices(self, line=None):
        """Find the notices that a payment names by references of their own, the older ones first.

        :param line: `account.move.line`, one of several of the entry: its own words go first, and those of the entry
            are about its customer then
        """
        self.ensure_one()
        Notice, words = self.env['dunning.notice'], self._get_payment_words()
        found = Notice._find_by_own_references({*words, line and line.name}, self.company_id)
        if line and line.name in found:
            return found[line.name]
        notices = Notice.union(*found.values()).sorted('id')
        if line and len(self._get_credits_to_assign()) > 1:
            notices = notices.filtered(lambda notice: (
                notice.partner_id.commercial_partner_id == line.partner_id.commercial_partner_id))
        return notices

    # === SETTLING === #

    @api.model
    def _process_settling(self):
        """Entry of the scheduled action: settle what payments name."""
        moves = self.search([('dunning_to_settle', '=', True)], order='date, id')
        self.env['dunning.promise']._do_each(moves, '_settle')

    def _settle_marked(self):
        """Settle now what was marked of these entries."""
        for move in self.sudo().filtered('dunning_to_settle'):
            self.env['dunning.promise']._do_alone(move, '_settle')

    def _settle(self):
        """Settle the notices that a payment names with what is left of it; ask a person about what does not work."""
        self.ensure_one()
        move = self.sudo().with_company(self.company_id)
        move.dunning_to_settle = False
        if move.state != 'posted':
            return
        notices = move._find_named_notices()
        user = move.company_id._get_dunning_responsible(notices[-1:].user_id or self.env.user)
        move = move.with_context(lang=user.lang)
        try:
            with self.env.cr.savepoint():
                problem = move._settle_named()
        except RETRYABLE:
            raise
        except UserError as error:
            problem = ' '.join(str(error).split())
        except Exception:
            _logger.exception("Entry %s could not settle what it names", move.id)
            problem = move.env._("It failed, the server's log says why.")
        if problem:
            move._ask_to_assign(problem, user)

    def _settle_named(self):
        """Settle the notices that the entry names.

        :return: words on what a person has to see to, empty where there is nothing
        :raise UserError: core does not allow it
        """
        problems = []
        if self._get_suspense_to_assign():
            problems.append(self._settle_suspense(self._find_named_notices())[0])
        else:
            named = {line: self._find_named_notices(line) for line in self._get_credits_to_assign()}
            problems += [self._settle_credit(line, notices)[0] for line, notices in named.items() if notices]
        return ' '.join(filter(None, problems))

    def _settle_credit(self, line, notices):
        """Settle notices with an open credit.

        :param line: `account.move.line`
        :param notices: `dunning.notice`, in the order in which they are settled
        :return: words on what a person has to see to, and the `dunning.charge` that could not be booked
        :raise UserError: core does not allow it
        """
        settlement = self.env['dunning.settlement']
        notices = notices.with_env(self.env)
        steps = settlement._plan(notices, -line.amount_residual_currency, line.currency_id, line)
        done = settlement._settle(line, steps)
        unbooked = self._find_unbooked(steps, done)
        self._log_settled(notices, done, unbooked, line.currency_id)
        return self._find_obstacle(notices, line.currency_id, line), unbooked

    def _settle_suspense(self, notices, is_new_money=False):
        """Settle notices with a bank's transaction: customers' credits take the place of the suspense line.

        :param notices: `dunning.notice`, in the order in which they are settled
        :param bool is_new_money: a person said that no payment in the books waits for it
        :return: words on what a person has to see to, and the `dunning.charge` that could not be booked
        :raise UserError: core does not allow it
        """
        notices = notices.with_env(self.env)
        suspense = self._get_suspense_to_assign()
        currency = suspense.currency_id
        settlement = self.env['dunning.settlement']
        steps = settlement._plan(notices, -suspense.amount_currency, currency)
        if not is_new_money and (waiting := self._find_waiting_payments(notices, suspense, steps)):
            return self._describe_waiting(waiting), self.env['dunning.charge']
        if currency not in notices.currency_id:
            return self._find_obstacle(notices, currency), self.env['dunning.charge']
        credits = self._place_suspense(notices.filtered(lambda notice: notice.currency_id == currency), steps)
        done = settlement._settle(credits, steps)
        unbooked = self._find_unbooked(steps, done)
        self._log_settled(notices, done, unbooked, currency)
        return self._find_obstacle(notices, currency), unbooked

    def _find_waiting_payments(self, notices, suspense, steps):
        """Find the payments that are in the books already and may be waiting for this transaction: it is no new money
        then.

        Those are what names the notices or settled what they claim, whatever the amount; and of their customers what
        was not chosen for anything, or alone or together is the same amount.

        :param notices: `dunning.notice`
        :param suspense: `account.move.line`
        :param list steps: of the plan; where nothing is left to settle, payments of other journals count too
        :return: `account.payment`
        """
        currency, amount = suspense.currency_id, -suspense.amount_currency
        domain = Domain([
            ('move_id', '!=', False), ('state', 'in', ('in_process', 'paid')), ('is_matched', '=', False),
            ('payment_type', '=', 'inbound'), ('company_id', 'child_of', self.company_id.root_id.id)])
        here = Domain('journal_id', '=', self.journal_id.id)
        is_open = self.env['dunning.settlement']._sum_taken(steps, currency) > 0
        Payment = self.env['account.payment']
        waiting = Payment.search((domain & here if is_open else domain) & (
            Domain('dunning_notice_id', 'in', notices.ids)
            | Domain('move_id', 'in', notices._get_settling_lines().move_id.ids)))
        others = Payment.search(domain & here & Domain([
            ('partner_id.commercial_partner_id', 'in', notices.partner_id.commercial_partner_id.ids),
            ('currency_id', '=', currency.id), ('amount', '<=', amount)])) - waiting
        return waiting | others.filtered(
            lambda payment: payment.move_id._get_credits_to_assign()) | self._find_sum(others, currency, amount)

    @api.model
    def _find_sum(self, payments, currency, amount):
        """Find payments that together are an amount: a few of them, or all that there are where it would take long."""
        found = {0.0: payments.browse()}
        for payment in payments:
            for total, parts in list(found.items()):
                found.setdefault(currency.round(total + payment.amount), parts | payment)
            if match := next((parts for total, parts in found.items() if not currency.compare_amounts(
                    total, amount)), None):
                return match
            if len(found) > MANY:
                return payments
        return payments.browse()

    def _describe_waiting(self, waiting):
        """Say that payments wait for a transaction of the bank."""
        return self.env._(
            "In the books already, and not yet matched with a transaction of the bank: %s. If it is this money, "
            "reconcile them with it; if not, say in Assign Payment that it is new.",
            format_list(self.env, waiting.mapped('name')))

    def _place_suspense(self, notices, steps):
        """Put credits of customers in the place of a bank's suspense line.

        :param notices: `dunning.notice`; what is left over is a credit of the first one's customer
        :param list steps: of the plan
        :return: `account.move.line`, the credits
        :raise UserError: core does not allow it
        """
        line = self.statement_line_id
        partner = notices[:1].partner_id
        if not line.partner_id and not line._seek_for_lines()[2]:
            line.partner_id = partner
        suspense = self._get_suspense_to_assign()
        items = notices.sudo().line_ids.move_line_id
        account = (
            next((step.record.account_id for step in steps if step.kind == 'item'), None) or items[:1].account_id
            or partner.property_account_receivable_id)
        shares = {(partner, account): 0.0}
        for step in steps:
            if step.kind != 'credit' and step.amount:
                owner = step.record.partner_id.commercial_partner_id
                line_of = step.record._get_booked_lines() if step.kind == 'charge' else step.record
                key = owner, line_of.account_id or owner.property_account_receivable_id
                shares[key] = shares.get(key, 0.0) + step.amount
        currency, company_currency = suspense.currency_id, suspense.company_currency_id
        left, left_balance = -suspense.amount_currency, -suspense.balance
        rate = left_balance / left
        values = []
        # The first one takes what is left over.
        for key, amount in reversed(shares.items()):
            if key == (partner, account):
                amount, balance = left, left_balance
            else:
                balance = company_currency.round(amount * rate)
            left, left_balance = currency.round(left - amount), company_currency.round(left_balance - balance)
            if amount:
                values.append({
                    'name': suspense.name, 'partner_id': key[0].id, 'account_id': key[1].id, 'currency_id': currency.id,
                    'amount_currency': -amount, 'balance': -balance})
        known = self.line_ids
        # As core's own undoing writes it.
        line.with_context(force_delete=True, skip_readonly_check=True).write({
            'line_ids': [Command.delete(suspense.id), *map(Command.create, values)]})
        return self.line_ids - known

    # === WHAT A PERSON READS === #

    def _find_obstacle(self, notices, currency, line=None):
        """Say what of the notices is left to a person, since core would not reconcile it properly."""
        if others := notices.filtered(lambda notice: notice.currency_id != currency):
            return self.env._(
                "The payment is in %(currency)s, and %(notices)s in %(other)s.", currency=currency.name,
                notices=format_list(self.env, others.mapped('display_name')),
                other=format_list(self.env, others.currency_id.mapped('name')))
        if line and line.amount_residual_currency and (
                items := notices._get_items_to_settle().filtered(lambda item: item.account_id != line.account_id)):
            return self.env._(
                "%(items)s: on account %(account)s, and the payment on %(own)s.",
                items=format_list(self.env, items.move_id.mapped('name')),
                account=format_list(self.env, items.account_id.mapped('display_name')),
                own=line.account_id.display_name)
        return ''

    def _get_payment_record(self):
        """Return what a person knows the payment as: the payment, or its entry."""
        return self.origin_payment_id or self

    @api.model
    def _find_unbooked(self, steps, done):
        """Return the charges that a plan takes money for and that could not be booked."""
        charges, booked = (
            self.env['dunning.charge'].union(*(
                step.record for step in some if step.kind == 'charge' and step.amount)) for some in (steps, done))
        return charges - booked

    @api.model
    def _describe_unbooked(self, charges):
        """Say which charges could not be booked and why, in one line; empty where there are none."""
        return ' '.join(self.env._(
            "%(charges)s could not be booked: %(reason)s", reason=' '.join(reason.split()),
            charges=format_list(self.env, [charge._get_words() for charge in of_reason]))
            for reason, of_reason in charges.grouped(lambda charge: charge.booking_problem or '').items())

    def _log_settled(self, notices, done, unbooked, currency):
        """Note on payment and notices what was settled, and that the payment was meant for them.

        :param list done: :class:`~.dunning_settlement.Step`
        :param unbooked: `dunning.charge` for which money is there, and which could not be booked
        """
        self.dunning_settled_ids |= notices
        settlement = self.env['dunning.settlement']
        left = -sum(self._get_credits_to_assign().mapped('amount_residual_currency'))
        for notice in notices:
            words = settlement._describe([step for step in done if step.notice == notice], currency)
            missing = self._describe_unbooked(unbooked.filtered(
                lambda charge, notice=notice: charge in notice._get_charges_to_settle()))
            if words:
                notice._message_log(body=self.env._(
                    "Payment %(payment)s settled: %(what)s.", payment=self.name, what=words))
            left_words = format_amount(self.env, left, currency)
            if words:
                said = self.env._(
                    "Dunning notice %(notice)s settled: %(what)s. Left over: %(left)s.", notice=notice.display_name,
                    what=words, left=left_words)
            elif missing:
                said = self.env._(
                    "Dunning notice %(notice)s: nothing was settled. Left over: %(left)s.",
                    notice=notice.display_name, left=left_words)
            else:
                said = self.env._(
                    "Dunning notice %(notice)s: nothing is left to settle. Left over: %(left)s.",
                    notice=notice.display_name, left=left_words)
            self._get_payment_record()._message_log(body=' '.join(filter(None, (said, missing))))

    def _drop_settled(self):
        """Keep these payments for no notice any more of which they settle nothing, and which they do not name."""
        for move in self.sudo():
            settled = move.line_ids.matched_debit_ids.debit_move_id
            named = move._find_named_notices().union(*map(
                move._find_named_notices, move.line_ids.filtered(
                    lambda line: line.account_type == 'asset_receivable' and line.balance < 0)))
            move.dunning_settled_ids = move.dunning_settled_ids.filtered(lambda notice, settled=settled, named=named: (
                notice in named or settled & (
                    notice.line_ids.move_line_id | notice._get_all_charges()._get_booked_lines())))

    def _ask_to_assign(self, problem, user):
        """Ask a person to assign the payment by hand."""
        self._get_payment_record().activity_schedule(
            'dunning_mail.mail_activity_assign', user_id=user.id,
            summary=self.env._("Assign the payment to its dunning notice"), note=problem)
