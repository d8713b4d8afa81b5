"""The authorization endpoint: sign in, consent, and everything that may be wrong with a request."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

CALLBACK = "https://app.test/oauth/callback"


def sent_back(answer: httpx.Response) -> dict[str, str]:
    """The parameters of a redirect to the app."""
    assert answer.status_code == 303
    address, _, query = answer.headers["location"].partition("?")
    assert address == CALLBACK
    return dict(parse_qsl(query))


def csrf_of(page: httpx.Response) -> str:
    """The consent form's hidden field."""
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)[1]


def test_a_person_signs_in_allows_and_the_app_gets_tokens(faced):
    """The whole way of RFC 6749, 4.1 with PKCE, by redirects and forms, ends with tokens that work."""
    back = faced.authorize()
    assert sorted(back) == ["code", "iss", "state"]
    assert back["state"] == faced.state
    answer = faced.redeem(back["code"])
    tokens = answer.json()
    assert answer.status_code == 200
    assert sorted(tokens) == ["access_token", "expires_in", "refresh_token", "scope", "token_type"]
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert tokens["scope"] == "events.read events.write"
    assert faced.call(tokens["access_token"]).status_code == 200


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(faced):
    """The session cookie is HttpOnly, SameSite, Secure under https, and for the sign-in pages alone."""
    answer = faced.http.post(
        f"/oauth/login?{faced.query()}",
        data={"username": "p00001", "password": faced.sandbox.password_of("p00001")},
    )
    assert answer.headers["location"] == f"/oauth/authorize?{faced.query()}"
    _, *attributes = answer.headers["set-cookie"].split("; ")
    assert attributes == ["Path=/oauth", "HttpOnly", "SameSite=Lax", "Secure"]


@pytest.mark.parametrize(
    ("username", "password"),
    [("p00001", "wrong"), ("p00001", ""), ("stranger", None), ("", ""), ("é\x00", "é\ud83d\ude00")],
)
def test_a_wrong_sign_in_shows_the_form_again(faced, username, password):
    """An unknown name, even with the password it would have, and a wrong password are told alike."""
    password = faced.sandbox.password_of(username) if password is None else password
    body = urlencode({"username": username, "password": password}, errors="replace")
    answer = faced.http.post(
        f"/oauth/login?{faced.query()}",
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 401
    assert "That name and password do not match." in answer.text
    assert "set-cookie" not in answer.headers
    assert [row["what"] for row in faced.rows("events")] == ["sign-in-refused"]


def test_the_consent_page_says_who_asks_and_for_what(world):
    """The person reads the app, their own name and each scope in the profile's words."""
    page = world.http.get(f"/oauth/authorize?{world.query()}", headers=world.signed_in())
    assert page.status_code == 200
    for words in (
        "Temporary production access",
        "Allow app-1 to use your account?",
        "Signed in as p00001",
        "<li>See the events on your calendar</li><li>Add and change events on your calendar</li>",
    ):
        assert words in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"


def test_what_comes_from_outside_is_escaped_in_pages(world):
    """A state that tries to leave the form's attribute stays inside it."""
    query = world.query(state='"><script>alert(1)</script>') + '&x="><b>'
    for headers in ({}, world.signed_in()):
        page = world.http.get(httpx.URL("/oauth/authorize", query=query.encode()), headers=headers)
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "<b>" not in page.text


def test_cancel_sends_access_denied_and_the_state(faced):
    """RFC 6749, 4.1.2.1: the person's refusal goes back to the app, and no code does."""
    back = faced.authorize(decision="deny")
    assert back == {
        "error": "access_denied",
        "error_description": "The resource owner or authorization server denied the request",
        "state": faced.state,
        "iss": "https://provider.test",
    }
    assert [row["what"] for row in faced.rows("events")] == ["consent-denied"]


def test_no_state_comes_back_where_none_was_sent(world):
    """A state is returned if and only if there was one."""
    assert sorted(world.authorize(state=None)) == ["code", "iss"]


@pytest.mark.parametrize("state", ["é☃", "a b&c=d#e%00\r\nX: y", "'" * 500])
def test_the_state_comes_back_exactly(faced, state):
    """RFC 6749, 4.1.2: "the exact value received from the client", whatever is in it."""
    assert faced.authorize(state=state)["state"] == state


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "é", "another person's"])
def test_a_forged_consent_form_is_refused(faced, csrf):
    """A form that the person was not shown, or that another was, gives nothing away."""
    query = faced.query()
    form = {"decision": "allow"}
    if csrf == "another person's":
        csrf = csrf_of(faced.http.get(f"/oauth/authorize?{query}", headers=faced.signed_in("p00002")))
    if csrf is not None:
        form["csrf"] = csrf
    answer = faced.http.post(f"/oauth/authorize?{query}", data=form, headers=faced.signed_in())
    assert answer.status_code == 403
    assert "location" not in answer.headers
    assert faced.rows()[-1]["error"] == "forged_form"


def test_a_consent_form_is_good_for_its_own_request_only(world):
    """The form of one authorization request does not allow another with more scopes."""
    headers = world.signed_in()
    page = world.http.get(f"/oauth/authorize?{world.query(scope='events.read')}", headers=headers)
    form = {"decision": "allow", "csrf": csrf_of(page)}
    assert world.http.post(f"/oauth/authorize?{world.query()}", data=form, headers=headers).status_code == 403
    allowed = world.http.post(
        f"/oauth/authorize?{world.query(scope='events.read')}", data=form, headers=headers
    )
    assert sorted(sent_back(allowed)) == ["code", "iss", "state"]


@pytest.mark.parametrize("decision", [None, "", "Allow", "deny"])
def test_only_allow_allows(world, decision):
    """Any other decision than the button's own is a refusal."""
    headers = world.signed_in()
    form = {"csrf": csrf_of(world.http.get(f"/oauth/authorize?{world.query()}", headers=headers))}
    if decision is not None:
        form["decision"] = decision
    answer = world.http.post(f"/oauth/authorize?{world.query()}", data=form, headers=headers)
    assert sent_back(answer)["error"] == "access_denied"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "https://evil.test/",
        CALLBACK + "/",
        CALLBACK + "?x=1",
        CALLBACK + "#x",
        CALLBACK.upper(),
        CALLBACK.replace("https", "http"),
        CALLBACK.replace("app.test", "app.test.evil.test"),
        CALLBACK.replace("app.test", "app.test@evil.test"),
        "//app.test/oauth/callback",
        "javascript:alert(1)",
        'https://evil.test/"\\é\x00',
    ],
)
def test_a_redirect_uri_that_is_not_exactly_the_registered_one_is_never_followed(faced, redirect_uri):
    """RFC 9700, 2.1 and 4.1.3: a page says so, whatever else is right or wrong, signed in or not."""
    for changed in ({}, {"response_type": "token"}, {"scope": "calendar.admin"}, {"code_challenge": None}):
        for headers in ({}, faced.signed_in()):
            query = faced.query(redirect_uri=redirect_uri, **changed)
            answer = faced.http.get(f"/oauth/authorize?{query}", headers=headers)
            assert answer.status_code == 400
            assert "location" not in answer.headers
            assert "The redirect URI is missing, or is not one that was registered." in answer.text


@pytest.mark.parametrize("client_id", [None, "", "app-2", "é\x00\"'"])
def test_an_unknown_client_gets_a_page_and_no_redirect(faced, client_id):
    """RFC 6749, 4.1.2.1: the person is told, and nobody is sent anywhere."""
    answer = faced.http.get(f"/oauth/authorize?{faced.query(client_id=client_id)}")
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "The client is unknown." in answer.text


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_type": 'é"\\\x00'}, "unsupported_response_type"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": " "}, "invalid_scope"),
        ({"scope": "events.read everything"}, "invalid_scope"),
        ({"scope": "calendar.admin"}, "invalid_scope"),
        ({"scope": "events.read calendar.admin"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "é" * 43}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ],
    ids=str,
)
def test_a_wrong_request_is_answered_by_redirect_with_its_error_and_state(faced, changed, error):
    """RFC 6749, 4.1.2.1 and RFC 7636, 4.4.1; a scope that is forbidden in the test phase is invalid too."""
    for headers in ({}, faced.signed_in()):
        back = sent_back(faced.http.get(f"/oauth/authorize?{faced.query(**changed)}", headers=headers))
        assert (back["error"], back["state"]) == (error, faced.state)
        assert "code" not in back
    assert {row["error"] for row in faced.rows() if row["method"] == "GET"} == {error}


@pytest.mark.parametrize("name", ["scope", "code_challenge", "response_type", "anything"])
def test_a_parameter_sent_twice_is_refused_by_redirect(faced, name):
    """RFC 6749, 3.1: "request and response parameters MUST NOT be included more than once"."""
    query = f"{faced.query()}&{name}=a&{name}=a"
    back = sent_back(faced.http.get(f"/oauth/authorize?{query}"))
    assert (back["error"], back["state"]) == ("invalid_request", faced.state)


def test_of_two_states_none_comes_back(world):
    """Which of them was meant cannot be known."""
    back = sent_back(world.http.get(f"/oauth/authorize?{world.query()}&state=other"))
    assert (back["error"], "state" in back) == ("invalid_request", False)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_of_two_clients_or_uris_neither_is_trusted(world, name):
    """A second redirect URI, even behind the right one, is followed by nobody."""
    answer = world.http.get(f"/oauth/authorize?{world.query()}&{name}=https%3A%2F%2Fevil.test")
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "A parameter is included more than once." in answer.text


def test_without_pkce_where_the_provider_does_not_ask_for_it(open_world):
    """`pkce = "optional"`: a request may leave it out; one that has it must have it right."""
    world = open_world("oauth.pkce=optional")
    code = world.authorize(code_challenge=None, code_challenge_method=None)["code"]
    downgraded = world.redeem(code)
    assert downgraded.json()["error"] == "invalid_request"  # RFC 9700, 4.8.2
    assert world.redeem(code, code_verifier=None).status_code == 200
    plain = world.http.get(f"/oauth/authorize?{world.query(code_challenge_method='plain')}")
    assert sent_back(plain)["error"] == "invalid_request"


def test_the_eleventh_person_is_turned_away_and_the_first_ten_come_back(open_world, face):
    """`few-users`: access_denied by redirect with the state, an event, and no way round it by the form."""
    world = open_world(variant="few-users", face=face)
    for i in range(10):
        world.connect(f"p{i + 1:05d}")
    assert sorted(world.authorize("p00003")) == ["code", "iss", "state"]
    assert world.authorize("p00011") == {
        "error": "access_denied",
        "error_description": "Before review at most 10 people may connect this app.",
        "state": world.state,
        "iss": "https://provider.test",
    }
    posted = world.http.post(
        f"/oauth/authorize?{world.query()}", data={"decision": "allow"}, headers=world.signed_in("p00012")
    )
    assert sent_back(posted)["error"] == "access_denied"
    events = [(row["what"], row["who"], row["details"]) for row in world.rows("events")]
    assert events[-2:] == [
        ("connection-refused", "p00011", '{"most_people":10}'),
        ("connection-refused", "p00012", '{"most_people":10}'),
    ]


def test_who_only_looked_or_cancelled_takes_no_place(open_world):
    """A place is taken by consent."""
    world = open_world("limits.people.limit=1", variant="few-users")
    world.authorize("p00001", decision="deny")
    world.http.get(f"/oauth/authorize?{world.query()}", headers=world.signed_in("p00002"))
    assert "code" in world.authorize("p00003")


@pytest.mark.parametrize(
    "cookie",
    [
        "sandbox_session=nobody",
        "sandbox_session=",
        'sandbox_session="',
        "sandbox_session",
        ";;=;",
        "é=\x01",
        "a" * 60_000,
    ],
)
def test_a_strange_cookie_is_nobodys(faced, cookie):
    """Whatever a browser sends along, the sign-in form is shown."""
    answer = faced.http.get(
        f"/oauth/authorize?{faced.query()}", headers=[(b"Cookie", cookie.encode("latin-1"))]
    )
    assert answer.status_code == 200
    assert "Sign in to" in answer.text


@pytest.mark.parametrize("other", ['{"a":1}', "bad{key=1", "a=b=c", 'q="x', "é=1"])
def test_other_cookies_of_the_same_host_do_not_sign_anybody_out(faced, other):
    """On loopback every port shares its cookies, and other tools' are not all well-formed."""
    cookie = faced.signed_in()["Cookie"]
    for header in (f"{other}; {cookie}", f"{cookie}; {other}"):
        page = faced.http.get(
            f"/oauth/authorize?{faced.query()}", headers=[(b"Cookie", header.encode("latin-1"))]
        )
        assert "Signed in as p00001" in page.text


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/oauth/authorize", "DELETE", "GET, HEAD, POST"),
        ("/oauth/login", "GET", "POST"),
        ("/oauth/token", "GET", "POST"),
        ("/oauth/revoke", "GET", "POST"),
        ("/oauth/introspect", "PUT", "POST"),
        ("/oauth/connections", "DELETE", "GET, HEAD, POST"),
        ("/.well-known/oauth-authorization-server", "POST", "GET, HEAD"),
    ],
)
def test_another_method_is_not_allowed(faced, path, method, allow):
    """RFC 9110, 15.5.6: 405 says which methods are."""
    answer = faced.http.request(method, f"{path}?{faced.query()}")
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert faced.rows()[0]["error"] == "method_not_allowed"


def test_the_metadata_is_valid_and_true(faced):
    """RFC 8414: a document that Authlib validates, of endpoints that are there; nothing else is claimed."""
    answer = faced.http.get("/.well-known/oauth-authorization-server")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    AuthorizationServerMetadata(document).validate()
    methods = ["client_secret_basic", "client_secret_post"]
    assert document == {
        "issuer": "https://provider.test",
        "authorization_endpoint": faced.access.authorization_endpoint,
        "token_endpoint": faced.access.token_endpoint,
        "revocation_endpoint": faced.access.revocation_endpoint,
        "introspection_endpoint": faced.access.introspection_endpoint,
        "scopes_supported": ["events.read", "events.write", "calendar.admin"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    for endpoint, status in (
        ("authorization", 400),
        ("token", 400),
        ("revocation", 401),
        ("introspection", 401),
    ):
        path = urlsplit(document[f"{endpoint}_endpoint"]).path
        assert faced.http.post(path).status_code == status
    kinds = ["metadata", "authorize", "token", "revoke", "introspect"]
    assert [row["kind"] for row in faced.rows()] == kinds


def test_the_metadata_is_that_of_the_profile(open_world):
    """Methods, grants and challenges as the profile has them; no scopes where there are none."""
    world = open_world(
        'oauth.client_authentication=["post", "none"]',
        'oauth.grants=["authorization_code", "client_credentials"]',
        'oauth.pkce_methods=["S256", "plain"]',
    )
    document = world.http.get("/.well-known/oauth-authorization-server").json()
    assert document["token_endpoint_auth_methods_supported"] == ["client_secret_post", "none"]
    assert document["revocation_endpoint_auth_methods_supported"] == ["client_secret_post", "none"]
    assert document["introspection_endpoint_auth_methods_supported"] == ["client_secret_post"]
    assert document["grant_types_supported"] == ["authorization_code", "client_credentials"]
    assert document["code_challenge_methods_supported"] == ["S256", "plain"]


def test_two_people_in_two_browsers_do_not_meet(world):
    """Each session is its own person's, and a code is good for that person."""
    first, second = (
        world.http.get(f"/oauth/authorize?{world.query()}", headers=world.signed_in(person))
        for person in ("p00001", "p00002")
    )
    assert "Signed in as p00001" in first.text
    assert "Signed in as p00002" in second.text
    assert csrf_of(first) != csrf_of(second)
    assert parse_qs(urlsplit(str(first.url)).query)["state"] == [world.state]


def test_who_only_looks_at_a_link_decides_nothing(faced):
    """RFC 9110, 9.2.1 and 9.3.2: HEAD gives the heads of GET's page; no code, no sign-in, no charge."""
    address = f"/oauth/authorize?{faced.query()}"
    for headers in ({}, faced.signed_in()):
        told, page = faced.http.head(address, headers=headers), faced.http.get(address, headers=headers)
        assert told.status_code == page.status_code == 200
        assert told.headers["content-type"] == page.headers["content-type"]
        assert told.headers["cache-control"] == "no-store"
    assert faced.http.head("/oauth/authorize?client_id=nobody").status_code == 400
    assert not faced.rows("events")


def test_not_even_where_consent_is_given_at_once(open_world):
    """With `consents` a GET brings a code; HEAD, by which links are looked at, brings none."""
    world = open_world(consents=True)
    address = f"/oauth/authorize?{world.query()}"
    looked = world.http.head(address)
    assert (looked.status_code, "location" in looked.headers) == (200, False)
    assert "code=" in world.http.get(address).headers["location"]
    assert [row["what"] for row in world.rows("events")] == ["consent-given"]
