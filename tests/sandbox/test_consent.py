"""What people see and decide: unticking, warnings, the test phase and its end, withdrawal, forged forms."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
SCOPE = "events.read events.write"
UNTICK = "oauth.untick=true"
APPROVAL = [{"after": "6h", "why": "the review", "approve": True}]


def page_of(world, person="p00001", **changed):
    """The consent page that a person sees."""
    return world.http.get(f"/oauth/authorize?{world.query(**changed)}", headers=world.signed_in(person))


def csrf_of(page) -> str:
    """A form's hidden field."""
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)[1]


def decide(world, *pairs, person="p00001", headers=None, **changed):
    """Post the consent form with these fields; what the app is sent."""
    headers = headers or world.signed_in(person)
    address = f"/oauth/authorize?{world.query(**changed)}"
    csrf = csrf_of(world.http.get(address, headers=headers))
    answer = world.http.post(address, data=_form([("csrf", csrf), *pairs]), headers=headers)
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def _form(pairs):
    form = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def events(world):
    """What, who and details of the events."""
    return [(row["what"], row["who"], json.loads(row["details"])) for row in world.rows("events")]


# ---- single scopes


def test_single_scopes_can_be_unticked_where_the_provider_has_it(open_world, face):
    """RFC 6749, 3.3 and 5.1: the token has what is left, and the answer says so."""
    world = open_world(UNTICK, face=face)
    page = page_of(world)
    assert (
        re.findall(r'<input type="checkbox" name="scope" value="([^"]+)" checked>', page.text)
        == SCOPE.split()
    )
    back = decide(world, ("decision", "allow"), ("scope", "events.read"))
    tokens = world.redeem(back["code"]).json()
    assert tokens["scope"] == "events.read"
    assert world.call(tokens["access_token"]).status_code == 200
    assert world.call(tokens["access_token"], method="POST", json={}).status_code == 403
    more = world.refresh(tokens["refresh_token"], scope=SCOPE)
    assert more.json()["error"] == "invalid_scope"
    assert events(world)[0] == ("consent-given", "p00001", {"client": "app-1", "scopes": "events.read"})


def test_a_form_cannot_tick_what_was_not_asked_for(open_world):
    """A scope that the app did not ask for is not granted, whatever the form says."""
    world = open_world(UNTICK)
    ticked = [("scope", scope) for scope in ("events.read", "events.write", "calendar.admin", "x")]
    back = decide(world, ("decision", "allow"), *ticked, scope="events.read")
    assert world.redeem(back["code"]).json()["scope"] == "events.read"


def test_who_unticks_everything_has_refused(open_world):
    """Nothing is left to allow."""
    world = open_world(UNTICK)
    assert decide(world, ("decision", "allow"))["error"] == "access_denied"
    assert events(world) == [("consent-denied", "p00001", {"client": "app-1"})]


def test_where_the_provider_does_not_have_it_there_is_nothing_to_untick(world):
    """All or nothing: the form's scopes are not read."""
    assert "checkbox" not in page_of(world).text
    back = decide(world, ("decision", "allow"), ("scope", "events.read"))
    assert world.redeem(back["code"]).json()["scope"] == SCOPE


def test_with_commas_the_redirect_says_what_was_left(open_world):
    """Strava's way: scopes are parted by commas, and the redirect names those that were allowed."""
    world = open_world(UNTICK, 'oauth.scope_delimiter=","')
    back = decide(world, ("decision", "allow"), ("scope", "events.write"), scope="events.read,events.write")
    assert back["scope"] == "events.write"


# ---- the test phase


def test_an_app_that_was_not_reviewed_is_warned_of(open_world):
    """`unverified` and `restricted_scopes` show on the page, and hold up nobody."""
    world = open_world("test_phase.unverified=true", 'test_phase.restricted_scopes=["events.write"]')
    text = page_of(world).text
    assert "This app has not been reviewed." in text
    assert 'Add and change events on your calendar<span class="mark">restricted</span></li>' in text
    assert "See the events on your calendar</li>" in text
    assert world.connect()["scope"] == SCOPE
    plain = open_world("test_phase.unverified=false")
    assert "reviewed" not in page_of(plain).text
    assert "restricted" not in page_of(plain).text


def test_only_listed_people_may_connect(open_world, face):
    """`listed_people`: the first so many; others sign in and are sent back with access_denied, by no form."""
    world = open_world("test_phase.listed_people=2", face=face)
    for person in ("p00001", "p00002"):
        assert "code" in world.authorize(person)
    refused = {
        "error": "access_denied",
        "error_description": "Before review only listed test users may connect this app.",
        "state": world.state,
        "iss": "https://provider.test",
    }
    assert world.authorize("p00003") == refused
    posted = world.http.post(
        f"/oauth/authorize?{world.query()}", data={"decision": "allow"}, headers=world.signed_in("p00003")
    )
    assert dict(parse_qsl(urlsplit(posted.headers["location"]).query)) == refused
    assert events(world)[-1] == ("connection-refused", "p00003", {"why": "no listed test user"})


def test_refresh_tokens_die_sooner_in_the_test_phase(open_world):
    """`refresh_token_lifetime`, to the nanosecond; a longer one than the usual changes nothing."""
    for settings, lifetime_ns in (
        (("test_phase.refresh_token_lifetime=7d",), 7 * 24 * HOUR_NS),
        (("test_phase.refresh_token_lifetime=90d",), 30 * 24 * HOUR_NS),
    ):
        for late, status in ((-1, 200), (0, 400)):
            world = open_world(*settings)
            token = world.connect()["refresh_token"]
            world.clock.jump(lifetime_ns + late)
            assert world.refresh(token).status_code == status


def test_approval_ends_the_test_phase_at_its_very_instant(open_world, face):
    """Scopes, people, warnings and lifetimes: all until the instant, none from it on; one event at it."""
    world = open_world(
        "test_phase.listed_people=1",
        "test_phase.unverified=true",
        "test_phase.refresh_token_lifetime=2h",
        "oauth.code_lifetime=1h",
        'test_phase.restricted_scopes=["events.write"]',
        face=face,
        timetable=APPROVAL,
    )
    admin = {"scope": "events.read calendar.admin"}
    short = world.connect()["refresh_token"]
    world.clock.jump(6 * HOUR_NS - 1)
    assert world.authorize_error(**admin) == "invalid_scope"
    assert world.authorize("p00002")["error"] == "access_denied"
    assert "has not been reviewed" in page_of(world).text
    assert world.refresh(short).status_code == 400  # two hours
    before = world.connect()["refresh_token"]
    world.clock.jump(1)
    assert "has not been reviewed" not in page_of(world).text
    assert "restricted" not in page_of(world).text
    tokens = world.connect("p00002", **admin)
    assert tokens["scope"] == "events.read calendar.admin"
    world.clock.jump(2 * HOUR_NS)
    assert world.refresh(before).status_code == 400  # issued before, with two hours
    assert world.refresh(tokens["refresh_token"]).status_code == 200
    rows = [row for row in world.rows("events") if row["what"] == "approved"]
    assert [(row["at"], json.loads(row["details"])) for row in rows] == [(6 * HOUR_NS, {"why": "the review"})]


def test_an_approval_that_nobody_met_is_written_down_when_the_run_ends(open_world):
    """The event has the instant of the timetable."""
    world = open_world(timetable=APPROVAL)
    world.clock.jump(7 * HOUR_NS)
    world.sandbox.close(world.clock.now_ns())
    assert [(row["what"], row["at"]) for row in world.rows("events")] == [("approved", 6 * HOUR_NS)]


def test_the_approval_may_let_in_more_people(open_world, face):
    """The cap on people is a limit: its number changes with the timetable, and who is in stays in."""
    timetable = [{"after": "6h", "why": "the review", "approve": True, "limits": {"people": 3}}]
    world = open_world("limits.people.limit=2", variant="few-users", face=face, timetable=timetable)
    for person in ("p00001", "p00002"):
        world.connect(person)
    world.clock.jump(6 * HOUR_NS - 1)
    assert world.authorize("p00003")["error"] == "access_denied"
    world.clock.jump(1)
    world.connect("p00003")
    refused = world.authorize("p00004")
    assert refused["error_description"] == "Before review at most 3 people may connect this app."
    world.connect("p00001")
    whats = [(what, details) for what, _, details in events(world) if what in ("approved", "limit-changed")]
    assert sorted(what for what, _ in whats) == ["approved", "limit-changed"]


# ---- withdrawing


def connections(world, person="p00001"):
    """The list of a person's connected apps, and a browser's headers for it."""
    headers = world.signed_in(person)
    return world.http.get("/oauth/connections", headers=headers), headers


def remove(world, page, headers, client="app-1"):
    """Press the button beside an app."""
    form = {"csrf": csrf_of(page), "client": client}
    return world.http.post("/oauth/connections", data=form, headers=headers)


def test_a_person_takes_back_consent(faced):
    """Every token of that person and app dies, nobody else's; the events say who and why."""
    first, second, other = faced.connect(), faced.connect(), faced.connect("p00002")
    unused = faced.authorize()["code"]
    page, headers = connections(faced)
    assert (
        "<li>See the events on your calendar</li><li>Add and change events on your calendar</li>" in page.text
    )
    assert page.text.count("Remove access") == 1
    answer = remove(faced, page, headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/oauth/connections")
    for tokens in (first, second):
        assert faced.call(tokens["access_token"]).status_code == 401
        assert faced.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert faced.redeem(unused).json()["error"] == "invalid_grant"
    assert faced.call(other["access_token"]).status_code == 200
    assert "No app has your consent." in faced.http.get("/oauth/connections", headers=headers).text
    withdrawn = [event for event in events(faced) if event[0] in ("consent-withdrawn", "token-revoked")]
    assert withdrawn == [
        ("consent-withdrawn", "p00001", {"client": "app-1"}),
        *[("token-revoked", "p00001", {"client": "app-1", "why": "consent withdrawn"})] * 3,
    ]


def test_consent_can_be_given_anew(faced):
    """Withdrawal is not for ever."""
    faced.connect()
    page, headers = connections(faced)
    remove(faced, page, headers)
    assert faced.call(faced.connect()["access_token"]).status_code == 200


def test_who_has_not_signed_in_signs_in_first_and_comes_to_the_list(faced):
    """The sign-in leads to the list, and its address comes from nowhere else."""
    faced.connect()
    page = faced.http.get("/oauth/connections")
    assert 'action="/oauth/login?to=connections"' in page.text
    form = {"username": "p00001", "password": faced.sandbox.password_of("p00001")}
    answer = faced.http.post("/oauth/login?to=connections", data=form)
    assert answer.headers["location"] == "/oauth/connections"
    for query in ("to=https://evil.test/", "to=//evil.test", "to=connections&x=1", "next=https://evil.test"):
        answer = faced.http.post(f"/oauth/login?{query}", data=form)
        assert answer.headers["location"].startswith("/oauth/authorize?")


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "another's", "of a consent form"])
def test_a_forged_withdrawal_is_refused(faced, csrf):
    """A form that the person was not shown removes nothing."""
    tokens = faced.connect()
    _, headers = connections(faced)
    if csrf == "another's":
        csrf = csrf_of(connections(faced, "p00002")[0] if faced.connect("p00002") else None)
    elif csrf == "of a consent form":
        csrf = csrf_of(faced.http.get(f"/oauth/authorize?{faced.query()}", headers=headers))
    form = {"client": "app-1"} | ({"csrf": csrf} if csrf is not None else {})
    assert faced.http.post("/oauth/connections", data=form, headers=headers).status_code == 403
    assert faced.call(tokens["access_token"]).status_code == 200


@pytest.mark.parametrize("client", ["app-2", "", "é", "<b>"])
def test_an_app_without_consent_is_left_as_it_is(faced, client):
    """Nothing happens, and nothing is told."""
    tokens = faced.connect()
    page, headers = connections(faced)
    assert remove(faced, page, headers, client).status_code == 303
    assert faced.call(tokens["access_token"]).status_code == 200
    assert "consent-withdrawn" not in [what for what, _, _ in events(faced)]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/oauth/login", "/oauth/authorize", "/oauth/connections"])
def test_a_form_that_another_site_sends_is_refused(faced, site, path):
    """Fetch Metadata: the browser says where a form came from, so nobody is signed in as another unawares."""
    headers = faced.signed_in()
    page = faced.http.get(f"/oauth/authorize?{faced.query()}", headers=headers)
    form = {
        "csrf": csrf_of(page),
        "decision": "allow",
        "username": "p00001",
        "password": faced.sandbox.password_of("p00001"),
    }
    answer = faced.http.post(
        f"{path}?{faced.query()}", data=form, headers={**headers, "Sec-Fetch-Site": site}
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.test", 403), ("http://[", 403), ("", 403), ("https://provider.test", 303), ("null", 303)],
)
def test_so_is_one_of_which_an_older_browser_tells_the_origin(faced, origin, status):
    """Only of another host; `null` is what our own pages send, which have no referrer."""
    form = {"username": "p00001", "password": faced.sandbox.password_of("p00001")}
    answer = faced.http.post(f"/oauth/login?{faced.query()}", data=form, headers={"Origin": origin})
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) is (status == 303)


def test_grants_that_have_ended_are_forgotten(open_world):
    """A person who connects again and again for years leaves no more behind than what lives."""
    world = open_world("limits.hourly.limit=1000000", "oauth.refresh_token_lifetime=1d")
    for _ in range(100):
        world.connect()
        world.clock.jump(24 * HOUR_NS)
    assert len(world.sandbox._store._grants["p00001"]) <= 9
