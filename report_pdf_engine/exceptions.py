"""What is raised, and given in place of a document that could not be made. Other addons may catch it."""

from psycopg2 import OperationalError
from psycopg2.errors import ReadOnlySqlTransaction

from odoo.exceptions import UserError

# The database may want the whole request again: that is no fault of a document.
RETRYABLE = (OperationalError, ReadOnlySqlTransaction)


class DocumentError(UserError):
    """Why one document could not be made, in words for a person, who also learns what to do about it."""


class ResourceError(DocumentError):
    """What a document refers to can never be shown.

    :ivar address: how it is referred to
    """

    def __init__(self, message, address):
        super().__init__(message)
        self.address = address


class CoreNeeded(Exception):
    """A document holds what the report's engine cannot show; core's engine is there and takes it."""
