"""What the reference integration raises.

::

    IntegrationError
    ├── Declined            the app itself decided not to ask; what it has may be served instead
    ├── NotConnected        the person has not given consent, or it is gone: they must be asked again
    ├── ConsentRefused      the person or the provider said no
    └── ProviderError       the provider's answer was an error and stayed one, or none came
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ConsentRefused", "Declined", "IntegrationError", "NotConnected", "ProviderError"]


class IntegrationError(Exception):
    """The root."""


class Declined(IntegrationError):
    """The budget, or the deadline, leaves no room for the call."""


class NotConnected(IntegrationError):
    """There is no token for the person, and none to be had without asking them."""


class ConsentRefused(IntegrationError):
    """The way through the consent page ended without a grant."""


class ProviderError(IntegrationError):
    """The provider answered with an error, after all retries; a `status` of 0 stands for no whole answer.

    `code` says what it was, `headers` are the answer's.
    """

    def __init__(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.headers = headers or {}
        answered = f"answered {status}" if status else "gave no answer:"
        super().__init__(f"the provider {answered} {code}".rstrip(" :"))
