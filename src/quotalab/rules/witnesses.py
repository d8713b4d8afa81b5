"""What a rule has to know of the calls, so that on recorded traffic it is asked only where that was recorded.

Of recorded traffic no sandbox is a witness: nobody saw what people asked of the app, what came with consent
and tokens, or what the app logged. A rule that would have to guess says NA, with what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping

from quotalab.frames import Frames

__all__ = ["NEEDS", "WORDS", "lacking"]

_OAUTH, _OPERATIONS, _LOG = ("oauth",), ("operations",), ("app-log",)
_GRANTS = ("grants",)

NEEDS: Mapping[str, tuple[str, ...]] = {
    "QL101": ("status",),
    "QL102": (),
    "QL103": (),
    "QL104": ("duration",),
    "QL105": ("person", "retry_after"),
    "QL106": ("person", "status"),
    "QL107": ("status",),
    "QL108": ("duration", "status"),
    "QL109": ("remaining",),
    "QL201": ("retry_after", "status"),
    "QL202": ("person", "status"),
    "QL203": ("person", "status"),
    "QL204": ("person", "status"),
    "QL205": ("person", "status"),
    "QL206": ("person", "status", "headers"),
    "QL207": ("person", "status"),
    "QL208": _OPERATIONS,
    "QL209": _OPERATIONS,
    "QL210": ("person", "retry_after"),
    "QL211": ("person", "retry_after"),
    "QL212": ("person", "status"),
    "QL301": ("token", "status"),
    "QL302": ("grants", "status"),
    "QL303": _GRANTS,
    "QL304": _GRANTS,
    "QL305": _OAUTH,
    "QL306": ("grants", "lifetimes", "token"),
    "QL307": ("grants", "lifetimes", "token"),
    "QL308": ("grants", "lifetimes", "status", "token"),
    "QL309": ("token",),
    "QL310": _OAUTH,
    "QL320": ("secrets",),
    "QL321": ("secrets",),
    "QL322": ("secrets",),
    **dict.fromkeys(("QL401", "QL402", "QL403", "QL404", "QL407"), ("consents",)),
    **dict.fromkeys(("QL412", "QL413", "QL414"), _GRANTS),
    **dict.fromkeys((f"QL4{number:02}" for number in (5, 6, 8, 9, 10, 11, 15, 16, 17)), _OAUTH),
    **dict.fromkeys((f"QL50{number}" for number in range(1, 8)), _OPERATIONS),
    "QL601": ("person", "bytes"),
    "QL602": ("person", "headers"),
    "QL603": ("person", "status"),
    "QL604": _OPERATIONS,
    "QL605": ("person",),
    "QL606": ("objects",),
    "QL607": ("objects",),
    "QL701": _LOG,
    "QL702": _LOG,
    "QL703": _LOG,
}
"""By a bundled rule's id. A rule of a workspace's own is not here: it is asked, and must look for itself."""

WORDS: Mapping[str, str] = {
    "status": "how calls were answered",
    "duration": "how long calls were under way",
    "person": "whose each call is",
    "retry_after": "what Retry-After said",
    "remaining": "what the provider had left of its limits",
    "token": "which token each call carried",
    "headers": "the calls' headers",
    "bytes": "how large the answers were",
    "objects": "how many objects the answers returned",
    "operations": "what people asked of the app",
    "oauth": "what the authorization server knew",
    "grants": "token requests with their bodies and answers",
    "lifetimes": "that tokens last as long as the profile says",
    "consents": "authorization requests and how they ended",
    "secrets": "the app's tokens and files",
    "app-log": "the app's own log",
}


def lacking(id: str, frames: Frames) -> str | None:
    """What the rule would have to know that the recording does not tell, in words; None: nothing."""
    if not frames.is_recorded:
        return None
    lacks = [WORDS[what] for what in NEEDS.get(id, ()) if what not in frames.tells]
    return (
        f"needs a run against the sandbox, or a recording that tells {' and '.join(lacks)}" if lacks else None
    )
