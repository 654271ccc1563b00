from odoo import api, fields, models
from odoo.exceptions import AccessError


class DunningShared(models.AbstractModel):
    """Configuration that companies may share, and that a branch may have from its head company.

    It is changed by whoever answers for all whom it concerns:

    ======================== ==================================================================
    it belongs to            it is changed by
    ======================== ==================================================================
    no company               system administrators, and whoever is allowed in every company (in
                             a database with a single one that is everybody)
    a company                system administrators, and whoever is allowed in that company
    ======================== ==================================================================

    That comes on top of the access lists and rules, which say who changes configuration at all.
    """
    _name = 'dunning.shared'
    _description = 'Shared Dunning Configuration'
    _inherit = ['dunning.guard']
    _check_company_domain = models.check_company_domain_parent_of

    is_locked = fields.Boolean(compute='_compute_is_locked', help="It is not only this user's companies' to change.")

    @api.depends_context('uid')
    @api.depends('company_id')
    def _compute_is_locked(self):
        locked = self._get_locked()
        for record in self:
            record.is_locked = record in locked

    @api.model
    def _may_change_shared(self):
        """Whether the user may change what all companies share."""
        # Whatever the caller wants to see of archived records: archived companies have no say.
        companies = self.env['res.company'].sudo().with_context(active_test=True)
        return self.env.su or self.env.is_system() or not companies.search_count(
            [('id', 'not in', self.env.user._get_company_ids())], limit=1)

    @api.model
    def _default_company_id(self):
        """Return the company of what is made or duplicated: none where the user may make shared things."""
        return self.env['res.company'] if self._may_change_shared() else self.env.company

    def _get_locked(self):
        """Return those of these records that are not the user's to change."""
        if self._may_change_shared():
            return self.browse()
        company_ids = self.env.user._get_company_ids()
        return self.filtered(lambda record: record._origin and record.sudo().company_id.id not in company_ids)

    def _check_access(self, operation):
        result = super()._check_access(operation)
        if result or self.env.su or operation == 'read' or not any(self._ids):
            return result
        if locked := self._get_locked():
            return locked, locked._make_locked_error
        return None

    def _make_locked_error(self):
        """Say whose matter it is, and the way out."""
        record = self[:1].sudo()
        owner = record._get_shared_owner()
        names = {'record': owner.display_name, 'own': self.env.company.name}
        if owner.company_id:
            return AccessError(self.env._(
                "“%(record)s” belongs to %(company)s, and is changed by those who work there. Duplicate it: the copy "
                "belongs to %(own)s, and is yours to change.", company=owner.company_id.name, **names))
        return AccessError(self.env._(
            "“%(record)s” is shared by all companies, and only a system administrator may change it. Duplicate it: the "
            "copy belongs to %(own)s, and is yours to change. Of what you make anew, say that it is %(own)s's.",
            **names))

    def _get_shared_owner(self):
        """Return the record of which it is said to which company it belongs."""
        self.ensure_one()
        return self

    def copy_data(self, default=None):
        vals_list = super().copy_data(default)
        if not self._fields['company_id'].related and not self._fields['company_id'].compute:
            for record, vals in zip(self, vals_list, strict=True):
                if 'company_id' not in (default or {}) and record in record._get_locked():
                    vals['company_id'] = self.env.company.id
        return vals_list

    @api.model
    def _get_view(self, view_id=None, view_type='form', **options):
        arch, view = super()._get_view(view_id, view_type, **options)
        if view_type == 'form' and any(node.get('name') == 'is_locked' for node in arch.iter('field')):
            # The screen shows what `_check_access()` would say only when it is saved.
            for node in arch.iter('field'):
                if any(parent.tag == 'field' for parent in node.iterancestors()):
                    continue
                condition = node.get('readonly')
                # A condition of the screen would open what the field itself closes.
                if condition or not self._fields[node.get('name')].readonly:
                    node.set('readonly', f'({condition}) or is_locked' if condition else 'is_locked')
        return arch, view
