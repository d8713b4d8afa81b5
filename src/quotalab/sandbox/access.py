"""What a provider gives a developer, so that an app can be built against the sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

__all__ = ["Access"]


@dataclass(frozen=True)
class Access:
    """Handed to the app's ``build(access)``."""

    issuer: str
    api_base: str
    authorization_endpoint: str
    token_endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    revocation_endpoint: str | None = None
    """RFC 7009; None: the provider has none. So for RFC 7662's below."""
    introspection_endpoint: str | None = None
    names_issuer: bool = False
    """Whether every callback names the issuer (RFC 9207): one that does not is then no callback of its."""
    transport: httpx.BaseTransport | None = None
    """For apps that can take one; None when the sandbox listens on a socket."""
