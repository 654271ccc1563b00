from odoo import api, fields, models


class DunningResting(models.AbstractModel):
    """How long is kept what customers have said, and what goes afterwards."""
    _inherit = 'dunning.resting'

    @api.model
    def _get_over_domain(self):
        """Return which records are needed no more: they are closed, and nothing of their items is open."""
        return [('state', '!=', 'open'), ('item_ids', 'not any', [
            ('parent_state', '=', 'posted'), ('reconciled', '=', False)])]


class DunningPromise(models.Model):
    _inherit = 'dunning.promise'

    data_removed_at = fields.Datetime("Personal Data Removed", readonly=True, copy=False)

    @api.model
    def _get_retained_fields(self):
        return super()._get_retained_fields() | {'opened', 'paid_before', 'there_before', 'charges', 'stopped'}

    def _remove_personal_data(self, words):
        """Remove all that is said of persons; amounts, days and states stay.

        :param str words: why, for the chatter
        """
        promises = self.sudo()
        promises._empty_personal_fields(data_removed_at=fields.Datetime.now())
        promises._remove_what_hangs_on()
        promises._message_log_batch(dict.fromkeys(promises.ids, words))


class DunningDispute(models.Model):
    _inherit = 'dunning.dispute'

    data_removed_at = fields.Datetime("Personal Data Removed", readonly=True, copy=False)

    def _remove_personal_data(self, words):
        """Remove all that is said of persons; amounts, days, reasons and states stay.

        :param str words: why, for the chatter
        """
        disputes = self.sudo()
        disputes._empty_personal_fields(data_removed_at=fields.Datetime.now())
        disputes._remove_what_hangs_on()
        disputes._message_log_batch(dict.fromkeys(disputes.ids, words))


class DunningArchive(models.AbstractModel):
    _inherit = 'dunning.archive'

    @api.model
    def _list_expired(self, company):
        return [*super()._list_expired(company), *(
            self._get_expired_sayings(model, company) for model in ('dunning.promise', 'dunning.dispute'))]

    @api.model
    def _get_expired_sayings(self, model, company):
        """Return the promises, or disputes, that the company keeps no longer.

        :param str model: name of the model
        :param company: `res.company`
        """
        records = self.env[model]
        today = company._get_dunning_day()
        return records.search(
            [*self._get_expired_domain(company), *records._get_over_domain()], order='date, id',
        ).filtered(lambda record: company._get_dunning_free_day(record.date) <= today)
