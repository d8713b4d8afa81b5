"""Providers' own published libraries, unmodified, over a socket: they can read what the sandbox answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests
from requests.adapters import HTTPAdapter


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


class ToLoopback(HTTPAdapter):
    """Sends what a library addresses to its provider's host to the sandbox instead."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        parts = urlsplit(request.url)
        request.url = f"{self._address}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        request.headers["Host"] = urlsplit(self._address).netloc
        return super().send(request, **{**more, "verify": False, "proxies": {}})


@pytest.fixture
def serve(open_world: Any) -> Iterator[Any]:
    """Serves a world on a free port of 127.0.0.1: its address, and an access token of the first person."""
    servers = []

    def start(*settings: str, profile: str, scope: str | None = None) -> tuple[str, str]:
        server = make_server("127.0.0.1", 0, None, handler_class=_Quiet)
        address = f"http://127.0.0.1:{server.server_port}"
        world = open_world(*settings, profile=profile, issuer=address)
        token = world.connect(**({"scope": scope} if scope else {}))["access_token"]
        server.set_app(world.sandbox)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return address, token

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def redirected(address: str) -> requests.Session:
    """A session in which every https host is the sandbox."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", ToLoopback(address))
    return session


def test_pygithub_reads_users_lists_pages_and_creates_issues(serve):
    """PyGithub: who am I, an issue, all pages of a list by their Link headers, and a new issue."""
    import github

    address, token = serve(profile="github")
    api = github.Github(
        base_url=address,
        auth=github.Auth.Token(token),
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )
    assert api.get_user().login == "p00001"
    repository = api.get_repo("octo/calendar")
    assert repository.full_name == "octo/calendar"
    assert repository.get_issue(7).title == "Stand-up"
    assert [issue.number for issue in repository.get_issues()] == list(range(1, 121))
    assert repository.create_issue("Review").number == 121
    limit = api.get_rate_limit().resources.core
    assert (limit.limit, limit.remaining) == (5000, 5000 - 8)
    api.close()


def test_pygithub_reads_a_refusal_as_one(serve):
    """A 403 with nothing remaining is PyGithub's RateLimitExceededException, a wrong token its BadCredentials."""
    import github

    address, token = serve("limits.core.limit=1", profile="github")
    api = github.Github(base_url=address, auth=github.Auth.Token(token), retry=None)
    assert api.get_user().login == "p00001"
    with pytest.raises(github.RateLimitExceededException):
        api.get_repo("octo/calendar")
    api.close()
    api = github.Github(base_url=address, auth=github.Auth.Token("wrong"), retry=None)
    with pytest.raises(github.BadCredentialsException):
        api.get_repo("octo/calendar")
    api.close()


def test_slack_sdk_reads_lists_posts_and_refusals(serve):
    """slack_sdk: auth.test, a channel's messages page by page, a new message, and ratelimited with its wait."""
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    address, token = serve(profile="slack")
    api = WebClient(token=token, base_url=f"{address}/api/")
    api.proxy = None
    assert api.auth_test()["team_id"] == "T00000001"
    pages = api.conversations_history(channel="C00000001", limit=100)
    assert [len(page["messages"]) for page in pages] == [100, 100, 50]
    assert api.users_info(user="U00000003")["user"]["name"] == "member-3"
    posted = api.chat_postMessage(channel="C00000001", text="Review")
    assert posted["message"]["text"] == "Review"
    with pytest.raises(SlackApiError) as refused:
        api.chat_postMessage(channel="C00000001", text="again")
    assert refused.value.response["error"] == "ratelimited"
    assert refused.value.response.headers["Retry-After"] == "1"


def test_stravalib_reads_athletes_activities_and_its_rate_limits(serve):
    """stravalib: the athlete, activities over pages, and the pair headers as its own limiter reads them."""
    from stravalib import Client
    from stravalib.util.limiter import get_rates_from_response_headers

    address, token = serve(profile="strava", scope="read,activity:read,activity:write")
    seen = []
    session = redirected(address)
    session.hooks["response"].append(lambda response, **_: seen.append(response.headers))
    api = Client(access_token=token, requests_session=session, rate_limit_requests=False)
    assert api.get_athlete().id is not None
    activities = list(api.get_activities(limit=150))
    assert len(activities) == min(150, len(activities))
    assert len({activity.id for activity in activities}) == len(activities)
    assert api.get_activity(activities[0].id).name
    rates = get_rates_from_response_headers(seen[-1], "GET")
    assert (rates.short_limit, rates.long_limit) == (100, 1000)
    assert rates.short_usage == rates.long_usage == len(seen)


def test_spotipy_reads_playlists_and_a_refusal(serve):
    """spotipy: me, playlists by their next addresses, one playlist; a refusal is a SpotifyException of 429."""
    import spotipy

    address, token = serve("limits.half_minute.floor=5", "limits.half_minute.ceiling=5", profile="spotify")
    api = spotipy.Spotify(auth=token, retries=0, status_retries=0, requests_session=redirected(address))
    assert api.me()["id"]
    page = api.current_user_playlists(limit=20)
    found = list(page["items"])
    while page["next"]:
        page = api.next(page)
        found += page["items"]
    assert len({playlist["id"] for playlist in found}) == page["total"] == len(found)
    assert api.playlist(found[2]["id"])["id"] == found[2]["id"]
    with pytest.raises(spotipy.SpotifyException) as refused:
        api.me()
    assert refused.value.http_status == 429


def test_tweepy_reads_posts_pages_and_a_refusal(serve):
    """tweepy: me, search page by page, a new post; beyond the limit its TooManyRequests with the reset."""
    import tweepy

    address, token = serve(profile="x")
    api = tweepy.Client(token)
    api.session = redirected(address)
    assert api.get_me(user_auth=False).data.username
    pages = list(tweepy.Paginator(api.search_recent_tweets, "calendar", max_results=10, limit=3))
    assert [len(page.data) for page in pages] == [10, 10, 10]
    assert api.create_tweet(text="Review", user_auth=False).data["text"] == "Review"
    for _ in range(74):
        api.get_me(user_auth=False)
    with pytest.raises(tweepy.TooManyRequests) as refused:
        api.get_me(user_auth=False)
    assert int(refused.value.response.headers["x-rate-limit-reset"]) > 0


def test_jira_reads_myself_issues_and_creates_one(serve):
    """jira: who I am, an issue, a new issue, through the gateway's address of a site."""
    import jira

    address, token = serve(profile="jira", scope="read:jira-user read:jira-work write:jira-work")
    (site,) = requests.get(
        f"{address}/oauth/token/accessible-resources", headers={"Authorization": f"Bearer {token}"}, timeout=5
    ).json()
    api = jira.JIRA(
        server=f"{address}/ex/jira/{site['id']}",
        token_auth=token,
        options={"rest_api_version": "3"},
        get_server_info=False,
        max_retries=0,
    )
    assert api.myself()["accountId"]
    assert api.issue("CAL-7").fields.summary
    created = api.create_issue(
        fields={"project": {"key": "CAL"}, "summary": "Review", "issuetype": {"name": "Task"}}, prefetch=False
    )
    assert created.id
    api.close()
