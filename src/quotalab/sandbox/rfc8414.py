"""RFC 8414, OAuth 2.0 Authorization Server Metadata: what the sandbox can do, and nothing else."""

from __future__ import annotations

from typing import Any

from quotalab.profiles.provider import Provider
from quotalab.sandbox import rfc7009, rfc7662

__all__ = ["PATH", "metadata"]

PATH = "/.well-known/oauth-authorization-server"

_METHODS = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none"}


def metadata(provider: Provider, issuer: str) -> dict[str, Any]:
    """The document of section 2 for `issuer`, with RFC 9207's own member (3)."""
    oauth = provider.oauth
    methods = [_METHODS[method] for method in oauth.client_authentication]
    document: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(oauth.grants),
        "token_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": list(oauth.pkce_methods),
        "authorization_response_iss_parameter_supported": oauth.issuer_parameter,
    }
    if provider.scopes:
        document["scopes_supported"] = list(provider.scopes)
    if oauth.revocation:
        document["revocation_endpoint"] = issuer + rfc7009.PATH
        document["revocation_endpoint_auth_methods_supported"] = methods
    if oauth.introspection:
        document["introspection_endpoint"] = issuer + rfc7662.PATH
        document["introspection_endpoint_auth_methods_supported"] = [
            method for method in methods if method != "none"
        ]
    return document
