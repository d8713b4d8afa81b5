"""No raw secret reaches the ledger or a log, wherever a client puts it."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote

import pyarrow as pa
import pytest

from quotalab.ledger import compact, read_ledger


def encodings(secret: str) -> set[str]:
    """A secret as it stands, percent-encoded once and twice, and in base64."""
    every = "".join(f"%{byte:02x}" for byte in secret.encode())
    return {
        secret,
        quote(secret, safe=""),
        every,
        every.upper(),
        quote(every),
        base64.b64encode(secret.encode()).decode().rstrip("="),
    }


def everything(world) -> bytes:
    """All bytes of the ledger: the streams uncompressed, and every value of every table as text."""
    world.ledger.close()
    tables = read_ledger(world.folder)
    text = b""
    for table in (tables.calls, tables.operations, tables.events):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        text += sink.getvalue().to_pybytes() + repr(table.to_pylist()).encode()
    compact(world.folder, tables)
    for path in world.folder.iterdir():
        text += path.read_bytes()
    return text


@pytest.mark.parametrize("seed", range(2))
def test_no_secret_is_written_wherever_the_client_puts_it(open_world, face, caplog, seed):
    """Paths, queries, headers and their names, bodies, methods; as such or encoded; at every log level."""
    caplog.set_level(logging.DEBUG)
    world = open_world("limits.hourly.limit=1000000", face=face, seed=seed)
    browser = world.signed_in()
    cookie = browser["Cookie"].partition("=")[2]
    client = (world.access.client_id, world.access.client_secret)
    code = world.authorize()["code"]
    unused = world.authorize()["code"]
    tokens = world.redeem(code).json()
    basic = base64.b64encode(f"app-1:{world.access.client_secret}".encode()).decode()
    secrets = [
        tokens["access_token"],
        tokens["refresh_token"],
        code,
        unused,
        world.access.client_secret,
        world.verifier,
        world.sandbox.password_of("p00001"),
        cookie,
        world.state,
        basic,
    ]
    good = {"Authorization": f"Bearer {tokens['access_token']}"}
    names = ("User-Agent", "Referer", "X-Request-Id", "Accept", "If-None-Match", "Range", "Accept-Language")
    for secret in secrets:
        for form in encodings(secret):
            for path in (f"/{form}", f"/v1/events/{form}", f"/v1/{form}/x", f"/v1/events/a-{form}-b/c"):
                for headers in (good, {}, {"Authorization": f"Bearer {secret}"}):
                    world.http.get(path, headers=headers)
            world.http.get("/v1/events", params={"access_token": form, "page": form}, headers=good)
            world.http.post("/v1/events", json={"a": form}, headers=good)
            for name in names:
                world.http.get("/v1/events", headers={name: f"x {form}", **good})
            if form.replace("-", "").isalnum():
                world.http.get("/v1/events", headers={form: "x", f"X-{form}": form, **good})
                if face == "memory":
                    world.http.request(form, "/v1/events", headers=good)
            world.http.get(
                "/v1/events", headers={"Cookie": f"{form}={form}", "Idempotency-Key": form, **good}
            )
            for name in ("response_type", "client_id", "redirect_uri", "scope", "code_challenge_method", "x"):
                world.http.get(f"/oauth/authorize?{world.query(**{name: form})}")
            world.http.post("/oauth/login", data={"username": form, "password": form})
            for name in ("grant_type", "client_id", "client_secret", "redirect_uri", "scope", "code"):
                world.redeem(**{"code": unused, name: form}, auth=None)
                world.redeem(**{"code": unused, name: form})
            world.http.post("/oauth/token", headers={"Authorization": f"Basic {form}"})
            for name in ("token", "token_type_hint", "client_secret"):
                for path in ("/oauth/revoke", "/oauth/introspect"):
                    # Beside a token of nobody's: to revoke a live one would end the test.
                    guess = {"token": f"x{form}"} if name == "token" else {"token": "x", name: form}
                    world.http.post(path, data={"client_id": "app-1", **guess}, auth=client)
            world.http.post("/oauth/introspect", data={"token": form}, auth=client)
            world.http.post(
                f"/oauth/connections?{form}", data={"client": form, "csrf": form}, headers=browser
            )
            world.http.post(f"/oauth/login?to={form}", data={"username": "p00001", "password": form})
    fresh = world.connect("p00002")  # the first one ended when its code came again
    assert world.http.post("/oauth/introspect", data={"token": fresh["access_token"]}, auth=client).json()[
        "active"
    ]
    world.http.post("/oauth/revoke", data={"token": fresh["access_token"]}, auth=client)
    world.http.post("/oauth/revoke", data={"token": fresh["refresh_token"]}, auth=client)
    secrets += [fresh["access_token"], fresh["refresh_token"]]
    assert world.sandbox.faults == []
    written = everything(world).lower()
    assert len(written) > 100_000
    for secret in secrets:
        for form in encodings(secret):
            assert form.lower().encode() not in written
    # httpx, on the client's side, logs the addresses that it was told to open; nobody else says anything.
    assert [record.getMessage() for record in caplog.records if record.name != "httpx"] == []


def test_no_secret_is_written_as_object_tenant_or_page(open_world, face):
    """Where a profile reads parameters: what stands there is known by its mark, or not at all."""
    ours = {"where": "a test", "confidence": "own"}
    route = {
        **{"name": "list", "path": "/{x}/things", "method": ["GET", "POST"], "answer": "list"},
        **{"collection": "things", "object_at": "query:o"},
        "page": {"style": "cursor", "at": "json:cursor", "size_at": "form:n"},
        "headers": [{"name": "Link", "value": "<{next_url}>; {x}"}],
    }
    world = open_world(
        face=face,
        limits={
            "o": {
                "kind": "rolling_window",
                "limit": 9,
                "period": "1h",
                "key": ["object", "tenant"],
                "source": ours,
            },
            "app": {"kind": "fixed_window", "limit": 10**6, "period": "1h", "source": ours},
        },
        tenants={"at": "header:X-Tenant"},
        collections={"things": {"initial": 500}},
        routes=[route],
    )
    secrets = [world.connect()["access_token"], world.access.client_secret]
    for secret in secrets:
        for form in encodings(secret):
            for tenant in ("tenant-1", form):
                headers = {"Authorization": f"Bearer {secrets[0]}", "X-Tenant": tenant}
                address = f"/v1/{quote(form, safe='')}/things?o={quote(form, safe='')}&x={form}"
                world.http.post(address, json={"cursor": form}, headers=headers)
                world.http.post(address, data={"n": form}, headers=headers)
                world.http.get(address, headers=headers)
    assert world.sandbox.faults == []
    written = everything(world).lower()
    for secret in secrets:
        for form in encodings(secret):
            assert form.lower().encode() not in written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v1/events/17", "/v1/events/17"),
        ("/v1/calendarEvents/attendees", "/v1/calendarEvents/attendees"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        ("/v1/events/550e8400-e29b-41d4-a716-446655440000/x", "/v1/events/[redacted]/x"),
        ("/v1/QwErTyUiOpAsDfGhJkLz/x", "/v1/[redacted]/x"),
        ("/" + "x" * 600, "/" + "x" * 511),
        ("/é\x00/☃", "/é\x00/☃"),
    ],
)
def test_a_path_of_words_stays_readable(world, text, shown):
    """What reads like words is written, what could be drawn at random is not, and length has an end."""
    assert world.sandbox._recorder.path(text) == shown


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("X-RateLimit-Remaining", "97", "97"),
        ("RateLimit", '"hourly";r=50;t=30', '"hourly";r=50;t=30'),
        ("X-App-Usage", '{"call_count":28}', '{"call_count":28}'),
        ("X-DayLimit-Remaining", "QwErTyUiOpAsDfGhJkLz", "[redacted]"),
        ("X-Anything", "97", "[redacted]"),
        ("Authorization", "97", "[redacted]"),
    ],
)
def test_headers_that_tell_an_allowance_are_written(world, name, value, written):
    """The figures by which an app could have known; nothing that could be a secret, whatever it is called."""
    assert json.loads(world.sandbox._recorder.headers([(name, value)])) == {name.lower(): written}


def test_a_failure_of_our_own_quotes_nothing_that_a_client_sent(world, monkeypatch, caplog):
    """A 500 is logged with the place and the kind of error, without path, token or the error's own text."""
    secret = world.connect()["access_token"]

    def fail(*_):
        raise KeyError(secret)

    monkeypatch.setattr(world.sandbox._api, "answer", fail)
    answer = world.call(secret, f"/{secret}")
    assert (answer.status_code, answer.json()) == (500, {"error": "server_error"})
    assert world.sandbox.faults == ["the sandbox failed on a request (kind api): KeyError"]
    assert "the sandbox failed: KeyError\n  File " in caplog.text
    assert secret not in caplog.text
    world.sandbox.faults.clear()
    tables = world.tables()
    assert tables.calls.to_pylist()[-1]["error"] == "server_error"
    assert tables.events.to_pylist()[-1]["details"] == '{"error":"KeyError"}'
