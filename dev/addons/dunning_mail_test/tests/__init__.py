from . import test_guard
from . import test_proposal
from . import test_third_reason
