from odoo import api, models
from odoo.tools import format_list


class AccountPartialReconcile(models.Model):
    """Payments that are taken back: a person is asked, once a notice."""
    _inherit = 'account.partial.reconcile'

    @api.model_create_multi
    def create(self, vals_list):
        partials = super().create(vals_list)
        # Whatever else is reconciled in any company passes here.
        if lines := partials.sudo().debit_move_id.filtered(lambda line: line.account_type == 'asset_receivable'):
            self.env['dunning.promise']._do_alone(self.env['dunning.notice'].sudo(), '_drop_undone', lines)
        return partials

    def unlink(self):
        payments = self.sudo().filtered(lambda partial: partial.credit_move_id.move_id._is_dunning_payment())
        if self.env.context.get('dunning_reverses_charges'):
            # What is given up is not taken back: the money stays.
            payments = payments.filtered(lambda partial: not partial.debit_move_id.dunning_charge_id)
        lines, moves = payments.debit_move_id, payments.credit_move_id.move_id
        names = moves.mapped('name')
        result = super().unlink()
        if assigned := moves.exists().filtered('dunning_settled_ids'):
            self.env['dunning.promise']._do_alone(assigned, '_drop_settled')
        if lines:
            self.env['dunning.promise']._do_alone(self.env['dunning.notice'].sudo(), '_ask_about_undone', lines, names)
        return result


class DunningNotice(models.Model):
    _inherit = 'dunning.notice'

    @api.model
    def _ask_about_undone(self, lines, names):
        """Ask the clerk about notices whose items or charges are open again.

        :param lines: `account.move.line` that payments do not settle any more
        :param list names: of these payments
        """
        opened = lines.exists().filtered(lambda line: line.parent_state == 'posted' and not line.reconciled)
        found = {}
        for line in self._find_counted_lines(opened):
            # What a later notice claims too, is that one's matter.
            found[line.move_line_id] = line.notice_id
        for notice in self.union(*found.values()) | self._find_charging(opened):
            if notice.activity_search(['dunning_mail.mail_activity_undone']):
                continue
            user = notice.company_id._get_dunning_responsible(notice.user_id)
            notice = notice.with_context(lang=user.lang)
            notice.activity_schedule(
                'dunning_mail.mail_activity_undone', user_id=user.id,
                summary=notice.env._("A payment was taken back: %s", notice.partner_id.display_name),
                note=notice.env._(
                    "%(payments)s: no longer reconciled with what this notice claims. It is open again: %(items)s.",
                    payments=format_list(notice.env, names),
                    items=format_list(notice.env, list(dict.fromkeys(opened.move_id.mapped('name'))))))

    @api.model
    def _drop_undone(self, lines):
        """Take back what was asked about notices, where what had been taken back is settled again.

        :param lines: `account.move.line` that something was reconciled with
        """
        kind = self.env.ref('dunning_mail.mail_activity_undone', raise_if_not_found=False)
        if not kind:
            return
        charges = self.env['dunning.charge'].search([('move_line_booked_id', 'in', lines.ids)])
        concerned = charges.notice_id | charges.line_ids.notice_id | self.env['dunning.notice.line'].search(
            [('move_line_id', 'in', lines.ids)]).notice_id
        if not concerned:
            return
        asked = self.env['mail.activity'].search([
            ('activity_type_id', '=', kind.id), ('res_model', '=', self._name), ('res_id', 'in', concerned.ids)])
        for notice in self.browse(asked.mapped('res_id')):
            booked = notice._get_all_charges()._get_booked_lines()
            if all(booked.mapped('reconciled')) and not notice._get_items_to_settle():
                notice.activity_unlink(['dunning_mail.mail_activity_undone'])

    @api.model
    def _find_counted_lines(self, items):
        """Return the lines of notices that count on which items stand, the latest notice last."""
        return self.env['dunning.notice.line'].search([
            ('move_line_id', 'in', items.ids), ('kind', '=', 'due'), ('notice_id.is_counted', '=', True),
        ]).sorted(lambda line: (line.notice_id.date_left, line.id))

    @api.model
    def _find_charging(self, lines):
        """Return the notices that claimed the charges whose receivable lines these are."""
        return self.env['dunning.charge'].search([('move_line_booked_id', 'in', lines.ids)]).notice_id
