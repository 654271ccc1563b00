from . import test_default_texts
from . import test_flow
from . import test_pdf_tools
from . import test_smtp_tools
