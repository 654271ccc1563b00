from odoo import api, fields, models
from odoo.exceptions import ValidationError

MAX_DAYS = 3650


class ResCompany(models.Model):
    """What clerks may grant, and how long things rest."""
    _inherit = 'res.company'

    dunning_promise_days = fields.Integer(
        "Usual Days of a Promise", default=14, help="The day that a new promise to pay proposes.")
    dunning_promise_grace_days = fields.Integer(
        "Days of Grace for Promises", default=2,
        help="Days after which what was promised is late. Until then the bank has time to book it.")
    dunning_promise_max_days = fields.Integer(
        "Days That a Clerk May Grant", default=180, help="More is granted by the head of accounts.")
    dunning_promise_max_lines = fields.Integer(
        "Instalments That a Clerk May Grant", default=6, help="More are granted by the head of accounts.")
    dunning_promise_max_missed = fields.Integer(
        "Promises Not Kept", default=2,
        help="Once a customer has broken so many promises, the next one is granted by the head of accounts.")
    dunning_dispute_max_days = fields.Integer(
        "Days Until a Dispute Is Decided", default=60,
        help="The last target day that a clerk may set, counted from the day of the dispute. The head of accounts may "
             "set a later one.")
    dunning_answer_days = fields.Integer(
        "Days After an Answer", default=5,
        help="How long the items of a notice rest after the customer has answered it, unless somebody has handled the "
             "answer before.")

    @api.constrains(
        'dunning_promise_days', 'dunning_promise_grace_days', 'dunning_promise_max_days', 'dunning_promise_max_lines',
        'dunning_promise_max_missed', 'dunning_dispute_max_days', 'dunning_answer_days')
    def _check_dunning_rest_days(self):
        for company in self:
            for fname in (
                    'promise_days', 'promise_grace_days', 'promise_max_days', 'dispute_max_days', 'answer_days'):
                if not 0 <= company[f'dunning_{fname}'] <= MAX_DAYS:
                    raise ValidationError(self.env._(
                        "“%(field)s” takes 0 to %(max)s days.", max=MAX_DAYS,
                        field=self._fields[f'dunning_{fname}']._description_string(self.env)))
            if company.dunning_promise_max_lines < 1 or company.dunning_promise_max_missed < 1:
                raise ValidationError(self.env._("Instalments and promises not kept are counted from 1."))

    def _get_dunning_head(self):
        """Return who heads the company's accounts; nobody where there is none."""
        self.ensure_one()
        users = self.env.ref('account.group_account_manager').sudo().all_user_ids.filtered(lambda user: (
            user.active and not user.share and self in user.company_ids))
        # Who works here in the first place, and does not look after the system too.
        return users.sorted(lambda user: (user.company_id != self, user.has_group('base.group_system'), user.id))[:1]
