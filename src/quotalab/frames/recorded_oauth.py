"""What recorded calls to an authorization server tell: grants, tokens, consent.

A HAR file may hold requests with their bodies, and answers with theirs. What they say is kept as the ledger
keeps it: codes, states and tokens as ordinals of first appearance, scopes only if the profile has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from quotalab.ledger.schema import OAuthFacts
from quotalab.profiles.oauth import NEVER_NS
from quotalab.profiles.provider import Provider
from quotalab.traces.recorded import RecordedCall

__all__ = ["Told", "bearer", "document_of", "kind_of"]

_MOST_FIELDS = 200
_GRANT_TYPES = ("authorization_code", "refresh_token", "password", "client_credentials")
_ERRORS = frozenset(
    (
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"),
        *("unsupported_grant_type", "access_denied", "unsupported_response_type", "server_error"),
        *("temporarily_unavailable", "slow_down"),
    )
)
"""RFC 6749, 4.1.2.1 and 5.2; any other word could be anything, and is not written."""
_OTHER = "[other]"


def kind_of(call: RecordedCall) -> str:
    """What a call is by what it says: OAuth's own parameters (RFC 6749, 4.1.1 and 4.1.3)."""
    if call.method == "POST" and "grant_type" in call.body and "grant_type" in _sent(call):
        return "token"
    if "client_id=" in call.query and {"response_type", "client_id"} <= _pairs(call.query).keys():
        return "authorize"
    return "api"


def bearer(authorization: str | None) -> str | None:
    """The token of an Authorization header, without its scheme."""
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() or scheme


def document_of(text: str) -> Any:
    """The JSON of a body; None where it is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Told:
    """The `oauth` facts, errors and holders of calls that are in order of time; positions are theirs."""

    def __init__(self, calls: Sequence[RecordedCall], provider: Provider) -> None:
        self.mark = _Marks()
        self.facts: dict[int, OAuthFacts] = {}
        self.errors: dict[int, str] = {}
        self.ends_ns: dict[str, int] = {}
        """Access token -> when it ends, by expires_in."""
        self.tells: set[str] = set()
        self.notes: list[str] = []
        self._provider = provider
        self._grant_of: dict[str, int] = {}
        self._call_grant: dict[int, int] = {}
        self._names: dict[int, str] = {}
        kinds = {i: kind for i, call in enumerate(calls) if (kind := kind_of(call)) != "api"}
        answers = {i: _answered(calls[i]) for i, kind in kinds.items() if kind == "token"}
        for i, answer in answers.items():
            self._token(i, calls[i], answer)
        self._consents(calls, [i for i, kind in kinds.items() if kind == "authorize"])
        for call in calls if self._grant_of else ():
            grant = self._grant_of.get(bearer(call.facts.get("token")) or "")
            if grant is not None and "person" in call.facts:
                self._names.setdefault(grant, call.facts["person"])
        self._witness(answers)

    def holder(self, place: int, token: str | None) -> Any:
        """Whose a call is, by the grant that its token or code comes from; None: that is not known."""
        grant = self._call_grant.get(place)
        if grant is None and token is not None:
            grant = self._grant_of.get(token)
        return None if grant is None else self._names.get(grant, ("grant", grant))

    def _token(self, place: int, call: RecordedCall, answer: Mapping[str, str]) -> None:
        sent, mark = _sent(call), self.mark
        roots = [
            self._grant_of[t] for t in (sent.get("refresh_token"), sent.get("code")) if t in self._grant_of
        ]
        grant = self._call_grant[place] = roots[0] if roots else place
        issued, renewed = answer.get("access_token"), answer.get("refresh_token")
        for secret in (sent.get("refresh_token"), sent.get("code"), issued, renewed):
            if secret:
                self._grant_of.setdefault(secret, grant)
        lasts = answer.get("expires_in", "")
        if issued and lasts.isascii() and lasts.isdigit() and len(lasts) < 10:
            self.ends_ns[issued] = call.at_ns + int(lasts) * 10**9
        if error := answer.get("error"):
            self.errors[place] = error if error in _ERRORS else _OTHER
        ways = (
            ("basic", call.request_headers.get("authorization", "").lower().startswith("basic ")),
            ("post", "client_secret" in sent),
            ("query", "client_secret" in _pairs(call.query)),
        )
        asked = self._scopes(sent.get("scope"))
        self.facts[place] = OAuthFacts(
            grant_type=_known(sent.get("grant_type"), _GRANT_TYPES),
            code=mark("code", sent.get("code")),
            refresh_token=mark("token", sent.get("refresh_token")),
            issued_token=mark("token", issued),
            issued_refresh_token=mark("token", renewed),
            redirect_uri=mark("redirect", sent.get("redirect_uri")),
            scopes_asked=asked,
            scopes_granted=self._scopes(answer.get("scope")) or (asked if issued else None),
            client_auth=" ".join(name for name, used in ways if used) or "none",
        )

    def _consents(self, calls: Sequence[RecordedCall], asked: Sequence[int]) -> None:
        """Authorization requests, each with what the redirection that ends it says (RFC 6749, 4.1.2)."""
        if not asked:
            return
        open_by_state: dict[str, list[int]] = {}
        mine, mark = set(asked), self.mark
        ends: dict[int, dict[str, str]] = {}
        for i, call in enumerate(calls):
            if i in mine and (state := _pairs(call.query).get("state")):
                open_by_state.setdefault(state, []).append(i)
            told = _pairs(_query_of(call.response_headers.get("location", "")))
            if not ("code" in told or "error" in told):
                continue
            waiting = open_by_state.get(told.get("state", ""))
            place = i if i in mine else waiting[-1] if waiting else None
            if place is not None and place not in ends:
                ends[place] = told
                if waiting and place in waiting:
                    waiting.remove(place)
        for i in asked:
            sent, end = _pairs(calls[i].query), ends.get(i, {})
            if error := end.get("error"):
                self.errors[i] = error if error in _ERRORS else _OTHER
            if (grant := self._grant_of.get(end.get("code", ""))) is not None:
                self._call_grant[i] = grant
            self.facts[i] = OAuthFacts(
                response_type=_known(sent.get("response_type"), ("code", "token")),
                pkce_method=_known(sent.get("code_challenge_method"), ("S256", "plain")),
                state=mark("state", sent.get("state")),
                code=mark("code", end.get("code")),
                redirect_uri=mark("redirect", sent.get("redirect_uri")),
                scopes_asked=self._scopes(sent.get("scope")),
                code_challenge=mark("challenge", sent.get("code_challenge")),
                state_length=len(sent["state"]) if sent.get("state") else None,
                client_auth="query" if "client_secret" in sent else None,
            )
        if ends:
            self.tells.add("consents")
        else:
            self.notes.append(
                f"{len(asked):,} authorization requests were recorded without the redirection ending them: "
                "nothing is said of them"
            )

    def _witness(self, answers: Mapping[int, Mapping[str, str]]) -> None:
        if not answers:
            return
        mute = sum(not ("access_token" in answer or "error" in answer) for answer in answers.values())
        if mute:
            self.notes.append(
                f"{mute:,} of {len(answers):,} token requests were recorded without an answer that says what "
                "came of them: nothing is said of how tokens were got and renewed"
            )
            return
        self.tells.add("grants")
        life_ns = self._provider.oauth.access_token_lifetime_ns
        issued = [answer for answer in answers.values() if "access_token" in answer]
        told = {answer.get("expires_in") for answer in issued}
        wanted = None if life_ns >= NEVER_NS else str(life_ns // 10**9)
        if told == {wanted}:
            self.tells.add("lifetimes")
        elif issued:
            self.notes.append(
                "by expires_in tokens last otherwise than the profile says: whether they were renewed too "
                "early or too late is not judged (--set oauth.access_token_lifetime says better)"
            )

    def _scopes(self, scope: str | None) -> str | None:
        names = (scope or "").replace(self._provider.oauth.scope_delimiter, " ").split()[:100]
        return " ".join(name if name in self._provider.scopes else _OTHER for name in names) or None


class _Marks:
    """Ordinals of secrets, a numbering for each kind; of tokens the access and refresh tokens together."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def __call__(self, stem: str, value: str | None) -> str | None:
        if not value:
            return None
        return self._known.setdefault((stem, value), f"{stem}-{len(self._known) + 1}")


def _known(value: str | None, known: tuple[str, ...]) -> str | None:
    return value if value is None or value in known else _OTHER


def _pairs(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def _query_of(url: str) -> str:
    try:
        return urlsplit(url).query
    except ValueError:
        return ""


def _fields(text: str) -> dict[str, str]:
    """A form's fields, or those of a JSON object that are no structures."""
    document = document_of(text)
    if isinstance(document, dict):
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in list(document.items())[:_MOST_FIELDS]
            if isinstance(value, str | int | float)
        }
    return _pairs(text)


def _sent(call: RecordedCall) -> dict[str, str]:
    return _fields(call.body)


def _answered(call: RecordedCall) -> dict[str, str]:
    """What a token request was answered; some providers answer with a form."""
    return _fields(call.answer)
