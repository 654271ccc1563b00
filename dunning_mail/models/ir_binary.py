from odoo import models


class IrBinary(models.AbstractModel):
    _inherit = 'ir.binary'

    def _find_record(self, xmlid=None, res_model='ir.attachment', res_id=None, access_token=None, field=None):
        # A signed token opens a file to whoever has it. What a dunning notice refers to is for those only who may read
        # the notice.
        if access_token:
            record = super()._find_record(xmlid, res_model, res_id, access_token, field)
            if record._name != 'ir.attachment' or not record._get_dunning_owners():
                return record
            access_token = None
        return super()._find_record(xmlid, res_model, res_id, access_token, field)
