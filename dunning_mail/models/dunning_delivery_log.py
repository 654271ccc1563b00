from datetime import timedelta

from odoo import SUPERUSER_ID, api, fields, models
from odoo.tools import SQL


class DunningDeliveryLog(models.Model):
    """What happened to a notice on its way, step by step. Written by the system only, never changed."""
    _name = 'dunning.delivery.log'
    _description = 'Dunning Delivery Log'
    _inherit = ['dunning.guard']
    _order = 'date desc, id desc'
    _rec_name = 'text'

    notice_id = fields.Many2one('dunning.notice', required=True, ondelete='cascade', index=True)
    company_id = fields.Many2one(related='notice_id.company_id', store=True, index=True)
    provider_id = fields.Many2one('dunning.provider', ondelete='restrict')
    date = fields.Datetime(required=True, default=fields.Datetime.now)
    user_id = fields.Many2one('res.users', default=lambda self: self.env.user)
    attempt = fields.Integer()
    state_from = fields.Selection(selection='_selection_state', string="State Before")
    state_to = fields.Selection(selection='_selection_state', string="State After")
    stage = fields.Selection([
        ('resolve', "Finding the server"),
        ('connect', "Connecting"),
        ('banner', "Greeting"),
        ('ehlo', "Introduction (EHLO)"),
        ('starttls', "Encryption (STARTTLS)"),
        ('auth', "Login (AUTH)"),
        ('mail', "Sender (MAIL FROM)"),
        ('rcpt', "Recipient (RCPT TO)"),
        ('data', "Start of the message (DATA)"),
        ('body', "Message"),
        ('eod', "Answer to the message"),
        ('quit', "End (QUIT)"),
        ('bounce', "Returned later (bounce)"),
        ('print', "Printing"),
    ], string="Step")
    code = fields.Char()
    text = fields.Text("What Happened")
    host = fields.Char("Server")
    tls_version = fields.Char("TLS")
    queue_id = fields.Char("Server's Number", index='btree_not_null')
    message_id = fields.Char("Message-ID", index='btree_not_null')
    # Names change, and what is referred to is merged: these stay what they were at the time.
    user_name = fields.Char("By")
    provider_name = fields.Char("Service Provider's Name")
    recipients = fields.Char("Handed Over For")
    document_sha256 = fields.Char("SHA-256 of the PDF")
    mail_sha256 = fields.Char("SHA-256 of the Mail")
    recipient_count = fields.Integer("Recipients", help="How many recipients the server accepted in this step.")

    _provider_window = models.Index('(provider_id, date, id) INCLUDE (recipient_count) WHERE recipient_count > 0')

    @api.model
    def _selection_state(self):
        states = self.env['dunning.notice']._fields['delivery_state']._description_selection(self.env)
        return [*states, ('cancelled', self.env._("Cancelled"))]

    @api.model_create_multi
    def create(self, vals_list):
        return super().create([{
            **vals,
            'provider_name': self.env['dunning.provider'].sudo().browse(vals.get('provider_id')).name,
            'user_name': self._get_user_name(vals.get('user_id', self.env.uid)),
        } for vals in vals_list])

    @api.model
    def _get_user_name(self, user_id):
        # The system's own name says nothing, and reading it would be a statement more for each mail.
        return user_id != SUPERUSER_ID and self.env['res.users'].sudo().browse(user_id).name

    def _get_evidence_value(self, fname):
        self.ensure_one()
        if fname == 'user_id':
            return self.user_name or self.env._("System")
        if fname == 'provider_id':
            return self.provider_name
        return self._describe_value(self, fname)

    @api.model
    def _describe_value(self, record, fname):
        """Return a field's value in words, as it stands on the screen; dates and times in UTC."""
        field, value = record._fields[fname], record[fname]
        if field.relational:
            return value.sudo().display_name
        if field.type == 'selection':
            return dict(field._description_selection(self.env)).get(value, value)
        return value

    @api.model
    def _get_limit_slot(self, provider, limit, window, now, recipient_count=1):
        """Return when a provider may send again under a sliding limit.

        :param provider: `dunning.provider`
        :param int limit: recipients allowed in any window
        :param timedelta window: length of the window
        :param datetime now: naive UTC
        :param int recipient_count: recipients of the next mail
        :return: naive UTC datetime
        """
        # Together with the next mail's there may be `limit` recipients in the window. A mail to more than that goes out
        # when the window is empty.
        left = limit - min(recipient_count, limit)
        # Dates are kept in whole seconds: what is written down for :00 may have happened at :00.9.
        since = now - window - timedelta(seconds=1)
        self.flush_model(['provider_id', 'date', 'recipient_count'])
        # From the newest backwards: the first one with which there would be too many has to leave the window.
        rows = self.env.execute_query(SQL(
            """
            SELECT date
              FROM (SELECT date, id, sum(recipient_count) OVER (ORDER BY date DESC, id DESC) AS total
                      FROM dunning_delivery_log
                     WHERE provider_id = %s AND recipient_count > 0 AND date > %s AND date <= %s
                     ORDER BY date DESC, id DESC
                     LIMIT %s) newest
             WHERE total > %s
             ORDER BY date DESC, id DESC
             LIMIT 1
            """, provider.id, since, now, limit, left))
        return rows[0][0] + window + timedelta(seconds=1) if rows else now
