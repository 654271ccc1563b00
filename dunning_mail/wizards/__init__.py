from . import base_partner_merge
from . import dunning_charge_change
from . import dunning_data_request
from . import dunning_level_change
from . import dunning_notice_confirm
from . import dunning_restart
from . import dunning_run_preview
from . import dunning_text_preview
