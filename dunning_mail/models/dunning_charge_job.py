import logging
from datetime import timedelta

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.tools import format_amount

from .dunning_charge import BOOKED_STATES
from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)

# Who may book by hand: in Community the head of accounts need not be an accountant.
BOOKING_GROUPS = ('account.group_account_user', 'account.group_account_manager')
WAIT = timedelta(minutes=5)


class DunningCharge(models.Model):
    """Who books charges: a job, those that the company books with their notices; a person, any that is claimed."""
    _inherit = 'dunning.charge'

    def _set_claimed(self):
        claimed = super()._set_claimed()
        if claimed.filtered('is_booked_at_issue'):
            self._wake_booking()
        return claimed

    def _set_draft(self):
        moved = super()._set_draft()
        moved._join()
        return moved

    # === THE JOB === #

    @api.model
    def _wake_booking(self):
        """Have charges booked soon: not at once, since mails are on their way."""
        cron = self.env.ref('dunning_mail.ir_cron_charges', raise_if_not_found=False)
        if not cron:
            # Somebody has deleted it; a notice leaves all the same.
            return
        cron = cron.sudo()
        if not self.env['ir.cron.trigger'].sudo().search_count(
                [('cron_id', '=', cron.id), ('call_at', '>', fields.Datetime.now())], limit=1):
            cron._trigger(fields.Datetime.now() + WAIT)

    @api.model
    def _process(self):
        """Book what is to be booked with its notice, and take out of the books what has to leave them."""
        do_each = self.env['dunning.promise']._do_each
        leaving = self.search([
            ('state', 'in', BOOKED_STATES), ('move_line_booked_id', '!=', False),
            '|', ('notice_id.state', '=', 'cancelled'), ('notice_id.is_counted', '=', False)])
        do_each(leaving.grouped('notice_id').values(), '_follow_notice')
        due = self.search([('state', '=', 'claimed'), ('is_booked_at_issue', '=', True), ('amount', '>', 0)])
        do_each(due.grouped('notice_id').values(), '_book_with_notice')
        return super()._process()

    def _book_with_notice(self):
        """Book the charges of one notice on the day on which it left."""
        # Somebody else may have done it since it was looked for.
        if due := self.filtered(lambda charge: charge.state == 'claimed'):
            due._try(lambda charges: charges._book(date=charges.notice_id.date_left or None))

    def _try(self, step):
        """Do a step for charges of one notice. What hinders it is told to the head of accounts, once.

        :param step: function of the charges
        :return: whether it could be done
        """
        notice = self.notice_id
        head = notice.company_id._get_dunning_head() or notice._get_responsible_user()
        try:
            with self.env.cr.savepoint():
                step(self.with_context(lang=head.lang))
        except RETRYABLE:
            raise
        except UserError as error:
            reason = str(error)
        except Exception:
            _logger.exception("Dunning notice %s: its charges cannot be booked or reversed", notice.id)
            reason = self.with_context(lang=head.lang).env._("See the server's log.")
        else:
            return True
        self.invalidate_recordset()
        told = self.sudo()
        if any(charge.booking_problem != reason for charge in told):
            told.booking_problem = reason
            notice.sudo()._ask_person('dunning_mail.mail_activity_booking', reason, head)
        return False

    def _clear_booking_problem(self):
        """Say that charges are booked."""
        self.notice_id.sudo().activity_unlink(['dunning_mail.mail_activity_booking'])

    # === BY HAND === #

    def _check_may_book(self):
        """Check that the user keeps the books.

        :raise AccessError: she does not
        """
        if not self.env.su and not any(self.env.user.has_group(group) for group in BOOKING_GROUPS):
            raise AccessError(self.env._("Charges are booked by an accountant, or by the head of accounts."))

    def action_book(self):
        """Book claimed charges.

        :raise UserError: one is not claimed, or an entry cannot be made
        :raise AccessError: the user keeps no books
        """
        self._check_may_book()
        self.check_access('read')
        self._book()
        for charge in self:
            charge._log_on_notice(self.env._(
                "Booked: %(charge)s, %(amount)s. %(entry)s", charge=charge._get_words(),
                amount=format_amount(self.env, charge.amount, charge.currency_id),
                entry=charge.sudo().move_booked_id.name))
