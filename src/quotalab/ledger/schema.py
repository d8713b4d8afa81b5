"""The columns of the ledger's three tables.

Times are nanoseconds since 1970-01-01 UTC. Columns marked "keyed hash" hold a BLAKE2b hash under the
run's own key: equal values are equal there. In a seeded run the key follows from the seed.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

__all__ = [
    "APP_LOG",
    "CALLS",
    "EVENTS",
    "OPERATIONS",
    "OUTCOMES",
    "SCHEMAS",
    "Call",
    "Event",
    "OAuthFacts",
    "Operation",
]

_TIME = pa.timestamp("ns", tz="UTC")
_BY_LIMIT_TEXT = pa.map_(pa.string(), pa.string())
_BY_LIMIT_COUNT = pa.map_(pa.string(), pa.int64())

OAUTH = pa.struct(
    [
        ("grant_type", pa.string()),
        ("response_type", pa.string()),
        ("pkce_method", pa.string()),
        ("state", pa.string()),  # keyed hash
        ("code", pa.string()),  # keyed hash
        ("refresh_token", pa.string()),  # keyed hash of the one presented
        ("issued_token", pa.string()),  # keyed hash of the access token given
        ("issued_refresh_token", pa.string()),  # keyed hash
        ("redirect_uri", pa.string()),
        ("scopes_asked", pa.string()),  # as sent, space between
        ("scopes_granted", pa.string()),
        ("code_challenge", pa.string()),  # keyed hash (RFC 7636, 4.3)
        ("state_length", pa.int32()),  # characters
        ("client_auth", pa.string()),  # every way in which the secret was sent: basic, post, query; or none
    ]
)

CALLS = pa.schema(
    [
        ("seq", pa.int64()),  # order of arrival over all tables of one process
        ("sent", _TIME),  # when it left its sender, as far as the network model knows; else as `at`
        ("at", _TIME),  # when it reached the sandbox and was decided
        ("answered", _TIME),  # when the sandbox had done with it: the answer left
        ("done", _TIME),  # when its answer reached the sender
        ("kind", pa.string()),  # api, authorize, token, revoke, introspect, metadata
        ("actor", pa.string()),  # app, browser
        ("client_id", pa.string()),
        ("person", pa.string()),
        ("tenant", pa.string()),
        ("ip", pa.string()),
        ("token", pa.string()),  # keyed hash
        ("token_state", pa.string()),  # of a call to the API: valid, none, unknown, revoked, expired
        ("method", pa.string()),
        ("route", pa.string()),  # the route's name in the profile; null: unknown to it
        ("object", pa.string()),  # what limits by object counted it under; a keyed hash unless short
        ("path", pa.string()),
        ("target", pa.string()),  # keyed hash of method, path, query and body
        ("status", pa.int16()),
        ("error", pa.string()),
        ("cost", pa.int64()),  # the largest that a limit was asked for; 0: none was asked
        ("objects", pa.int64()),  # that the answer returns, or would have
        ("objects_asked", pa.int64()),  # that the request wanted at most
        ("limit", pa.string()),  # the limit that refused the call
        ("retry_after_ns", pa.int64()),  # promised, counted from `at`
        ("keys", _BY_LIMIT_TEXT),  # what each limit counted the call under
        ("charges", _BY_LIMIT_COUNT),
        ("remaining", _BY_LIMIT_COUNT),
        ("operation", pa.string()),
        ("request_id", pa.string()),
        ("idempotency_key", pa.string()),  # keyed hash
        ("scopes_needed", pa.string()),
        ("oauth", OAUTH),
        ("fault", pa.string()),
        ("request_headers", pa.string()),  # redacted JSON
        ("response_headers", pa.string()),  # redacted JSON
        ("bytes", pa.int64()),  # of the answer's body
        ("token_at", pa.string()),  # where a call to the API carried a token: header, or query
    ]
)

OUTCOMES = ("done", "stale", "declined", "failed", "abandoned")

OPERATIONS = pa.schema(
    [
        ("seq", pa.int64()),
        ("operation", pa.string()),  # unique in the run
        ("person", pa.string()),
        ("name", pa.string()),
        ("planned", _TIME),
        ("started", _TIME),
        ("ended", _TIME),
        ("deadline", _TIME),
        ("outcome", pa.string()),  # one of OUTCOMES
        ("error", pa.string()),
        ("calls", pa.int64()),
    ]
)

EVENTS = pa.schema(
    [
        ("seq", pa.int64()),
        ("at", _TIME),
        (
            "what",
            pa.string(),
        ),  # consent-given, consent-denied, token-refused, ...
        ("who", pa.string()),
        ("details", pa.string()),  # JSON object
    ]
)

APP_LOG = pa.schema(
    [
        ("line", pa.int64()),  # of the log, from 1
        ("at", _TIME),
        ("method", pa.string()),
        ("path", pa.string()),  # without host and query, as in `calls`
        ("status", pa.int32()),
        ("person", pa.string()),
        ("tenant", pa.string()),
        ("route", pa.string()),  # what the app calls it
        ("wait", pa.string()),  # how long the app means to wait, as it says it
        ("request_id", pa.string()),  # one that the sandbox gave, else as it could be shown
    ]
)
"""Entries of the app's own log, in its order: not of the ledger. What an entry lacks is null."""

SCHEMAS = {"calls": CALLS, "operations": OPERATIONS, "events": EVENTS}


class OAuthFacts(NamedTuple):
    """The `oauth` struct of a call to an OAuth endpoint."""

    grant_type: str | None = None
    response_type: str | None = None
    pkce_method: str | None = None
    state: str | None = None
    code: str | None = None
    refresh_token: str | None = None
    issued_token: str | None = None
    issued_refresh_token: str | None = None
    redirect_uri: str | None = None
    scopes_asked: str | None = None
    scopes_granted: str | None = None
    code_challenge: str | None = None
    state_length: int | None = None
    client_auth: str | None = None


class Call(NamedTuple):
    """A row of `calls`, in the columns' order; the writer adds `seq`."""

    sent: int
    at: int
    answered: int
    done: int
    kind: str
    actor: str
    client_id: str | None
    person: str | None
    tenant: str | None
    ip: str | None
    token: str | None
    token_state: str | None
    method: str
    route: str | None
    object: str | None
    path: str
    target: str
    status: int
    error: str | None
    cost: int
    objects: int
    objects_asked: int
    limit: str | None
    retry_after_ns: int | None
    keys: tuple[tuple[str, str], ...]
    charges: tuple[tuple[str, int], ...]
    remaining: tuple[tuple[str, int], ...]
    operation: str | None
    request_id: str | None
    idempotency_key: str | None
    scopes_needed: str | None
    oauth: OAuthFacts | None
    fault: str | None
    request_headers: str
    response_headers: str
    bytes: int
    token_at: str | None = None


class Operation(NamedTuple):
    """A row of `operations`; the writer adds `seq`."""

    operation: str
    person: str
    name: str
    planned: int
    started: int
    ended: int
    deadline: int
    outcome: str
    error: str | None
    calls: int


class Event(NamedTuple):
    """A row of `events`; the writer adds `seq`, and makes `details` JSON."""

    at: int
    what: str
    who: str | None
    details: dict[str, object]
