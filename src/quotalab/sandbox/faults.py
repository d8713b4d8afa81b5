"""The faults that a profile plants: which calls they strike, what they make of an answer, when tokens die.

Whether a fault strikes is a keyed hash of its name, of who asks for what, and when it was sent: so a fault
changes nobody else's draws, and adding one changes no other's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from hashlib import blake2b
from http import HTTPStatus

from quotalab.clock import Clock, Entropy
from quotalab.ledger import OAuthFacts
from quotalab.profiles.faults import CALL_FAULTS, PROBES, STRUCK_CALLS, Fault
from quotalab.profiles.provider import Provider
from quotalab.sandbox.dialect import Scene, promise
from quotalab.sandbox.http import Headers, Request, Response, html, json_response
from quotalab.sandbox.record import Recorder
from quotalab.sandbox.store import AccessToken, RefreshToken, Store

__all__ = ["Draws", "Faults", "ProviderClock", "Strike"]

_BODILESS = (204, 205, 304)
_UNAVAILABLE = 503
_WHOLE = 2**64
_SECOND_NS = 1_000_000_000
_MOMENTS = ("revoke_token", "withdraw_consent", "clock_skew")
_DIGITS = re.compile(r"\d+")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>We will be back soon</title></head>'
    "<body><h1>We will be back soon</h1><p>Something is being repaired.</p></body></html>"
)


class Draws:
    """Draws by keyed hash."""

    def __init__(self, entropy: Entropy) -> None:
        self._key = entropy.key("faults")

    def number(self, *what: object) -> int:
        """Evenly from 0 to 2**64 - 1, the same for the same things."""
        text = " ".join(map(str, what)).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, key=self._key, digest_size=8).digest(), "big")

    def strikes(self, fault: Fault, *what: object) -> bool:
        """Whether the fault strikes that, by its share."""
        return fault.share >= 1.0 or self.number(fault.name, *what) < fault.share * _WHOLE

    def concerned(self, fault: Fault, people: Sequence[str]) -> frozenset[str]:
        """The people whom a fault concerns."""
        if fault.people is None:
            return frozenset(people)
        ranked = sorted(people, key=lambda person: (self.number(fault.name, person), person))
        return frozenset(ranked[: fault.people])


class ProviderClock:
    """The provider's own clock, which may be wrong; it waits as any other does."""

    def __init__(self, clock: Clock, faults: Sequence[Fault], start_ns: int) -> None:
        self._clock = clock
        self._start_ns = start_ns
        self._skews = [fault for fault in faults if fault.kind == "clock_skew"]

    def __bool__(self) -> bool:
        """Whether it is ever wrong."""
        return bool(self._skews)

    @property
    def first(self) -> str:
        """The name of the fault that the profile has first."""
        return self._skews[0].name

    def names(self, now_ns: int) -> list[str]:
        """The faults that are in force at a (true) instant."""
        return [fault.name for fault in self._skews if fault.is_on(now_ns - self._start_ns)]

    def skew_ns(self, now_ns: int) -> int:
        """How far it is ahead at a (true) instant."""
        return sum([fault.by_ns for fault in self._skews if fault.is_on(now_ns - self._start_ns)])

    def now_ns(self) -> int:
        """What it says."""
        now_ns = self._clock.now_ns()
        return now_ns + self.skew_ns(now_ns)

    def monotonic_ns(self) -> int:
        """As the true one: it is for differences."""
        return self._clock.monotonic_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        """As the true one."""
        self._clock.sleep_ns(duration_ns)


class Strike:
    """What strikes one call. `name` is for the ledger: the names of the faults that touched it."""

    __slots__ = ("_faults", "_now_ns", "_request", "_who", "early", "late", "names", "on_limits", "slow_ns")

    def __init__(self, faults: Faults, request: Request, who: str | None, now_ns: int) -> None:
        self._faults = faults
        self._request = request
        self._who = who
        self._now_ns = now_ns
        self.names: list[str] = []
        self.early: Fault | None = None
        """What answers it before any limit is asked."""
        self.late: Fault | None = None
        """What becomes of its answer."""
        self.on_limits: list[Fault] = []
        """What it is told wrongly about limits."""
        self.slow_ns = 0

    @property
    def name(self) -> str | None:
        return " ".join(self.names) or None

    def touch(self, fault: Fault) -> None:
        """The fault strikes."""
        self.names.append(fault.name)
        self._faults.struck(fault, self._who, self._now_ns)

    def answer_early(
        self, refuse_token: Callable[[], tuple[Response, str]] | None = None
    ) -> tuple[Response, str, int | None]:
        """The answer before any limit was asked: with the ledger's error, and what Retry-After promises.

        `refuse_token` is the API's way to say that a token is not valid.
        """
        fault = self.early
        assert fault is not None
        self.touch(fault)
        if fault.kind == "spurious_401":
            assert refuse_token is not None
            return (*refuse_token(), None)
        if fault.kind == "drop":
            return _dropped(), "connection_dropped", None
        if fault.kind == "not_json":
            return _page(200), "not_json", None
        return _failed(fault)

    def answer_late(
        self,
        response: Response,
        error: str | None,
        retry_after_ns: int | None,
        refusal: tuple[str, int] | None,
    ) -> tuple[Response, str | None, int | None]:
        """What becomes of an answer, of its error, and of what it promises.

        `refusal` is a refused call's form of Retry-After and its wait; None: it was admitted.
        """
        for fault in self.on_limits:
            if fault.kind == "headers":
                retry_after_ns = self._distort(fault, response.headers, retry_after_ns)
            elif refusal is not None:
                retry_after_ns = self._promise(fault, response.headers, retry_after_ns, *refusal)
        if self.late is not None:
            return self._spoil(self.late, response, error, retry_after_ns, refused=refusal is not None)
        return response, error, retry_after_ns

    def _spoil(
        self,
        fault: Fault,
        response: Response,
        error: str | None,
        retry_after_ns: int | None,
        *,
        refused: bool,
    ) -> tuple[Response, str | None, int | None]:
        if fault.kind == "drop":
            self.touch(fault)
            return _dropped(), "connection_dropped", None
        if fault.kind == "error":
            if refused:  # no work was done
                return response, error, retry_after_ns
            self.touch(fault)
            return _failed(fault)
        if not response.body or response.status in _BODILESS or self._request.method == "HEAD":
            return response, error, retry_after_ns
        self.touch(fault)
        if fault.kind == "not_json":
            page = _page(response.status)
            kept = [pair for pair in response.headers if pair[0].lower() != "content-type"]
            page.headers = [*page.headers, *kept]
            return page, error or "not_json", retry_after_ns
        cut = Response(response.status, response.headers, response.body[: len(response.body) // 2])
        cut.length = len(response.body)
        return cut, error or "truncated", retry_after_ns

    def _distort(self, fault: Fault, headers: Headers, retry_after_ns: int | None) -> int | None:
        """Rate-limit headers go missing, Retry-After with them; or their numbers are wrong, but for its."""
        about = self._faults.about_limits
        mine = [pair for pair in headers if pair[0].lower() in about]
        if fault.how == "missing":
            mine += [pair for pair in headers if pair[0].lower() == "retry-after"]
            if mine:
                self.touch(fault)
                headers[:] = [pair for pair in headers if pair not in mine]
                return None
            return retry_after_ns
        if any(_DIGITS.search(value) for _, value in mine):
            self.touch(fault)
            sent_ns, draw = self._request.sent_ns, self._faults.draws.number
            for i, (name, value) in enumerate(headers):
                if name.lower() in about:
                    drawn = draw(fault.name, self._who, self._request.path, sent_ns, i)
                    headers[i] = (name, _DIGITS.sub(partial(_other, drawn), value))
        return retry_after_ns

    def _promise(
        self, fault: Fault, headers: Headers, retry_after_ns: int | None, form: str, wait_ns: int
    ) -> int | None:
        """Another Retry-After; where there is none, another form makes none."""
        if retry_after_ns is None and fault.retry_after_ns is None:
            return None
        said_ns = wait_ns if fault.retry_after_ns is None else fault.retry_after_ns
        skew_ns = self._faults.clock.skew_ns(self._now_ns)
        own = form if form != "none" else "seconds"
        made = promise(fault.as_ or own, self._now_ns + skew_ns, said_ns)
        if made is None:
            return retry_after_ns
        self.touch(fault)
        headers[:] = [pair for pair in headers if pair[0].lower() != "retry-after"]
        headers.append(("Retry-After", made[0]))
        return made[1]


class Faults:
    """All faults of a sandbox but the probes.

    Those of tokens, grants and the clock strike each at its time. Nothing happens between two requests, so
    what was due by then is done when the next one comes, under the instant at which it was due.
    """

    def __init__(
        self,
        provider: Provider,
        people: Sequence[str],
        entropy: Entropy,
        clock: ProviderClock,
        recorder: Recorder,
        store: Store,
        start_ns: int,
    ) -> None:
        draws = self.draws = Draws(entropy)
        self.clock = clock
        self._people = people
        self._recorder = recorder
        self._store = store
        self._start_ns = start_ns
        concerned = [
            (fault, None if fault.people is None else draws.concerned(fault, people))
            for fault in provider.faults
        ]
        self._of_calls = {
            kind: [pair for pair in concerned if pair[0].kind in CALL_FAULTS and kind in pair[0].calls]
            for kind in (*STRUCK_CALLS, "authorize")
        }
        self._of_tokens = [pair for pair in concerned if pair[0].kind == "early_expiry"]
        due = [fault for fault in provider.faults if fault.kind in _MOMENTS]
        self._due = sorted(due, key=lambda fault: fault.from_ns, reverse=True)
        self._marked: dict[str, str] = {}
        """Mark of a token -> the name of the fault by which it died, or will."""
        self._born_ahead_ns: dict[str, int] = {}
        """Mark of an access token -> how far ahead the provider's clock was that gave it out, if it was."""
        self._lifetime_ns = provider.oauth.access_token_lifetime_ns
        headers = [*provider.dialect.headers, *(h for route in provider.routes for h in route.headers)]
        self.about_limits = frozenset(
            header.name.lower()
            for header in headers
            if header.name.lower() != "retry-after"
            and (any(field.subject for field in header.value.fields) or "limit" in header.name.lower())
        )

    @classmethod
    def are_in(cls, provider: Provider) -> bool:
        """Whether the provider has any fault that the sandbox has to know of."""
        return any(fault.kind not in PROBES for fault in provider.faults)

    def struck(self, fault: Fault, person: str | None, at_ns: int) -> None:
        """Write down that a fault has struck."""
        self._recorder.event("fault", person, at_ns, kind=fault.kind, name=fault.name)

    # ---- calls

    def strike(
        self, request: Request, token: AccessToken | None, route: str | None, now_ns: int, *, valid: bool
    ) -> Strike | None:
        """What strikes a call to the API that arrives now; None: nothing. `valid`: its token is."""
        person = token.person if token is not None else None
        strike = self._strike("api", request, person, route, now_ns, valid=valid)
        names = self._of_token(token, now_ns, valid=valid) if token is not None else ()
        if names:
            strike = strike or Strike(self, request, person, now_ns)
            strike.names += names
        return strike

    def strike_app(self, kind: str, request: Request, person: str | None, now_ns: int) -> Strike | None:
        """What strikes an app's call to the authorization server; it is about a token of the person's."""
        return self._strike(kind, request, person, None, now_ns, valid=True)

    def strike_authorization(self, request: Request, person: str, now_ns: int) -> tuple[str, str] | None:
        """The error with which a person is sent back to the app instead of being asked (RFC 6749, 4.1.2.1),
        and the name of the fault that does it."""
        strike = self._strike("authorize", request, person, None, now_ns, valid=True)
        fault = (strike.early or strike.late) if strike is not None else None
        if strike is None or fault is None:
            return None
        strike.touch(fault)
        return "temporarily_unavailable" if fault.status == _UNAVAILABLE else "server_error", fault.name

    def _strike(
        self, kind: str, request: Request, person: str | None, route: str | None, now_ns: int, *, valid: bool
    ) -> Strike | None:
        """Of several faults that would answer a call, or spoil its answer, the profile's first does."""
        after_ns = now_ns - self._start_ns
        strike = None
        for fault, concerned in self._of_calls[kind]:
            if not fault.is_on(after_ns) or (fault.routes and route not in fault.routes):
                continue
            if concerned is not None and person not in concerned:
                continue
            if fault.kind == "spurious_401" and not valid:
                continue
            if not self.draws.strikes(fault, person or "", request.path, request.sent_ns):
                continue
            if strike is None:
                strike = Strike(self, request, person, now_ns)
            if fault.kind == "slow":
                strike.touch(fault)
                strike.slow_ns += fault.by_ns
            elif fault.kind in ("headers", "retry_after"):
                strike.on_limits.append(fault)
            elif fault.comes_first:
                strike.early = strike.early or fault
            else:
                strike.late = strike.late or fault
        return strike

    def spoilt(
        self,
        strike: Strike | None,
        scene: Scene,
        response: Response,
        error: str | None,
        retry_after_ns: int | None,
    ) -> tuple[Response, str | None, int | None, str | None]:
        """What faults make of an answer, its error and its promise; with the names of those that did."""
        names: list[str] = []
        if strike is not None:
            refusal = None
            if scene.decision.limit is not None:
                refusal = scene.renderer.form(scene.decision.limit), scene.decision.wait_ns
            response, error, retry_after_ns = strike.answer_late(response, error, retry_after_ns, refusal)
            names = strike.names
        if scene.tells_skew:
            names = list(dict.fromkeys([*names, *self.clock.names(scene.at_ns)]))
        return response, error, retry_after_ns, " ".join(names) or None

    def _of_token(self, token: AccessToken, now_ns: int, *, valid: bool) -> Sequence[str]:
        """The faults but for which the token would be valid, or not be."""
        if not valid and token.mark in self._marked:
            return (self._marked[token.mark],)
        if self.clock and not token.grant.revoked:
            died_ns = token.expires_ns - self._born_ahead_ns.get(token.mark, 0)
            if (died_ns > now_ns) is not valid:
                return self.clock.names(now_ns) or [self.clock.first]
        return ()

    def add_date(self, headers: Headers, now_ns: int) -> None:
        """Where the provider's clock is wrong, its answers say what it shows (RFC 9110, 6.6.1)."""
        skew_ns = self.clock.skew_ns(now_ns)
        if skew_ns:
            headers.append(("Date", formatdate((now_ns + skew_ns) // _SECOND_NS, usegmt=True)))

    # ---- tokens, grants, the clock

    def advance(self, now_ns: int) -> None:
        """Do what is due by now."""
        while self._due and self._start_ns + self._due[-1].from_ns <= now_ns:
            fault = self._due.pop()
            at_ns = self._start_ns + fault.from_ns
            if fault.kind == "clock_skew":
                self.struck(fault, None, at_ns)
            else:
                self._end_grants(fault, at_ns)

    def _end_grants(self, fault: Fault, at_ns: int) -> None:
        """Access tokens are revoked; with the consent, all that came of it."""
        chosen = [
            person
            for person in sorted(self.draws.concerned(fault, self._people))
            if self.draws.strikes(fault, person)
        ]
        end = self._withdraw if fault.kind == "withdraw_consent" else self._revoke
        end(fault, chosen, at_ns, at_ns + self.clock.skew_ns(at_ns))

    def _revoke(self, fault: Fault, chosen: Sequence[str], at_ns: int, clock_ns: int) -> None:
        """Revoke the access tokens of these people."""
        held: dict[str, list[AccessToken]] = {person: [] for person in chosen}
        for token in self._store.access.values():
            if token.person in held and not token.grant.revoked and token.expires_ns > clock_ns:
                held[token.person].append(token)
        for person, tokens in held.items():
            if tokens:
                self.struck(fault, person, at_ns)
            for token in tokens:
                self._marked[token.mark] = fault.name
                self._store.revoke_access(token, fault.name, at_ns)

    def _withdraw(self, fault: Fault, chosen: Sequence[str], at_ns: int, clock_ns: int) -> None:
        """Take the consent of these people back, from every client."""
        store = self._store
        given = {person: store.grants_of(person, clock_ns) for person in chosen}
        ended = {id(grant) for grants in given.values() for grant in grants}
        tokens: list[AccessToken | RefreshToken] = [*store.access.values(), *store.refresh.values()]
        for token in tokens:
            if id(token.grant) in ended and token.expires_ns > clock_ns:
                self._marked[token.mark] = fault.name
        for code, kept in store.codes.items():
            if id(kept.grant) in ended and not kept.used:
                self._marked[str(self._recorder.mark(code))] = fault.name
        for person, grants in given.items():
            if grants:
                self.struck(fault, person, at_ns)
            for client in sorted({grant.client_id for grant in grants}):
                self._recorder.event("consent-withdrawn", person, at_ns, client=client, why=fault.name)
            for grant in grants:
                store.revoke(grant, fault.name, at_ns)

    def of_token_call(
        self, request: Request, error: str | None, oauth: OAuthFacts | None, now_ns: int
    ) -> str | None:
        """The fault that a call to the token endpoint met: it gave out a token that will die early, or was
        refused one that had died."""
        if oauth is None:
            return None
        if error is not None:
            return self._marked.get(oauth.refresh_token or oauth.code or "")
        token = next(reversed(self._store.access.values()), None)
        if token is None or token.mark != oauth.issued_token:
            return None
        if skew_ns := self.clock.skew_ns(now_ns):
            self._born_ahead_ns[token.mark] = skew_ns
        for fault, concerned in self._of_tokens:
            if not fault.is_on(now_ns - self._start_ns):
                continue
            if concerned is not None and token.person not in concerned:
                continue
            if self.draws.strikes(fault, token.person, request.path, request.sent_ns):
                token.expires_ns -= self._lifetime_ns - int(self._lifetime_ns * fault.to)
                self._marked[token.mark] = fault.name
                self.struck(fault, token.person, now_ns)
                return fault.name
        return None


def _dropped() -> Response:
    return Response(0, [], b"")


def _page(status: int) -> Response:
    page = html(status, _PAGE)
    page.headers = page.headers[:1]
    return page


def _failed(fault: Fault) -> tuple[Response, str, int | None]:
    code = "server_error" if fault.status >= 500 else "request_error"
    response = json_response(
        fault.status, {"error": code, "message": _PHRASES.get(fault.status, "Something is wrong.")}
    )
    if fault.retry_after_ns is None:
        return response, code, None
    made = promise("seconds", 0, fault.retry_after_ns)
    if made is None:
        return response, code, None
    response.headers.append(("Retry-After", made[0]))
    return response, code, made[1]


def _other(drawn: int, found: re.Match[str]) -> str:
    """Another number of as many digits."""
    digits = found[0]
    size = 10 ** len(digits)
    number = drawn % size
    return str(number if number != int(digits) else (number + 1) % size).zfill(len(digits))
