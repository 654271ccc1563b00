from odoo import SUPERUSER_ID, api, models
from odoo.tools import format_amount


class DunningNotice(models.Model):
    """Notices above an amount, which only whoever heads the accounts issues."""
    _inherit = 'dunning.notice'

    def _get_above_limit(self, totals=None):
        """Return those of these notices whose total is above the amount up to which clerks issue, in any currency.

        :param dict totals: notice id -> what it would claim, where that is asked for
        """
        above = self.browse()
        for (company, currency, day), notices in self.grouped(
                lambda notice: (notice.company_id, notice.currency_id, notice.date)).items():
            limit = company.sudo().dunning_issue_limit
            if limit > 0:
                limit = company.currency_id._convert(limit, currency, company, day)
                above |= notices.filtered(
                    lambda notice, currency=currency, limit=limit: currency.compare_amounts(
                        totals[notice.id] if totals else notice.amount_total, limit) > 0)
        return self & above

    def _describe_above_limit(self):
        """Say who issues a notice that is above the limit."""
        self.ensure_one()
        company = self.company_id
        return self.env._(
            "Above %s: whoever heads the accounts prints and sends it.",
            format_amount(self.env, company.sudo().dunning_issue_limit, company.currency_id))

    def _keep_above_limit(self):
        """Let notices above the limit stay drafts that say so.

        :return: the others
        """
        above = self._get_above_limit()
        for words, notices in above.grouped(lambda notice: notice._describe_above_limit()).items():
            notices.sudo().problem = words
        return self - above

    @api.model
    def _may_issue_any_amount(self):
        """Whether the user may issue notices above the limit. Nobody does by what a schedule does unattended."""
        return not self.env.context.get('dunning_unattended') and (
            self.env.uid == SUPERUSER_ID or self.env.user.has_group('account.group_account_manager'))
