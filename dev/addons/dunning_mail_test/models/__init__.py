from . import dunning_notice
from . import dunning_proposal
from . import dunning_provider
from . import dunning_run
from . import dunning_third_reason
