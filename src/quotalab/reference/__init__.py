"""The reference integration: the default app under test, and the example to learn from."""

from quotalab.reference.errors import ConsentRefused, Declined, IntegrationError, NotConnected, ProviderError
from quotalab.reference.integration import Calendar, Fetched, Patience, build

__all__ = [
    "Calendar",
    "ConsentRefused",
    "Declined",
    "Fetched",
    "IntegrationError",
    "NotConnected",
    "Patience",
    "ProviderError",
    "build",
]
