"""RFC 9207, Authorization Server Issuer Identification: the answer to the app says who gives it."""

from __future__ import annotations

from authlib.common.urls import add_params_to_uri

__all__ = ["with_issuer"]


def with_issuer(location: str, issuer: str) -> str:
    """The address of an authorization response, with the issuer.

    "In authorization responses to the client, including error responses, an authorization server supporting
    this specification MUST indicate its identity by including the iss parameter in the response" (2).
    Authlib's own extension leaves out the errors that are found before anybody was asked.
    """
    named: str = add_params_to_uri(location, [("iss", issuer)])
    return named
