import logging
import math

from odoo import api, models
from odoo.exceptions import AccessError, UserError
from odoo.tools.misc import clean_context

_logger = logging.getLogger(__name__)


class DunningGuard(models.AbstractModel):
    """Keeps what methods write out of reach of users, scripts and imports.

    A model lists in `_get_writable_fields()` what a person may write. Every other field is closed, whichever addon
    defined it, to everybody but the superuser, in whose name methods write. What passes without being listed: manual
    (Studio) fields, chatter, followers and activities.
    """
    _name = 'dunning.guard'
    _description = 'Guard of Dunning Records'

    @api.model
    def _get_passing_fields(self):
        """Return the fields that belong to no model's subject: the ORM's own, chatter and activities."""
        return {
            *models.MAGIC_COLUMNS, 'display_name', *self.env['mail.thread']._fields,
            *self.env['mail.activity.mixin']._fields}

    def _get_writable_fields(self):
        """Return the names of the fields that a person may write. Other addons add theirs.

        :return: set of names; what is said of `self`, the records that are to be written to, is what all of them
            allow; without records, what may be given when one is created
        """
        return set()

    def _get_closed_fields(self, fnames):
        """Return which of the given fields a person may not write.

        :param fnames: names of fields
        :return: list of names, sorted
        """
        own = set(fnames) - self._get_passing_fields()
        if not own:
            return []
        # A field that is neither stored nor written through cannot hold anything.
        own = {fname for fname in own if (field := self._fields.get(fname)) and not field.manual and (
            field.store or field.inverse)}
        return sorted(own - self._get_writable_fields()) if own else []

    def _check_may_write(self, fnames):
        """Check that a person may write these fields of these records.

        :param fnames: names of fields
        :raise AccessError: names record and fields
        """
        if not self.env.su and (closed := self._get_closed_fields(fnames)):
            self._raise_closed(closed)

    def _raise_closed(self, fnames):
        """Say that fields are closed; a model that knows a way out says that.

        :param list fnames: names of the fields
        :raise AccessError: always
        """
        labels = [self._fields[fname]._description_string(self.env) or fname for fname in fnames]
        raise AccessError(self.env._(
            "“%(record)s”: these fields are kept by the system and cannot be written: %(fields)s.",
            record=self[:1].sudo().display_name or self._description,
            fields=', '.join(f'{label} ({fname})' for label, fname in zip(labels, fnames, strict=True))))

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self.browse()._check_may_write(vals)
            self._check_numbers(vals)
        return super().create(vals_list)

    def write(self, vals):
        self._check_may_write(vals)
        self._check_numbers(vals)
        result = super().write(vals)
        if not self.env.su and any(self._fields[fname].relational for fname in vals if fname in self._fields):
            # Nothing is moved to where one could not have put it, whichever of one's companies are looked at now.
            self.with_context(allowed_company_ids=self.env.user._get_company_ids()).check_access('write')
        return result

    @api.model
    def _check_numbers(self, vals):
        """Check that amounts are numbers: over RPC, what is none gets as far as here.

        :raise UserError: names the field
        """
        for fname, value in vals.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(self.env._(
                    "“%(value)s” is no amount for “%(field)s”.", value=value,
                    field=self._fields[fname]._description_string(self.env)))

    @api.model
    def default_get(self, fields):
        # Neither the caller's context nor somebody's own defaults decide over what methods write, not even where these
        # run as superuser.
        closed = self.browse()._get_closed_fields(fields)
        values = super().default_get([fname for fname in fields if fname not in closed])
        for fname in closed:
            field = self._fields[fname]
            if field.default:
                value = field.convert_to_cache(field.default(self), self, validate=False)
                values[fname] = field.convert_to_write(value, self)
        return values

    def copy_data(self, default=None):
        # What a person may not write is not copied in her name either.
        if self.env.su:
            return super().copy_data(default)
        self.browse()._check_may_write(default or ())
        vals_list = super().copy_data(default)
        closed = set(self.browse()._get_closed_fields(self._fields))
        return [{fname: value for fname, value in vals.items() if fname not in closed} for vals in vals_list]

    def _as_system(self):
        """Return these records as methods write them: as superuser, without the defaults of the caller's context."""
        context = clean_context(self.env.context)
        return self.sudo().with_context(context)  # pylint: disable=context-overridden

    def _get_own_attachment(self, fname):
        """Return the attachment that a field points to, if it belongs to this very record.

        A pointer by itself proves nothing: what is read or deleted through it by the superuser must be this record's.

        :param str fname: name of the field
        :return: `ir.attachment` as superuser, empty where there is none or it is another record's
        """
        self.ensure_one()
        attachment = self.sudo()[fname]
        if attachment and (attachment.res_model, attachment.res_id, attachment.res_field or '') != (
                self._name, self.id, ''):
            _logger.error("%s %s: %s points to attachment %s of another record", self._name, self.id, fname,
                          attachment.id)
            return attachment.browse()
        return attachment
