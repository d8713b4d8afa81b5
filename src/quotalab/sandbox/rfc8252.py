"""RFC 8252, OAuth 2.0 for Native Apps: loopback redirect URIs, with whatever port is free."""

from __future__ import annotations

import re

__all__ = ["matches"]

_LOOPBACK = re.compile(
    r"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::([0-9]{1,5}))?((?:[/?].*)?)", re.DOTALL
)


def matches(registered: str, asked: str) -> bool:
    """Whether a request may be answered at `asked`, when `registered` is what the client has registered.

    "Authorization servers MUST utilize exact string matching except for port numbers in localhost redirection
    URIs of native apps" (RFC 9700, 2.1); "the authorization server MUST allow any port to be specified at the
    time of the request for loopback IP redirect URIs" (RFC 8252, 7.3). All else must be the same, the name of
    the host too.
    """
    if registered == asked:
        return True
    known, said = _LOOPBACK.fullmatch(registered), _LOOPBACK.fullmatch(asked)
    if known is None or said is None:
        return False
    if said[2] is not None and not 1 <= int(said[2]) <= 65_535:
        return False
    return (known[1], known[3]) == (said[1], said[3])
