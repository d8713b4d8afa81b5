"""RFC 8414, OAuth 2.0 Authorization Server Metadata: what the sandbox can do, and nothing else."""

from __future__ import annotations

from typing import Any

from quotalab.profiles.provider import Provider

__all__ = ["PATH", "metadata"]

PATH = "/.well-known/oauth-authorization-server"


def metadata(provider: Provider, issuer: str) -> dict[str, Any]:
    """The document of RFC 8414, 2, for `issuer`."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "scopes_supported": list(provider.scopes),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
    }
