from unittest.mock import patch

from odoo.exceptions import AccessError
from odoo.tests import tagged
from odoo.tools import mute_logger

from odoo.addons.dunning_mail.tests import test_guard
from odoo.addons.dunning_mail.tests.test_guard import GuardCase


@tagged('post_install', '-at_install')
class TestExtended(GuardCase):
    """Whichever module defined a field last, what is not on the list stays closed."""

    def setUp(self):
        super().setUp()
        notice = test_guard.WRITABLE['dunning.notice'] | {'remark'}
        self.enterContext(patch.dict(test_guard.WRITABLE, {'dunning.notice': notice}))
        self.enterContext(patch.dict(test_guard.CREATABLE, {'dunning.notice': {'remark'}}))
        self.enterContext(patch.dict(test_guard.WRITABLE_ISSUED, {'dunning.notice': {'remark'}}))

    def test_write(self):
        self.check_writes(is_issued=False)

    def test_write_when_issued(self):
        self.check_writes(is_issued=True)

    def test_create(self):
        self.check_creates()

    @mute_logger('odoo.models.unlink')
    def test_defaults(self):
        self.check_defaults()

    def test_what_the_addon_lists_can_be_written(self):
        notice = self.make_records(is_issued=True)['dunning.notice'].with_user(self.clerk)
        notice.remark = "Called her"
        self.assertEqual(notice.remark, "Called her")
        with self.assertRaises(AccessError):
            notice.court_number = '1'
        notice.sudo().court_number = '1'
        self.assertEqual(notice.court_number, '1')
