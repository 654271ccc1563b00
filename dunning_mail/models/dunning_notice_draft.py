import json
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import UserError

from .sets import insert_in_sets


class DunningNotice(models.Model):
    """How drafts come to be, and what a person may do to them: leave them out, put them back, change their level."""
    _inherit = 'dunning.notice'

    @api.model
    def _insert_proposed(self, vals_list):
        """Create draft notices with their lines, in sets: a run may have tens of thousands.

        Gives the same records as `create()`, less followers and tracking.

        :param list vals_list: what `dunning.proposal._propose()` returned
        :return: the new notices
        :raise psycopg2.errors.UniqueViolation: an item is on another open notice
        """
        rows, lines, charges, charge_lines, documents = [], [], [], [], {}
        is_booked_at_issue = self.env['dunning.charge']._get_is_booked_at_issue()
        runs = {
            run.id: {'company_id': run.company_id.id, 'user_id': run.user_id.id}
            for run in self.env['dunning.run'].browse({vals['run_id'] for vals in vals_list})}
        for vals in vals_list:
            currency = self.env['res.currency'].browse(vals['currency_id'])
            amounts = dict.fromkeys(('overdue', 'credit', 'fee', 'interest', 'lump_sum', 'cost', 'earlier'), 0.0)
            for _command, _id, line in vals['line_ids']:
                if line['kind'] == 'due':
                    amounts['overdue'] += line['amount_residual']
                elif line['kind'] == 'credit':
                    amounts['credit'] -= line['amount_residual']
                elif line['kind'] == 'charge':
                    amounts['earlier'] += line['amount_residual']
            for _command, _id, charge in vals['charge_ids']:
                amounts[charge['kind']] += charge['amount']
            rows.append({
                **{fname: value for fname, value in vals.items() if fname not in ('line_ids', 'charge_ids')},
                **runs[vals['run_id']],
                **{f'amount_{name}': currency.round(amount) if amount else 0.0 for name, amount in amounts.items()},
                'amount_total': currency.round(sum(amounts.values()) - 2 * amounts['credit']),
                'is_charged': bool(vals['charge_ids']),
                'state': 'draft',
                'date_left': False,
                'is_counted': False,
                'is_open': True,
            })
        notices = insert_in_sets(self, rows)
        for notice_id, vals in zip(notices._ids, vals_list, strict=True):
            for _command, _id, line in vals['line_ids']:
                (charge_lines if line['kind'] == 'charge' else lines).append({
                    'notice_id': notice_id, **line, 'is_reserved': line['kind'] == 'due'})
                documents[line.get('move_line_id')] = line['name']
            charges += [{
                'notice_id': notice_id, 'level_id': vals['level_id'], 'state': 'draft', 'amount_waived': 0.0,
                'amount_paid': 0.0, 'amount_left': 0.0, 'is_entry_draft': False, **charge,
                'is_booked_at_issue': is_booked_at_issue(charge['company_id']),
                'detail': json.dumps(charge['detail']) if charge['detail'] else False,
                'kept_ids': json.dumps(charge['kept_ids']) if charge['kept_ids'] else False}
                for _command, _id, charge in vals['charge_ids']]
        Line = self.env['dunning.notice.line']
        insert_in_sets(Line, lines)
        insert_in_sets(Line, charge_lines)
        made = insert_in_sets(self.env['dunning.charge'], charges)
        insert_in_sets(Line, [{
            'notice_id': charge['notice_id'], 'is_reserved': False,
            **made._prepare_charge_line_values(
                charge_id, charge['amount'], charge['move_line_id'] and documents[charge['move_line_id']],
                charge['date'])} for charge_id, charge in zip(made._ids, charges, strict=True)])
        return notices

    def _check_put_together(self):
        """Check that a person may put these together: what a confirmation says follows from its promise.

        :raise UserError: names one of which it does
        """
        for notice in self.filtered(lambda notice: notice.kind == 'plan'):
            raise UserError(self.env._(
                "%s is no dunning notice: its items and charges are not changed by hand.", notice.display_name))

    def action_exclude(self):
        """Leave drafts out of their run.

        :raise UserError: a notice is not a draft, or no dunning notice
        """
        self.check_access('write')
        self._check_put_together()
        for notice in self:
            if notice.state != 'draft':
                raise UserError(self.env._("Dunning notice %s is not a draft.", notice.display_name))
        excluded = self._set_state('excluded', problem=False)
        self.env['dunning.run.exception'].sudo().create([{
            **notice._prepare_excluded_values(),
            'run_id': notice.run_id.id,
            'partner_id': notice.partner_id.id,
            'currency_id': notice.currency_id.id,
            'reason': 'excluded',
            'description': self.env._("Excluded from this run by hand."),
        } for notice in excluded if notice.run_id])
        excluded._judge_fees_anew()
        # As long as nothing was issued, it is still a person's turn.
        self.run_id.filtered(lambda run: run._has_notice([('state', '=', 'issued')]))._update_state()

    def _prepare_excluded_values(self):
        """What a `dunning.run.exception` says of this notice, which was left out by hand."""
        self.ensure_one()
        due = self.due_line_ids.sorted('date_due')
        return {
            'amount': self.amount_total,
            'date_due': due[:1].date_due,
            'document': ', '.join(due.mapped(lambda line: line.name or '')),
            'notice_id': self.id,
        }

    def action_include(self):
        """Put excluded notices back.

        :raise UserError: an item is on another open notice meanwhile, or the run is being issued
        """
        self.check_access('write')
        self.run_id._check_not_issuing()
        for notice in self.filtered(lambda notice: notice.state == 'excluded'):
            notice._check_items_free()
            notice._set_state('draft')
            self.env['dunning.run.exception'].sudo().search(
                [('notice_id', '=', notice.id), ('reason', '=', 'excluded')]).unlink()
            notice._judge_fees_anew()
            notice.run_id._update_state()

    def _put_line_back(self, exception):
        """Put an item back that was taken out of the draft, with the level it had.

        :param exception: the `dunning.run.exception` that was left in its place
        :raise UserError: the item is on another notice or settled meanwhile, or the run is being issued
        """
        self.ensure_one()
        self.check_access('write')
        self.run_id._check_not_issuing()
        notice = self.sudo()
        if exception.line_values['kind'] == 'due':
            notice._check_not_reserved(exception.move_line_id)
        notice.line_ids = [fields.Command.create({
            **exception.line_values, 'move_line_id': exception.move_line_id.id, 'date_due': exception.date_due})]
        verdict = notice._recheck(keep_dates=True)[notice.id]
        if verdict.code not in ('same', 'changed'):
            raise UserError(verdict.words)
        if words := verdict.gone.get(exception.move_line_id.id):
            raise UserError(self.env._(
                "%(item)s cannot be put back. %(reason)s", item=exception.document, reason=words))
        notice._take_over(verdict)
        notice._judge_fees_anew()
        self._message_log(body=self.env._("Put back: %s", exception.document))
        exception.sudo().unlink()

    def _update_level_from_lines(self):
        """A notice bears the highest level of its due lines."""
        for notice in self.filtered(lambda notice: notice.kind == 'dunning'):
            level = notice.due_line_ids.level_id.sorted('sequence')[-1:]
            if level and level != notice.level_id:
                notice._apply_level(level)

    def _apply_level(self, level, **values):
        """Give a notice a level with all that hangs on it: deadline, charges, language of the texts.

        A deadline or fee that a person has set is kept.

        :param level: `dunning.level`
        :param values: further values to write
        """
        self.ensure_one()
        notice = self.sudo()
        company = notice.company_id
        values['level_id'] = level.id
        if not level._get_text(notice.lang):
            values['lang'] = self._choose_lang(notice.partner_id, notice.recipient_id, level, company)
        if not notice.is_deadline_set:
            values['date_deadline'] = notice.date + timedelta(days=level.deadline_days)
        notice.write(values)
        notice._judge_fees_anew()
        if notice.text_version_id:
            # An issued one says from now on what the new level says.
            notice.text_version_id = False
            notice._check_texts()
            notice._fix_texts()

    def action_change_level(self):
        """Open the wizard that lowers or raises the level of drafts.

        :raise UserError: one has none
        """
        self._check_put_together()
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Change Level"),
            'res_model': 'dunning.level.change',
            'view_mode': 'form',
            'target': 'new',
            'context': {'default_notice_ids': self.ids, 'default_level_id': self.level_id[:1].id},
        }

    def _change_level(self, level, reason):
        """Give drafts another level, with all that hangs on it: deadline, fee, texts.

        :param level: `dunning.level` of the notices' procedure
        :param str reason: in the user's words, kept in the chatter and shown at the lines
        :raise UserError: a notice is not a draft, or no dunning notice
        """
        self.check_access('write')
        self._check_put_together()
        for notice in self:
            if notice.state != 'draft':
                raise UserError(self.env._("Dunning notice %s is not a draft.", notice.display_name))
            if notice.level_id == level:
                continue
            notice._message_log(body=self.env._(
                "Level changed from “%(old)s” to “%(new)s”: %(reason)s", old=notice.level_id.name, new=level.name,
                reason=reason))
            is_raised = level.sequence > notice.level_id.sequence
            notice = notice.sudo()
            notice.due_line_ids.filtered(lambda line, is_raised=is_raised: (
                is_raised or line.level_id.sequence > level.sequence)).write(
                    {'level_id': level.id, 'is_level_set': True})
            notice._apply_level(level, level_change_reason=reason, is_edited=True)
            # Another level may ask for interest and lump sums, or not.
            notice._take_over(notice._recheck(keep_dates=True)[notice.id])
