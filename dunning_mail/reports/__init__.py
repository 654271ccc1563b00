from . import dunning_letter
from . import dunning_letter_fit
from . import dunning_letter_plan
from . import dunning_print_list
