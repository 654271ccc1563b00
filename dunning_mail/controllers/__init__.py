from . import confirmation
from . import evidence
from . import letters
