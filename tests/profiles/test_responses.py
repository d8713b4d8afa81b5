"""Answers from HAR files and OpenAPI documents: what becomes a route, what is left out, what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.errors import InputError
from quotalab.profiles import responses
from quotalab.profiles.provider import parse_provider
from quotalab.profiles.responses import Found, read_responses, with_responses

ROOT = pathlib.Path(__file__).parents[2]
CANARY = "canary-0123456789"


@pytest.fixture
def provider():
    """The temporary-production profile: api_path /v1; GET and POST /events, GET /events/{id}."""
    path = ROOT / "profiles" / "providers" / "temporary-production.toml"
    return parse_provider(tomllib.loads(path.read_text(encoding="utf-8")), path.name)


@pytest.fixture
def read(tmp_path):
    """Writes a document and reads its answers."""

    def make(document, name: str = "answers.json"):
        path = tmp_path / name
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return read_responses(path)

    return make


def entry(path: str, body=None, method: str = "GET", status: int = 200, **content) -> dict:
    """One exchange of a HAR file, with secrets where browsers write them."""
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    return {
        "request": {
            "method": method,
            "url": f"https://api.example.com{path}",
            "headers": [{"name": "Authorization", "value": f"Bearer {CANARY}"}],
            "cookies": [{"name": "session", "value": CANARY}],
        },
        "response": {
            "status": status,
            "headers": [{"name": "Set-Cookie", "value": CANARY}],
            "content": {
                "mimeType": "application/json",
                **({"text": text} if text is not None else {}),
                **content,
            },
        },
    }


def har(*entries: dict) -> dict:
    """A HAR file."""
    return {"log": {"version": "1.2", "entries": list(entries)}}


def openapi(paths: dict, **more) -> dict:
    """An OpenAPI document."""
    return {"openapi": "3.0.3", "info": {}, "paths": paths, **more}


def answering(body, status: str = "200") -> dict:
    """An operation with one example."""
    return {"responses": {status: {"content": {"application/json": {"example": body}}}}}


def added(provider, found) -> list[tuple]:
    """(name, method, path, status, body) of the routes that the answers add."""
    routes = with_responses(provider, found).routes[len(provider.routes) :]
    return [(route.name, *route.methods, route.path, route.status, route.body) for route in routes]


def test_the_first_answer_of_each_method_and_path_counts(read, provider):
    """Hosts and queries are not looked at, paths are decoded, and only what lies below api_path is taken."""
    found = read(
        har(
            entry("/v1/me?x=1", {"a": 1}),
            entry("/v1/me?x=2", {"a": 2}),
            entry("/v1/me", {"a": 3}, "PUT", 202),
            entry("/v1/caf%C3%A9/%22", {"b": [None, 1.5]}),
            entry("/v2/me", {"c": 1}),
            entry("/v1", {"d": 1}),
            entry("/v1evil", {"e": 1}),
        )
    )
    assert added(provider, found) == [
        ("get_me", "GET", "/me", 200, {"a": 1}),
        ("put_me", "PUT", "/me", 202, {"a": 3}),
        ("get_caf", "GET", '/café/"', 200, {"b": [None, 1.5]}),
    ]


def test_what_the_profile_answers_itself_stays_its_own(read, provider):
    """Also where a template of the profile matches a recorded path, or another template has its shape."""
    recorded = read(
        har(entry("/v1/events", []), entry("/v1/events/17", {}), entry("/v1/events/17", {}, "DELETE"))
    )
    assert [route[:3] for route in added(provider, recorded)] == [
        ("delete_events_17", "DELETE", "/events/17")
    ]
    described = read(
        openapi({"/events/{eventId}": {"get": answering({}), "delete": answering({}, "204")}}),
    )
    assert [route[1:4] for route in added(provider, described)] == [("DELETE", "/events/{p1}", 204)]


@pytest.mark.parametrize("status", [0, 101, 304, 302, 401, 429, 600])
def test_answers_that_mean_nothing_alone_are_left_out(read, provider, status):
    """Aborted, redirected, not modified; and what the sandbox answers by itself."""
    assert added(provider, read(har(entry("/v1/me", {}, status=status), entry("/v1/me", {"a": 1})))) == [
        ("get_me", "GET", "/me", 200, {"a": 1})
    ]


@pytest.mark.parametrize("method", ["OPTIONS", "get", "CONNECT", ""])
def test_methods_that_no_route_has_are_left_out(read, provider, method):
    """CORS preflights and the like."""
    assert added(provider, read(har(entry("/v1/me", {}, method)))) == []


def test_bodies_are_json_text_or_nothing(read, provider):
    """By content type; base64 is decoded, images are left out, empty is empty."""
    encoded = base64.b64encode(b'{"a": "\xc3\xa9"}').decode()
    image = base64.b64encode(b"\x89PNG\xff").decode()
    found = read(
        har(
            entry("/v1/a", encoded, encoding="base64"),
            entry("/v1/b", "a,b", mimeType="text/csv; charset=utf-8"),
            entry("/v1/c", image, mimeType="image/png", encoding="base64"),
            entry("/v1/d", "", status=204),
            entry("/v1/e", '{"a":1}', mimeType="application/problem+json; charset=utf-8", status=404),
            entry("/v1/f", "x", mimeType="text/html\r\nX: y"),
        )
    )
    routes = with_responses(provider, found).routes[len(provider.routes) :]
    assert [(route.path, route.status, route.content_type, route.body) for route in routes] == [
        ("/a", 200, "application/json", {"a": "é"}),
        ("/b", 200, "text/csv; charset=utf-8", "a,b"),
        ("/d", 204, "application/json", None),
        ("/e", 404, "application/problem+json", {"a": 1}),
        ("/f", 200, "application/octet-stream", "x"),
    ]


def test_braces_in_answers_and_paths_are_no_templates(read, provider):
    """A recorded body is shown as it is; a recorded path that looks like a template is left out."""
    found = read(har(entry("/v1/a", {"x": "{person} {{"}), entry("/v1/%7Bid%7D", {})))
    assert added(provider, found) == [("get_a", "GET", "/a", 200, {"x": "{person} {{"})]


def test_examples_of_an_openapi_document(read, provider):
    """The first JSON example of the first successful answer, by reference too; paths below the server's."""
    found = read(
        openapi(
            {
                "/me": {"get": {"responses": {"404": {}, "200": {"$ref": "#/components/responses/Me"}}}},
                "/a/{user-id}/b/{x}": {
                    "post": {
                        "responses": {
                            "201": {
                                "content": {
                                    "text/plain": {"example": "x"},
                                    "application/hal+json": {
                                        "examples": {"e": {"$ref": "#/components/examples/a~1b"}}
                                    },
                                }
                            }
                        }
                    }
                },
                "/s": {"get": {"responses": {"200": {"content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/S"}}}}}}},
                "/none": {"get": {"responses": {"200": {"content": {"application/json": {}}}}}},
                "/gone": {"delete": {"responses": {"204": {"description": "x"}}}, "summary": "x"},
                "/only-errors": {"get": {"responses": {"default": {}, "400": {}}}},
                "/ref": {"$ref": "#/components/pathItems/r"},
            },
            servers=[{"url": "https://api.example.com/v1/"}],
            components={
                "responses": {"Me": {"content": {"application/json": {"example": {"me": True}}}}},
                "examples": {"a/b": {"value": [1]}},
                "schemas": {"S": {"example": None}},
                "pathItems": {"r": {"get": answering(1)}},
            },
        )
    )  # fmt: skip
    assert added(provider, found) == [
        ("get_me", "GET", "/me", 200, {"me": True}),
        ("post_a_p1_b_p2", "POST", "/a/{p1}/b/{p2}", 201, [1]),
        ("get_s", "GET", "/s", 200, None),
        ("delete_gone", "DELETE", "/gone", 204, None),
        ("get_ref", "GET", "/ref", 200, 1),
    ]


def test_an_openapi_document_may_leave_api_path_out(read, provider):
    """Without a server, or with a templated one, paths are the API's own."""
    for more in ({}, {"servers": [{"url": "https://{host}/v1"}]}, {"servers": [{"url": "/"}]}):
        assert [
            route[2] for route in added(provider, read(openapi({"/me": {"get": answering({})}}, **more)))
        ] == ["/me"]


def test_names_are_words_and_each_routes_own(read, provider):
    """Letters and digits of the path, numbered where two paths have the same."""
    found = read(
        har(entry("/v1/a-b", {}), entry("/v1/a_b", {}), entry("/v1/" + "x" * 99, {}), entry("/v1/é", {}))
    )
    assert [route[0] for route in added(provider, found)] == [
        "get_a_b",
        "get_a_b_2",
        "get_" + "x" * 60,
        "get_root",
    ]


def test_the_document_is_told_of_routes_and_of_no_answers(read, provider):
    """A run folder has names, methods and paths; it can be read again; secrets and bodies are not in it."""
    found = read(har(entry("/v1/me", {"secret": CANARY}), entry("/v1/b", CANARY, mimeType="text/plain")))
    joined = with_responses(provider, found)
    kept = json.dumps(joined.document, default=str)
    assert CANARY not in kept
    again = parse_provider(json.loads(kept), "provider.json")
    assert [(r.name, r.methods, r.path) for r in again.routes] == [
        (r.name, r.methods, r.path) for r in joined.routes
    ]
    assert CANARY not in repr([response for response in found.found if response.path == "/v1/x"])
    assert provider.document["routes"] != joined.document["routes"]


def test_the_file_is_known_by_its_name_and_hash(tmp_path):
    """SHA-256 over the file's bytes."""
    data = json.dumps(har()).encode()
    (tmp_path / "a.har").write_bytes(data)
    found = read_responses(tmp_path / "a.har")
    assert (found.name, found.sha256, found.kind) == ("a.har", hashlib.sha256(data).hexdigest(), "har")


def deep(levels: int) -> object:
    """Lists within lists."""
    found: object = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{", "is not "),
        (b'{"a": ' + b"1" * 5000 + b"}", "is nested too deeply, or holds a number that is none or too long"),
        (b'{"a": NaN}', "is nested too deeply, or holds a number that is none or too long"),
        (har(entry("/v1/a", '{"a":NaN}')), "log.entries[0].response.content.text: is not JSON"),
        (b"[" * 100_000, "is nested too deeply, or holds a number that is none or too long"),
        ([], "is neither a HAR file nor an OpenAPI document"),
        ({}, "is neither a HAR file (log) nor an OpenAPI 3 document (openapi: 3...)"),
        ({"swagger": "2.0"}, "is neither a HAR file (log)"),
        ({"openapi": "2.0"}, "is neither a HAR file (log)"),
        ({"log": {}}, "log.entries: must be an array"),
        ({"log": {"entries": [1]}}, "log.entries[0]: must be an object, not int"),
        (har({"request": {}}), "log.entries[0].response: must be an object, not NoneType"),
        (
            har({"request": {"method": 1, "url": "x"}, "response": {}}),
            "log.entries[0].request: must have a method",
        ),
        (
            har(entry("/v1/a", {}), entry("/v1/b", {}, status="200")),
            "log.entries[1].response.status: must be a whole",
        ),
        (har(entry("/v1/a", "{")), "log.entries[0].response.content.text: is not JSON, as mimeType says"),
        (har(entry("/v1/a", "é", encoding="base64")), "log.entries[0].response.content.text: is not base64"),
        (har(entry("/v1/a", 1, text=5)), "log.entries[0].response.content.text: must be a text"),
        (har(entry("/v1/a", deep(80))), "log.entries[0]: is nested deeper than 60 levels"),
        (har(entry("/v1/a", "x" * 1_000_001, mimeType="text/plain")), "log.entries[0]: is larger than 1 MB"),
        (
            har({"request": {"method": "GET", "url": "http://[x"}, "response": {"status": 200}}),
            "url: is no address",
        ),
        (openapi([]), "paths: must be an object, not list"),
        (openapi({"me": {}}), "paths.me: is no path template, such as /events/{id}"),
        (openapi({"/a{": {}}), "paths./a{: is no path template"),
        (openapi({"/a": {"get": []}}), "paths./a.get.responses: must be an object, not list"),
        (
            openapi({"/a": {"$ref": "other.json"}}),
            "paths./a: refers to other.json; only references within the file are read",
        ),
        (openapi({"/a": {"$ref": "#/x"}}), "paths./a: refers to #/x, which is not there"),
        (openapi({"/a": {"$ref": "#/paths/~1a"}}), "paths./a: refers to itself, or over too many steps"),
        (openapi({}, servers=[{"url": "http://[x"}]), "servers[0].url: is no address"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_broken_input_gets_one_clear_line(read, document, message):
    """The file, the place, and what is wrong; never a traceback, never what was sent."""
    with pytest.raises(InputError) as caught:
        read(document, "broken.json")
    text = str(caught.value)
    assert message in text
    assert text.count("\n") == 0
    assert "broken.json: " in text
    assert CANARY not in text


def test_a_file_has_a_largest_size_and_a_largest_number(read, tmp_path, monkeypatch):
    """50 MB and 2,000 different answers; the same answer again and again counts once."""
    found = read(har(*[entry(f"/v1/{i % 2000}", {}) for i in range(4000)]))
    assert len(found.found) == 2000
    with pytest.raises(InputError, match=r"holds more than 2,000 different answers"):
        read(har(*[entry(f"/v1/{i}", {}) for i in range(2001)]))
    monkeypatch.setattr(responses, "MAX_FILE_BYTES", 10_000_000)
    (tmp_path / "big.har").write_bytes(b" " * 10_000_001)
    with pytest.raises(InputError, match=r"big\.har: is larger than 10 MB"):
        read_responses(tmp_path / "big.har")


@pytest.mark.parametrize("name", ["missing.har", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    """Not there, or a folder."""
    with pytest.raises(InputError, match=r"cannot be read: "):
        read_responses(tmp_path / name)


parts = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 700), st.text(max_size=8), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("log", "entries", "request", "response", "method", "url", "status", "content", "text"),
                    *("openapi", "paths", "/a/{b}", "get", "responses", "200", "application/json", "example"),
                    *("$ref", "servers", "schema", "mimeType", "encoding"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(parts, parts.map(har), st.dictionaries(st.just("/a"), parts).map(openapi)))
def test_no_document_is_a_fault(tmp_path_factory, document):
    """Whatever the file holds, there are answers or one line."""
    path = tmp_path_factory.mktemp("fuzz") / "x.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    told = ""
    found = ()
    try:
        found = read_responses(path).found
    except InputError as error:
        told = str(error)
    assert "\n" not in told
    assert all(isinstance(one, Found) for one in found)


def test_a_run_with_responses_keeps_none_of_them(tmp_path):
    """`run --responses`: the folder has the file's name and hash and the routes, and not a byte of an answer."""
    file = tmp_path / "recorded.har"
    file.write_text(json.dumps(har(entry("/v1/me", {"secret": CANARY}))), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "quotalab",
        "--workspace",
        str(ROOT),
        "run",
        "--users",
        "1",
        "--for",
        "10m",
    ]
    out = tmp_path / "run"
    found = subprocess.run(
        [*command, "--out", str(out), "--responses", str(file)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    kept = json.loads((out / "inputs" / "responses.json").read_text(encoding="utf-8"))
    assert kept == {"file": "recorded.har", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    routes = json.loads((out / "inputs" / "provider.json").read_text(encoding="utf-8"))["routes"]
    assert routes[-1] == {"name": "get_me", "method": ["GET"], "path": "/me", "answer": "fixed"}
    assert not any(CANARY.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())
    file.write_text("{", encoding="utf-8")
    broken = subprocess.run(
        [*command, "--out", str(tmp_path / "other"), "--responses", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (broken.returncode, broken.stderr.count("\n"), broken.stdout) == (2, 1, "")
    assert not (tmp_path / "other").exists()
