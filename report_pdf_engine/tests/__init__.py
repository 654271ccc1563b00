from . import test_pdf_tools
from . import test_core_layouts
from . import test_css_rules
from . import test_html_parts
from . import test_one_of_all
from . import test_report
from . import test_report_resources
from . import test_web_client
