import logging

from dateutil.relativedelta import relativedelta
from psycopg2 import OperationalError

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.tools import plaintext2html

_logger = logging.getLogger(__name__)


class DunningSchedule(models.Model):
    """Makes dunning runs by itself, up to the draft or, if set, all the way to issue."""
    _name = 'dunning.schedule'
    _description = 'Schedule of Dunning Runs'
    _inherit = ['dunning.guard', 'mail.thread', 'mail.activity.mixin']
    _order = 'company_id, name, id'
    _check_company_auto = True

    name = fields.Char(required=True)
    active = fields.Boolean(default=True)
    company_id = fields.Many2one('res.company', required=True, default=lambda self: self.env.company, index=True)
    user_id = fields.Many2one(
        'res.users', string="Clerk", required=True, default=lambda self: self.env.user, tracking=True,
        check_company=True, help="Who stands on the letters, and who is told that a run is there.")
    interval_number = fields.Integer("Interval", required=True, default=1)
    interval_type = fields.Selection(
        [('weeks', 'Weeks'), ('months', 'Months')], required=True, default='weeks')
    next_date = fields.Date(
        "Next Run", required=True, default=lambda self: self.env.company._get_dunning_day(), tracking=True,
        help="The weekday, or the day of the month, is kept from run to run.")
    start_date = fields.Date(readonly=True, copy=False, help="From which the intervals count.")
    procedure_ids = fields.Many2many(
        'dunning.procedure', string="Procedures", check_company=True, context={'active_test': False},
        help="Only customers with these procedures. Empty: all.")
    issue = fields.Boolean(
        "Print / Send Without Review", tracking=True,
        help="The notices go out without a person having looked at them.")
    run_ids = fields.One2many('dunning.run', 'schedule_id', string="Runs", readonly=True)

    _interval_positive = models.Constraint(
        'CHECK(interval_number BETWEEN 1 AND 120)', "The interval between two runs must be at least one, at most 120.")

    def _get_writable_fields(self):
        return super()._get_writable_fields() | {
            'name', 'active', 'company_id', 'user_id', 'interval_number', 'interval_type', 'next_date', 'procedure_ids',
            'issue'}

    @api.model
    def _process(self):
        """Entry of the scheduled action: make the runs that are due, each by itself."""
        # Somewhere it may be tomorrow already.
        soon = fields.Date.today() + relativedelta(days=1)
        for schedule in self.search([('next_date', '<=', soon)]):
            if schedule.next_date <= schedule._get_today():
                schedule._make_run()
                self.env['ir.cron']._commit_progress(1)

    def action_run_now(self):
        """Make the next run at once.

        :return: action that opens it
        :raise UserError: nothing can be proposed
        """
        self.ensure_one()
        self.check_access('write')
        return self.sudo()._generate().with_user(self.env.user).get_formview_action()

    def _make_run(self):
        """Make one run and tell its clerk; a fault is told too, and does not stop other schedules."""
        self.ensure_one()
        today = self._get_today()
        user_env = self.env(context=dict(self.env.context, lang=self.user_id.lang))
        try:
            with self.env.cr.savepoint():
                if not self.user_id.active:
                    raise UserError(user_env._("%s has left. Choose another clerk.", self.user_id.name))
                run = self._generate()
                # What the screen would warn of stops what nobody looks at.
                warning = self.issue and run._get_payment_warning()
                if self.issue and run.draft_count and not warning:
                    run.with_context(dunning_unattended=True).action_print_and_send()
        except OperationalError:
            # The database wants the transaction again: the schedule stays due.
            raise
        except Exception as error:
            if not isinstance(error, UserError):
                _logger.exception("Dunning schedule %s", self.id)
            self.activity_schedule(
                'dunning_mail.mail_activity_run_ready', user_id=self._get_responsible_user().id,
                summary=user_env._("The dunning run could not be made"), note=plaintext2html(str(error)))
        else:
            notices = run.notice_ids
            drafts = notices.filtered(lambda notice: notice.state == 'draft')
            # Large runs are issued in the background; what is above the limit stays behind there too.
            held = len(drafts._get_above_limit() if run.is_issuing else drafts)
            issued = len(drafts) - held if run.is_issuing else len(
                notices.filtered(lambda notice: notice.state == 'issued'))
            if warning:
                summary = user_env._(
                    "Not sent, since payments may be missing. Dunning notices that wait for your review: %s",
                    len(drafts))
            elif not self.issue:
                summary = user_env._("Dunning notices that wait for your review: %s", len(drafts))
            elif run.is_issuing and held:
                summary = user_env._(
                    "Dunning notices that are being printed and sent now: %(sent)s. They stay drafts, and say why: "
                    "%(drafts)s", sent=issued, drafts=held)
            elif run.is_issuing:
                summary = user_env._("Dunning notices that are being printed and sent now: %s", issued)
            elif held:
                summary = user_env._(
                    "Dunning notices printed and sent: %(sent)s. Still drafts, and they say why: %(drafts)s",
                    sent=issued, drafts=held)
            else:
                summary = user_env._("Dunning notices printed and sent: %s", issued)
            run.activity_schedule(
                'dunning_mail.mail_activity_run_ready', user_id=self.user_id.id, summary=summary,
                note=plaintext2html(warning or ''))
        start, count = self.start_date or self.next_date, 0
        next_date = self.next_date
        while next_date <= today:
            # Counted from the first date: the 31st stays the 31st after a February.
            count += 1
            next_date = start + relativedelta(**{self.interval_type: self.interval_number * count})
        self.write({'next_date': next_date, 'start_date': start})

    def _get_today(self):
        """Return the company's day."""
        self.ensure_one()
        return self.company_id._get_dunning_day(user=self.user_id)

    def _get_responsible_user(self):
        """Return who answers for the schedule: see `res.company._get_dunning_responsible()`."""
        self.ensure_one()
        return self.company_id._get_dunning_responsible(self.user_id)

    @api.model_create_multi
    def create(self, vals_list):
        schedules = super().create(vals_list)
        for schedule in schedules.sudo():
            schedule.start_date = schedule.next_date
        return schedules

    def write(self, vals):
        result = super().write(vals)
        if 'next_date' in vals and 'start_date' not in vals:
            for schedule in self.sudo():
                schedule.start_date = schedule.next_date
        return result

    def _generate(self):
        """Create a run with its notices, in the clerk's name and with her rights.

        :return: `dunning.run`
        """
        self.ensure_one()
        run = self.env['dunning.run'].with_user(self.user_id).with_company(self.company_id).create({
            'company_id': self.company_id.id,
            'user_id': self.user_id.id,
            'procedure_ids': [fields.Command.set(self.procedure_ids.ids)],
        })
        run.sudo().schedule_id = self
        run.action_generate_notices()
        return run
