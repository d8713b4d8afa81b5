"""The bundled providers, each by what it is known for: admitted and refused to the call, told to the letter.

Calls take no time here but where a test says so; every test begins on Monday 2026-01-05, 00:00 UTC.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from quotalab.clock import ManualClock, SeededEntropy
from quotalab.profiles.limits import key_offset_ns
from quotalab.sandbox.http import Request

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
START_S = 1_767_571_200
AT_ONCE = "latency.work=0s"
LATER_NS = 90 * SECOND_NS + SECOND_NS // 4  # some instant within a second: what is rounded shows
PLAIN = ("content-type", "content-length", "www-authenticate", "link", "location")


class StillClock(ManualClock):
    """Stands still whoever sleeps: calls made one after the other are under way at once."""

    def sleep_ns(self, duration_ns: int) -> None:
        """Nothing; the caller waits, and time does not."""


@contextlib.contextmanager
def at_once(world: Any) -> Iterator[None]:
    """Within, calls do not wait for each other's answers."""
    clock, world.sandbox._clock = world.sandbox._clock, StillClock(world.clock.now_ns())
    yield
    world.sandbox._clock = clock


def opened(open_world: Any, profile: str, *settings: str, **more: Any) -> tuple[Any, str]:
    """A world of a bundled profile or variant, and the first person's token; calls take no time."""
    name, _, variant = profile.partition("/")
    world = open_world(AT_ONCE, *settings, profile=name, variant=variant or None, **more)
    everything = world.provider.oauth.scope_delimiter.join(
        scope for scope in world.provider.scopes if scope not in world.provider.test_phase.forbidden_scopes
    )
    world.scope = everything
    return world, world.connect()["access_token"]


def told(answer: httpx.Response) -> dict[str, str]:
    """All headers but those that any answer has."""
    return {name: value for name, value in answer.headers.items() if name not in PLAIN}


def many(
    world: Any,
    token: str | None,
    path: str,
    calls: int,
    method: str = "GET",
    *,
    body: bytes = b"",
    every_ns: int = 0,
    headers: tuple[tuple[str, str], ...] = (),
) -> dict[int, int]:
    """Make so many calls; how many were answered with each status."""
    path, _, query = (world.provider.api_path + path).partition("?")
    carried = [*headers, ("content-type", "application/json")]
    if token is not None:
        carried.append(("authorization", f"Bearer {token}"))
    seen: Counter[int] = Counter()
    for _ in range(calls):
        now_ns = world.clock.now_ns()
        request = Request(method, path, query, carried, body, ip="127.0.0.1", sent_ns=now_ns, operation=None)
        seen[world.sandbox.exchange(request).status] += 1
        world.clock.jump(every_ns)
    return dict(seen)


def dead(
    open_world: Any, profile: str, path: str, *settings: str, **more: Any
) -> dict[str, tuple[int, Any, bool]]:
    """Status, body and whether there is a challenge: no token, an unknown, a revoked and an expired one."""
    world, token = opened(open_world, profile, *settings)
    answers = {"none": world.call(None, path, **more), "unknown": world.call("nonsense", path, **more)}
    code = world.authorize("p00002")["code"]
    revoked = world.redeem(code).json()["access_token"]
    world.redeem(code)  # a code that is used twice takes its tokens with it: RFC 6749, 4.1.2
    answers["revoked"] = world.call(revoked, path, **more)
    if world.provider.oauth.access_token_lifetime_ns < 1000 * DAY_NS:
        world.clock.jump(world.provider.oauth.access_token_lifetime_ns - 1)
        answers["alive"] = world.call(token, path, **more)
        world.clock.jump(1)
        answers["expired"] = world.call(token, path, **more)
        assert answers["alive"].status_code == 200
        assert answers.pop("alive").content != answers["expired"].content
    return {
        name: (
            answer.status_code,
            answer.json() if "json" in answer.headers["content-type"] else answer.text,
            "www-authenticate" in answer.headers,
        )
        for name, answer in answers.items()
    }


def without(document: Any, *names: str) -> Any:
    """A body without what is another each time, anywhere in it."""
    if isinstance(document, dict):
        return {key: without(value, *names) for key, value in document.items() if key not in names}
    return [without(value, *names) for value in document] if isinstance(document, list) else document


# ---- Discord


def test_discord_buckets_are_per_route_and_object(open_world):
    """Five in five seconds from the first call on, for each route and each channel; the bucket has a name."""
    world, token = opened(open_world, "discord")
    world.clock.jump(LATER_NS)
    bucket = base64.b64encode(b"app-1|p00001|get_current_user").decode()
    headers = {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "4",
        "x-ratelimit-reset": f"{START_S + 95}.250",
        "x-ratelimit-reset-after": "5.000",
        "x-ratelimit-bucket": bucket,
    }
    assert told(world.call(token, "/users/@me")) == headers
    world.clock.jump(2 * SECOND_NS)
    seen = [world.call(token, "/users/@me") for _ in range(5)]
    assert [answer.status_code for answer in seen] == [200] * 4 + [429]
    last = {"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "3.000"}
    assert told(seen[3]) == {**headers, **last}
    assert told(seen[4]) == {**headers, **last, "x-ratelimit-scope": "user", "retry-after": "3"}
    assert seen[4].json() == {
        **{"message": "You are being rate limited.", "retry_after": 3.0, "global": False},
    }
    assert world.call(token, "/users/@me/guilds").headers["x-ratelimit-remaining"] == "4"
    world.clock.jump(SECOND_NS)
    assert many(world, token, "/channels/31/messages", 6) == {200: 5, 429: 1}
    other = world.call(token, "/channels/32/messages")
    assert (other.status_code, other.headers["x-ratelimit-bucket"]) == (
        200,
        base64.b64encode(b"app-1|p00001|list_messages|32").decode(),
    )
    world.clock.jump(2 * SECOND_NS - 1)
    assert world.call(token, "/users/@me").status_code == 429
    world.clock.jump(1)
    assert world.call(token, "/users/@me").headers["x-ratelimit-reset-after"] == "5.000"


def test_discord_global_limit_is_fifty_in_any_second(open_world):
    """Over all routes; its refusal says that it is global, and no header ever told how near it was."""
    world, token = opened(open_world, "discord")
    world.clock.jump(LATER_NS)
    for channel in range(10):
        assert many(world, token, f"/channels/{channel}/messages", 5) == {200: 5}
    refused = world.call(token, "/channels/10/messages")
    assert refused.status_code == 429
    assert refused.json() == {
        **{"message": "You are being rate limited.", "retry_after": 1.0, "global": True},
    }
    assert told(refused) == {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "5",
        "x-ratelimit-reset": f"{START_S + 90}.250",
        "x-ratelimit-reset-after": "0.000",
        "x-ratelimit-bucket": base64.b64encode(b"app-1|p00001|list_messages|10").decode(),
        "x-ratelimit-global": "true",
        "x-ratelimit-scope": "global",
        "retry-after": "1",
    }
    world.clock.jump(SECOND_NS)
    assert world.call(token, "/channels/10/messages").status_code == 200


def test_discord_invalid_answers_block_the_address(open_world):
    """Ten thousand 401s in ten minutes are borne; with one more the address is blocked for an hour."""
    world, token = opened(open_world, "discord")
    assert many(world, "nonsense", "/users/@me", 10_000) == {401: 10_000}
    assert world.call(token, "/users/@me").status_code == 200
    assert many(world, None, "/users/@me", 1) == {401: 1}
    blocked = world.call(token, "/users/@me")
    assert (blocked.status_code, blocked.text) == (429, "error code: 1015")
    assert "retry-after" not in blocked.headers
    world.clock.jump(HOUR_NS - 1)
    assert world.call(token, "/users/@me").status_code == 429
    world.clock.jump(1)
    assert world.call(token, "/users/@me").status_code == 200


def test_discord_dead_tokens(open_world):
    """All are answered alike."""
    one = (401, {"message": "401: Unauthorized", "code": 0}, True)
    assert dead(open_world, "discord", "/users/@me") == dict.fromkeys(
        ("none", "unknown", "revoked", "expired"), one
    )


# ---- GitHub

GITHUB_PAGE = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"


def test_github_primary_limit_is_403_with_x_ratelimit_headers(open_world):
    """5,000 an hour for each person from the first call on; x-ratelimit-reset alone tells what to wait for."""
    world, token = opened(open_world, "github")
    world.clock.jump(LATER_NS)
    headers = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "4999",
        "x-ratelimit-used": "1",
        "x-ratelimit-reset": str(START_S + 3691),  # an hour after 90.25 s, in whole seconds
        "x-ratelimit-resource": "core",
    }
    assert told(world.call(token, "/user")) == headers
    assert many(world, token, "/user", 4998, every_ns=SECOND_NS // 10) == {200: 4998}
    none_left = {"x-ratelimit-remaining": "0", "x-ratelimit-used": "5000"}
    assert told(world.call(token, "/user")) == {**headers, **none_left}
    refused = world.call(token, "/user")
    assert refused.status_code == 403
    assert told(refused) == {**headers, **none_left}
    assert refused.json() == {
        **{"message": "API rate limit exceeded for user ID 1.", "documentation_url": GITHUB_PAGE},
    }
    free = world.call(token, "/rate_limit")
    assert free.status_code == 200
    assert free.json()["rate"] == {"limit": 5000, "used": 5000, "remaining": 0, "reset": START_S + 3691}
    assert world.call(world.connect("p00002")["access_token"], "/user").status_code == 200
    world.clock.jump((START_S + 3690) * SECOND_NS + SECOND_NS // 4 - world.clock.now_ns() - 1)
    assert world.call(token, "/user").status_code == 403
    world.clock.jump(1)
    assert world.call(token, "/user").headers["x-ratelimit-reset"] == str(START_S + 7291)


def test_github_secondary_limits_are_hidden_and_send_retry_after(open_world):
    """80 writes a minute, 900 points a minute, a hundred calls at once: the headers tell of the hour alone."""
    world, token = opened(open_world, "github")
    world.clock.jump(LATER_NS)
    assert many(world, token, "/repos/octo/cal/issues", 80, "POST", body=b"{}") == {201: 80}
    refused = world.call(token, "/repos/octo/cal/issues", "POST", json={})
    assert refused.status_code == 403
    assert refused.json()["message"].startswith("You have exceeded a secondary rate limit.")
    assert told(refused) == {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "4920",
        "x-ratelimit-used": "80",
        "x-ratelimit-reset": str(START_S + 3691),
        "x-ratelimit-resource": "core",
        "retry-after": "60",
    }
    assert many(world, token, "/user", 501) == {200: 500, 403: 1}  # 80 writes are 400 points
    world.clock.jump(MINUTE_NS)
    assert many(world, token, "/user", 1) == {200: 1}
    assert world.rows()[-2]["limit"] == "points"


def test_github_hundred_calls_may_be_under_way(open_world):
    """One more is refused, until one has been answered."""
    world, token = opened(open_world, "github", "latency.work=2s", "latency.work_sigma=0.0")
    with at_once(world):
        assert many(world, token, "/user", 101) == {200: 100, 403: 1}
        assert world.call(token, "/user").headers["retry-after"] == "2"
    world.clock.jump(2 * SECOND_NS)
    assert world.call(token, "/user").status_code == 200


def test_github_graphql_refuses_with_200(open_world):
    """5,000 points an hour, counted apart; the refusal is an error in the body."""
    world, token = opened(open_world, "github")
    assert many(world, token, "/graphql", 5000, "POST", body=b"{}", every_ns=SECOND_NS // 10) == {200: 5000}
    refused = world.call(token, "/graphql", "POST", json={})
    assert refused.status_code == 200
    assert refused.json() == {
        "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1."}]
    }
    assert told(refused) == {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-used": "5000",
        "x-ratelimit-reset": str(START_S + 3600),
        "x-ratelimit-resource": "graphql",
    }
    assert world.call(token, "/user").headers["x-ratelimit-remaining"] == "4999"


def test_github_without_a_token_sixty_an_hour(open_world):
    """For the address, whatever is asked."""
    world, token = opened(open_world, "github")
    assert many(world, None, "/user", 60) == {401: 60}
    refused = world.call(None, "/user")
    assert (refused.status_code, refused.headers["x-ratelimit-resource"]) == (403, "anonymous")
    assert refused.json()["message"] == "API rate limit exceeded for this address."
    assert world.call(token, "/user").status_code == 200


def test_github_enterprise_has_fifteen_thousand(open_world):
    """And 10,000 points of GraphQL."""
    world, token = opened(open_world, "github/enterprise")
    assert world.call(token, "/user").headers["x-ratelimit-limit"] == "15000"
    assert world.call(token, "/graphql", "POST", json={}).headers["x-ratelimit-limit"] == "10000"


def test_github_dead_tokens(open_world):
    """Bad credentials, whatever is wrong; tokens of the app variant end after eight hours."""
    page = {"documentation_url": "https://docs.github.com/rest", "status": "401"}
    bad = (401, {"message": "Bad credentials", **page}, True)
    found = dead(open_world, "github/app", "/user")
    assert found.pop("none") == (401, {"message": "Requires authentication", **page}, True)
    assert found == dict.fromkeys(("unknown", "revoked", "expired"), bad)


# ---- Google


def google_error(domain: str, reason: str, message: str) -> dict[str, Any]:
    """Google's body of a refusal."""
    return {
        "error": {
            "errors": [{"domain": domain, "reason": reason, "message": message}],
            "code": 403,
            "message": message,
        }
    }


def test_google_units_are_charged_by_method(open_world):
    """Gmail: 15,000 units a minute for a person; sending is 100, reading 5. No header tells of it."""
    world, token = opened(open_world, "google")
    assert many(world, token, "/gmail/v1/users/me/messages/send", 149, "POST", body=b"{}") == {200: 149}
    world.clock.jump(SECOND_NS)
    assert many(world, token, "/gmail/v1/users/me/messages", 19) == {200: 19}
    last = world.call(token, "/gmail/v1/users/me/messages/18c0000000000001")
    assert (last.status_code, told(last)) == (200, {})
    refused = world.call(token, "/gmail/v1/users/me/profile")  # one unit more
    assert (refused.status_code, told(refused)) == (403, {})
    assert refused.json() == google_error("usageLimits", "userRateLimitExceeded", "User Rate Limit Exceeded")
    world.clock.jump(59 * SECOND_NS - 1)
    assert world.call(token, "/gmail/v1/users/me/profile").status_code == 403
    world.clock.jump(1)
    assert world.call(token, "/gmail/v1/users/me/profile").status_code == 200


def test_google_calendar_has_a_limit_for_people_and_one_for_the_project(open_world):
    """600 a minute for each person, 10,000 for all."""
    world, token = opened(open_world, "google", "limits.calendar_project.limit=1000")
    path = "/calendar/v3/calendars/primary/events/evt00000001"
    assert many(world, token, path, 601) == {200: 600, 403: 1}
    other = world.connect("p00002")["access_token"]
    assert many(world, other, path, 401) == {200: 400, 403: 1}
    assert world.call(other, path).json() == google_error(
        "usageLimits", "rateLimitExceeded", "Rate Limit Exceeded"
    )


def test_google_youtube_day_ends_at_midnight_in_los_angeles(open_world):
    """10,000 units and 100 searches, for everybody together; the day ends at 08:00 UTC in winter."""
    world, token = opened(open_world, "google")
    assert many(world, token, "/youtube/v3/search", 101) == {200: 100, 403: 1}
    assert many(world, token, "/youtube/v3/channels", 10_001) == {200: 10_000, 403: 1}
    world.clock.jump(8 * HOUR_NS - 1)
    token = world.connect()["access_token"]
    message = "The request cannot be completed because you have exceeded your quota."
    for path in ("/youtube/v3/search", "/youtube/v3/channels"):
        refused = world.call(token, path)
        assert (refused.status_code, told(refused)) == (403, {})
        assert refused.json() == google_error("youtube.quota", "quotaExceeded", message)
    world.clock.jump(1)
    assert world.call(token, "/youtube/v3/search").status_code == 200
    assert world.call(token, "/youtube/v3/channels").status_code == 200


def test_google_hundred_and_first_refresh_token_ends_the_first(open_world):
    """Without a word: the oldest is dead, the others work."""
    world, _ = opened(open_world, "google")
    tokens = [world.connect("p00002")["refresh_token"] for _ in range(100)]
    assert world.refresh(tokens[0]).status_code == 200
    world.connect("p00002")
    gone = world.refresh(tokens[0])
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_grant")
    assert world.refresh(tokens[1]).status_code == 200


def test_google_testing_ends_refresh_tokens_after_seven_days(open_world):
    """To the nanosecond; the people that may be listed are so many and no more."""
    world, _ = opened(open_world, "google/testing", "limits.test_users.limit=3")
    limits = {limit.name: limit.limit for limit in opened(open_world, "google/testing")[0].provider.limits}
    assert limits["test_users"] == 100
    token = world.connect("p00002")["refresh_token"]
    assert "code" in world.authorize("p00003")
    assert world.authorize("p00004")["error"] == "access_denied"
    world.clock.jump(7 * DAY_NS - 1)
    assert world.refresh(token).status_code == 200
    world.clock.jump(1)
    refused = world.refresh(token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_google_dead_tokens(open_world):
    """Invalid credentials after an hour."""

    def body(reason: str, message: str) -> dict[str, Any]:
        where = {"locationType": "header", "location": "Authorization"}
        errors = [{"domain": "global", "reason": reason, "message": message, **where}]
        return {"error": {"errors": errors, "code": 401, "message": message, "status": "UNAUTHENTICATED"}}

    found = dead(open_world, "google", "/oauth2/v2/userinfo")
    assert found.pop("none") == (401, body("required", "Login Required"), True)
    bad = (401, body("authError", "Invalid Credentials"), True)
    assert found == dict.fromkeys(("unknown", "revoked", "expired"), bad)


# ---- IETF draft


def test_ietf_draft_10_fields_are_structured_and_agree_with_retry_after(open_world):
    """Two quotas in each field, partition keys as byte sequences; what is refused may come back after t."""
    world, token = opened(open_world, "ietf-draft-10")
    world.clock.jump(LATER_NS)
    key = base64.b64encode(b"p00001").decode()
    policy = f'"burst";q=100;w=60;pk=:{key}:,"daily";q=1000;w=86400;pk=:{key}:'

    def fields(burst: int, t: int, daily: int, day_t: int) -> dict[str, str]:
        return {
            "ratelimit-policy": policy,
            "ratelimit": f'"burst";r={burst};t={t};pk=:{key}:,"daily";r={daily};t={day_t};pk=:{key}:',
        }

    assert told(world.call(token, "/me")) == fields(99, 30, 999, 86_310)
    assert many(world, token, "/me", 98) == {200: 98}
    assert told(world.call(token, "/me")) == fields(0, 30, 900, 86_310)
    refused = world.call(token, "/me")
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "violated-policies": ["burst"],
    }
    assert told(refused) == {**fields(0, 30, 900, 86_310), "retry-after": "30"}
    world.clock.jump(30 * SECOND_NS - SECOND_NS // 4 - 1)
    assert world.call(token, "/me").status_code == 429
    world.clock.jump(1)
    assert many(world, token, "/me", 900, every_ns=SECOND_NS) == {200: 900}
    refused = world.call(token, "/me")
    assert refused.json()["violated-policies"] == ["daily"]
    assert told(refused) == {**fields(100, 60, 0, 85_380), "retry-after": "85380"}


def test_ietf_draft_10_dead_tokens(open_world):
    """Problem details that say what is wrong."""
    details = {
        "none": "A bearer token is needed.",
        "unknown": "The access token is unknown.",
        "revoked": "The access token was revoked.",
        "expired": "The access token expired.",
    }
    assert dead(open_world, "ietf-draft-10", "/me") == {
        name: (401, {"title": "Unauthorized", "status": 401, "detail": detail}, True)
        for name, detail in details.items()
    }


# ---- Jira

SITE = "/ex/jira/11111111-0000-4000-8000-000000000001/rest/api/3"


def test_jira_points_are_charged_per_object(open_world):
    """65,000 an hour from its top: a point for the call, one for each issue; near the end a header says so."""
    world, token = opened(open_world, "jira")
    world.clock.jump(LATER_NS)
    assert world.call(token, f"{SITE}/search/jql").headers["x-ratelimit-remaining"] == "64949"
    assert world.call(token, f"{SITE}/issue/CAL-1").headers["x-ratelimit-remaining"] == "64947"
    assert world.call(token, f"{SITE}/myself").headers["x-ratelimit-remaining"] == "64944"
    made = world.call(token, f"{SITE}/issue", "POST", json={"fields": {}})
    assert (made.status_code, made.headers["x-ratelimit-remaining"]) == (201, "64943")
    search = f"{SITE}/search/jql?maxResults=100"
    assert many(world, token, search, 514, every_ns=SECOND_NS // 100) == {200: 514}
    assert "x-ratelimit-nearlimit" not in world.call(token, f"{SITE}/issue/CAL-1").headers  # 51,973 used
    assert many(world, token, search, 1) == {200: 1}
    near = world.call(token, f"{SITE}/issue/CAL-1")
    assert (near.headers["x-ratelimit-nearlimit"], near.headers["x-ratelimit-remaining"]) == ("true", "12924")
    assert many(world, token, search, 128, every_ns=SECOND_NS // 100) == {200: 127, 429: 1}
    assert many(world, token, f"{SITE}/issue/CAL-1", 49, every_ns=SECOND_NS // 100) == {200: 48, 429: 1}
    assert (
        world.call(token, f"{SITE}/issue", "POST", json={"fields": {}}).headers["x-ratelimit-remaining"]
        == "0"
    )
    world.clock.jump((START_S + 120) * SECOND_NS - world.clock.now_ns())
    refused = world.call(token, f"{SITE}/search/jql")
    assert refused.status_code == 429
    assert refused.json() == {"errorMessages": ["Rate limit exceeded."], "errors": {}}
    assert told(refused) == {
        "x-ratelimit-limit": "65000",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-nearlimit": "true",
        "beta-ratelimit-policy": '"global-app-quota";q=65000;w=3600',
        "beta-ratelimit": '"global-app-quota";r=0;t=3480',
        "x-ratelimit-reset": "2026-01-05T01:00:00Z",
        "ratelimit-reason": "jira-quota-global-based",
        "retry-after": "3480",
    }


def test_jira_an_issue_has_windows_of_its_own(open_world):
    """20 writes in two seconds and 100 in thirty, to one issue by whomever; other issues are not concerned."""
    world, token = opened(open_world, "jira")
    other = world.connect("p00002")["access_token"]
    assert many(world, token, f"{SITE}/issue/CAL-1", 20, "PUT", body=b"{}") == {204: 20}
    refused = world.call(other, f"{SITE}/issue/CAL-1/comment", "POST", json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert refused.headers["ratelimit-reason"] == "jira-per-issue-on-write"
    assert refused.headers["x-ratelimit-reset"] == "2026-01-05T00:00:02Z"
    assert world.call(other, f"{SITE}/issue/CAL-2", "PUT", json={}).status_code == 204
    for _ in range(4):
        world.clock.jump(2 * SECOND_NS)
        assert many(world, token, f"{SITE}/issue/CAL-1", 20, "PUT", body=b"{}") == {204: 20}
    world.clock.jump(2 * SECOND_NS)
    refused = world.call(token, f"{SITE}/issue/CAL-1", "PUT", json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
    world.clock.jump(20 * SECOND_NS)
    assert world.call(token, f"{SITE}/issue/CAL-1", "PUT", json={}).status_code == 204


def test_jira_bursts_fill_a_bucket_for_each_endpoint(open_world):
    """A hundred reads at once, and a hundred a second; fifty writes."""
    world, token = opened(open_world, "jira")
    assert many(world, token, f"{SITE}/myself", 100) == {200: 100}
    refused = world.call(token, f"{SITE}/myself")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["ratelimit-reason"] == "jira-burst-based"
    world.clock.jump(SECOND_NS // 100)
    assert many(world, token, f"{SITE}/myself", 2) == {200: 1, 429: 1}
    seen = Counter()
    for issue in range(51):
        seen += Counter(many(world, token, f"{SITE}/issue/CAL-{issue}", 1, "PUT", body=b"{}"))
    assert seen == {204: 50, 429: 1}


def test_jira_headers_carry_the_ietf_fields(open_world):
    """Beside its own; far from the end without what remains."""
    world, token = opened(open_world, "jira")
    world.clock.jump(LATER_NS)
    assert told(world.call(token, f"{SITE}/issue/CAL-1")) == {
        "x-ratelimit-limit": "65000",
        "x-ratelimit-remaining": "64998",
        "beta-ratelimit-policy": '"global-app-quota";q=65000;w=3600',
        "beta-ratelimit": '"global-app-quota";t=3510',
    }


def test_jira_tier_2_counts_for_each_site(open_world):
    """100,000 and ten for each user, and no field of the IETF's."""
    world, token = opened(open_world, "jira/tier-2", users=12)
    assert told(world.call(token, f"{SITE}/issue/CAL-1")) == {
        "x-ratelimit-limit": "100120",
        "x-ratelimit-remaining": "100118",
    }


def test_jira_dead_tokens(open_world):
    """The gateway's answer, whatever is wrong."""
    one = (401, {"code": 401, "message": "Unauthorized"}, True)
    assert dead(open_world, "jira", f"{SITE}/myself") == dict.fromkeys(
        ("none", "unknown", "revoked", "expired"), one
    )


# ---- Meta


def test_meta_number_follows_the_people(open_world):
    """200 an hour for each of twelve; from half of it on a header says how many hundredths are used."""
    world, token = opened(open_world, "meta", users=12)
    assert many(world, token, "/v24.0/me", 1198) == {200: 1198}
    assert told(world.call(token, "/v24.0/me")) == {}
    half = {"x-app-usage": '{"call_count":50,"total_time":0,"total_cputime":0}'}
    assert told(world.call(token, "/v24.0/me")) == half
    assert many(world, token, "/v24.0/me", 1199) == {200: 1199}
    full = {"x-app-usage": '{"call_count":100,"total_time":0,"total_cputime":0}'}
    assert told(world.call(token, "/v24.0/me")) == full
    refused = world.call(token, "/v24.0/me")
    assert (refused.status_code, told(refused)) == (400, full)
    assert without(refused.json(), "fbtrace_id") == {
        "error": {
            "message": "(#4) Application request limit reached",
            "type": "OAuthException",
            "code": 4,
        }
    }
    assert len(refused.json()["error"]["fbtrace_id"]) == 16


def test_meta_refused_calls_lengthen_the_block(open_world):
    """What is refused is counted: going on for half an hour costs another half."""
    world, token = opened(open_world, "meta")
    assert many(world, token, "/v24.0/me", 200) == {200: 200}
    world.clock.jump(HOUR_NS // 2)
    assert many(world, token, "/v24.0/me", 200) == {400: 200}
    world.clock.jump(HOUR_NS // 2)
    assert many(world, token, "/v24.0/me", 1) == {400: 1}
    world.clock.jump(HOUR_NS // 2 - 1)
    assert many(world, token, "/v24.0/me", 1) == {400: 1}
    world.clock.jump(1)
    assert many(world, token, "/v24.0/me", 199) == {200: 198, 400: 1}  # those two are counted still


def test_meta_dead_tokens(open_world):
    """400, and a code by which they are told apart."""
    found = {
        name: (status, without(body["error"], "fbtrace_id", "type"), challenge)
        for name, (status, body, challenge) in dead(open_world, "meta", "/v24.0/me").items()
    }
    assert found == {
        "none": (
            400,
            {
                "message": "An active access token must be used to query information about the current user.",
                "code": 2500,
            },
            False,
        ),
        "unknown": (
            400,
            {"message": "Invalid OAuth access token - Cannot parse access token", "code": 190},
            False,
        ),
        "revoked": (
            400,
            {
                "message": "Error validating access token: The user has not authorized application.",
                "code": 190,
                "error_subcode": 458,
            },
            False,
        ),
        "expired": (
            400,
            {
                "message": "Error validating access token: Session has expired.",
                "code": 190,
                "error_subcode": 463,
            },
            False,
        ),
    }


# ---- Microsoft Graph


def test_microsoft_graph_four_calls_at_once_per_mailbox(open_world):
    """A fifth waits for the first to be answered; another mailbox does not, nor what is no mailbox's."""
    world, token = opened(open_world, "microsoft-graph", "latency.work=3s", "latency.work_sigma=0.0")
    other = world.connect("p00002")["access_token"]
    with at_once(world):
        assert many(world, token, "/me/events", 4) == {200: 4}
        refused = world.call(token, "/me/events")
        assert many(world, other, "/me/events", 4) == {200: 4}
        assert many(world, token, "/me", 10) == {200: 10}
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "3"})
    error = refused.json()["error"]
    assert without(error, "request-id", "client-request-id") == {
        "code": "ApplicationThrottled",
        "message": "Application is over its mailbox_concurrent limit.",
        "innerError": {"date": "2026-01-05T00:00:00Z"},
    }
    assert error["innerError"]["request-id"] == error["innerError"]["client-request-id"]
    world.clock.jump(3 * SECOND_NS)
    assert world.call(token, "/me/events").status_code == 200


def test_microsoft_graph_refused_calls_accrue(open_world):
    """10,000 in ten minutes for a mailbox, refused ones too: who goes on stays refused."""
    world, token = opened(open_world, "microsoft-graph")
    assert many(world, token, "/me/events/AAMkAGI00000001", 10_000) == {200: 10_000}
    world.clock.jump(5 * MINUTE_NS)
    refused = world.call(token, "/me/events")
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "300"})
    assert refused.json()["error"]["message"] == "Application is over its mailbox limit."
    assert many(world, token, "/me/events/AAMkAGI00000001", 9_999) == {429: 9_999}
    world.clock.jump(5 * MINUTE_NS)
    refused = world.call(token, "/me/events")
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "300"})
    world.clock.jump(5 * MINUTE_NS)
    answer = world.call(token, "/me/events")
    assert (answer.status_code, told(answer)) == (200, {})


def test_microsoft_graph_dead_tokens(open_world):
    """InvalidAuthenticationToken, with words of its own for each."""
    messages = {
        "none": "Access token is empty.",
        "unknown": "Access token validation failure.",
        "revoked": "Access token validation failure.",
        "expired": "Lifetime validation failed, the token is expired.",
    }
    found = {
        name: (status, without(body["error"], "innerError"), challenge)
        for name, (status, body, challenge) in dead(open_world, "microsoft-graph", "/me").items()
    }
    assert found == {
        name: (401, {"code": "InvalidAuthenticationToken", "message": message}, True)
        for name, message in messages.items()
    }


# ---- Shopify


def test_shopify_rest_bucket_says_used_of_limit(open_world):
    """Forty calls, and two a second flow back; Retry-After has a decimal."""
    world, token = opened(open_world, "shopify")
    path = "/admin/api/2026-10/shop.json"
    assert told(world.call(token, path)) == {"x-shopify-shop-api-call-limit": "1/40"}
    assert many(world, token, path, 38) == {200: 38}
    assert told(world.call(token, path)) == {"x-shopify-shop-api-call-limit": "40/40"}
    refused = world.call(token, path)
    assert refused.status_code == 429
    assert told(refused) == {"x-shopify-shop-api-call-limit": "40/40", "retry-after": "0.5"}
    assert refused.json() == {
        "errors": "Exceeded 2.0 calls per second for api client. "
        "Reduce request rates to resume uninterrupted service."
    }
    assert world.call(world.connect("p00002")["access_token"], path).status_code == 200  # a shop of its own
    world.clock.jump(SECOND_NS // 2 - 1)
    assert world.call(token, path).status_code == 429
    world.clock.jump(1)
    assert told(world.call(token, path)) == {"x-shopify-shop-api-call-limit": "40/40"}
    world.clock.jump(20 * SECOND_NS)
    header = {"X-Shopify-Access-Token": token}
    answer = world.http.get(f"{world.provider.api_path}{path}", headers=header)
    assert told(answer) == {"x-shopify-shop-api-call-limit": "1/40"}


def test_shopify_graphql_refunds_what_did_not_come(open_world):
    """250 products are asked and paid for, 180 come, 70 points come back with the answer, which tells what
    was left before that; THROTTLED comes with 200."""
    world, token = opened(open_world, "shopify")
    path = "/admin/api/2026-10/graphql.json"
    asked = {"query": "{ products }", "variables": {"first": 250}}
    costs = []
    for _ in range(11):
        answer = world.call(token, path, "POST", json=asked)
        costs.append(answer.json()["extensions"]["cost"])
    assert costs[0] == {
        "requestedQueryCost": 250,
        "actualQueryCost": 180,
        "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 1750, "restoreRate": 100.0},
    }
    available = [cost["throttleStatus"]["currentlyAvailable"] for cost in costs]
    assert available == [*range(1750, 129, -180), 200]
    assert (answer.status_code, told(answer)) == (200, {})
    assert answer.json()["errors"] == [
        {
            "message": "Throttled",
            "extensions": {
                "code": "THROTTLED",
                "documentation": "https://shopify.dev/api/usage/rate-limits",
            },
        }
    ]
    world.clock.jump(SECOND_NS // 2)
    assert "data" in world.call(token, path, "POST", json=asked).json()


@pytest.mark.parametrize(("variant", "calls"), [("advanced", 80), ("plus", 400)])
def test_shopify_plans_have_larger_buckets(open_world, variant, calls):
    """Twice and ten times."""
    world, token = opened(open_world, f"shopify/{variant}")
    assert many(world, token, "/admin/api/2026-10/shop.json", calls + 1) == {200: calls, 429: 1}


def test_shopify_dead_tokens(open_world):
    """One answer for all; tokens of the expiring variant end after an hour."""
    words = "[API] Invalid API key or access token (unrecognized login or wrong password)"
    one = (401, {"errors": words}, True)
    path = "/admin/api/2026-10/shop.json"
    assert dead(open_world, "shopify/expiring", path) == dict.fromkeys(
        ("none", "unknown", "revoked", "expired"), one
    )


# ---- Slack


def test_slack_tiers_are_per_method_and_workspace(open_world):
    """Fifty a minute of tier 3, for all people of a workspace; each method and workspace has its own."""
    world, token = opened(open_world, "slack", "tenants.people=2")
    mate, stranger = (world.connect(person)["access_token"] for person in ("p00002", "p00003"))
    path = "/conversations.history?channel=C00000001"
    assert many(world, token, path, 30) == {200: 30}
    assert many(world, mate, path, 20) == {200: 20}
    refused = world.call(token, path)
    assert refused.status_code == 429
    assert refused.json() == {"ok": False, "error": "ratelimited"}
    assert told(refused) == {"retry-after": "2"}  # 1.2 s
    answer = world.call(stranger, path)
    assert (answer.status_code, told(answer)) == (200, {})
    for tier, other in (
        (20, "/users.list"),
        (20, "/conversations.list"),
        (100, "/users.info?user=U00000001"),
    ):
        assert many(world, token, other, tier + 1) == {200: tier, 429: 1}
    assert many(world, token, "/auth.test", 200) == {200: 200}
    world.clock.jump(12 * SECOND_NS // 10 - 1)
    assert world.call(token, path).status_code == 429
    world.clock.jump(1)
    assert world.call(token, path).status_code == 200


def test_slack_one_message_a_second_to_a_channel(open_world):
    """Whoever sends it; other channels are not concerned."""
    world, token = opened(open_world, "slack")

    def post(channel: str) -> httpx.Response:
        return world.call(token, "/chat.postMessage", "POST", json={"channel": channel, "text": "x"})

    assert post("C00000001").json()["ok"] is True
    refused = post("C00000001")
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "1"})
    assert post("C00000002").json()["ok"] is True
    world.clock.jump(SECOND_NS)
    assert post("C00000001").status_code == 200


def test_slack_errors_come_with_200(open_world):
    """Tokens, methods, things, scopes: the body alone tells what is wrong."""
    world, token = opened(open_world, "slack")
    narrow = world.connect("p00002", scope="users:read")["access_token"]
    answers = [
        world.call(token, "/no.such.method"),
        world.call(token, "/users.info?user=U99999999"),
        world.call(narrow, "/conversations.list"),
        world.call(token, "/chat.postMessage", "POST", json={"channel": "C1", "text": "x" * 5000}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json() for answer in answers] == [
        {"ok": False, "error": "unknown_method"},
        {"ok": False, "error": "channel_not_found"},
        {"ok": False, "error": "missing_scope", "needed": "channels:read"},
        {"ok": False, "error": "msg_too_long"},
    ]


def test_slack_unlisted_history_is_one_a_minute(open_world):
    """And fifteen messages at most; other methods are as they were."""
    world, token = opened(open_world, "slack/unlisted")
    path = "/conversations.history?channel=C00000001&limit=100"
    assert len(world.call(token, path).json()["messages"]) == 15
    refused = world.call(token, path)
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "60"})
    assert many(world, token, "/users.list", 20) == {200: 20}
    world.clock.jump(MINUTE_NS - 1)
    assert world.call(token, path).status_code == 429
    world.clock.jump(1)
    assert world.call(token, path).status_code == 200


def test_slack_dead_tokens(open_world):
    """200 each; with rotation tokens end after twelve hours."""
    errors = {
        **{"none": "not_authed", "unknown": "invalid_auth", "revoked": "token_revoked"},
        **{"expired": "token_expired"},
    }
    found = dead(open_world, "slack/rotation", "/auth.test")
    assert {name: (status, body) for name, (status, body, _) in found.items()} == {
        name: (200, {"ok": False, "error": error}) for name, error in errors.items()
    }


# ---- Spotify


def test_spotify_number_is_drawn_from_the_seed(open_world):
    """Some number from 150 to 300 in any thirty seconds; the same seed draws the same, and nothing tells it."""
    drawn = []
    for seed in (1, 1, 2, 3):
        world, token = opened(open_world, "spotify", seed=seed)
        seen = many(world, token, "/me", 301)
        assert seen.keys() == {200, 429}
        drawn.append(seen[200])
        refused = world.call(token, "/me")
        assert (refused.status_code, told(refused)) == (429, {"retry-after": "30"})
        assert refused.json() == {"error": {"status": 429, "message": "API rate limit exceeded"}}
        world.clock.jump(30 * SECOND_NS - 1)
        assert world.call(token, "/me").status_code == 429
        world.clock.jump(1)
        answer = world.call(token, "/me")
        assert (answer.status_code, told(answer)) == (200, {})
        (event,) = [event for event in world.rows("events") if event["what"] == "limit-drawn"]
        assert json.loads(event["details"]) == {"limit": "half_minute", "number": drawn[-1]}
    expected = [SeededEntropy(seed).stream("opaque", "half_minute").randint(150, 300) for seed in (1, 2, 3)]
    assert drawn == [expected[0], *expected]
    assert len(set(expected)) == 3


def test_spotify_development_answers_403_to_the_sixth(open_world):
    """They may log in; the API knows five people. Its quota of a day has a reason of its own."""
    world, token = opened(
        open_world, "spotify/development", "limits.quota.floor=20", "limits.quota.ceiling=20"
    )
    tokens = [token, *(world.connect(person)["access_token"] for person in world.sandbox._api._numbers)][1:]
    answers = [world.call(token, "/me") for token in tokens]
    assert [answer.status_code for answer in answers] == [200] * 5 + [403] * 7
    assert (answers[5].headers["content-type"], told(answers[5])) == ("text/plain", {})
    assert answers[5].text == (
        "Check settings on developer.spotify.com/dashboard, the user may not be registered."
    )
    assert many(world, token, "/me", 15) == {200: 15}
    refused = world.call(token, "/me")
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "86400"})
    assert refused.json() == {
        "error": {"status": 429, "message": "Too many requests", "reason": "QUOTA_EXCEEDED"}
    }


def test_spotify_dead_tokens(open_world):
    """Each in its own words."""
    messages = {
        "none": "No token provided",
        "unknown": "Invalid access token",
        "revoked": "Invalid access token",
        "expired": "The access token expired",
    }
    assert dead(open_world, "spotify", "/me") == {
        name: (401, {"error": {"status": 401, "message": message}}, True)
        for name, message in messages.items()
    }


# ---- Strava


def pairs(overall: str, read: str) -> dict[str, str]:
    """Strava's four headers."""
    return {
        "x-ratelimit-limit": "200,2000",
        "x-ratelimit-usage": overall,
        "x-readratelimit-limit": "100,1000",
        "x-readratelimit-usage": read,
    }


def strava_body(field: str) -> dict[str, Any]:
    """Its refusal."""
    errors = [{"resource": "Application", "field": field, "code": "exceeded"}]
    return {"message": "Rate Limit Exceeded", "errors": errors}


def test_strava_pair_headers_and_no_retry_after(open_world):
    """A quarter of an hour and a day, reads apart; the windows begin at :00, :15, :30 and :45."""
    world, token = opened(open_world, "strava")
    world.clock.jump(14 * MINUTE_NS)
    assert told(world.call(token, "/athlete")) == pairs("1,1", "1,1")
    written = {name: value for name, value in pairs("2,2", "").items() if "read" not in name}
    assert told(world.call(token, "/activities", "POST", json={})) == written
    assert many(world, token, "/athlete", 98) == {200: 98}
    assert told(world.call(token, "/athlete")) == pairs("101,101", "100,100")
    refused = world.call(token, "/athlete")
    assert (refused.status_code, refused.json()) == (429, strava_body("rate limit"))
    assert told(refused) == pairs("101,102", "100,101")
    assert many(world, token, "/activities", 99, "POST", body=b"{}") == {201: 99}
    refused = world.call(token, "/activities", "POST", json={})
    assert (refused.status_code, refused.json()) == (429, strava_body("overall rate limit"))
    assert told(refused) == {**written, "x-ratelimit-usage": "200,202"}
    world.clock.jump(MINUTE_NS - 1)
    assert world.call(token, "/athlete").status_code == 429
    world.clock.jump(1)
    assert told(world.call(token, "/athlete")) == pairs("1,204", "1,103")


def test_strava_refused_reads_count_toward_the_day(open_world):
    """A hundred admitted and nine hundred refused are a day's reads; at midnight it begins anew."""
    world, token = opened(open_world, "strava")
    assert many(world, token, "/athlete", 1000) == {200: 100, 429: 900}
    world.clock.jump(15 * MINUTE_NS)
    refused = world.call(token, "/athlete")
    assert (refused.status_code, refused.json()) == (429, strava_body("rate limit"))
    assert told(refused) == pairs("0,1000", "0,1000")
    world.clock.jump(DAY_NS - 15 * MINUTE_NS - 1)
    token = world.connect()["access_token"]
    assert world.call(token, "/athlete").status_code == 429
    world.clock.jump(1)
    assert told(world.call(token, "/athlete")) == pairs("1,1", "1,1")


def test_strava_single_player_admits_one_athlete(open_world):
    """The second is sent back with access_denied; the first may connect again."""
    world, _ = opened(open_world, "strava/single-player")
    assert world.authorize("p00002")["error"] == "access_denied"
    assert "code" in world.authorize("p00001")


def test_strava_ten_athletes_have_twice_the_calls(open_world):
    """And an eleventh is turned away."""
    world, token = opened(open_world, "strava/ten-athletes")
    for person in list(world.sandbox._api._numbers)[1:10]:
        assert "code" in world.authorize(person)
    assert world.authorize("p00011")["error"] == "access_denied"
    answer = world.call(token, "/athlete")
    assert answer.headers["x-ratelimit-limit"] == "400,4000"
    assert answer.headers["x-readratelimit-limit"] == "200,2000"
    assert many(world, token, "/athlete", 200) == {200: 199, 429: 1}


def test_strava_dead_tokens(open_world):
    """One answer for all, after six hours too."""
    errors = [{"resource": "Athlete", "field": "access_token", "code": "invalid"}]
    one = (401, {"message": "Authorization Error", "errors": errors}, True)
    assert dead(open_world, "strava", "/athlete") == dict.fromkeys(
        ("none", "unknown", "revoked", "expired"), one
    )


# ---- temporary production access


def test_temporary_production_hundred_an_hour_rolling(open_world):
    """In any hour, for the whole app; Retry-After is the wait in whole seconds, no header tells of use."""
    world, token = opened(open_world, "temporary-production")
    other = world.connect("p00002")["access_token"]
    assert many(world, token, "/events", 50) == {200: 50}
    world.clock.jump(LATER_NS)
    assert many(world, other, "/events", 49) == {200: 49}
    answer = world.call(token, "/events")
    assert (answer.status_code, told(answer)) == (200, {})
    refused = world.call(other, "/events")
    assert (refused.status_code, told(refused)) == (429, {"retry-after": "3510"})
    assert refused.json() == {
        **{"error": "rate_limited", "message": "Your app has used up its calls for now."},
    }
    world.clock.jump(HOUR_NS - LATER_NS - 1)
    token = world.connect()["access_token"]
    assert world.call(token, "/events").status_code == 429
    world.clock.jump(1)
    assert many(world, token, "/events", 51) == {200: 50, 429: 1}


def test_temporary_production_few_users_admits_ten(open_world):
    """The eleventh person is sent back with access_denied, again and again; the ten may connect anew."""
    world, _ = opened(open_world, "temporary-production/few-users")
    people = list(world.sandbox._api._numbers)
    assert ["code" in world.authorize(person) for person in people] == [True] * 10 + [False] * 2
    assert world.authorize("p00011")["error"] == "access_denied"
    assert "code" in world.authorize("p00010")


def test_temporary_production_dead_tokens(open_world):
    """RFC 6750's challenge, and words in the body."""
    found = dead(open_world, "temporary-production", "/events")
    assert found == {
        "none": (401, {"error": "unauthorized", "message": "A bearer token is needed."}, True),
        "unknown": (401, {"error": "invalid_token", "message": "The access token is unknown."}, True),
        "revoked": (401, {"error": "invalid_token", "message": "The access token was revoked."}, True),
        "expired": (401, {"error": "invalid_token", "message": "The access token expired."}, True),
    }


# ---- X


def test_x_windows_are_per_person_and_endpoint(open_world):
    """75 in a quarter of an hour from the first call on; only x-rate-limit-reset tells how long."""
    world, token = opened(open_world, "x")
    other = world.connect("p00002")["access_token"]
    world.clock.jump(LATER_NS)
    headers = {
        "x-rate-limit-limit": "75",
        "x-rate-limit-remaining": "74",
        "x-rate-limit-reset": str(START_S + 991),
    }
    assert told(world.call(token, "/users/me")) == headers
    assert many(world, token, "/users/me", 73) == {200: 73}
    assert told(world.call(token, "/users/me")) == {**headers, "x-rate-limit-remaining": "0"}
    refused = world.call(token, "/users/me")
    assert refused.status_code == 429
    assert refused.json() == {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}
    assert told(refused) == {**headers, "x-rate-limit-remaining": "0"}
    assert world.call(token, "/tweets/search/recent").headers["x-rate-limit-limit"] == "300"
    assert world.call(other, "/users/me").headers["x-rate-limit-remaining"] == "74"
    world.clock.jump(15 * MINUTE_NS - 1)
    assert world.call(token, "/users/me").status_code == 429
    world.clock.jump(1)
    assert told(world.call(token, "/users/me")) == {**headers, "x-rate-limit-reset": str(START_S + 1891)}


def test_x_likes_have_a_day_that_no_header_tells_of(open_world):
    """Fifty in a quarter of an hour, a thousand in 24 hours from the first."""
    world, token = opened(open_world, "x")
    for _ in range(8):
        assert many(world, token, "/users/1/likes", 50, "POST", body=b"{}") == {200: 50}
        world.clock.jump(15 * MINUTE_NS)
    token = world.connect()["access_token"]
    for _ in range(7):
        assert many(world, token, "/users/1/likes", 50, "POST", body=b"{}") == {200: 50}
        world.clock.jump(15 * MINUTE_NS)
    token = world.connect()["access_token"]
    for _ in range(5):
        assert many(world, token, "/users/1/likes", 50, "POST", body=b"{}") == {200: 50}
        world.clock.jump(15 * MINUTE_NS)
    refused = world.call(token, "/users/1/likes", "POST", json={})
    assert refused.status_code == 429
    assert told(refused)["x-rate-limit-remaining"] == "50"
    assert "retry-after" not in refused.headers
    world.clock.jump(DAY_NS - 20 * 15 * MINUTE_NS - 1)
    token = world.connect()["access_token"]
    assert many(world, token, "/users/1/likes", 1, "POST", body=b"{}") == {429: 1}
    world.clock.jump(1)
    assert many(world, token, "/users/1/likes", 1, "POST", body=b"{}") == {200: 1}


def test_x_credits_run_out(open_world):
    """Two hundred pages of a hundred posts are all there is; nothing brings credits back."""
    world, token = opened(open_world, "x")
    assert many(world, token, "/tweets/search/recent?max_results=100", 200) == {200: 200}
    for path in ("/tweets/search/recent", "/users/me"):
        refused = world.call(token, path)
        assert (refused.status_code, "retry-after" in refused.headers) == (429, False)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json() == {
            "title": "UsageCapExceeded",
            "type": "https://api.x.com/2/problems/usage-capped",
            "detail": "Usage cap exceeded",
            "status": 429,
        }
    assert world.call(token, "/users/1/likes", "POST", json={}).status_code == 200  # costs none
    world.clock.jump(400 * DAY_NS)
    token = world.connect()["access_token"]
    assert world.call(token, "/users/me").status_code == 429


def test_x_month_ends_with_the_calendar(open_world):
    """Post reads are counted until the first of February, UTC."""
    world, token = opened(open_world, "x", "limits.post_reads_month.limit=10")
    assert many(world, token, "/tweets/search/recent", 2) == {200: 1, 429: 1}
    world.clock.jump(27 * DAY_NS - 1)
    token = world.connect()["access_token"]
    assert world.call(token, "/tweets/search/recent").json()["title"] == "UsageCapExceeded"
    world.clock.jump(1)
    assert world.call(token, "/tweets/search/recent").status_code == 200


def test_x_dead_tokens(open_world):
    """One problem for all, after two hours too."""
    body = {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"}
    assert dead(open_world, "x", "/users/me") == dict.fromkeys(
        ("none", "unknown", "revoked", "expired"), (401, body, True)
    )


# ---- Xero

ORGANISATION = "22222222-0000-4000-8000-000000000001"


def window_end_ns(world: Any, name: str, key: str) -> int:
    """When the window that is now ends, by the key's own offset."""
    (limit,) = [limit for limit in world.provider.limits if limit.name == name]
    now_ns = world.clock.now_ns()
    return now_ns + limit.period_ns - (now_ns - key_offset_ns(limit, key)) % limit.period_ns


def test_xero_limits_are_per_organisation_by_header(open_world):
    """Who names none, or another's, is turned away; 60 a minute of each, from an instant of its own."""
    world, token = opened(open_world, "xero")
    path, mine = "/api.xro/2.0/Organisation", {"Xero-Tenant-Id": ORGANISATION}
    assert world.call(token, path).status_code == 403
    theirs = {"Xero-Tenant-Id": ORGANISATION[:-1] + "2"}
    assert world.call(token, path, headers=theirs).status_code == 403
    assert world.call(token, "/connections").json()[0]["tenantId"] == ORGANISATION
    headers = {"x-minlimit-remaining": "59", "x-daylimit-remaining": "4999"}
    answer = world.call(token, path, headers=mine)
    assert told(answer) == {**headers, "x-appminlimit-remaining": "9997"}
    other = world.connect("p00002")["access_token"]
    assert told(world.call(other, path, headers=theirs)) == {**headers, "x-appminlimit-remaining": "9996"}
    assert many(world, token, path, 60, headers=(("xero-tenant-id", ORGANISATION),)) == {200: 59, 429: 1}
    end_ns = window_end_ns(world, "minute", f"app-1|{ORGANISATION}")
    refused = world.call(token, path, headers=mine)
    assert (refused.status_code, refused.content) == (429, b"")
    wait_s = -(-(end_ns - world.clock.now_ns()) // SECOND_NS)
    assert told(refused) == {
        "x-minlimit-remaining": "0",
        "x-daylimit-remaining": "4940",
        "x-appminlimit-remaining": "9937",
        "x-rate-limit-problem": "minute",
        "retry-after": str(wait_s),
    }
    world.clock.jump(end_ns - world.clock.now_ns() - 1)
    assert world.call(token, path, headers=mine).status_code == 429
    world.clock.jump(1)
    assert world.call(token, path, headers=mine).headers["x-minlimit-remaining"] == "59"


def test_xero_problem_header_names_the_limit(open_world):
    """Five at once, the day, the app's minute; only the day, as the minute, sends Retry-After."""
    path, mine = "/api.xro/2.0/Organisation", {"Xero-Tenant-Id": ORGANISATION}
    world, token = opened(open_world, "xero", "latency.work=2s", "latency.work_sigma=0.0")
    with at_once(world):
        assert many(world, token, path, 5, headers=(("xero-tenant-id", ORGANISATION),)) == {200: 5}
        refused = world.call(token, path, headers=mine)
    assert (refused.status_code, refused.headers["x-rate-limit-problem"]) == (429, "concurrent")
    assert "retry-after" not in refused.headers
    world, token = opened(open_world, "xero", "limits.day.limit=7")
    assert many(world, token, path, 8, headers=(("xero-tenant-id", ORGANISATION),)) == {200: 7, 429: 1}
    end_ns = window_end_ns(world, "day", f"app-1|{ORGANISATION}")
    refused = world.call(token, path, headers=mine)
    assert (refused.status_code, refused.headers["x-rate-limit-problem"]) == (429, "day")
    assert refused.headers["retry-after"] == str(-(-(end_ns - world.clock.now_ns()) // SECOND_NS))
    world, token = opened(open_world, "xero", "limits.app_minute.limit=9")
    assert many(world, token, path, 10, headers=(("xero-tenant-id", ORGANISATION),)) == {200: 9, 429: 1}
    refused = world.call(token, path, headers=mine)
    assert (refused.status_code, refused.headers["x-rate-limit-problem"]) == (429, "appminute")
    assert "retry-after" not in refused.headers


def test_xero_starter_has_five_connections_and_a_thousand_calls_a_day(open_world):
    """The sixth person is sent back."""
    world, token = opened(open_world, "xero/starter")
    for person in ("p00002", "p00003", "p00004", "p00005"):
        assert "code" in world.authorize(person)
    assert world.authorize("p00006")["error"] == "access_denied"
    day_ends_ns = window_end_ns(world, "day", f"app-1|{ORGANISATION}")
    assert day_ends_ns - world.clock.now_ns() > 20 * MINUTE_NS
    path, mine = "/api.xro/2.0/Organisation", (("xero-tenant-id", ORGANISATION),)
    assert many(world, token, path, 1000, headers=mine, every_ns=SECOND_NS) == {200: 1000}
    refused = world.call(token, path, headers=dict(mine))
    assert (refused.status_code, refused.headers["x-daylimit-remaining"]) == (429, "0")
    assert refused.headers["x-rate-limit-problem"] == "day"


def test_xero_dead_tokens(open_world):
    """Unauthorized; a token that has ended, after half an hour, says so."""
    details = dict.fromkeys(("none", "unknown", "revoked"), "AuthenticationUnsuccessful")
    details["expired"] = "TokenExpired: token expired"
    found = {
        name: (status, without(body, "Instance"), challenge)
        for name, (status, body, challenge) in dead(open_world, "xero", "/connections").items()
    }
    assert found == {
        name: (401, {"Title": "Unauthorized", "Status": 401, "Detail": detail}, True)
        for name, detail in details.items()
    }
