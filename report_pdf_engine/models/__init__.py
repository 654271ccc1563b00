from . import ir_actions_report
from . import ir_actions_report_hooks
from . import ir_actions_report_document
from . import ir_actions_report_layout
from . import ir_actions_report_resource
