"""Others' OAuth clients, unmodified, over real loopback sockets: every flow that they support goes through."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from authlib.deprecate import AuthlibDeprecationWarning

from quotalab.browser import Browser

CALLBACK = "https://app.test/oauth/callback"
SCOPES = ["events.read", "events.write"]
SETTINGS = (
    'oauth.grants=["authorization_code", "refresh_token", "client_credentials"]',
    'oauth.client_authentication=["basic", "post", "none"]',
)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def served(open_world: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A world on a free port of 127.0.0.1; `access` says where."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # oauthlib takes no http, not even on loopback
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    server = make_server("127.0.0.1", 0, None, handler_class=_Quiet)
    world = open_world(*SETTINGS, issuer=f"http://127.0.0.1:{server.server_port}")
    server.set_app(world.sandbox)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield world
    server.shutdown()
    thread.join()
    server.server_close()


def consent(world: Any, address: str) -> str:
    """Where a person's browser ends that was sent to this address, over the socket."""
    with httpx.HTTPTransport() as transport:
        return Browser(transport, "p00001", world.sandbox.password_of("p00001")).visit(address, CALLBACK)


def status(world: Any, token: str) -> int:
    """How the API answers a call with this access token."""
    answer = httpx.get(
        f"{world.access.api_base}/events", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )
    return answer.status_code


def authlib_clients(world: Any, method: str, **more: Any) -> Iterator[Any]:
    """Authlib's client in its two flavours, authenticated by this method."""
    with warnings.catch_warnings():  # httpx is to give way to httpx2 there
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.integrations.httpx_client import OAuth2Client
    from authlib.integrations.requests_client import OAuth2Session

    access = world.access
    parts = {
        "client_id": access.client_id,
        "client_secret": None if method == "none" else access.client_secret,
        "token_endpoint_auth_method": method,
        "revocation_endpoint_auth_method": method,
        **more,
    }
    session = OAuth2Session(**parts)
    session.trust_env = False
    yield session
    session.close()
    with OAuth2Client(**parts, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_authlib_completes_the_code_flow_with_pkce_renews_and_revokes(served, method):
    """RFC 6749, 4.1 and 6, 7636, 7009, by requests and by httpx; with a secret either way, and without."""
    access = served.access
    verifier = "a-verifier-of-43-characters-or-more-Zx9_~.-1"
    for client in authlib_clients(
        served,
        method,
        redirect_uri=CALLBACK,
        scope=" ".join(SCOPES),
        code_challenge_method="S256",
        token_endpoint=access.token_endpoint,
    ):
        address, state = client.create_authorization_url(
            access.authorization_endpoint, code_verifier=verifier
        )
        callback = consent(served, address)
        token = client.fetch_token(
            access.token_endpoint, authorization_response=callback, state=state, code_verifier=verifier
        )
        assert token["scope"] == " ".join(SCOPES)
        assert client.get(f"{access.api_base}/events").status_code == 200
        renewed = client.refresh_token(access.token_endpoint)
        assert renewed["refresh_token"] != token["refresh_token"]
        assert status(served, renewed["access_token"]) == 200
        answer = client.revoke_token(
            access.revocation_endpoint, token=renewed["refresh_token"], token_type_hint="refresh_token"
        )
        assert answer.status_code == 200
        assert status(served, renewed["access_token"]) == 401
    kinds = {row["kind"] for row in served.rows()}
    assert kinds == {"authorize", "token", "api", "revoke"}


def test_authlib_gets_a_token_of_its_own_and_introspects_it(served):
    """RFC 6749, 4.4 and RFC 7662, by requests and by httpx."""
    access = served.access
    for client in authlib_clients(served, "client_secret_basic", scope="events.read"):
        token = client.fetch_token(access.token_endpoint, grant_type="client_credentials")
        assert "refresh_token" not in token
        assert client.get(f"{access.api_base}/events").status_code == 200
        known = client.introspect_token(access.introspection_endpoint, token=token["access_token"]).json()
        assert (known["active"], known["client_id"]) == (True, access.client_id)


def test_authlib_is_told_what_is_wrong(served):
    """Its own exceptions, by the codes of RFC 6749."""
    from authlib.integrations.base_client import OAuthError

    access = served.access
    for client in authlib_clients(served, "client_secret_basic", redirect_uri=CALLBACK):
        with pytest.raises(OAuthError) as refused:
            client.fetch_token(access.token_endpoint, code="unknown", grant_type="authorization_code")
        assert refused.value.error == "invalid_grant"
        with pytest.raises(OAuthError) as refused:
            client.fetch_token(access.token_endpoint, username="p00001", password="x")
        assert refused.value.error == "unsupported_grant_type"


def test_requests_oauthlib_completes_the_code_flow_with_pkce_and_renews(served):
    """Its session redeems by the whole callback, checks the state, and renews with its own token updater."""
    from requests_oauthlib import OAuth2Session

    access = served.access
    session = OAuth2Session(access.client_id, redirect_uri=CALLBACK, scope=SCOPES, pkce="S256")
    session.trust_env = False
    address, _ = session.authorization_url(access.authorization_endpoint)
    token = session.fetch_token(
        access.token_endpoint,
        authorization_response=consent(served, address),
        client_secret=access.client_secret,
    )
    assert token["scope"] == SCOPES
    assert session.get(f"{access.api_base}/events", timeout=10).status_code == 200
    renewed = session.refresh_token(access.token_endpoint, auth=(access.client_id, access.client_secret))
    assert renewed["refresh_token"] != token["refresh_token"]
    assert session.get(f"{access.api_base}/events", timeout=10).status_code == 200
    session.close()


def test_requests_oauthlib_gets_a_token_of_its_own(served):
    """oauthlib's BackendApplicationClient: RFC 6749, 4.4, by Basic and in the body."""
    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    access = served.access
    for in_body in (False, True):
        session = OAuth2Session(client=BackendApplicationClient(access.client_id, scope=["events.read"]))
        session.trust_env = False
        token = session.fetch_token(
            access.token_endpoint, client_secret=access.client_secret, include_client_id=in_body
        )
        assert "refresh_token" not in token
        assert session.get(f"{access.api_base}/events", timeout=10).status_code == 200
        session.close()


def test_requests_oauthlib_refuses_the_wrong_state_and_reads_errors(served):
    """A forged state is its MismatchingStateError; a spent code its InvalidGrantError, which revokes."""
    from oauthlib.oauth2 import InvalidGrantError, MismatchingStateError
    from requests_oauthlib import OAuth2Session

    access = served.access
    session = OAuth2Session(access.client_id, redirect_uri=CALLBACK, scope=SCOPES, pkce="S256")
    session.trust_env = False
    address, state = session.authorization_url(access.authorization_endpoint)
    callback = consent(served, address)
    secret = {"client_secret": access.client_secret}
    forged = callback.replace(state, "forged")
    with pytest.raises(MismatchingStateError):
        session.fetch_token(access.token_endpoint, authorization_response=forged, **secret)
    token = session.fetch_token(access.token_endpoint, authorization_response=callback, **secret)
    with pytest.raises(InvalidGrantError):
        session.fetch_token(access.token_endpoint, authorization_response=callback, **secret)
    assert status(served, token["access_token"]) == 401
    session.close()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_httpx_oauth_completes_the_code_flow_with_pkce_renews_and_revokes(served, method):
    """httpx-oauth's client: authorization URL, token, renewal, revocation, all asynchronous."""
    from authlib.oauth2.rfc7636 import create_s256_code_challenge
    from httpx_oauth.oauth2 import GetAccessTokenError, OAuth2

    access = served.access
    client: Any = OAuth2(
        access.client_id,
        access.client_secret,
        access.authorization_endpoint,
        access.token_endpoint,
        refresh_token_endpoint=access.token_endpoint,
        revoke_token_endpoint=access.revocation_endpoint,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    )
    verifier = "b" * 64

    async def flow() -> tuple[str, str]:
        address = await client.get_authorization_url(
            CALLBACK,
            state="x",
            scope=SCOPES,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        back = dict(parse_qsl(urlsplit(await asyncio.to_thread(consent, served, address)).query))
        token = await client.get_access_token(back["code"], CALLBACK, verifier)
        renewed = await client.refresh_token(token["refresh_token"])
        live = await asyncio.to_thread(status, served, renewed["access_token"])
        assert live == 200
        await client.revoke_token(renewed["refresh_token"], "refresh_token")
        with pytest.raises(GetAccessTokenError):
            await client.get_access_token("unknown", CALLBACK, verifier)
        return back["state"], renewed["access_token"]

    state, token = asyncio.run(flow())
    assert state == "x"
    assert status(served, token) == 401


def test_authlib_finds_everything_from_the_metadata_alone(served):
    """RFC 8414 and RFC 9207: from the issuer to a token, and the callback names the same issuer."""
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oauth2 import rfc8414, rfc9207

    issuer = served.access.issuer
    document = httpx.get(f"{issuer}/.well-known/oauth-authorization-server", trust_env=False).json()
    metadata = rfc8414.AuthorizationServerMetadata(document)
    metadata.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert metadata["issuer"] == issuer
    session = OAuth2Session(
        served.access.client_id,
        served.access.client_secret,
        redirect_uri=CALLBACK,
        scope=" ".join(metadata["scopes_supported"][:2]),
        code_challenge_method=metadata["code_challenge_methods_supported"][0],
    )
    session.trust_env = False
    address, _ = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier="c" * 43)
    callback = consent(served, address)
    assert dict(parse_qsl(urlsplit(callback).query))["iss"] == issuer
    token = session.fetch_token(
        metadata["token_endpoint"], authorization_response=callback, code_verifier="c" * 43
    )
    assert session.introspect_token(metadata["introspection_endpoint"], token=token["access_token"]).json()[
        "active"
    ]
    session.close()
