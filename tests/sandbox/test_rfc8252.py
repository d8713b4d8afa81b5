"""RFC 8252: any port of a loopback redirect URI, and exact matching of everything else."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.sandbox.rfc8252 import matches


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("registered_port", ["", ":1", ":3000"])
@pytest.mark.parametrize("port", ["", ":1", ":80", ":49152", ":65535"])
@pytest.mark.parametrize("rest", ["", "/", "/callback", "/callback?a=b"])
def test_any_port_of_a_loopback_address_is_right(host, registered_port, port, rest):
    """7.3: "The authorization server MUST allow any port to be specified at the time of the request"."""
    assert matches(f"http://{host}{registered_port}{rest}", f"http://{host}{port}{rest}")


@pytest.mark.parametrize(
    "asked",
    [
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:999999/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:٣/callback",
        "http://127.0.0.1:80a/callback",
        "http://127.0.0.1:-1/callback",
        "http://127.0.0.1:80:81/callback",
        "http://127.0.0.1:80@evil.test/callback",
        "http://127.0.0.1@evil.test/callback",
        "http://127.0.0.1.evil.test/callback",
        "http://evil.test#127.0.0.1/callback",
        "http://localhost/callback",
        "http://[::1]/callback",
        "http://127.0.0.2/callback",
        "https://127.0.0.1/callback",
        "HTTP://127.0.0.1/callback",
        "http://127.0.0.1/callback/",
        "http://127.0.0.1/Callback",
        "http://127.0.0.1/callback?x=1",
        "http://127.0.0.1/callback#x",
        "http://127.0.0.1/callback\n",
        "http://127.0.0.1/../callback",
        "http://127.0.0.1\\@evil.test/callback",
        " http://127.0.0.1/callback",
        "",
    ],
)
def test_everything_but_the_port_is_matched_exactly(asked):
    """RFC 9700, 2.1: the port is the only exception."""
    assert not matches("http://127.0.0.1/callback", asked)


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_no_loopback_address_matches_itself_alone(registered, asked):
    """RFC 9700, 2.1: "exact string matching"."""
    assert matches(registered, registered)
    if "//127.0.0.1" not in registered and "//[::1]" not in registered and "//localhost" not in registered:
        assert matches(registered, asked) == (registered == asked)


@pytest.mark.parametrize("port", [1024, 51004])
def test_a_native_app_comes_back_to_the_port_that_it_listens_on(world, port):
    """The code is sent to the port of the request, and is bound to it."""
    native = world.sandbox.register("http://127.0.0.1/callback")
    callback = f"http://127.0.0.1:{port}/callback"
    query = world.query(client_id=native.client_id, redirect_uri=callback)
    address = world.browser().visit(f"{world.access.authorization_endpoint}?{query}", callback)
    code = dict(parse_qsl(urlsplit(address).query))["code"]
    auth = (native.client_id, native.client_secret)
    other = world.redeem(code, auth=auth, redirect_uri="http://127.0.0.1:9/callback")
    assert other.json()["error"] == "invalid_grant"
    assert world.redeem(code, auth=auth, redirect_uri=callback).status_code == 200
    assert {row["oauth"]["redirect_uri"] for row in world.rows() if row["kind"] == "token"} == {
        "http://127.0.0.1:9/callback",
        callback,
    }
