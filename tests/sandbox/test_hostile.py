"""Hostile input: whatever a client sends, there is no 500, no fault and no exception."""

from __future__ import annotations

import io
import json
import socket
import threading
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotalab.sandbox import record
from quotalab.sandbox.http import MAX_BODY_BYTES, Request

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PARAMETERS = (
    *("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "x", ""),
    *("code_challenge_method", "grant_type", "code", "code_verifier", "refresh_token", "client_secret"),
    *("username", "password", "csrf", "decision", "page", "nonce", "prompt", "request"),
)
VALUES = (
    *(
        "code",
        "app-1",
        "https://app.test/oauth/callback",
        "events.read",
        "S256",
        "plain",
        "authorization_code",
    ),
    *(
        "refresh_token",
        "allow",
        "deny",
        "p00001",
        "0",
        "1",
        "-1",
        "",
        " ",
        "%",
        "%00",
        "\r\n",
        "\x00",
        "é",
        "☃",
    ),
    *(
        '"',
        "'",
        "\\",
        "<script>",
        "a" * 5000,
        "../..",
        "//evil.test",
        "javascript:",
        "E9Melhoa2OwvFrEMTJ" * 3,
    ),
)
values = st.one_of(st.sampled_from(VALUES), st.text(max_size=30))
fields = st.lists(
    st.tuples(st.one_of(st.sampled_from(PARAMETERS), st.text(max_size=10)), values), max_size=12
)
latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60)
authorizations = st.one_of(
    st.none(),
    latin,
    latin.map(lambda text: f"Bearer {text}"),
    latin.map(lambda text: f"Basic {text}"),
    st.sampled_from(["Basic YXBwLTE6eA==", "Basic YXBwLTE=", "Basic //4=", "Bearer ", "Basic"]),
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            ["cookie", "traceparent", "content-type", "content-length", "user-agent", "host", "x-é"]
        ),
        st.one_of(latin, st.sampled_from(["application/x-www-form-urlencoded", "sandbox_session=x", '"'])),
    ),
    max_size=6,
)


def send(world, method="GET", path="/", query="", found=(), body=b"") -> int:
    """Hand a request to the sandbox as a transport does; its status, after what holds for every answer."""
    request = Request(
        method,
        path,
        query,
        list(found),
        body,
        ip="127.0.0.1",
        sent_ns=world.clock.now_ns(),
        operation=None,
    )
    answer = world.sandbox.exchange(request)
    assert world.sandbox.faults == []
    assert answer.status < 500
    for name, value in answer.headers:
        assert name.isascii()
        assert value.isascii()
        assert value.isprintable(), (name, value)
    if answer.headers[0] == ("Content-Type", "application/json"):
        json.loads(answer.body)
    return answer.status


@pytest.fixture
def roomy(open_world):
    """One sandbox for all examples of a test, with room for many calls."""
    return open_world("limits.hourly.limit=1000000")


@FUZZ
@given(
    fields, st.booleans(), fields, authorizations, headers, st.sampled_from(["GET", "POST", "PUT", "é", ""])
)
def test_the_authorization_endpoint_survives_anything(world, asked, valid, form, authorization, more, method):
    """Parameters of all kinds and repeats of them, signed in or not, valid otherwise or not."""
    query = (world.query() + "&" if valid else "") + urlencode(asked, errors="replace")
    cookie = next(iter(world.sandbox._store.sessions), None) or world.signed_in()["Cookie"]
    found = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", f"sandbox_session={cookie}"),
        *more,
    ]
    if authorization is not None:
        found.append(("authorization", authorization))
    body = urlencode(form, errors="replace").encode()
    for path in ("/oauth/authorize", "/oauth/login"):
        send(world, method, path, query, found, body)
        send(world, method, path, query, more, body)


@FUZZ
@given(fields, st.sampled_from(["none", "code", "refresh"]), authorizations, headers, st.booleans())
def test_the_token_endpoint_survives_anything(world, form, base, authorization, more, authenticated):
    """Forms of all kinds laid over valid ones, with right, wrong and impossible credentials."""
    store = world.sandbox._store
    if not store.refresh:
        world.connect()
        world.authorize()
    valid = {
        "none": {},
        "code": {
            "grant_type": "authorization_code",
            "code": next(reversed(store.codes)),
            "code_verifier": world.verifier,
        },
        "refresh": {"grant_type": "refresh_token", "refresh_token": next(reversed(store.refresh))},
    }[base]
    if authenticated:
        valid |= {"client_id": world.access.client_id, "client_secret": world.access.client_secret}
    found = [("content-type", "application/x-www-form-urlencoded"), *more]
    if authorization is not None:
        found.append(("authorization", authorization))
    body = urlencode(list({**valid, **dict(form)}.items()), errors="replace").encode()
    send(world, "POST", "/oauth/token", "", found, body)
    send(
        world,
        "POST",
        "/oauth/token",
        "",
        found,
        urlencode([*valid.items(), *form], errors="replace").encode(),
    )


segments = st.one_of(
    st.sampled_from(["v1", "events", "1", "121", "..", "", "é\x00", "9" * 30]), st.text(max_size=12)
)


@FUZZ
@given(st.lists(segments, max_size=5), latin, st.binary(max_size=200), authorizations, headers)
def test_the_api_survives_anything(roomy, asked, query, body, authorization, more):
    """Paths, queries, bodies and tokens of all kinds, by people whose token is good too."""
    store = roomy.sandbox._store
    token = next(iter(store.access), None) or roomy.connect()["access_token"]
    path = "/" + "/".join(asked)
    for found in (
        more,
        [("authorization", f"Bearer {token}"), *more],
        [("authorization", authorization or ""), *more],
    ):
        for method in ("GET", "POST", "HEAD"):
            send(roomy, method, path, query, found, body)
            send(roomy, method, "/v1/events", query, found, body)


OURS = {"where": "a test", "confidence": "own"}
PAGE = {"size": 3, "most": 9}
SHOWN = {
    **{
        "items": "{items}",
        "next": "{next_or_omitted}",
        "url": "{next_url_or_omitted}",
        "left": "{a.remaining}",
    },
    **{"reset": "{tightest.reset_iso}", "id": "{request_id}"},
}
RICH = {
    "limits": {
        "a": {"kind": "fixed_window", "limit": 10**9, "period": "1d", "source": OURS},
        "object": {
            **{
                "kind": "rolling_window",
                "limit": 5,
                "period": "1h",
                "key": ["tenant", "object"],
                "source": OURS,
            },
            "cost": {"base": 0, "per_object": 1, "when": "refund"},
        },
        "ip": {
            **{"kind": "token_bucket", "capacity": 5, "rate": "1/d", "key": ["ip", "route"], "source": OURS},
            "match": {"callers": "anonymous"},
        },
        "wrong": {
            **{"kind": "penalty", "threshold": 9, "window": "1h", "block": "1s", "source": OURS},
            **{"statuses": [400, 404, 413], "action": "extend"},
        },
    },
    "tenants": {"people": 2, "id": "T{n:02d}", "at": "header:X-Tenant"},
    "collections": {
        "things": {"initial": 5, "of": "tenant", "id": "T-{n:04x}", "item": {"a": "{id}", "b": 1}}
    },
    "dialect": {
        "headers": [
            {"name": "X-Path", "value": "{a.used}/{a.limit} {person} {tenant}"},
            {"name": "X-Wait", "value": "{refusing.wait_http_date}", "on": "refusal"},
        ]
    },
    "routes": [
        {
            **{"name": "list", "path": "/things", "answer": "list", "collection": "things", "body": SHOWN},
            **{"object_at": "query:o", "page": {**PAGE, "style": "cursor", "size_at": "query:n"}},
            "headers": [{"name": "Link", "value": "<{next_url}>"}],
        },
        {
            **{"name": "graph", "path": "/graph", "method": "POST", "answer": "list", "collection": "things"},
            "page": {**PAGE, "style": "offset", "at": "json:v.after", "size_at": "json:v.first"},
            "object_at": "json:v.o",
        },
        {
            **{"name": "read", "path": "/things/{id}", "answer": "read", "collection": "things"},
            **{"object_at": "path:id", "headers": [{"name": "X-Id", "value": "{id} {item}"}]},
        },
        {
            **{"name": "make", "path": "/{x}/things", "method": ["POST", "PUT"], "answer": "create"},
            **{"collection": "things", "object_at": "form:o", "body": {"x": "{x}", "it": "{item}"}},
        },
        {
            **{"name": "text", "path": "/text/{a}.{b}", "answer": "fixed", "content_type": "text/plain"},
            **{"body": "{a}{b}{now_iso}", "headers": [{"name": "X-A", "value": "{a}"}]},
        },
    ],
}
json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.sampled_from(VALUES)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["v", "after", "first", "o", "a"]), inner),
    ),
    max_leaves=8,
)
bodies = st.one_of(
    st.binary(max_size=60),
    json_values.map(lambda value: json.dumps(value).encode()),
    fields.map(lambda pairs: urlencode(pairs, errors="replace").encode()),
    st.sampled_from([b'{"v":{"after":' + b"9" * 5000 + b"}}", b"[" * 5000, b'{"a":"\\ud800"}']),
)
queries = st.one_of(
    latin,
    st.lists(
        st.tuples(
            st.sampled_from(["cursor", "n", "o", "x", "page"]), st.one_of(values, st.just("YWZ0ZXI6Mw"))
        ),
        max_size=5,
    ).map(lambda pairs: urlencode(pairs, errors="replace")),
)
paths = st.one_of(
    st.sampled_from(["/things", "/graph", "/text/a.b", "/text/..", "/x/things", "/things/T-0001"]),
    st.text(max_size=12).map(lambda text: f"/things/{text}"),
    st.text(max_size=12).map(lambda text: f"/text/{text}.{text}"),
    st.text(max_size=12).map(lambda text: f"/{text}/things"),
)
tenants = st.one_of(st.none(), st.sampled_from(["T01", "T02"]), latin)
kinds = st.sampled_from(["application/x-www-form-urlencoded", "application/json", ""])


@pytest.fixture
def rich(open_world):
    """A provider that has a little of everything, for all examples of a test."""
    return open_world("oauth.access_token_lifetime=never", **RICH)


@FUZZ
@given(
    paths, st.sampled_from(["GET", "POST", "PUT"]), queries, bodies, tenants, kinds, headers, st.booleans()
)
def test_a_rich_provider_survives_anything(rich, path, method, query, body, tenant, kind, more, known):
    """Pages, cursors, sizes, ids, objects, tenants and bodies of all kinds; by people and by nobody."""
    store = rich.sandbox._store
    token = next(iter(store.access), None) or rich.connect()["access_token"]
    found = [("authorization", f"Bearer {token}")] if known else []
    if tenant is not None:
        found.append(("x-tenant", tenant))
    rich.clock.jump(10**9)
    send(rich, method, f"/v1{path}", query, [*found, ("content-type", kind), *more], body)


def assert_said(answer, path, code, message):
    """The API says it in the provider's own shape, a page to people, other endpoints as RFC 6749, 5.2, has it."""
    if path in ("/oauth/authorize", "/oauth/login"):
        assert answer.headers["content-type"].startswith("text/html")
        assert message in answer.text
    elif path == "/oauth/token":
        assert answer.json() == {"error": "invalid_request", "error_description": message}
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert answer.json() == {"error": code, "message": message}


@pytest.mark.parametrize("path", ["/v1/events", "/oauth/token", "/oauth/authorize", "/oauth/login", "/x"])
def test_a_body_beyond_the_limit_is_too_large(faced, path):
    """413 for a byte more than a million, recorded as the kind of call that it is; a million is read."""
    good = {"Authorization": f"Bearer {faced.connect()['access_token']}"} if "oauth" not in path else {}
    answer = faced.http.post(path, content=b"x" * (MAX_BODY_BYTES + 1), headers=good)
    assert answer.status_code == 413
    assert_said(answer, path, "too_large", "The body is too large.")
    assert faced.http.post(path, content=b"x" * MAX_BODY_BYTES, headers=good).status_code != 413
    first, second = faced.rows()[-2:]
    assert (first["error"], first["status"]) == ("too_large", 413)
    assert (first["kind"], first["actor"]) == (second["kind"], second["actor"])


@pytest.mark.parametrize("path", ["/v1/events", "/oauth/token", "/oauth/authorize", "/x"])
def test_headers_beyond_the_limits_are_a_bad_request(faced, path):
    """400 for more than 200 headers or 64 KB of them, in the provider's own shape; the call is counted."""
    good = [("Authorization", f"Bearer {faced.connect()['access_token']}")]
    for more in ([(f"X-{i}", "v") for i in range(201)], [("User-Agent", "a " * 33_000)]):
        answer = faced.http.get(path, headers=good + more)
        assert answer.status_code == 400
        assert_said(answer, path, "invalid_request", "The headers are too large, or there are too many.")
    assert faced.http.get(path, headers=good + [(f"X-{i}", "v") for i in range(150)]).status_code != 413
    row = faced.rows()[-2]
    assert (row["error"], row["status"]) == ("invalid_request", 400)
    assert row["charges"] == ([] if "oauth" in path else [("hourly", 1)])


def test_headers_of_all_sizes_are_recorded_in_bounds(faced, monkeypatch):
    """Ten thousand headers and one of a million bytes make a row of bounded size, and no memory grows."""
    monkeypatch.setattr(record, "_MOST_CACHED", 100)
    for i in range(150):
        faced.http.get("/x", headers={f"X-{i}": "v", "User-Agent": f"agent {i}"})
    faced.http.get("/x", headers=[(f"X-{i}", "v") for i in range(10_000)])
    faced.http.get("/x", headers={"User-Agent": "a " * 500_000})
    recorder = faced.sandbox._recorder
    assert len(recorder._headers) <= 100
    for i in range(150):
        faced.http.get(f"/x/{i}")
    assert len(recorder._paths) <= 100
    assert max(len(row["request_headers"]) for row in faced.rows()) < 10_000


def environ(**changed) -> dict:
    """A WSGI environment of a POST to the token endpoint."""
    found = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/oauth/token",
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "wsgi.input": io.BytesIO(b"grant_type=x&y=z"),
        **changed,
    }
    return {name: value for name, value in found.items() if value is not None}


def answered(world, found: dict) -> tuple[str, dict]:
    """Status line and JSON of an answer over WSGI."""
    started = []
    body = b"".join(world.sandbox(found, lambda status, headers: started.append(status)))
    assert world.sandbox.faults == []
    return started[0], json.loads(body)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({}, "invalid_request"),
        ({"CONTENT_LENGTH": ""}, "invalid_request"),
        ({"CONTENT_LENGTH": "0"}, "invalid_request"),
        ({"CONTENT_LENGTH": "-5"}, "invalid_request"),
        ({"CONTENT_LENGTH": "ten"}, "invalid_request"),
        ({"CONTENT_LENGTH": "²"}, "invalid_request"),
        ({"CONTENT_LENGTH": "12"}, "unsupported_grant_type"),
        ({"CONTENT_LENGTH": "9" * 5000}, "unsupported_grant_type"),
        ({"wsgi.input_terminated": True}, "unsupported_grant_type"),
        ({"CONTENT_LENGTH": "0", "wsgi.input_terminated": True}, "invalid_request"),
        ({"CONTENT_TYPE": None, "CONTENT_LENGTH": "16"}, "invalid_request"),
        (
            {"PATH_INFO": "/oauth/token", "REMOTE_ADDR": "::1", "CONTENT_LENGTH": "16"},
            "unsupported_grant_type",
        ),
    ],
    ids=str,
)
def test_a_body_over_wsgi_is_as_long_as_it_is_declared(world, changed, error):
    """PEP 3333: without a length there is none, unless the server marks its end; nonsense is none either."""
    assert answered(world, environ(**changed)) == (
        "400 Bad Request",
        {
            "error": error,
            "error_description": "A grant_type here is one of: authorization_code, refresh_token."
            if error == "unsupported_grant_type"
            else "Missing 'grant_type' in request.",
        },
    )


def test_no_more_is_read_than_was_declared(world):
    """Of a body that is longer than its length the rest belongs to the next request on that connection."""
    body = io.BytesIO(b"grant_type=x&y=zGET / HTTP/1.1")
    answered(world, environ(**{"CONTENT_LENGTH": "16", "wsgi.input": body}))
    assert body.read() == b"GET / HTTP/1.1"


@pytest.mark.parametrize("path", ["", "/é☃", "/Ã©\x00", None])
def test_a_path_that_no_server_should_hand_over_is_not_found(world, path):
    """Whatever is in PATH_INFO, latin-1 or not, it is a path like any other."""
    status, _ = answered(world, environ(PATH_INFO=path, CONTENT_LENGTH="0"))
    assert status == "401 Unauthorized"


def test_a_query_of_raw_bytes_never_becomes_a_raw_header(world):
    """Where a server lets them through, control characters and bytes are percent-encoded before all else."""
    found = environ(
        PATH_INFO="/oauth/login",
        QUERY_STRING="a=é\r\nX-Evil: 1\x00&b=%C3%A9",
        CONTENT_LENGTH=str(
            len(
                body := urlencode(
                    {"username": "p00001", "password": world.sandbox.password_of("p00001")}
                ).encode()
            )
        ),
        **{"wsgi.input": io.BytesIO(body)},
    )
    seen = {}
    world.sandbox(found, lambda status, headers: seen.update(headers))
    assert seen["Location"] == "/oauth/authorize?a=%E9%0D%0AX-Evil:%201%00&b=%C3%A9"


class Quiet(WSGIRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *_):
        pass


def test_a_plain_wsgi_server_is_not_kept_waiting(world):
    """A request without a length is answered at once, although the client keeps its end open."""
    server = make_server("127.0.0.1", 0, world.sandbox, handler_class=Quiet)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with socket.create_connection(server.server_address, timeout=10) as client:
        client.sendall(
            b"POST /oauth/token HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        assert client.recv(12) == b"HTTP/1.0 400"
        while client.recv(4096):
            pass
    thread.join()
    server.server_close()


def test_httpx_over_wsgi_is_served(world):
    """The transport that httpx brings along works, paths of other letters included."""
    token = world.connect()["access_token"]
    with httpx.Client(
        transport=httpx.WSGITransport(world.sandbox), base_url="https://provider.test"
    ) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/v1/events").status_code == 200
        assert client.get("/v1/é☃").status_code == 404
        assert client.post("/v1/events", json={"title": "x"}).status_code == 201
