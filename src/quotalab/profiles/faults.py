"""Faults that a provider profile plants, and probes that ask the app a question: data, seeded, named."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.reading import Table

__all__ = ["CALL_FAULTS", "PROBES", "STRUCK_CALLS", "Fault", "parse_faults"]

CALL_FAULTS = (
    "spurious_401",
    "error",
    "slow",
    "drop",
    "truncate",
    "not_json",
    "headers",
    "retry_after",
)
"""They strike single calls."""
STRUCK_CALLS = ("api", "token", "revoke", "introspect")
"""The kinds of call that an app makes by itself, and that a fault can strike."""
_AUTHORIZE = "authorize"
"""``error`` can strike authorization requests too: the person is sent back with it."""
PROBES = ("forged_state", "wrong_issuer", "injected_code")
"""They come with a consent: a callback that an attacker could have made, before the true one."""
_GRANT_FAULTS = ("revoke_token", "withdraw_consent")
KINDS = (*CALL_FAULTS, *_GRANT_FAULTS, "early_expiry", "clock_skew", *PROBES)

_WORKED = ("error", "not_json")
_FORMS = ("seconds", "decimal", "http_date", "iso", "epoch")


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault. Which of the fields after `routes` mean something depends on `kind`."""

    name: str
    """As the ledger calls it."""
    kind: str
    from_ns: int
    """After the run's start: it is in force in [from_ns, until_ns). Of ``revoke_token`` and
    ``withdraw_consent``: when it happens."""
    until_ns: int | None
    share: float
    """Of the calls (people, tokens, consents) that it could strike, those it does strike."""
    people: int | None
    """How many people it concerns, drawn from the seed; None: all."""
    routes: tuple[str, ...]
    """Which routes' calls it strikes; empty: all."""
    calls: tuple[str, ...] = ("api",)
    """Which kinds of call it strikes, of `STRUCK_CALLS`; of ``error`` also ``authorize``."""
    status: int = 503
    """Of ``error``."""
    retry_after_ns: int | None = None
    """Of ``error``: what Retry-After says; None: there is none. Of ``retry_after``: what it says instead;
    None: what is true."""
    as_: str = ""
    """Of ``retry_after``: the form in which it is said; empty: the profile's own."""
    worked: bool = False
    """Of ``error`` and ``not_json``: whether the work was done, and charged."""
    by_ns: int = 0
    """Of ``slow``: how much longer; of ``clock_skew``: how far the provider's clock is ahead of the app's."""
    when: str = ""
    """Of ``drop``: ``before`` or ``after`` the work was done."""
    how: str = ""
    """Of ``headers``: ``missing`` or ``wrong``."""
    to: float = 1.0
    """Of ``early_expiry``: the share of its lifetime after which a token dies."""

    @property
    def comes_first(self) -> bool:
        """Whether a call that it strikes is answered before any limit is asked, and without any work."""
        if self.kind in _WORKED:
            return not self.worked
        return self.kind == "spurious_401" or (self.kind == "drop" and self.when == "before")

    def is_on(self, after_ns: int) -> bool:
        """Whether it is in force so long after the start."""
        return self.from_ns <= after_ns and (self.until_ns is None or after_ns < self.until_ns)


def parse_faults(top: Table, routes: Collection[str]) -> tuple[Fault, ...]:
    """The ``[[faults]]`` of a profile."""
    faults = tuple(_fault(table, i, routes) for i, table in enumerate(top.array("faults")))
    if len({fault.name for fault in faults}) != len(faults):
        raise top.error("faults", "gives one name to two faults")
    return faults


def _fault(table: Table, number: int, routes: Collection[str]) -> Fault:
    kind = table.choice("kind", KINDS)
    name = table.text("name", f"{kind}-{number + 1}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", name):
        raise table.error(
            "name",
            f"must begin with a letter and hold at most 40 letters, digits, dots, dashes and underscores, "
            f"not {name!r}",
        )
    from_ns, until_ns = _span_ns(table, kind)
    everybody = kind == "clock_skew"
    fault = Fault(
        name=name,
        kind=kind,
        from_ns=from_ns,
        until_ns=until_ns,
        share=1.0 if everybody else table.number("share", 1.0, most=1.0),
        people=None if everybody else table.whole("people", None, least=1),
        routes=table.texts("routes", (), allowed=tuple(routes)) if kind in CALL_FAULTS else (),
        calls=_calls(table, kind),
        **_own(table, kind),
    )
    if fault.routes and fault.calls != ("api",):
        raise table.error("calls", "other than 'api' have no routes")
    table.done()
    return fault


def _calls(table: Table, kind: str) -> tuple[str, ...]:
    """An access token is shown to the API alone."""
    if kind not in CALL_FAULTS or kind == "spurious_401":
        return ("api",)
    allowed = (*STRUCK_CALLS, _AUTHORIZE) if kind == "error" else STRUCK_CALLS
    calls: tuple[str, ...] = table.texts("calls", ("api",), allowed=allowed)
    if not calls:
        raise table.error("calls", "must name at least one of " + ", ".join(allowed))
    return calls


def _span_ns(table: Table, kind: str) -> tuple[int, int | None]:
    if kind in _GRANT_FAULTS:
        return table.duration_ns("at"), None
    from_ns: int = table.duration_ns("from", 0)
    until_ns: int | None = table.duration_ns("until", None)
    if until_ns is not None and until_ns <= from_ns:
        raise table.error("until", "must be later than 'from'")
    return from_ns, until_ns


def _own(table: Table, kind: str) -> dict[str, Any]:
    """The keys that only this kind has."""
    if kind == "error":
        return {
            "status": table.whole("status", 503, least=400, most=599),
            "retry_after_ns": table.duration_ns("retry_after", None),
            "worked": table.flag("worked", False),
        }
    if kind == "not_json":
        return {"worked": table.flag("worked", True)}
    if kind == "slow":
        return {"by_ns": table.duration_ns("by", least_ns=1_000_000)}
    if kind == "clock_skew":
        return {"by_ns": _skew_ns(table)}
    if kind == "drop":
        return {"when": table.choice("when", ("before", "after"), "before")}
    if kind == "headers":
        return {"how": table.choice("how", ("missing", "wrong"), "missing")}
    if kind == "early_expiry":
        return {"to": table.number("to", 0.5, most=1.0)}
    if kind == "retry_after":
        form, to_ns = table.choice("as", _FORMS, ""), table.duration_ns("to", None)
        if not form and to_ns is None:
            raise table.error("as", "or 'to' must be given: the form, or how long it says to wait")
        return {"as_": form, "retry_after_ns": to_ns}
    return {}


def _skew_ns(table: Table) -> int:
    """A duration that may have a minus before it."""
    said = table.peek("by")
    sign = 1
    if isinstance(said, str) and said.startswith("-"):
        sign, said = -1, said[1:]
    elif isinstance(said, int) and not isinstance(said, bool) and said < 0:
        sign, said = -1, -said
    table.any("by", None)  # taken here; what it says is read below, without its sign
    without_sign = {} if said is None else {"by": said}
    by_ns: int = Table(without_sign, table.file, table.path).duration_ns("by", least_ns=1_000_000)
    return sign * by_ns
