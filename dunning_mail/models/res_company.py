import base64
import hashlib
import io
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from PIL import Image

from odoo import api, fields, models, tools
from odoo.exceptions import UserError, ValidationError
from odoo.tools.image import image_process

from odoo.addons.base.models.res_partner import _lang_get

# The largest the logo is shown in a mail, in pixels.
MAIL_LOGO_SIZE = (220, 60)
MAX_RETENTION_YEARS = 100


class ResCompany(models.Model):
    _inherit = 'res.company'

    dunning_provider_id = fields.Many2one(
        'dunning.provider', string="Service Provider for Dunning Mail",
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', id)]")
    dunning_procedure_id = fields.Many2one(
        'dunning.procedure', string="Default Dunning Procedure",
        default=lambda self: self.env.ref('dunning_mail.procedure_standard', raise_if_not_found=False),
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', id)]")
    dunning_interest_profile_id = fields.Many2one(
        'dunning.interest.profile', string="Interest Profile", ondelete='restrict',
        domain="['|', ('company_id', '=', False), ('company_id', 'parent_of', id)]",
        help="By which interest on arrears is reckoned. Empty: none is claimed.")
    dunning_fallback_lang = fields.Selection(
        _lang_get, string="Fallback Language of Dunning",
        help="For customers without a language, and where a level has no texts in theirs. "
             "Empty: the installed German, without one the company's language.")
    dunning_min_amount = fields.Monetary(
        "Minimum Amount for Dunning", default=5.0,
        help="Customers who owe less than this are not dunned. What they owe in several currencies counts together.")

    dunning_debit_method_ids = fields.Many2many(
        'account.payment.method.line', 'res_company_dunning_debit_method_rel', 'company_id', 'method_line_id',
        string="Not Dunned: Direct Debit", domain="[('payment_type', '=', 'inbound')]",
        help="Payment methods by which you fetch the money yourselves. Invoices with one of them, or whose customer "
             "has one, are not dunned.")
    dunning_account_grouping = fields.Selection(
        [('first', "One notice, to be paid to the first of them"),
         ('separate', "A notice of its own for each account")],
        string="Invoices to Different Accounts", required=True, default='first',
        help="What becomes of a customer's invoices that ask for payment to different bank accounts of yours.")

    dunning_payment_part = fields.Boolean(
        "Payment Part on Dunning Letters", default=True,
        help="A Swiss QR-bill at the foot of the last page, or an EPC code for payments in EUR within SEPA, where "
             "account, currency and address allow it.")
    dunning_letter_layout = fields.Selection(
        [('auto', "As usual in the company's country"), ('right', "Address on the right (SN 010130)"),
         ('left', "Address on the left (DIN 5008)")],
        string="Address on Dunning Letters", required=True, default='auto',
        help="Where the window of your envelopes is. Right is usual in Switzerland and Liechtenstein, left elsewhere.")

    dunning_print_order = fields.Selection(
        [('postal', "By country and postcode"), ('customer', "By customer")], string="Order of Printed Letters",
        required=True, default='postal')
    dunning_print_duplex = fields.Boolean(
        "Printed on Both Sides",
        help="Each letter starts on a sheet of its own: a blank page follows where it is needed.")
    dunning_print_list = fields.Boolean(
        "Cover List", default=True, help="A list of all letters comes first, if there is more than one.")
    dunning_issue_limit = fields.Monetary(
        "Clerks Issue Notices up to",
        help="Notices above this amount stay drafts until whoever heads the accounts prints and sends them. Those in "
             "other currencies are converted. 0: no limit.")
    dunning_bank_days = fields.Integer(
        "Bank Data at Most", default=3,
        help="Working days of the company. If the last transaction of a bank account is older, and older than is usual "
             "for it, runs warn, and schedules do not send. 0: nobody is warned.")
    dunning_retention_years = fields.Integer(
        "Keep Dunning Documents and Personal Data for",
        help="Years, counted from the end of the calendar year or of your fiscal year, whichever is later. Afterwards "
             "PDFs, mails, chatter, addresses and all words about the customer are removed from finished notices whose "
             "claims are settled. Numbers, amounts, dates and states remain. 0: everything is kept for good.")

    dunning_waive_limit = fields.Monetary(
        "Clerks May Waive", help="What a clerk may give up of charges at once; more is for the head of accounts. 0: no "
        "limit.")
    dunning_lapse_days = fields.Integer(
        "Charges Lapse After", default=60,
        help="Days after all items of its notice were settled, until a charge is not asked for any more. 0: never.")
    dunning_letter_seen = fields.Char(
        readonly=True, copy=False, help="How letters looked when somebody opened one last.")

    def _get_dunning_letter_key(self):
        """Return what makes the look of this company's letters, in a form that can be compared."""
        self.ensure_one()
        company = self.sudo()
        logo = self.env['ir.attachment'].sudo().search(
            [('res_model', '=', 'res.partner'), ('res_id', '=', company.partner_id.id),
             ('res_field', '=', 'image_1920')], limit=1)
        values = [str(company[fname] or '') for fname in (
            'name', 'street', 'street2', 'zip', 'city', 'state_id', 'country_id', 'phone', 'email', 'website', 'vat',
            'company_registry', 'font', 'primary_color', 'secondary_color', 'dunning_letter_layout',
            'dunning_payment_part')]
        # In all languages: it is the same letter, whoever looks at it.
        values += [str(company.with_context(lang=code)[fname] or '') for code, _name in sorted(
            self.env['res.lang'].get_installed()) for fname in ('report_header', 'report_footer', 'company_details')]
        values += map(str, sorted(self.env['dunning.checklist']._get_procedures(company).level_ids.report_id.ids))
        return hashlib.sha256('|'.join([*values, logo.checksum or '']).encode()).hexdigest()

    def _note_dunning_letter_seen(self):
        """Note that somebody has opened a letter of these companies."""
        for company in self.sudo():
            key = company._get_dunning_letter_key()
            if company.dunning_letter_seen != key:
                company.dunning_letter_seen = key

    def _get_dunning_parents(self):
        """Return the company and those whose branch it is, the nearest first; archived ones too."""
        self.ensure_one()
        return self.sudo().with_context(active_test=False).parent_ids[::-1]

    def _get_dunning_tz(self, user=None):
        """Return the name of the time zone in which the company reckons its days.

        :param user: `res.users` who answers for the matter; hers is the time zone where the company has none
        :return: str
        """
        self.ensure_one()
        return self.sudo().partner_id.tz or (user or self.env.user).sudo().tz or 'UTC'

    def _get_dunning_day(self, moment=None, user=None):
        """Return the day that it is where the company is.

        :param datetime moment: naive UTC, default now
        :param user: as in `_get_dunning_tz()`
        :return: date
        """
        self.ensure_one()
        return fields.Date.context_today(self.with_context(tz=self._get_dunning_tz(user)), moment or None)

    def _get_dunning_working_days(self, start, end):
        """Return the days on which the company works: those of its working schedule less what is closed for all.

        :param date start: the first that may be among them
        :param date end: the last one
        :return: list of date in ascending order; from Monday to Friday where there is no schedule with hours
        """
        self.ensure_one()
        calendar = self.sudo().resource_calendar_id
        if not calendar.attendance_ids or calendar.flexible_hours:
            days = ((start + timedelta(days=count)) for count in range((end - start).days + 1))
            return [day for day in days if day.weekday() < 5]
        zone = ZoneInfo(calendar.tz)
        hours = calendar.with_company(self)._work_intervals_batch(
            datetime.combine(start, time.min, zone), datetime.combine(end, time.max, zone),
            domain=[('time_type', '=', 'leave'), ('company_id', 'in', (False, *self.parent_ids.ids))])[False]
        return sorted({opens.date() for opens, _closes, _attendance in hours})

    def _get_dunning_free_day(self, day):
        """Return the first day on which what is of a day need not be kept any more.

        OR 958f counts from the end of the fiscal year, HGB 257 and UGB 212 from that of the calendar year: the later
        holds.

        :param date day: when it was written, sent or received
        :return: date, False where all is kept for good
        """
        self.ensure_one()
        company = self.sudo()
        if company.dunning_retention_years <= 0:
            return False
        # Addons with fiscal years of any length hook in there.
        year_end = max(date(day.year, 12, 31), company.compute_fiscalyear_dates(day)['date_to'])
        return year_end + timedelta(days=1) + relativedelta(years=company.dunning_retention_years)

    def _get_dunning_mail_logo(self):
        """Return the company's own logo as mail readers can show it; None where it has none.

        :return: dict of `content` (bytes), `subtype` (of image/), `cid`, `width` and `height` in pixels on the screen
        """
        self.ensure_one()
        if self.uses_default_logo or not self.logo:
            return None
        return self._make_dunning_mail_logo(self.partner_id.write_date)

    @tools.ormcache('self.id', 'changed_at')
    def _make_dunning_mail_logo(self, changed_at):
        """Bring the logo to size; the date makes a changed logo a new one."""
        try:
            # twice as many pixels as it is shown by: screens are that fine
            content = image_process(base64.b64decode(self.logo), size=(2 * MAIL_LOGO_SIZE[0], 2 * MAIL_LOGO_SIZE[1]))
            with Image.open(io.BytesIO(content)) as image:
                (width, height), subtype = image.size, (image.format or '').lower()
        except (OSError, ValueError, UserError):
            # SVG and the like: no mail reader shows that
            return None
        if subtype not in ('png', 'jpeg', 'gif') or not width or not height:
            return None
        scale = min(1.0, MAIL_LOGO_SIZE[0] / width, MAIL_LOGO_SIZE[1] / height)
        return {
            'content': content, 'subtype': subtype, 'cid': 'logo@dunning.invalid',
            'width': max(1, round(width * scale)), 'height': max(1, round(height * scale))}

    def _get_dunning_responsible(self, user):
        """Return who is told what a person must see to: the clerk; if she has left or has another job, somebody who
        heads the accounts, or an administrator.

        :param user: `res.users`, the clerk
        """
        self.ensure_one()
        if user.active and self in user.sudo().company_ids and self.env['dunning.notice'].with_user(
                user).has_access('write'):
            return user
        for group in ('account.group_account_manager', 'base.group_system'):
            users = self.env.ref(group).sudo().all_user_ids.filtered(lambda other: (
                other.active and not other.share and self in other.company_ids))
            if users:
                return users.sorted('id')[0]
        return self.env.user

    def _get_dunning_fallback_lang(self):
        """Return the language for customers without one.

        :return: code of an active language
        """
        self.ensure_one()
        installed = [code for code, _name in self.env['res.lang'].get_installed()]
        if self.dunning_fallback_lang in installed:
            return self.dunning_fallback_lang
        own = self.partner_id.lang
        country = (self.account_fiscal_country_id or self.country_id).code or ''
        german = [code for code in installed if code.split('_')[0] == 'de']
        preferred = [own, f'de_{country}', 'de_DE', *german] if german else [own]
        if german:
            preferred = [code for code in preferred if code in german]
        return next((code for code in preferred if code in installed), installed[0])

    @api.constrains('dunning_provider_id', 'dunning_procedure_id', 'dunning_interest_profile_id')
    def _check_dunning_company(self):
        for company in self:
            for record in (company.sudo().dunning_provider_id, company.sudo().dunning_procedure_id,
                           company.sudo().dunning_interest_profile_id):
                if not company._may_use_dunning(record):
                    raise ValidationError(self.env._(
                        "“%(record)s” belongs to company %(other)s and cannot be used by %(company)s.",
                        record=record.display_name, other=record.company_id.name, company=company.name))

    def _may_use_dunning(self, record):
        """Whether a provider, procedure or level is the company's, its parents' or everybody's."""
        self.ensure_one()
        return not record.company_id or record.company_id in self.parent_ids

    @api.constrains('dunning_issue_limit', 'dunning_bank_days')
    def _check_dunning_preflight(self):
        for company in self:
            if company.dunning_issue_limit < 0 or company.dunning_bank_days < 0:
                raise ValidationError(self.env._(
                    "Company %s: amounts and days of dunning cannot be negative; 0 switches them off.", company.name))

    @api.constrains('dunning_retention_years')
    def _check_dunning_retention_years(self):
        for company in self:
            if not 0 <= company.dunning_retention_years <= MAX_RETENTION_YEARS:
                raise ValidationError(self.env._(
                    "Dunning documents are kept for 0 to %s years; 0: for good.", MAX_RETENTION_YEARS))

    def action_preview_dunning_retention(self):
        """List the notices whose documents and personal data would be removed now; nothing is removed by it."""
        self.ensure_one()
        expired = self.env['dunning.archive']._get_expired(self)
        return {
            'type': 'ir.actions.act_window',
            'name': self.env._("Documents and Personal Data That Would Be Removed"),
            'res_model': 'dunning.notice',
            'view_mode': 'list,form',
            'views': [(self.env.ref('dunning_mail.dunning_notice_view_list_retention').id, 'list'), (False, 'form')],
            'domain': [('id', 'in', expired.ids)],
            'context': {'create': False},
        }
