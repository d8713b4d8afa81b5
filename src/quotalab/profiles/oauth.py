"""The authorization server of a provider profile, and what holds before the provider has approved the app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quotalab.profiles.limits import Source, parse_source
from quotalab.profiles.reading import Table
from quotalab.profiles.routes import Parameter

__all__ = ["NEVER_NS", "Approved", "OAuth", "TestPhase", "parse_approved", "parse_oauth", "parse_test_phase"]

NEVER_NS = 2**62
"""A lifetime that does not end."""

_LEAST_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class OAuth:
    """The authorization server: lifetimes in nanoseconds."""

    pkce: str
    """``required`` of every client, or ``optional`` (RFC 9700, 2.1.1)."""
    pkce_methods: tuple[str, ...]
    """``S256``, and ``plain`` where the provider still takes it (RFC 7636, 4.2)."""
    client_authentication: tuple[str, ...]
    """``basic`` and ``post`` (RFC 6749, 2.3.1), ``none``: a public client, without a secret (2.1)."""
    grants: tuple[str, ...]
    access_token_lifetime_ns: int
    """`NEVER_NS`: it does not expire."""
    refresh_token_lifetime_ns: int
    refresh_rotation: str
    """``none``: a renewal gives no new refresh token. ``rotate``: it does, and the old one dies after the
    grace. ``single_use``: as that, and its reuse revokes all that came of the grant (RFC 9700, 4.14.2)."""
    refresh_grace_ns: int
    """How long a refresh token still works after its first use; `NEVER_NS`: it stays good."""
    code_lifetime_ns: int
    scope_delimiter: str
    """Between scopes: a space (RFC 6749, 3.3), or what the provider has in its place."""
    token_at: tuple[Parameter, ...]
    """Where a call may carry its access token, first found: ``authorization:bearer`` (RFC 6750, 2.1), or with
    another scheme's name, ``header:NAME``, ``query:NAME`` (2.3)."""
    revocation: bool
    """Whether there is a revocation endpoint (RFC 7009)."""
    introspection: bool
    """Whether there is an introspection endpoint (RFC 7662)."""
    issuer_parameter: bool
    """Whether the answer to the app's authorization request names its issuer (RFC 9207)."""
    untick: bool
    """Whether people may untick single scopes on the consent page."""
    source: Source | None


@dataclass(frozen=True, slots=True)
class TestPhase:
    """What holds before the provider has approved the app."""

    forbidden_scopes: tuple[str, ...]
    """Asking for one is answered with invalid_scope."""
    restricted_scopes: tuple[str, ...]
    """They need a review of their own; until then the consent page warns."""
    listed_people: int | None
    """How many of the people, the first of them, are listed test users; None: everybody."""
    unverified: bool
    """Whether the consent page warns of an app that has not been reviewed."""
    refresh_token_lifetime_ns: int | None
    """Where it is shorter than the usual one."""
    source: Source | None


@dataclass(frozen=True, slots=True)
class Approved:
    """The end of the test phase."""

    after_ns: int
    """After the run's start; that instant included."""
    why: str


def parse_oauth(table: Table) -> OAuth:
    """The ``[oauth]`` table."""
    oauth = OAuth(
        pkce=table.choice("pkce", ("required", "optional"), "required"),
        pkce_methods=table.texts("pkce_methods", ("S256",), allowed=("S256", "plain")),
        client_authentication=table.texts(
            "client_authentication", ("basic", "post"), allowed=("basic", "post", "none")
        ),
        grants=table.texts(
            "grants",
            ("authorization_code", "refresh_token"),
            allowed=("authorization_code", "refresh_token", "client_credentials"),
        ),
        access_token_lifetime_ns=_lifetime_ns(table, "access_token_lifetime"),
        refresh_token_lifetime_ns=_lifetime_ns(table, "refresh_token_lifetime"),
        refresh_rotation=table.choice("refresh_rotation", ("none", "rotate", "single_use"), "single_use"),
        refresh_grace_ns=NEVER_NS
        if _never(table, "refresh_grace")
        else table.duration_ns("refresh_grace", 0),
        code_lifetime_ns=table.duration_ns("code_lifetime", 60 * 10**9, least_ns=_LEAST_NS),
        scope_delimiter=table.choice("scope_delimiter", (" ", ","), " "),
        token_at=tuple(_token_at(table, text) for text in table.texts("token_at", ("authorization:bearer",))),
        revocation=table.flag("revocation", True),
        introspection=table.flag("introspection", True),
        issuer_parameter=table.flag("issuer_parameter", True),
        untick=table.flag("untick", False),
        source=parse_source(table.table("source")) if "source" in table else None,
    )
    if not oauth.pkce_methods:
        raise table.error("pkce_methods", "must name 'S256', 'plain', or both")
    if not oauth.client_authentication:
        raise table.error("client_authentication", "must name at least one of 'basic', 'post', 'none'")
    if "authorization_code" not in oauth.grants:
        raise table.error("grants", "must hold 'authorization_code'")
    table.done()
    return oauth


def parse_test_phase(table: Table, scopes: Mapping[str, str]) -> TestPhase:
    """The ``[test_phase]`` table."""
    phase = TestPhase(
        forbidden_scopes=table.texts("forbidden_scopes", (), allowed=tuple(scopes)),
        restricted_scopes=table.texts("restricted_scopes", (), allowed=tuple(scopes)),
        listed_people=table.whole("listed_people", None, least=1),
        unverified=table.flag("unverified", False),
        refresh_token_lifetime_ns=table.duration_ns("refresh_token_lifetime", None, least_ns=_LEAST_NS),
        source=parse_source(table.table("source")) if "source" in table else None,
    )
    table.done()
    return phase


def parse_approved(timetable: Iterable[Mapping[str, Any]], file: str) -> Approved | None:
    """The entry of a ``timetable`` by which the provider approves the app; None: it never does."""
    found = None
    for i, values in enumerate(timetable):
        entry = Table(values, file, f"timetable[{i}]")
        if not entry.flag("approve", False):
            continue
        if found is not None:
            raise entry.error("approve", "is said twice; an app is approved once")
        found = Approved(entry.duration_ns("after"), entry.text("why"))
    return found


def _never(table: Table, key: str) -> bool:
    """Takes the key where it says ``never``."""
    if table.peek(key) != "never":
        return False
    table.text(key)
    return True


def _token_at(table: Table, text: str) -> Parameter:
    place, _, name = text.partition(":")
    if place not in ("authorization", "header", "query") or not name:
        raise table.error(
            "token_at",
            f"must hold such as 'authorization:bearer', 'header:X-Token' or 'query:token', not {text!r}",
        )
    return Parameter(place, name if place == "query" else name.lower())


def _lifetime_ns(table: Table, key: str) -> int:
    if _never(table, key):
        return NEVER_NS
    lifetime_ns: int = table.duration_ns(key, least_ns=_LEAST_NS)
    return lifetime_ns
