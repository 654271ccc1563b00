from odoo import models
from odoo.tools import format_amount


class DunningNoticeLine(models.Model):
    """Which of the charges that stand on notices are still asked for."""
    _inherit = 'dunning.notice.line'

    def _check_charges(self, verdicts, basis):
        """Say in the verdicts of notices which of the charges on these lines, their own and earlier ones, are not asked
        for any more, or less of them.

        :param dict verdicts: notice id -> :class:`~.dunning_notice_recheck.Verdict`
        :param basis: :class:`~.dunning_proposal_basis.Basis`
        """
        states = dict(self.env['dunning.charge']._fields['state']._description_selection(self.env))
        earlier = self.filtered(lambda line: line.charge_id.notice_id != line.notice_id)
        corrections = earlier.charge_id._find_corrections()
        resting = self.env['dunning.proposal']._find_resting_charges(earlier.charge_id, basis.day) if earlier else {}
        for line in self:
            notice, charge = line.notice_id, line.charge_id
            if charge.state not in (('claimed', 'booked') if line in earlier else ('draft', 'claimed', 'booked')):
                left, words = 0.0, self.env._(
                    "%(charge)s is not asked for any more: %(state)s.", charge=charge.display_name,
                    state=states[charge.state])
            elif line not in earlier:
                continue
            elif charge.id in resting:
                left, words = 0.0, self.env._(
                    "%(charge)s rests: %(reason)s", charge=charge.display_name, reason=resting[charge.id])
            else:
                covered = sum(
                    debt.covered.get(charge.id, 0.0)
                    for debt in basis.debts.get(notice.partner_id.commercial_partner_id.id, ())
                    if debt.currency_id == notice.currency_id.id)
                amount, words = charge.amount_left, self.env._(
                    "%(charge)s: %(amount)s of it is there, what a payment left.", charge=charge.display_name,
                    amount=format_amount(self.env, covered + charge.amount_paid, notice.currency_id))
                if correction := corrections.get(charge.id):
                    amount, words = amount - correction.less, f'{charge.display_name}: {correction.reason}'
                # Less than all of it is asked for where a lump sum was set off against it.
                left = min(line.amount_residual, max(0.0, notice.currency_id.round(amount - covered)))
            if not notice.currency_id.compare_amounts(left, line.amount_residual):
                continue
            verdict = verdicts[notice.id]
            verdicts[notice.id] = verdict._replace(
                code='changed', earlier={**verdict.earlier, line.id: left},
                words='\n'.join(filter(None, [verdict.words, words])))
