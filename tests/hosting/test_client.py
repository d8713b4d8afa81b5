"""A person's client on a web app: what answers come to, and the way to the provider and back."""

from __future__ import annotations

import httpx
import pytest

from quotalab.hosting import AppAnsweredError, AppClient, Misfit
from quotalab.hosting.client import answers, judge_answers
from quotalab.hosting.rewriting import Rewriter
from quotalab.hosting.wsgi import OnlyTheApp
from quotalab.reference import Declined

SANDBOX = "https://provider.test"


def client(respond, *, connect: str | None = "/connect", rewrite: dict[str, str] | None = None) -> AppClient:
    """A person's client on an app that answers by `respond`."""
    return AppClient(
        httpx.MockTransport(respond),
        "https://app.test",
        connect=connect,
        rewritten=Rewriter(rewrite or {}),
        sandbox=SANDBOX,
        traceparent=lambda: "00-0-0-01",
    )


@pytest.mark.parametrize(
    ("heard", "raised"),
    [
        ([], None),
        ([("GET", "/a", 200), ("GET", "/b", 304)], None),
        ([("GET", "/a", 404)], AppAnsweredError),
        ([("GET", "/a", 429)], Declined),
        ([("GET", "/a", 503)], Declined),
        ([("GET", "/a", 503), ("GET", "/a", 200)], None),
        ([("GET", "/a", 200), ("GET", "/a", 500)], AppAnsweredError),
        ([("GET", "/a", 503), ("POST", "/a", 200)], Declined),
        ([("GET", "/a", 429), ("GET", "/b", 502)], AppAnsweredError),
    ],
)
def test_the_latest_answer_of_each_address_decides(heard: list, raised: type | None) -> None:
    """Failed goes before declined, declined before done; a retry that succeeds is a success."""
    statuses = iter([status for _, _, status in heard])
    own = client(lambda request: httpx.Response(next(statuses)))
    token = answers.set({})
    for method, path, _ in heard:
        own.request(method, path)
    noted = answers.get()
    answers.reset(token)
    assert noted is not None
    if raised is None:
        judge_answers(noted)
    else:
        with pytest.raises(raised, match=r"the app answered \d+"):
            judge_answers(noted)


def test_requests_carry_the_trace_and_the_persons_cookies() -> None:
    """What one person is given, no other sends."""
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers.get("cookie"), request.headers["traceparent"]))
        return httpx.Response(200, headers={"Set-Cookie": "session=1"})

    own, other = client(respond), client(respond)
    own.get("/")
    own.get("/")
    other.get("/")
    assert seen == [(None, "00-0-0-01"), ("session=1", "00-0-0-01"), (None, "00-0-0-01")]


def test_consent_begins_where_the_app_redirects_to_the_provider() -> None:
    """Redirects inside the app are followed; the first that leads to the sandbox is the way."""
    ways = {"/connect": "/login?next=x", "/login": SANDBOX + "/oauth/authorize?a=b"}
    own = client(lambda request: httpx.Response(302, headers={"Location": ways[request.url.path]}))
    assert own.begin_consent() == SANDBOX + "/oauth/authorize?a=b"


def test_a_built_in_address_of_the_provider_is_rewritten_for_the_browser_too() -> None:
    """Else people would be sent to the real provider."""
    there = "https://accounts.example.com/authorize?a=b"
    own = client(
        lambda request: httpx.Response(302, headers={"Location": there}),
        rewrite={"https://accounts.example.com/authorize": SANDBOX + "/oauth/authorize"},
    )
    assert own.begin_consent() == SANDBOX + "/oauth/authorize?a=b"


@pytest.mark.parametrize("there", ["https://accounts.example.com/x", "https://provider.test.evil.example/x"])
def test_an_app_that_sends_people_elsewhere_does_not_fit(there: str) -> None:
    """The message names where to, without the query."""
    own = client(lambda request: httpx.Response(302, headers={"Location": there + "?secret=1"}))
    with pytest.raises(
        Misfit, match=r"the app sends people to https://[a-z.]+, not to the sandbox at"
    ) as raised:
        own.begin_consent()
    assert "secret" not in str(raised.value)


def test_an_app_that_sends_people_nowhere_has_answered_with_an_error() -> None:
    """A page where a redirect should be; and no path at all."""
    with pytest.raises(AppAnsweredError, match="the app answered 200 where it should have sent"):
        client(lambda request: httpx.Response(200)).begin_consent()
    with pytest.raises(Misfit, match="connect: is missing"):
        client(lambda request: httpx.Response(200), connect=None).begin_consent()


def test_a_person_does_not_follow_the_app_to_another_host() -> None:
    """Nothing is sent there, and the operation's error says where it went."""
    asked = []

    def app(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": "http://elsewhere.example/?token=s3cret"})

    only = OnlyTheApp(httpx.MockTransport(app), "https://app.test")
    with (
        httpx.Client(transport=only, follow_redirects=True) as own,
        pytest.raises(AppAnsweredError) as raised,
    ):
        own.get("https://app.test/sync")
    assert str(raised.value) == "the app sent the person to elsewhere.example, which is not the app"
    assert asked == ["app.test"]


def test_a_person_is_connected_when_the_app_takes_the_callback() -> None:
    """Not before, and not when it answers with an error; who needs no consent is connected from the start."""
    statuses = iter([400, 200])
    own = client(lambda request: httpx.Response(next(statuses)))
    assert not own.connected
    with pytest.raises(AppAnsweredError, match="the app answered 400 to its own callback"):
        own.deliver("https://app.test/callback?code=x")
    assert not own.connected
    own.deliver("https://app.test/callback?code=x")
    assert own.connected
    assert client(lambda request: httpx.Response(200), connect=None).connected
