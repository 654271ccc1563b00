from . import evidence
from . import letters
