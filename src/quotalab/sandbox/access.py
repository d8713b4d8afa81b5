"""What a provider gives a developer, so that an app can be built against the sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quotalab.clock import Entropy
from quotalab.profiles.provider import Provider
from quotalab.sandbox import rfc7009, rfc7662

if TYPE_CHECKING:
    import httpx

__all__ = ["Access", "access_for", "first_access"]


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


def access_for(
    provider: Provider, issuer: str, *, client_id: str, client_secret: str, redirect_uri: str
) -> Access:
    """What a sandbox of `provider` at `issuer` gives the developer of a client."""
    oauth = provider.oauth
    return Access(
        issuer=issuer,
        api_base=issuer + provider.api_path,
        authorization_endpoint=f"{issuer}/oauth/authorize",
        token_endpoint=f"{issuer}/oauth/token",
        revocation_endpoint=issuer + rfc7009.PATH if oauth.revocation else None,
        introspection_endpoint=issuer + rfc7662.PATH if oauth.introspection else None,
        client_id=client_id,
        client_secret=client_secret,
        redirect_uri=redirect_uri,
        names_issuer=oauth.issuer_parameter,
    )


def first_access(provider: Provider, entropy: Entropy, issuer: str, redirect_uri: str) -> Access:
    """What the first client to be registered will be given, before there is a sandbox.

    An app that is imported by a scenario needs it so early. `entropy` is a fresh one of the run's seed.
    """
    public = provider.oauth.client_authentication == ("none",)
    return access_for(
        provider,
        issuer,
        client_id="app-1",
        client_secret="" if public else entropy.token("client-secret"),
        redirect_uri=redirect_uri,
    )
