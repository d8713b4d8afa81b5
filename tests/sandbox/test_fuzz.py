"""Whatever is sent to the OAuth endpoints: no 500, no redirect elsewhere, nothing reflected, nothing leaked."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotalab.sandbox.http import Request

CALLBACK = "https://app.test/oauth/callback"
NATIVE = "http://127.0.0.1/callback"
MARK = "Zq9xV7wK3mT1pL5rN8bD2cF6"
"""Stands for a secret wherever the client puts it."""

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onfocus='alert(1)",
            "javascript:alert(1)",
            "https://evil.test/",
            "//evil.test",
            "\r\nSet-Cookie: a=b\r\n\r\n<b>",
            "\x00\ud800\uffff",
            "é☃" * 20,
            "a" * 5000,
            MARK,
            f"x {MARK}",
        ]
    ),
)
REDIRECTS = st.sampled_from(
    [
        CALLBACK,
        NATIVE,
        "http://127.0.0.1:8123/callback",
        "http://127.0.0.1:8123@evil.test/callback",
        "http://127.0.0.1.evil.test/callback",
        CALLBACK + "/../x",
        CALLBACK + "?x=y",
        "https://app.test@evil.test/oauth/callback",
        "https://evil.test/",
        "javascript:alert(1)",
        "",
    ]
)
KNOWN = {
    "response_type": ["code", "token", "code token", "id_token"],
    "grant_type": ["authorization_code", "refresh_token", "client_credentials", "password"],
    "client_id": ["app-1", "app-2", "app-9"],
    "scope": ["events.read", "events.read events.write", "calendar.admin", "events.read,events.write"],
    "code_challenge": ["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "x" * 42, "x" * 129],
    "code_challenge_method": ["S256", "plain", "s256"],
    "decision": ["allow", "deny"],
    "client": ["app-1", "app-2"],
    "token_type_hint": ["access_token", "refresh_token"],
    "username": ["p00001", "p00012"],
    "state": [MARK],
    "code_verifier": ["dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"],
}
SECRET = ("code", "refresh_token", "token", "client_secret", "csrf", "password")


def pairs(*names: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Parameters: known names with right, half right and wrong values, and others; any may come twice."""

    def value(name: str) -> st.SearchStrategy[str]:
        if name == "redirect_uri":
            return st.one_of(REDIRECTS, TEXTS)
        return st.one_of(st.sampled_from(KNOWN[name]), TEXTS) if name in KNOWN else TEXTS

    named = [st.tuples(st.just(name), value(name)) for name in (*names, "scope", "client_id")]
    return st.lists(st.one_of(*named, st.tuples(TEXTS, TEXTS)), max_size=12)


AUTHORIZE = pairs(
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
    "login_hint",
)
FORM = pairs("decision", "csrf", "client", "username", "password", "scope")
TOKEN = pairs(
    "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "client_secret", "token",
    "token_type_hint", "username", "password",
)  # fmt: skip
AUTHORIZATION = st.one_of(
    st.none(),
    TEXTS.map(lambda text: f"Basic {text}"),
    TEXTS.map(lambda text: "Basic " + base64.b64encode(text.encode("utf-8", "replace")).decode()),
    st.sampled_from(
        ["right", "Basic", "Bearer x", "Basic " + base64.b64encode(b"app-1:" + MARK.encode()).decode()]
    ),
)
RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class _Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.targets.update(value or "" for name, value in attrs if name in ("action", "href", "src"))


OUR_TAGS = {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "section", "h1", "h2", "p", "strong"),
    *("form", "input", "label", "button", "ul", "li", "span", "div"),
}
OUR_ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "class",
        "method",
        "action",
        "type",
        "value",
        "id",
    ),
    *("for", "autocomplete", "required", "autofocus", "role", "checked"),
}


def encoded(given: list[tuple[str, str]]) -> str:
    return urlencode(given, errors="replace")


def judge(world, answer) -> None:
    """What must hold of every answer."""
    assert answer.status_code < 500
    assert world.sandbox.faults == []
    location = answer.headers.get("location")
    if location is not None:
        address, _, _ = location.partition("?")
        parts = urlsplit(location)
        ours = not parts.netloc and not parts.scheme and address in ("/oauth/authorize", "/oauth/connections")
        loopback = parts.scheme == "http" and parts.hostname == "127.0.0.1" and parts.path == "/callback"
        assert ours or address == CALLBACK or (loopback and parts.username is None), location
        assert "\r" not in location
        assert "\n" not in location
    assert "a" not in [name.lower() for name in answer.cookies]
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/html"):
        page = _Tags(answer.text)
        assert page.tags <= OUR_TAGS
        assert page.attributes <= OUR_ATTRIBUTES
        assert all(target.startswith(("/oauth/", "data:,")) for target in page.targets), page.targets
        assert answer.headers["cache-control"] == "no-store"
    elif kind.startswith("application/json") and answer.content:
        document = answer.json()
        assert MARK not in json.dumps({key: value for key, value in document.items() if key != "scope"})
        for key in ("error_description", "error"):  # RFC 6749, 5.2
            assert all(
                char in " !" or "#" <= char <= "~" for char in document.get(key, "").replace("\\", "\x00")
            )
        if "error" in document:
            assert answer.headers["cache-control"] == "no-store"


@pytest.fixture
def fuzzed(open_world):
    """A world with a native app beside the usual one, and everything switched on."""
    world = open_world(
        "limits.hourly.limit=1000000",
        "oauth.untick=true",
        "test_phase.unverified=true",
        "oauth.pkce=optional",
        'oauth.pkce_methods=["S256", "plain"]',
        'oauth.client_authentication=["basic", "post", "none"]',
        'oauth.grants=["authorization_code", "refresh_token", "client_credentials"]',
    )
    world.sandbox.register(NATIVE)
    world.mine = world.signed_in()
    yield world
    assert world.sandbox.faults == []
    for table in ("calls", "events"):
        written = repr(world.rows(table))
        for secret in (MARK, world.mine["Cookie"].partition("=")[2], *world.secrets):
            assert secret not in written
    assert len(world.rows()) > 100


@RELAXED
@given(query=AUTHORIZE, signed_in=st.booleans())
def test_the_authorization_endpoint(fuzzed, query, signed_in):
    """Opened with anything, signed in or not."""
    fuzzed.secrets = []
    headers = fuzzed.mine if signed_in else {}
    judge(fuzzed, fuzzed.http.get(f"/oauth/authorize?{encoded(query)}", headers=headers))


@RELAXED
@given(
    path=st.sampled_from(["/oauth/authorize", "/oauth/login", "/oauth/connections"]),
    query=AUTHORIZE,
    form=FORM,
    right=st.booleans(),
)
def test_the_forms(fuzzed, path, query, form, right):
    """Posted with anything to any page, beside a right request or a wrong one."""
    fuzzed.secrets = []
    address = fuzzed.query() if right else encoded(query)
    answer = fuzzed.http.post(
        f"{path}?{address}",
        content=encoded(form),
        headers={**fuzzed.mine, "Content-Type": "application/x-www-form-urlencoded"},
    )
    judge(fuzzed, answer)


@RELAXED
@given(
    path=st.sampled_from(["/oauth/token", "/oauth/revoke", "/oauth/introspect"]),
    form=TOKEN,
    authorization=AUTHORIZATION,
    live=st.sampled_from(["", "code", "refresh_token", "token"]),
)
def test_the_endpoints_of_apps(fuzzed, path, form, authorization, live):
    """Posted with anything, sometimes beside a code or a token that lives, authenticated or not."""
    if not hasattr(fuzzed, "tokens"):
        fuzzed.tokens = fuzzed.connect()
        fuzzed.live = {
            "code": fuzzed.authorize()["code"],
            "refresh_token": fuzzed.tokens["refresh_token"],
            "token": fuzzed.tokens["access_token"],
        }
        fuzzed.secrets = [*fuzzed.live.values(), fuzzed.access.client_secret]
    if live:
        form = [*form, (live, fuzzed.live[live])]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if authorization == "right":
        pair = f"{fuzzed.access.client_id}:{fuzzed.access.client_secret}".encode()
        authorization = "Basic " + base64.b64encode(pair).decode()
    if authorization is not None:
        # What a server would not let through never gets here.
        headers["Authorization"] = (
            authorization.encode("latin-1", "replace")
            .replace(b"\r", b"")
            .replace(b"\n", b"")
            .replace(b"\x00", b"")
        )
    judge(fuzzed, fuzzed.http.post(path, content=encoded(form), headers=headers))


@RELAXED
@given(
    path=st.sampled_from(
        ["/oauth/authorize", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/connections"]
    ),
    body=st.binary(max_size=200),
    kind=st.sampled_from(
        ["application/x-www-form-urlencoded", "application/json", "text/plain", "multipart/form-data"]
    ),
)
def test_bodies_that_are_anything(fuzzed, path, body, kind):
    """Bytes of any kind under any name."""
    fuzzed.secrets = []
    judge(fuzzed, fuzzed.http.post(path, content=body, headers={**fuzzed.mine, "Content-Type": kind}))


@pytest.mark.parametrize("signed_in", [False, True])
def test_a_query_that_no_client_encoded_stays_inside_its_attribute(world, signed_in):
    """Servers hand on what they are sent; the forms' addresses repeat it, and must not end there."""
    query = f'{world.query()}&x="><script>alert(1)</script><a href="//evil.test">'
    cookie = world.signed_in()["Cookie"]
    request = Request(
        "GET",
        "/oauth/authorize",
        query,
        [("cookie", cookie)] if signed_in else [],
        b"",
        ip="127.0.0.1",
        sent_ns=world.clock.now_ns(),
        operation=None,
    )
    response = world.sandbox.exchange(request)
    assert response.status == 200
    page = _Tags(response.body.decode())
    assert page.tags <= OUR_TAGS
    assert [target for target in page.targets if target.endswith('<a href="//evil.test">')] != []
