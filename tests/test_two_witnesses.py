"""Two witnesses: whatever random traffic the sandbox decides, the judges work out the same, for every profile.

Nothing is taken apart here: the real sandbox in memory, with its authorization server, its dialect and its
ledger; then the run folder, read and judged as any other. The profiles are the bundled ones with lower numbers,
so that a short run reaches every limit.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from quotalab.browser import Browser
from quotalab.clock import ManualClock, SeededEntropy
from quotalab.frames import Frames, disagreements, load
from quotalab.ledger import LedgerWriter, RunDescription, RunFolder
from quotalab.profiles.limits import Limit
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.routes import Parameter, Route
from quotalab.sandbox import Sandbox
from quotalab.sandbox.http import Request, Response
from quotalab.sandbox.items import ItemIds
from quotalab.sandbox.transport import MemoryTransport

PROVIDERS = Path(__file__).parents[1] / "profiles" / "providers"
PEOPLE = [f"p{i + 1:05d}" for i in range(8)]
ADDRESSES = ("10.0.0.1", "10.0.0.2")
CALLBACK = "https://app.test/callback"
VERIFIER = "a-verifier-of-43-characters-or-more-Zx9_~.-1"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
START_NS = 1_767_571_200 * SECOND_NS  # Monday 2026-01-05 00:00 UTC
PACES_NS = (0, 0, 10**6, 5 * 10**7, 3 * 10**8, SECOND_NS, 7 * SECOND_NS, 25 * SECOND_NS)
STARTS = {
    "google": 1_772_906_400 * SECOND_NS,  # 2026-03-07 18:00 UTC: a day before Los Angeles' clocks go forward
    "x": 1_769_882_400 * SECOND_NS,  # 2026-01-31 18:00 UTC: a few hours before the month ends
}

LOWER: dict[str, tuple[str, ...]] = {
    "discord": (
        *("global.limit=12", "route.limit=4", "object.limit=3"),
        *("invalid.threshold=16", "invalid.block=7m"),
    ),
    "github": (
        *("core.limit=30", "anonymous.limit=3", "graphql.limit=9", "concurrent.limit=4", "points.limit=18"),
        *("graphql_points.limit=3", "content_minute.limit=2", "content_hour.limit=5"),
    ),
    "google": (
        *("calendar_project.limit=14", "calendar_person.limit=10", "gmail_project.limit=350"),
        *("gmail_person.limit=300", "youtube_units.limit=9", "youtube_searches.limit=6"),
        "refresh_tokens.limit=2",
    ),
    "google/testing": ("test_users.limit=5",),
    "ietf-draft-10": ("burst.limit=10", "daily.limit=60"),
    "jira": (
        *("points.limit=400", "burst_read.capacity=6", "burst_read.rate=6/s", "burst_write.capacity=2"),
        *("burst_write.rate=1/s", "issue_short.limit=2", "issue_long.limit=6"),
    ),
    "jira/tier-2": ("points.limit={base=320,per_person=10}",),
    "meta": ("app_hour.limit.per_person=4",),
    "microsoft-graph": ("global.limit=25", "mailbox.limit=40"),
    "shopify": ("rest.capacity=9", "graphql.capacity=200"),
    "slack": ("tier2.capacity=6", "tier3.capacity=8", "tier4.capacity=7"),
    "spotify": ("half_minute.floor=7", "half_minute.ceiling=9"),
    "spotify/development": ("quota.floor=30", "quota.ceiling=90"),
    "strava": ("read_15min.limit=9", "read_day.limit=40", "overall_15min.limit=14", "overall_day.limit=60"),
    "strava/ten-athletes": ("athletes.limit=6",),
    "temporary-production": ("hourly.limit=20",),
    "temporary-production/few-users": ("people.limit=5",),
    "temporary-production/approval": ("people.limit=5",),
    "x": (
        *("me.limit=7", "lookup.limit=5", "post_read.limit=5", "search.limit=5", "timeline.limit=5"),
        *("post.limit=5", "post_day.limit=20", "like.limit=4", "like_day.limit=7"),
        *("post_reads_month.limit=450", "credits.credits=5500"),
    ),
    "xero": ("minute.limit=9", "day.limit=70", "app_minute.limit=14"),
    "xero/starter": ("connections.limit=6",),
}
"""Settings below ``limits.``; a variant has its profile's, then its own."""
UNREACHED = {
    "google": {"refresh_tokens"},  # what is too much makes room, and is never refused
    "slack/unlisted": {"tier3"},  # one call a minute is let through, of fifty
}

BUNDLED = [
    path.stem if variant is None else f"{path.stem}/{variant}"
    for path in sorted(PROVIDERS.glob("*.toml"))
    for variant in (None, *tomllib.loads(path.read_text(encoding="utf-8")).get("variants", {}))
]


class CrowdClock(ManualClock):
    """Only `jump` moves it: whoever waits does so beside all others, so that calls are under way at once."""

    def sleep_ns(self, duration_ns: int) -> None:
        assert duration_ns >= 0


def bundled(name: str, *more: str, **laid: Any) -> Provider:
    """A bundled profile or variant with the lower numbers, as it is for the people here."""
    base, _, variant = name.partition("/")
    lower = () if "limits" in laid else (*LOWER.get(base, ()), *(LOWER.get(name, ()) if variant else ()))
    settings = ("latency.median=0s", *(f"limits.{text}" for text in lower), *more)
    if "tenants" in (document := tomllib.loads((PROVIDERS / f"{base}.toml").read_text(encoding="utf-8"))):
        settings = (*settings, "tenants.people=3")
    provider = parse_provider({**document, **laid}, base, variant=variant or None, settings=settings)
    return provider.for_people(len(PEOPLE))


class Traffic:
    """People and an app that mean no good, before a sandbox, by one seed."""

    def __init__(self, provider: Provider, folder: Path, seed: int, start_ns: int = START_NS) -> None:
        self.provider = provider
        self.random = random.Random(seed)
        self.clock = CrowdClock(start_ns)
        self._start_ns = start_ns
        self._run = RunFolder.create(folder)
        self._ledger = LedgerWriter(folder, lambda: 0)
        self.sandbox = Sandbox(
            provider,
            clock=self.clock,
            entropy=SeededEntropy(seed),
            ledger=self._ledger,
            people=PEOPLE,
            issuer="https://provider.test",
        )
        self._access = self.sandbox.register(CALLBACK)
        self._transport = MemoryTransport(self.sandbox, self.clock)
        self._tokens: dict[str, tuple[str, str | None, int]] = {}
        """Person -> access token, refresh token, when the first ends."""
        self._ids = {name: ItemIds(kept.id) for name, kept in provider.collections.items()}
        self._tenants = ItemIds(provider.tenants.id)
        delimiter = provider.oauth.scope_delimiter
        self._scope = delimiter.join(
            scope for scope in provider.scopes if scope not in provider.test_phase.forbidden_scopes
        )

    def finish(self) -> Frames:
        """End the run, and read its folder."""
        assert self.sandbox.faults == []
        self.sandbox.close(self.clock.now_ns())
        self._ledger.close()
        document = json.dumps(self.provider.document, default=str)
        self._run.write_description(
            RunDescription(
                scenario="random",
                provider=self.provider.name,
                traffic=None,
                policy=None,
                seed=1,
                clock="virtual",
                transport="memory",
                users=len(PEOPLE),
                start_ns=self._start_ns,
                span_ns=self.clock.now_ns() - self._start_ns,
                settings=(),
                command=("quotalab",),
                inputs={"provider.json": self._run.write_input("provider.json", document)},
                versions={"quotalab": "0"},
                complete=True,
            )
        )
        return load(self._run.path)

    # ---- time

    def pause(self) -> None:
        """Nothing, a moment, a while; often a limit's very period, or to the instant where its windows begin."""
        draw = self.random.random()
        if draw < 0.25:
            return
        if draw < 0.45:
            self.clock.jump(self.random.choice((1, 1000, 10**6, 5 * 10**7, 10**8, 2 * 10**8)))
            return
        if draw < 0.70:
            self.clock.jump(self.random.randrange(90) * SECOND_NS)
            return
        limit = self.random.choice(self.provider.limits)
        length_ns = min(limit.length_ns or MINUTE_NS, 30 * HOUR_NS)
        if self.random.random() < 0.5:
            length_ns -= self.clock.now_ns() % length_ns
        share = self.random.choice((1, 1, 1, 4))
        self.clock.jump(max(0, length_ns // share + self.random.choice((-1, 0, 0, 1))))

    # ---- calls

    def press(self, limit: Limit | None = None) -> None:
        """Call again and again what a limit is for, until it is enough."""
        limit = limit or self.random.choice(self.provider.limits)
        if "authorize" in limit.match.kinds:
            self.connect(self.random.choice(PEOPLE))
            return
        if "token" in limit.match.kinds:
            self.renew(self.random.choice(PEOPLE))
            return
        routes = [
            route
            for route in self.provider.routes
            if not (limit.match.routes or limit.match.tags)
            or route.name in limit.match.routes
            or set(route.tags) & set(limit.match.tags)
        ]
        person, number = self._somebody(), self.random.choice((1, 1, 2, None))
        known = limit.match.callers == "known" or (
            limit.match.callers == "all" and self.random.random() < 0.5
        )
        crowd = self.random.random() < 0.4
        pace_ns = self.random.choice(PACES_NS)
        route = self.random.choice(routes) if self.random.random() < 0.6 else None
        quiet = 0
        for _ in range(self.random.randrange(2, 34)):
            mine = route or self.random.choice(routes)
            who, which = self._somebody() if crowd else person, number or self.random.randrange(1, 4)
            answer = self.call(mine, who, which, known=known)
            quiet += answer.status != mine.status
            if quiet > 4:
                return
            self.clock.jump(pace_ns)

    def _somebody(self) -> str:
        """Mostly who is connected, and some more often than others."""
        people = list(self._tokens) if self._tokens and self.random.random() < 0.9 else PEOPLE
        return self.random.choice(people[: self.random.choice((1, 2, len(people)))])

    def stray(self) -> None:
        """One call of any sort, right or wrong."""
        route = self.random.choice(self.provider.routes)
        draw, person = self.random.random(), self._somebody()
        if draw < 0.06:
            self._exchange("GET", self.provider.api_path + "/no/such/endpoint", person)
        elif draw < 0.14:
            self.call(route, person, 1, known=False)
        elif draw < 0.22:
            self.renew(person)
        elif draw < 0.26:
            self.connect(person)
        else:
            self.call(route, person, self.random.choice((1, 2, 3, 10**6)))

    def call(self, route: Route, person: str, number: int, *, known: bool = True) -> Response:
        """Call a route, for the thing with a number."""
        method = self.random.choice(route.methods)
        places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "form": {}, "json": {}}

        def put(at: Parameter, value: str | int) -> None:
            places[at.place][at.name] = value

        if route.id_at is not None:
            put(route.id_at, self._ids[route.collection].of(number))
        if route.object_at is not None and self.random.random() < 0.95:
            put(route.object_at, f"o{number}")
        if route.page is not None and route.page.size_at is not None and self.random.random() < 0.7:
            put(route.page.size_at, self.random.choice((1, 5, 15, route.page.most)))
        if route.page is not None and self.random.random() < 0.3:
            put(route.page.at, self.random.choice(("1", "2", "3", "x")))
        at = self.provider.tenants.at
        if at is not None:
            other = self.random.random() < 0.04
            put(at, self._tenant(self.random.choice(PEOPLE) if other else person))
        segments = places["path"]
        path = re.sub(r"\{(\w+)\}", lambda match: segments.get(match[1], f"o{number}"), route.path)
        headers = [(name, value) for name, value in places["header"].items()]
        body = b""
        if places["form"]:
            body = urlencode(places["form"]).encode()
            headers.append(("content-type", "application/x-www-form-urlencoded"))
        elif method in ("POST", "PUT", "PATCH"):
            document: dict[str, Any] = {"text": "x"}
            for name, value in places["json"].items():
                *steps, last = name.split(".")
                below = document
                for step in steps:
                    below = below.setdefault(step, {})
                below[last] = value
            body = json.dumps(document).encode()
            headers.append(("content-type", "application/json"))
        return self._exchange(
            method,
            self.provider.api_path + path,
            person,
            known=known,
            query=urlencode(places["query"]),
            headers=headers,
            body=body,
        )

    def _exchange(
        self,
        method: str,
        path: str,
        person: str,
        *,
        known: bool = True,
        query: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        token = self._token(person) if known else self.random.choice((None, "unknown"))
        carried = [("authorization", f"Bearer {token}")] if token is not None else []
        return self.sandbox.exchange(
            Request(
                method,
                path,
                query,
                [*headers, *carried],
                body,
                ip=self.random.choice(ADDRESSES),
                sent_ns=self.clock.now_ns(),
                operation=None,
            )
        )

    def _tenant(self, person: str) -> str:
        return self._tenants.of(self.provider.tenants.of_person(PEOPLE.index(person) + 1))

    # ---- tokens

    def _token(self, person: str) -> str | None:
        """The person's access token; one that has ended is mostly renewed before."""
        if person not in self._tokens:
            self.connect(person)
        elif self._tokens[person][2] <= self.clock.now_ns() and self.random.random() < 0.9:
            self.renew(person)
        return self._tokens[person][0] if person in self._tokens else None

    def connect(self, person: str) -> None:
        """Let the person agree, who may be turned away."""
        query = urlencode({
            "response_type": "code",
            "client_id": self._access.client_id,
            "redirect_uri": CALLBACK,
            "scope": self._scope,
            "state": "a-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        })  # fmt: skip
        browser = Browser(self._transport, person, self.sandbox.password_of(person))
        address = f"{self._access.authorization_endpoint}?{query}"
        answer = dict(parse_qsl(urlsplit(browser.visit(address, CALLBACK, {"decision": "allow"})).query))
        if "code" not in answer:
            self._insist(person, query)
            return
        self._ask_token(
            person, grant_type="authorization_code", code=answer["code"], redirect_uri=CALLBACK,
            code_verifier=VERIFIER,
        )  # fmt: skip

    def _insist(self, person: str, query: str) -> None:
        """Send the form of consent that the person was not shown: only that is counted as a refusal."""
        with httpx.Client(transport=self._transport, base_url=self.sandbox.issuer) as http:
            known = {"username": person, "password": self.sandbox.password_of(person)}
            cookie = http.post(f"/oauth/login?{query}", data=known).headers["set-cookie"].partition(";")[0]
            http.cookies.clear()
            answer = http.post(f"/oauth/authorize?{query}", data={}, headers={"Cookie": cookie})
            assert "error=access_denied" in answer.headers["location"]

    def renew(self, person: str) -> None:
        """A new access token by the refresh token; where that is dead, by asking the person again."""
        _, refresh_token, _ = self._tokens.get(person, (None, None, None))
        if refresh_token is None or not self._ask_token(
            person, grant_type="refresh_token", refresh_token=refresh_token
        ):
            self.connect(person)

    def _ask_token(self, person: str, **form: str) -> bool:
        credentials = f"{self._access.client_id}:{self._access.client_secret}".encode()
        with httpx.Client(transport=self._transport) as http:
            answer = http.post(
                self._access.token_endpoint,
                data=form,
                headers={"Authorization": f"Basic {base64.b64encode(credentials).decode()}"},
            )
        if answer.status_code != 200:
            self._tokens.pop(person, None)
            return False
        issued = answer.json()
        _, kept, _ = self._tokens.get(person, (None, None, None))
        ends_ns = self.clock.now_ns() + self.provider.oauth.access_token_lifetime_ns
        self._tokens[person] = (issued["access_token"], issued.get("refresh_token", kept), ends_ns)
        return True


def run(provider: Provider, folder: Path, seed: int, turns: int, start_ns: int = START_NS) -> Frames:
    """So many bursts and stray calls, with pauses between them."""
    traffic = Traffic(provider, folder, seed, start_ns)
    for person in traffic.random.sample(PEOPLE, len(PEOPLE)):
        traffic.connect(person)
    for _ in range(turns):
        if traffic.random.random() < 0.7:
            traffic.press()
        else:
            for _ in range(traffic.random.randrange(1, 5)):
                traffic.stray()
        traffic.pause()
    return traffic.finish()


def refused_by(frames: Frames) -> dict[str, int]:
    """How many calls each limit refused."""
    return dict(Counter(frames.calls["limit"].dropna()))


def admitted_by(frames: Frames) -> set[str]:
    """Limits that let a call through."""
    free = frames.calls[frames.calls["limit"].isna()]
    return {name for name in frames.limit_names if free[f"key:{name}"].notna().any()}


def reachable(name: str, provider: Provider) -> set[str]:
    """The limits that the traffic here can be refused by."""
    names = {limit.name for limit in provider.limits}
    return names - UNREACHED.get(name.partition("/")[0], set()) - UNREACHED.get(name, set())


def start_of(name: str) -> int:
    """When a profile's run begins."""
    return STARTS.get(name.partition("/")[0], START_NS)


@pytest.mark.parametrize("name", BUNDLED)
def test_sandbox_and_judges_agree_on_random_traffic(name: str, tmp_path: Path) -> None:
    """Every call of every bundled profile; each limit that can be reached lets calls through and refuses some."""
    provider = bundled(name)
    frames = run(provider, tmp_path / "run", 0, 200, start_of(name))
    assert disagreements(frames) == []
    assert refused_by(frames).keys() == reachable(name, provider)
    assert admitted_by(frames) == {limit.name for limit in provider.limits}


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BUNDLED)
def test_sandbox_and_judges_agree_on_more_random_traffic(name: str, seed: int, tmp_path: Path) -> None:
    """As above, three times as long and by other seeds."""
    frames = run(bundled(name), tmp_path / "run", 100 + seed, 600, start_of(name))
    assert disagreements(frames) == []
    assert refused_by(frames)


SOURCE = {"where": "a test", "confidence": "own"}
EVERY_KIND = {
    "roll": {
        "kind": "rolling_window",
        "limit": 9,
        "period": "1m",
        "key": ["person"],
        "refused_calls": "this",
    },
    "berlin": {
        **{"kind": "fixed_window", "limit": 60, "period": "1d", "zone": "Europe/Berlin", "key": ["app"]},
        **{"refused_calls": "longer"},
    },
    "objects": {
        **{"kind": "fixed_window", "limit": 40, "period": "10m", "align": "first_call", "key": ["person"]},
        **{"cost": {"base": 1, "per_object": 1, "when": "after"}},
    },
    "bucket": {
        **{"kind": "token_bucket", "capacity": 45, "rate": "3/7s", "key": ["app"]},
        **{"cost": {"base": 2, "per_object": 1, "when": "refund"}},
    },
    "units": {
        **{"kind": "rolling_window", "limit": 70, "period": "3m", "refused_calls": "longer"},
        **{"cost": {"base": 3, "per_object": 1, "when": "refund"}, "key": ["person", "route"]},
    },
    "money": {
        **{"kind": "balance", "credits": 150, "period": "1h", "may_go_negative": True, "key": ["app"]},
        **{"cost": {"base": 2, "per_object": 1}},
    },
    "at_once": {"kind": "concurrency", "limit": 3, "min_age": "20ms", "key": ["person"]},
    "people": {"kind": "cardinality", "limit": 6, "of": "person"},
    "tokens": {
        **{"kind": "cardinality", "limit": 2, "of": "token", "on_excess": "evict_oldest"},
        **{"key": ["app", "person"], "match": {"kinds": ["token"]}},
    },
    "asking": {"kind": "rolling_window", "limit": 6, "period": "30s", "match": {"kinds": ["token"]}},
    "strikes": {
        **{"kind": "penalty", "statuses": [401, 404, 429], "threshold": 12, "window": "2m", "block": "1m"},
        **{"action": "extend", "escalation": 2, "longest": "5m", "forgive": "20m", "key": ["ip"]},
    },
    "secret": {"kind": "opaque", "floor": 5, "ceiling": 9, "period": "45s", "key": ["person", "route"]},
    "secret_day": {
        **{"kind": "opaque", "floor": 60, "ceiling": 120, "period": "1d", "counts": "fixed_window"},
        **{"zone": "America/New_York", "key": ["app"]},
    },
}
"""Limits of every kind at once; each call is asked of nearly all of them."""


def mixed(seed: int) -> Provider:
    """The calendar with some limits of every kind, which refuse in every form and change three times."""
    draw = random.Random(seed)
    names = [name for name in EVERY_KIND if draw.random() < 0.4] or ["roll"]
    draw.shuffle(names)
    limits = {name: {**EVERY_KIND[name], "source": SOURCE} for name in names}
    changing = [name for name in names if name in ("roll", "berlin", "objects", "bucket", "units")]
    timetable = [
        {
            **{"after": f"{after}m", "why": "a notice"},
            "limits": {name: draw.choice((4, 8, 30, 90)) for name in changing if draw.random() < 0.7},
        }
        for after in (20, 21, 180)
    ]
    forms = ("seconds", "decimal", "http_date", "iso", "epoch", "none")
    return bundled(
        "temporary-production",
        "latency.work=150ms",
        "latency.work_sigma=1.0",
        limits=limits,
        refusal={"status": draw.choice((403, 429, 503)), "retry_after": draw.choice(forms)},
        refusals=[{"limits": [names[0]], "status": 429, "retry_after": draw.choice(forms)}],
        timetable=timetable if changing else [],
    )


@pytest.mark.parametrize("seed", range(10))
def test_they_agree_on_limits_of_every_kind_that_change(seed: int, tmp_path: Path) -> None:
    """A timetable, undisclosed numbers, costs known only afterwards, refusals that are charged, all at once."""
    frames = run(mixed(seed), tmp_path / "run", seed, 80)
    assert disagreements(frames) == []
    assert refused_by(frames)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 110))
def test_they_agree_on_more_limits_of_every_kind_that_change(seed: int, tmp_path: Path) -> None:
    """As above, a hundred times, and three times as long."""
    frames = run(mixed(seed), tmp_path / "run", seed, 250)
    assert disagreements(frames) == []


def test_every_kind_refuses_somewhere(tmp_path: Path) -> None:
    """What the test before draws from is worth drawing: each of these limits refuses calls in some run."""
    refused: Counter[str] = Counter()
    for seed in range(10):
        refused.update(refused_by(run(mixed(seed), tmp_path / str(seed), seed, 80)))
    assert refused.keys() == EVERY_KIND.keys() - {"tokens"}


def test_they_agree_when_the_timetable_cuts_and_raises_numbers(tmp_path: Path) -> None:
    """A cut below what is used already, a raise, and calls at the very instants; the events tell of each."""
    provider = bundled(
        "temporary-production",
        limits={
            "hourly": {"kind": "rolling_window", "limit": 30, "period": "1h", "source": SOURCE},
            "quarter": {"kind": "fixed_window", "limit": 12, "period": "15m", "key": ["person"], "source": SOURCE},
            "bucket": {"kind": "token_bucket", "capacity": 3, "rate": "10/1m", "source": SOURCE},
        },
        timetable=[
            {"after": "10m", "why": "too many complaints", "limits": {"hourly": 8, "bucket": 2}},
            {"after": "30m", "why": "granted", "limits": {"hourly": 50, "quarter": 3, "bucket": 20}},
        ],
    )  # fmt: skip
    traffic = Traffic(provider, tmp_path / "run", 1)
    for person in PEOPLE:
        traffic.connect(person)
    route = provider.routes[0]
    for minute in range(60):
        for before_ns in (1, 1, 0) if minute % 5 == 4 else (0,):
            for person in PEOPLE[:4]:
                traffic.call(route, person, 1)
            traffic.clock.jump(before_ns)
        traffic.clock.jump(
            START_NS + (minute + 1) * MINUTE_NS - traffic.clock.now_ns() - (minute % 5 == 3) * 2
        )
    frames = traffic.finish()
    assert disagreements(frames) == []
    assert refused_by(frames).keys() == {"hourly", "quarter", "bucket"}
    told = [
        (at - START_NS, json.loads(details)["limit"], json.loads(details)["now"])
        for at, what, details in zip(
            frames.events["at"], frames.events["what"], frames.events["details"], strict=True
        )
        if what == "limit-changed"
    ]
    assert sorted(told) == [
        (10 * MINUTE_NS, "bucket", 2),
        (10 * MINUTE_NS, "hourly", 8),
        (30 * MINUTE_NS, "bucket", 20),
        (30 * MINUTE_NS, "hourly", 50),
        (30 * MINUTE_NS, "quarter", 3),
    ]


def test_they_agree_on_a_number_that_follows_the_people(tmp_path: Path) -> None:
    """Eight people, four calls each: 32 an hour, and the 33rd is refused and charged."""
    provider = bundled("meta")
    traffic = Traffic(provider, tmp_path / "run", 1)
    answers = [traffic.call(provider.routes[0], PEOPLE[i % 8], 1).status for i in range(40)]
    assert answers == [200] * 32 + [400] * 8
    frames = traffic.finish()
    assert frames.provider.limits[0].limit == 32
    assert disagreements(frames) == []
    assert frames.calls["remaining:app_hour"].dropna().to_list() == list(range(31, -9, -1))


def test_they_agree_on_what_an_app_asks_behind_peoples_backs(tmp_path: Path) -> None:
    """Tokens asked for, revoked and introspected under limits of their own, with faults before and after the
    work; whatever a fault answers was asked of no limit, and what one spoils was."""
    faults: list[dict[str, Any]] = [
        {"kind": "error", "share": 0.2, "retry_after": "5s"},
        {"kind": "drop", "share": 0.2, "when": "after"},
        {"kind": "truncate", "share": 0.2},
        {"kind": "retry_after", "share": 0.5, "as": "http_date", "to": "1d"},
    ]
    kinds = ("token", "revoke", "introspect")
    provider = bundled(
        "temporary-production",
        limits={
            "calls": {"kind": "rolling_window", "limit": 90, "period": "1h", "source": SOURCE},
            **{
                kind: {
                    "kind": "rolling_window",
                    "limit": 5,
                    "period": "1m",
                    "key": ["person"],
                    "source": SOURCE,
                }
                | {"match": {"kinds": [kind]}}
                for kind in kinds
            },
            "strikes": {
                "kind": "penalty",
                "statuses": [429, 503],
                "threshold": 14,
                "window": "2m",
                "block": "1m",
            }
            | {"match": {"kinds": [*kinds]}, "key": ["ip"], "source": SOURCE},
        },
        faults=[{**fault, "calls": [*kinds]} for fault in faults],
    )
    traffic = Traffic(provider, tmp_path / "run", 1)
    access = traffic._access
    auth = httpx.BasicAuth(access.client_id, access.client_secret)
    with httpx.Client(transport=traffic._transport, base_url=traffic.sandbox.issuer, auth=auth) as http:
        for _ in range(300):
            with contextlib.suppress(httpx.RemoteProtocolError):
                traffic.renew(traffic.random.choice(PEOPLE))
            held = [secret for kept in traffic._tokens.values() for secret in kept[:2]]
            for path in ("revoke", "introspect"):
                token = traffic.random.choice([*held, "unknown"])
                with contextlib.suppress(httpx.RemoteProtocolError):
                    http.post(f"/oauth/{path}", data={"token": str(token)})
            traffic.clock.jump(traffic.random.randrange(5 * SECOND_NS))
    frames = traffic.finish()
    assert disagreements(frames) == []
    assert refused_by(frames).keys() == {"token", "revoke", "introspect", "strikes"}
    struck = frames.calls[frames.calls["fault"].notna()]
    assert set(struck["kind"]) == set(kinds)
    assert {name for names in struck["fault"] for name in names.split()} == {
        "error-1", "drop-2", "truncate-3", "retry_after-4",
    }  # fmt: skip


def test_a_decision_changed_after_the_fact_is_found(tmp_path: Path) -> None:
    """A single decision that is changed after the fact is found: the agreement is not empty talk."""
    frames = run(bundled("strava"), tmp_path / "run", 3, 60)
    assert disagreements(frames) == []
    calls = frames.calls.copy()
    row = calls.index[calls["limit"].notna()][5]
    calls.loc[row, "limit"] = None
    (first, *_) = disagreements(replace(frames, calls=calls, _known={}))
    assert first.seq == calls["seq"][row]
