from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import formatLang


class DunningAssignPayment(models.TransientModel):
    """Shows what a payment would settle of notices, and does it: by a person what else is done by the reference."""
    _name = 'dunning.assign.payment'
    _description = 'Assign Payment'
    _inherit = ['dunning.guard']

    partner_id = fields.Many2one('res.partner', string="Customer")
    line_id = fields.Many2one(
        'account.move.line', string="Payment", domain="[('id', 'in', selectable_line_ids)]")
    selectable_line_ids = fields.Many2many('account.move.line', compute='_compute_selectable_line_ids')
    statement_line_id = fields.Many2one('account.bank.statement.line', string="Bank Transaction")
    move_id = fields.Many2one('account.move', compute='_compute_money')
    company_id = fields.Many2one('res.company', compute='_compute_money')
    root_id = fields.Many2one('res.company', compute='_compute_money')
    currency_id = fields.Many2one('res.currency', compute='_compute_money')
    amount = fields.Monetary("Open", compute='_compute_money')
    notice_ids = fields.Many2many(
        'dunning.notice', string="Dunning Notices",
        domain="[('state', '=', 'issued'), ('company_id', 'child_of', root_id)]",
        help="The older one is settled first. They may be another customer's, for whom this one pays.")
    named_ids = fields.Many2many('dunning.notice', string="Named by Its Reference", compute='_compute_named_ids')
    preview = fields.Html("What Will Happen", compute='_compute_preview', sanitize=False)
    warning = fields.Text(compute='_compute_preview')
    is_waited_for = fields.Boolean(compute='_compute_preview')
    is_new_money = fields.Boolean("It Is New Money", help="None of the payments in the books waits for it.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'partner_id', 'line_id', 'statement_line_id', 'notice_ids', 'is_new_money'}

    @api.model
    def default_get(self, fields):
        values = super().default_get(fields)
        active = self.env.context.get('active_model')
        if active in ('res.partner', 'account.payment', 'account.bank.statement.line', 'account.move'):
            found = self._find_defaults(self.env[active].browse(self.env.context.get('active_id')).exists())
            values |= {fname: value for fname, value in found.items() if fname in fields}
        return values

    @api.model
    def _find_defaults(self, record):
        """Find what of a customer, payment, bank's transaction or entry can be assigned, and to which notices.

        :param record: of one of these models
        :return: dict of values
        :raise UserError: there is nothing
        """
        record.check_access('read')
        partner, statement_line = self.env['res.partner'], self.env['account.bank.statement.line']
        if record._name == 'res.partner':
            partner = record.commercial_partner_id
            line = self._find_lines(partner)[:1]
            if not line:
                raise UserError(self.env._("%s has no payment with something left to assign.", record.display_name))
            move = line.move_id
        else:
            move = record if record._name == 'account.move' else record.move_id
            if not move:
                raise UserError(self.env._(
                    "%s has no entry in the books yet: the money is on its way. Assign the bank's transaction once it "
                    "is there.", record.display_name))
            move.check_access('read')
            line = move.sudo()._get_credits_to_assign()[:1].sudo(False)
            if move.sudo()._get_suspense_to_assign():
                line, statement_line = line.browse(), move.statement_line_id
            elif not line:
                raise UserError(self.env._("Nothing of %s is left to assign.", move.display_name))
            partner = (line or move).partner_id.commercial_partner_id
        notices = self._find_named(move, line) or (partner and self.env['dunning.notice'].search([
            ('partner_id', '=', partner.id), ('state', '=', 'issued'),
            ('company_id', 'child_of', move.company_id.root_id.id)], order='id desc', limit=1))
        return {
            'partner_id': partner.id, 'line_id': line.id, 'statement_line_id': statement_line.id,
            'notice_ids': notices.ids}

    @api.model
    def _find_lines(self, partner):
        """Find the open credits of a customer that are payments, the oldest first."""
        lines = partner and self.env['account.move.line'].search([
            ('partner_id.commercial_partner_id', '=', partner.id), ('account_type', '=', 'asset_receivable'),
            ('parent_state', '=', 'posted'), ('reconciled', '=', False), ('amount_residual_currency', '<', 0),
            ('move_id.move_type', '=', 'entry'), ('company_id', 'in', self.env.companies.ids)], order='date, id')
        return (lines or self.env['account.move.line']).filtered(lambda line: line.move_id._is_dunning_payment())

    @api.model
    def _find_named(self, move, line):
        """Find the notices that a payment names and that the user may see."""
        named = move.sudo()._find_named_notices(line.sudo()).sudo(False)
        return named.filtered(lambda notice: notice.has_access('read'))

    @api.depends('line_id', 'statement_line_id')
    def _compute_money(self):
        for assign in self:
            # An onchange may name any record.
            (assign.line_id or assign.statement_line_id)._origin.check_access('read')
            move = (assign.line_id.move_id or assign.statement_line_id.move_id)._origin.sudo()
            money = assign.line_id._origin.sudo() or move._get_suspense_to_assign()
            assign.move_id = move
            assign.company_id = move.company_id
            assign.root_id = move.company_id.root_id
            assign.currency_id = money.currency_id
            assign.amount = -(money.amount_residual_currency if assign.line_id else money.amount_currency)

    @api.depends('partner_id')
    def _compute_selectable_line_ids(self):
        for assign in self:
            assign.selectable_line_ids = self._find_lines(assign.partner_id._origin)

    @api.depends('line_id', 'statement_line_id')
    def _compute_named_ids(self):
        for assign in self:
            assign.named_ids = self._find_named(assign.move_id, assign.line_id._origin) if assign.move_id else False

    @api.depends('line_id', 'statement_line_id', 'notice_ids')
    def _compute_preview(self):
        for assign in self:
            rows, warning, assign.is_waited_for = assign._get_preview()
            assign.warning = warning
            assign.preview = rows and self.env['ir.qweb']._render('dunning_mail.assign_payment_preview', rows)

    def _get_notices(self):
        return self.notice_ids._origin.sudo().sorted('id')

    def _get_preview(self):
        """Return what would happen: values of the table, words on what would not, and whether payments wait for it."""
        self.ensure_one()
        self.notice_ids._origin.check_access('read')
        notices, currency = self._get_notices(), self.currency_id
        if not notices or not currency:
            return None, False, False
        settlement = self.env['dunning.settlement'].sudo()
        line = self.line_id._origin.sudo()
        steps = settlement._plan(notices, self.amount, currency, line or None)

        def show(amount):
            return formatLang(self.env, amount, currency_obj=currency)
        kinds = {'credit': self.env._("Set off on the notice"), 'item': self.env._("Item")}
        rows = [{
            'notice': step.notice.display_name,
            'what': (step.record._get_words() if step.kind == 'charge'
                     else f'{kinds[step.kind]} {step.record.move_id.name}'),
            'open': show(step.open), 'taken': show(step.amount), 'left': show(currency.round(step.open - step.amount)),
        } for step in steps]
        move = self.move_id.sudo()
        warning = move._find_obstacle(notices, currency, line or None)
        waiting = not line and move._find_waiting_payments(notices, move._get_suspense_to_assign(), steps)
        if waiting:
            warning = ' '.join(filter(None, [warning, move._describe_waiting(waiting)]))
        others = notices.partner_id - self.partner_id.commercial_partner_id._origin
        if others and self.partner_id:
            warning = ' '.join(filter(None, [warning, self.env._(
                "The payment is %(payer)s's, the notices are %(customers)s's.", payer=self.partner_id.display_name,
                customers=', '.join(others.mapped('display_name')))]))
        return {'rows': rows, 'left': show(currency.round(
            self.amount - settlement._sum_taken(steps, currency)))}, warning, bool(waiting)

    def action_assign(self):
        """Do what was shown, and say what of it could not be done.

        :return: action that closes the dialog
        :raise UserError: nothing is left of the payment, no notice is chosen, or core does not allow it
        """
        self.ensure_one()
        notices, line = self._get_notices(), self.line_id._origin
        self.notice_ids.check_access('read')
        (line or self.statement_line_id).check_access('read')
        # Without an accounting app nobody may write a bank's transactions: who may reconcile payments, may this.
        self.env['account.partial.reconcile'].check_access('create')
        move = self.move_id.sudo()
        if not notices:
            raise UserError(self.env._("Choose the dunning notice that the payment is for."))
        if line not in move._get_credits_to_assign() if line else not move._get_suspense_to_assign():
            raise UserError(self.env._("Nothing of %s is left to assign.", move.display_name))
        move = move.with_company(move.company_id)
        problem, unbooked = (
            move._settle_credit(line.sudo(), notices) if line else move._settle_suspense(notices, self.is_new_money))
        if problem:
            raise UserError(problem)
        move.dunning_to_settle = False
        move._get_payment_record().activity_unlink(['dunning_mail.mail_activity_assign'])
        close = {'type': 'ir.actions.act_window_close'}
        return {
            'type': 'ir.actions.client', 'tag': 'display_notification', 'params': {
                'type': 'warning', 'sticky': True, 'message': move._describe_unbooked(unbooked), 'next': close},
        } if unbooked else close
