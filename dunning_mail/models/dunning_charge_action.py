from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.tools import format_amount


class DunningCharge(models.Model):
    """What a person may do to charges, each with a reason that is kept in the chatter."""
    _inherit = 'dunning.charge'

    can_waive = fields.Boolean(compute='_compute_can_waive')

    @api.depends('state', 'notice_id.state', 'move_line_booked_id')
    def _compute_can_waive(self):
        for charge in self:
            charge.can_waive = charge.state in ('claimed', 'booked') or (
                charge.state == 'draft' and charge.notice_id.state == 'issued') or (
                charge.state == 'paid' and bool(charge.move_line_booked_id))

    def _check_may_waive(self, amounts, is_settled=False):
        """Check that the user may give up so much: a clerk up to the company's limit, all of it together.

        :param dict amounts: `dunning.charge` -> what is to be given up of it
        :param bool is_settled: it is said to be paid, which nothing in the books shows
        :raise AccessError: names the limit
        """
        if self.env.su or self.env.user.has_group('account.group_account_manager'):
            return
        for company, charges in self.grouped('company_id').items():
            limit = company.sudo().dunning_waive_limit
            own = company.currency_id
            amount = sum(
                charge.currency_id._convert(amounts[charge], own, company, charge.date) for charge in charges)
            if limit and own.compare_amounts(amount, limit) > 0:
                words = {
                    'limit': format_amount(self.env, limit, own), 'amount': format_amount(self.env, amount, own)}
                raise AccessError(self.env._(
                    "You may say of up to %(limit)s at once that it was paid elsewhere, this is %(amount)s. Ask the "
                    "head of accounts to do it.", **words) if is_settled else self.env._(
                    "You may waive up to %(limit)s at once, this is %(amount)s. Ask the head of accounts to do it.",
                    **words))

    def _change_amount(self, amount, reason):
        """Change what a draft asks for; 0 leaves the charge out.

        :param float amount: not negative
        :param str reason: in the user's words
        :raise UserError: the notice is not a draft, or the amount is negative
        :raise AccessError: the user may not waive so much
        """
        self.notice_id.check_access('write')
        # All that is given up at once, and not what is added elsewhere.
        self._check_may_waive({charge: max(0.0, charge.amount_calculated - amount) for charge in self})
        for charge in self:
            notice = charge.notice_id
            if notice.state != 'draft' or charge.state != 'draft':
                raise UserError(self.env._(
                    "Dunning notice %s is not a draft, its charges are fixed. Waive the charge instead.",
                    notice.display_name))
            if amount < 0:
                raise UserError(self.env._(
                    "A charge on the notice for %s cannot be negative.", notice.partner_id.display_name))
            old = charge.amount
            charge._write_amount(amount, reason=reason, is_set=True)
            charge._log_on_notice(self.env._(
                "%(charge)s: %(new)s instead of %(old)s. %(reason)s", charge=charge._get_words(),
                new=format_amount(self.env, amount, charge.currency_id),
                old=format_amount(self.env, old, charge.currency_id), reason=reason))
            notice.sudo().is_edited = True
        self.notice_id._judge_fees_anew()

    def _write_amount(self, amount, **values):
        """Write what a charge of a notice that has not left asks for, on its line too."""
        self.ensure_one()
        charge = self.sudo()
        amount = charge.currency_id.round(amount)
        charge.write({'amount': amount, **values})
        charge.line_ids.filtered(
            lambda line: line.notice_id == charge.notice_id).amount_residual = amount

    def _waive(self, reason):
        """Give up charges that were claimed: nobody is asked for them again, unless they are reinstated.

        :param str reason: in the user's words
        :raise UserError: one is not claimed, nor on its way
        :raise AccessError: the user may not waive so much
        """
        self.notice_id.check_access('write')
        for charge in self:
            if not charge.can_waive:
                raise UserError(self.env._(
                    "%s is not claimed, there is nothing to waive. In a draft, change its amount.",
                    charge.display_name))
        self._check_may_waive({charge: charge.amount for charge in self})
        self._take_out_of_books(self.env._("Waived: %s", reason))
        self._set_waived(reason)
        for charge in self:
            charge._log_on_notice(self.env._(
                "Waived: %(charge)s, %(amount)s. %(reason)s", charge=charge._get_words(), reason=reason,
                amount=format_amount(self.env, charge.amount, charge.currency_id)), with_customer=True)

    def _settle(self, reason):
        """Say that the money for charges came and was booked elsewhere: nobody is asked for them again.

        :param str reason: in the user's words
        :raise UserError: one is not claimed
        :raise AccessError: the user may not say so of so much
        """
        self.notice_id.check_access('write')
        for charge in self:
            if charge.state != 'claimed':
                raise UserError(self.env._(
                    "%s is not claimed, there is nothing to settle.", charge.display_name))
        self._check_may_waive({charge: charge.amount for charge in self}, is_settled=True)
        self._set_paid(reason)
        for charge in self:
            charge._log_on_notice(self.env._(
                "Settled: %(charge)s, %(amount)s. %(reason)s", charge=charge._get_words(), reason=reason,
                amount=format_amount(self.env, charge.amount, charge.currency_id)), with_customer=True)

    def _reinstate(self, reason):
        """Claim charges again that were waived or settled.

        :param str reason: in the user's words
        :raise UserError: one is neither
        """
        self.notice_id.check_access('write')
        for charge in self:
            if charge.state not in ('waived', 'paid') or charge.notice_id.state != 'issued' or (
                    charge.state == 'paid' and charge.move_line_booked_id):
                raise UserError(self.env._(
                    "%s cannot be reinstated: it was neither waived nor settled, or its notice was cancelled.",
                    charge.display_name))
            charge = charge.sudo()
            # One that was left out in its draft stands on no letter: the next notice names it.
            amount = charge.amount or charge.amount_calculated
            charge._set_claimed()
            charge.write({'amount': amount, 'reason': reason, 'move_line_booked_id': False})
            # Nobody has been asked for it where its notice has not left.
            charge._follow_notice()
            charge.with_env(self.env)._log_on_notice(self.env._(
                "Reinstated: %(charge)s, %(amount)s. %(reason)s", charge=charge._get_words(), reason=reason,
                amount=format_amount(self.env, amount, charge.currency_id)), with_customer=True)

    def _get_words(self):
        """Return what the charge is and for which document, for a person."""
        self.ensure_one()
        label = dict(self._fields['kind']._description_selection(self.env))[self.kind]
        document = self.sudo().move_line_id.move_id.name
        return f'{label} {document}' if document else label

    def _log_on_notice(self, words, with_customer=False):
        """Leave words in the chatter of the notice, and of the customer where they concern more than a draft."""
        self.ensure_one()
        author = self.env.user.partner_id.id
        self.notice_id.sudo()._message_log(body=words, author_id=author)
        if with_customer:
            self.partner_id.sudo()._message_log(
                body=f'{self.notice_id.display_name}: {words}', author_id=author)

    def action_change(self):
        """Ask for another amount and the reason."""
        return self._open_wizard('change')

    def action_waive(self):
        """Ask for the reason why charges are given up."""
        return self._open_wizard('waive')

    def action_settle(self):
        """Ask for the reason why charges count as paid."""
        return self._open_wizard('settle')

    def action_reinstate(self):
        """Ask for the reason why charges are claimed again."""
        return self._open_wizard('reinstate')

    def action_show_calculation(self):
        """Show the calculation."""
        self.ensure_one()
        return {
            'type': 'ir.actions.act_window', 'name': self._get_words(), 'res_model': self._name, 'res_id': self.id,
            'view_mode': 'form', 'target': 'new'}

    def _open_wizard(self, action):
        labels = dict(self.env['dunning.charge.change']._fields['action']._description_selection(self.env))
        return {
            'type': 'ir.actions.act_window', 'name': labels[action], 'res_model': 'dunning.charge.change',
            'view_mode': 'form', 'target': 'new', 'context': {
                'default_charge_ids': self.ids, 'default_action': action, 'default_amount': self[:1].amount}}
