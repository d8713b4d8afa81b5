"""A sandbox with one app and a few people, by hand-moved time, reached in memory or over WSGI."""

from __future__ import annotations

import base64
import hashlib
import io
import pathlib
import tomllib
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest

from quotalab.browser import Browser
from quotalab.clock import ManualClock, SeededEntropy
from quotalab.ledger import LedgerTables, LedgerWriter, read_ledger
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.sandbox import Access, Sandbox
from quotalab.sandbox.transport import MemoryTransport

ROOT = pathlib.Path(__file__).parents[2]
START_NS = 1_767_571_200_000_000_000
CALLBACK = "https://app.test/oauth/callback"
VERIFIER = "a-verifier-of-43-characters-or-more-Zx9_~.-1"
STATE = "xJ4-state_0123456789~abcdef"
PEOPLE = [f"p{i + 1:05d}" for i in range(12)]
PROVIDERS = ROOT / "profiles" / "providers"
OURS = {"where": "a test", "confidence": "own"}


class WsgiTransport(httpx.BaseTransport):
    """Calls a WSGI application as a server does, with every byte as latin-1, and has PEP 3333 checked."""

    def __init__(self, application: Any) -> None:
        self._application = validator(application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(request.read()),
        }
        for name, value in request.headers.raw:
            key = name.decode("latin-1").upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = value.decode("latin-1")
        setup_testing_defaults(environ)
        started: list[Any] = []
        parts = self._application(
            environ, lambda status, headers, exc=None: started.extend((status, headers))
        )
        with closing(parts):
            body = b"".join(parts)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in started[1]]
        return httpx.Response(int(started[0][:3]), headers=headers, content=body, request=request)


@dataclass
class World:
    """A provider, a registered app and twelve people with accounts."""

    clock: ManualClock
    sandbox: Sandbox
    access: Access
    ledger: LedgerWriter
    folder: pathlib.Path
    http: httpx.Client
    transport: httpx.BaseTransport
    provider: Provider
    scope: str
    verifier: str = VERIFIER
    state: str = STATE

    def query(self, **changed: str | None) -> str:
        """An authorization request's query; None leaves a parameter out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self.access.client_id,
            "redirect_uri": CALLBACK,
            "scope": self.scope or None,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changed,
        }
        return urlencode({name: value for name, value in parameters.items() if value is not None})

    def browser(self, person: str = "p00001") -> Browser:
        """The person's browser."""
        return Browser(self.transport, person, self.sandbox.password_of(person))

    def authorize(
        self, person: str = "p00001", *, decision: str = "allow", **changed: str | None
    ) -> dict[str, str]:
        """Let the person sign in and decide; the parameters that the app is sent."""
        address = f"{self.access.authorization_endpoint}?{self.query(**changed)}"
        return dict(
            parse_qsl(urlsplit(self.browser(person).visit(address, CALLBACK, {"decision": decision})).query)
        )

    def authorize_error(self, **changed: str | None) -> str | None:
        """The error that an authorization request is sent back with, before anybody has signed in."""
        answer = self.http.get(f"/oauth/authorize?{self.query(**changed)}")
        return dict(parse_qsl(urlsplit(answer.headers.get("location", "")).query)).get("error")

    def signed_in(self, person: str = "p00001") -> dict[str, str]:
        """Headers of a browser in which the person has signed in."""
        answer = self.http.post(
            f"/oauth/login?{self.query()}",
            data={"username": person, "password": self.sandbox.password_of(person)},
        )
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].partition(";")[0]
        self.http.cookies.clear()
        return {"Cookie": cookie}

    def token(self, auth: Any = "basic", **form: str | None) -> httpx.Response:
        """Ask the token endpoint, authenticated as the app."""
        if auth == "basic":
            auth = (self.access.client_id, self.access.client_secret)
        data = {name: value for name, value in form.items() if value is not None}
        return self.http.post("/oauth/token", data=data, auth=auth)

    def redeem(self, code: str, **changed: Any) -> httpx.Response:
        """Ask for tokens by authorization code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
        }
        return self.token(**{**form, **changed})

    def refresh(self, refresh_token: str, **changed: Any) -> httpx.Response:
        """Ask for tokens by refresh token."""
        return self.token(**{"grant_type": "refresh_token", "refresh_token": refresh_token, **changed})

    def connect(self, person: str = "p00001", **changed: str | None) -> dict[str, Any]:
        """Let the person give consent, and redeem the code; the token response."""
        answer = self.redeem(self.authorize(person, **changed)["code"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(
        self, token: str | None, path: str = "/events", method: str = "GET", **more: Any
    ) -> httpx.Response:
        """Call the API; `path` comes after the profile's ``api_path``."""
        headers = {**more.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.request(method, self.provider.api_path + path, headers=headers, **more)

    def tables(self) -> LedgerTables:
        """What the ledger holds; nothing can be recorded after that."""
        assert self.sandbox.faults == []
        self.ledger.close()
        return read_ledger(self.folder)

    def rows(self, table: str = "calls") -> list[dict[str, Any]]:
        """The rows of a table, times as nanoseconds since the start."""
        rows = getattr(self.tables(), table).to_pylist()
        for row in rows:
            for name in ("sent", "at", "answered", "done"):
                if name in row:
                    row[name] = row[name].value - START_NS
        return rows

    def last(self) -> dict[str, Any]:
        """The ledger's last call."""
        return self.rows()[-1]


@pytest.fixture(params=["memory", "wsgi"])
def face(request) -> str:
    """The two ways to the sandbox."""
    return request.param


@pytest.fixture
def open_world(tmp_path):
    """Makes a `World` from settings of a provider profile, with tables laid over it; no latency unless set."""
    opened: list[World] = []

    def make(
        *settings: str,
        face: str = "memory",
        seed: int = 1,
        profile: str = "temporary-production",
        variant: str | None = None,
        issuer: str = "https://provider.test",
        users: int = 1,
        consents: bool = False,
        **laid: Any,
    ) -> World:
        clock = ManualClock(START_NS)
        folder = tmp_path / f"ledger-{len(opened)}"
        folder.mkdir()
        ledger = LedgerWriter(folder, lambda: 0)
        document = {**tomllib.loads((PROVIDERS / f"{profile}.toml").read_text(encoding="utf-8")), **laid}
        provider = parse_provider(
            document, "p.toml", variant=variant, settings=("latency.median=0s", *settings)
        ).for_people(users)
        scope = provider.reference.scope if provider.reference is not None else ""
        sandbox = Sandbox(
            provider,
            clock=clock,
            entropy=SeededEntropy(seed),
            ledger=ledger,
            people=PEOPLE,
            issuer=issuer,
            consents=consents,
        )
        transport = MemoryTransport(sandbox, clock) if face == "memory" else WsgiTransport(sandbox)
        http = httpx.Client(transport=transport, base_url=issuer, timeout=None)
        access = sandbox.register(CALLBACK)
        opened.append(World(clock, sandbox, access, ledger, folder, http, transport, provider, scope))
        return opened[-1]

    yield make
    for world in opened:
        world.http.close()
        world.ledger.close()


@pytest.fixture
def world(open_world) -> World:
    """A sandbox in memory."""
    return open_world()


@pytest.fixture
def faced(open_world, face) -> World:
    """A sandbox by either face."""
    return open_world(face=face)
