"""The sandbox: a provider's authorization server and API in one WSGI application, with a ledger."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from errno import EPIPE
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from quotalab.clock import Clock, Entropy
from quotalab.errors import StateLostError
from quotalab.ledger import LedgerWriter
from quotalab.profiles.provider import Provider
from quotalab.sandbox.access import Access, access_for
from quotalab.sandbox.api import ResourceServer
from quotalab.sandbox.authorization import KINDS, AuthorizationEndpoints
from quotalab.sandbox.dialect import Renderer, Scene
from quotalab.sandbox.faults import Faults, ProviderClock
from quotalab.sandbox.http import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    Headers,
    Request,
    Response,
    json_response,
)
from quotalab.sandbox.limits import MakeEngine, ProviderLimits, in_memory
from quotalab.sandbox.network import Network
from quotalab.sandbox.record import NOT_ASKED, Recorder
from quotalab.sandbox.store import AccessToken, Store

__all__ = ["SENDER", "Sandbox"]

SENDER = "quotalab.sender"
"""In a WSGI environment: what tells the operation that sent the request, where the server can know it."""

_log = logging.getLogger(__name__)
_MOST_OPERATIONS = 100_000
_API = ("api", "app")
_URI = "!#$%&'()*+,-./:;=?@[]_~"  # what a URI may hold beside letters and digits: RFC 3986, 2
_HEX = frozenset("0123456789abcdef")
_PHRASES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Sandbox:
    """A stand-in for the provider, reached in memory (`exchange`) or over WSGI (`__call__`).

    `people` are the listed test users, who can sign in with `password_of`; `issuer` is the base address;
    the timetable counts from `start_ns`, else from now. With `consents` every authorization request that is
    right is answered with consent at once, in a browser. It sees HTTP only and never learns which scenario or
    app is calling. `close` ends it.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Clock,
        entropy: Entropy,
        ledger: LedgerWriter,
        people: Iterable[str],
        issuer: str,
        start_ns: int | None = None,
        consents: bool = False,
        make_engine: MakeEngine = in_memory,
    ) -> None:
        people = tuple(people)
        self.issuer = issuer
        self.faults: list[str] = []
        """What went wrong in the sandbox itself, where an app would only see a 500."""
        self._calls: dict[str, int] = {}
        self._provider = provider
        self._clock = clock
        start_ns = clock.now_ns() if start_ns is None else start_ns
        own_clock = ProviderClock(clock, provider.faults, start_ns)
        self._store = Store(provider, own_clock if own_clock else clock, entropy, people)
        self._recorder = Recorder(ledger, clock, entropy)
        self._planted: Faults | None = None
        if Faults.are_in(provider):
            self._planted = Faults(
                provider, people, entropy, own_clock, self._recorder, self._store, start_ns
            )
        self._watched: dict[str, bool] = {}
        self._network = Network(provider.latency, entropy)
        limits = self._limits = ProviderLimits(
            provider.limits,
            start_ns=start_ns,
            entropy=entropy,
            recorder=self._recorder,
            make_engine=make_engine,
        )
        renderer = self._renderer = Renderer(provider.dialect, limits, entropy)
        if own_clock:
            renderer.skew_ns = own_clock.skew_ns
        works = provider.latency.work_ns or any(route.work_ns for route in provider.routes)
        self._api = ResourceServer(
            provider,
            self._store,
            self._recorder,
            limits,
            renderer,
            people=people,
            issuer=issuer,
            work_ns=self._work_ns if works else None,
            planted=self._planted,
        )
        self._authorization = AuthorizationEndpoints(
            provider,
            self._store,
            self._recorder,
            limits,
            renderer,
            entropy,
            issuer,
            clock=clock,
            start_ns=start_ns,
            planted=self._planted,
            consents_as=people[0] if consents else None,
        )

    def close(self, now_ns: int) -> None:
        """The run ends: what was due up to now, by the limits' timetable and the faults, becomes events."""
        if self._planted is not None:
            self._planted.advance(now_ns)
        self._authorization.advance(now_ns)
        self._limits.advance(now_ns)

    def register(self, redirect_uri: str, *more: str) -> Access:
        """Register an app with its redirect URIs, and hand out what its developer needs."""
        client = self._store.register(redirect_uri, *more)
        return access_for(
            self._provider,
            self.issuer,
            client_id=client.client_id,
            client_secret=client.client_secret,
            redirect_uri=redirect_uri,
        )

    def keep_secrets(self) -> None:
        """From now on every secret issued or seen is kept, so that `secrets` has it."""
        if self._store.secrets is None:
            self._store.secrets = {}

    @property
    def secrets(self) -> Mapping[str, str]:
        """Tokens, codes, verifiers and client secrets, each with what it is. Never to be written."""
        return self._store.secrets or {}

    @property
    def secrets_left_out(self) -> int:
        """How many more there were than are kept."""
        return self._store.secrets_left_out

    def shown(self, text: str) -> str:
        """A text as far as it may be written: every run in it that could be a secret is replaced."""
        return self._recorder.path(text)

    def event(self, what: str, who: str | None = None, **details: object) -> None:
        """Append an event that happens now to the ledger."""
        self._recorder.event(what, who, **details)

    def password_of(self, person: str) -> str:
        """The password with which a listed test user signs in."""
        return self._store.password_of(person)

    def calls_of(self, operation: str) -> int:
        """How many calls to the API an operation has made; asked once, at its end."""
        return self._calls.pop(operation, 0)

    @property
    def calls(self) -> int:
        """How many calls there have been, people's in their browsers included."""
        return self._recorder.calls

    @property
    def app_calls(self) -> int:
        """How many calls have come that were the app's, not a browser's."""
        return self._recorder.app_calls

    def watch(self, code: str) -> None:
        """From now on it is known whether an authorization code is sent to the token endpoint."""
        self._watched[str(self._recorder.mark(code))] = False

    def was_sent(self, code: str) -> bool:
        """Whether a code that is watched has been; it is watched no longer."""
        return self._watched.pop(str(self._recorder.mark(code)), False)

    def exchange(self, request: Request) -> Response:
        """Carry a request here, answer it, carry the answer back; both legs take the network's time."""
        response, left_ns = self.answer(request)
        if left_ns:
            self._clock.sleep_ns(left_ns)
        return response

    def answer(self, request: Request) -> tuple[Response, int]:
        """Carry a request here and answer it; the answer, and how long it takes until it is back."""
        back_ns = 0
        if not self._network.is_instant:
            there_ns, back_ns = self._network.legs_ns(self._sender(request), request.path, request.sent_ns)
            self._clock.sleep_ns(there_ns)
        return self._answer(request, back_ns)

    def _work_ns(self, request: Request, token: AccessToken, median_ns: int | None) -> int:
        return self._network.work_ns(token.person, request.path, self._clock.now_ns(), median_ns)

    def _sender(self, request: Request) -> str:
        """Who sends, as far as the token tells; people's latencies must not depend on each other."""
        token = self._store.access.get(self._api.secret(request) or "")
        return token.person if token is not None else ""

    def _answer(self, request: Request, back_ns: int) -> tuple[Response, int]:
        """Decide, answer and record; nothing here yields, so calls are decided one by one.

        The answer comes with how long it takes until it is back.
        """
        at_ns = self._clock.now_ns()
        if self._planted is not None:
            self._planted.advance(at_ns)
        wrong = None
        if len(request.body) > MAX_BODY_BYTES:
            request.body = b""
            wrong = ("too_large", "The body is too large.")
        elif len(request.headers) > MAX_HEADERS or _size(request.headers) > MAX_HEADER_BYTES:
            wrong = ("bad_request", "The headers are too large, or there are too many.")
        try:
            if request.path not in KINDS:
                return self._answer_api(request, at_ns, back_ns, wrong)
            if wrong is not None:
                code, message = wrong
                response = self._authorization.unread(
                    request.path, 413 if code == "too_large" else 400, message
                )
                code = "invalid_request" if code == "bad_request" else code
                return response, self._record_error(request, response, at_ns, back_ns, error=code)
            authorization = self._authorization.answer(request, at_ns)
            assert authorization is not None
        except StateLostError:  # 503, never a blind admission
            message = "The state of the limits is out of reach; nothing is admitted until it is back."
            lost = Scene(self._renderer, at_ns, NOT_ASKED)
            response, code = self._renderer.fail(lost, "unavailable", message)
            return response, self._record_error(request, response, at_ns, back_ns, error=code)
        except Exception as error:
            # Without the error's own text, which may quote what the client sent.
            name, kind = type(error).__name__, KINDS.get(request.path, _API)[0]
            _log.error("the sandbox failed: %s\n%s", name, "".join(traceback.format_tb(error.__traceback__)))
            self.faults.append(f"the sandbox failed on a request (kind {kind}): {name}")
            self._recorder.event("sandbox-fault", None, error=name)
            response = json_response(500, {"error": "server_error"})
            return response, self._record_error(request, response, at_ns, back_ns, error="server_error")
        response = authorization.response
        oauth = authorization.oauth
        if authorization.kind == "token" and oauth is not None and oauth.code in self._watched:
            self._watched[oauth.code] = True
        if self._planted is not None:
            self._planted.add_date(response.headers, at_ns)
        left_ns = authorization.slow_ns + back_ns
        self._recorder.call(
            request,
            response,
            target=self._recorder.target(request),
            at_ns=at_ns,
            answered_ns=at_ns + authorization.slow_ns,
            done_ns=self._clock.now_ns() + left_ns,
            kind=authorization.kind,
            actor=authorization.actor,
            client_id=authorization.client_id,
            person=authorization.person,
            token=authorization.token,
            error=authorization.error,
            decision=authorization.decision,
            retry_after_ns=authorization.retry_after_ns,
            request_id=authorization.request_id,
            oauth=oauth,
            fault=authorization.fault,
        )
        return response, left_ns

    def _answer_api(
        self, request: Request, at_ns: int, back_ns: int, wrong: tuple[str, str] | None
    ) -> tuple[Response, int]:
        answer = self._api.answer(request, at_ns, wrong)
        token, route = answer.token, answer.route
        if self._planted is not None:
            self._planted.add_date(answer.response.headers, at_ns)
        if request.operation is not None:
            if len(self._calls) > _MOST_OPERATIONS:  # trace ids that nobody will ask about
                self._calls.clear()
            self._calls[request.operation] = self._calls.get(request.operation, 0) + 1
        now_ns = self._clock.now_ns()
        left_ns = max(0, answer.answered_ns - now_ns) + back_ns
        self._recorder.call(
            request,
            answer.response,
            target=self._recorder.target(request),
            at_ns=at_ns,
            answered_ns=answer.answered_ns,
            done_ns=now_ns + left_ns,
            kind="api",
            actor="app",
            client_id=token.client_id if token is not None else None,
            person=token.person if token is not None else None,
            token=token.mark if token is not None else self._recorder.mark(answer.secret),
            token_state=answer.token_state,
            tenant=answer.tenant,
            route=route.name if route is not None else None,
            object_id=answer.object_id,
            error=answer.error,
            objects=answer.objects,
            objects_asked=answer.objects_asked,
            decision=answer.decision,
            retry_after_ns=answer.retry_after_ns,
            request_id=answer.request_id,
            scopes_needed=" ".join(route.scopes) if route is not None else None,
            fault=answer.fault,
            token_at=self._api.carried(request, answer.secret),
        )
        return answer.response, left_ns

    def _record_error(
        self, request: Request, response: Response, at_ns: int, back_ns: int, *, error: str
    ) -> int:
        """Record a call that was answered without being read; how long its answer takes until it is back."""
        kind, actor = KINDS.get(request.path, _API)
        self._recorder.call(
            request,
            response,
            target=self._recorder.target(request),
            at_ns=at_ns,
            answered_ns=at_ns,
            done_ns=self._clock.now_ns() + back_ns,
            kind=kind,
            actor=actor,
            client_id=None,
            person=None,
            token=None,
            error=error,
        )
        return back_ns

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The sandbox as a WSGI application (PEP 3333).

        Raises `BrokenPipeError` where a fault closes the connection: servers then do, without a word.
        """
        response = self.exchange(self._from_environ(environ))
        if not response.status:
            raise BrokenPipeError(EPIPE, "a planted fault closes the connection")
        headers = response.headers
        if response.status not in (204, 304):  # RFC 9110, 8.6
            length = len(response.body) if response.length is None else response.length
            headers = [*headers, ("Content-Length", str(length))]
        start_response(_PHRASES.get(response.status, f"{response.status} Unknown"), headers)
        if response.length is not None:
            return _cut_off(response.body)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body]  # RFC 9110, 9.3.2

    def _from_environ(self, environ: dict[str, Any]) -> Request:
        headers = [
            (name[5:].replace("_", "-").lower(), value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(name):
                headers.append((name.replace("_", "-").lower(), environ[name]))
        # PEP 3333: PATH_INFO is the decoded path's bytes as latin-1. Not every server keeps to it.
        path = environ.get("PATH_INFO", "/").encode("latin-1", "replace").decode("utf-8", "replace")
        request = Request(
            environ["REQUEST_METHOD"],
            path,
            quote(environ.get("QUERY_STRING", ""), safe=_URI, encoding="latin-1", errors="replace"),
            headers,
            _body(environ),
            ip=environ.get("REMOTE_ADDR", ""),
            sent_ns=self._clock.now_ns(),
            operation=None,
        )
        sender = environ.get(SENDER)
        sent_by = sender() if sender is not None else None  # taken in any case, and when all has been read
        request.operation = operation_of_traceparent(request.header("traceparent")) or sent_by
        return request


def _cut_off(body: bytes) -> Iterator[bytes]:
    yield body
    raise BrokenPipeError(EPIPE, "a planted fault closes the connection")


def _size(headers: Headers) -> int:
    return sum([len(name) + len(value) for name, value in headers])


def _body(environ: dict[str, Any]) -> bytes:
    """The body, up to one byte more than is allowed.

    "The application SHOULD NOT attempt to read more data than is specified by CONTENT_LENGTH" (PEP 3333): it
    would wait for ever. Without a length there is a body only where the server marks its end.
    """
    most = MAX_BODY_BYTES + 1
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared.isascii() and declared.isdigit():
        most = min(most, int(declared[:18]))
    elif not environ.get("wsgi.input_terminated"):
        return b""
    body: bytes = environ["wsgi.input"].read(most)
    return body


def operation_of_traceparent(traceparent: str | None) -> str | None:
    """The trace id of a `traceparent` header (W3C Trace Context, 3.2), which an app may carry along."""
    if traceparent is None or len(traceparent) < 55 or traceparent[2] != "-" or traceparent[35] != "-":
        return None
    trace = traceparent[3:35]
    return trace if set(trace) <= _HEX and trace.strip("0") else None


def decoded_path(path: str) -> str:
    """A path with its percent-encoding undone, as WSGI servers hand it over."""
    return unquote(path, errors="replace") if "%" in path else path
