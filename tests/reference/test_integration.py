"""The reference integration against the sandbox: tokens, refusals, deadlines, by hand-moved time."""

from __future__ import annotations

import httpx
import pytest

from quotalab.browser import Browser
from quotalab.reference import ConsentRefused, Declined, NotConnected, Patience, ProviderError

S = 1_000_000_000
FOREVER = Patience(2**62)


def statuses(world) -> list[tuple[str, int]]:
    """(kind, status) of every call of the app, in order."""
    calls = world.tables().calls
    rows = calls.select(["kind", "status", "actor"]).to_pylist()
    return [(row["kind"], row["status"]) for row in rows if row["actor"] == "app"]


def test_a_person_connects_and_their_events_are_read(world) -> None:
    """Sign-in, consent, redirect with state, code for tokens, and a call with the token."""
    w = world()
    assert not w.app.is_connected("p00001")
    w.connect()
    assert w.app.is_connected("p00001")
    fetched = w.app.event("p00001", "7", FOREVER)
    assert (fetched.data["id"], fetched.stale) == ("7", False)
    assert statuses(w) == [("token", 200), ("api", 200)]


def test_export_follows_every_page(world) -> None:
    """120 events in pages of 50 are three calls."""
    w = world()
    w.connect()
    assert len(w.app.export("p00001", Patience(2**62, interactive=False)).data) == 120
    assert statuses(w) == [("token", 200), *[("api", 200)] * 3]


def test_what_was_added_is_read_back(world) -> None:
    """Lists grow by POST."""
    w = world()
    w.connect()
    added = w.app.add("p00001", "Review", FOREVER).data
    assert added["id"] == "121"
    assert w.app.event("p00001", "121", FOREVER).data["title"] == "Review"


def test_a_token_is_refreshed_before_it_expires(world) -> None:
    """Five minutes before its hour is over a token is replaced, and not one nanosecond earlier."""
    w = world()
    w.connect()
    w.clock.jump(55 * 60 * S - 1)
    w.app.event("p00001", "1", FOREVER)
    w.clock.jump(1)
    w.app.event("p00001", "1", FOREVER)
    assert statuses(w) == [("token", 200), ("api", 200), ("token", 200), ("api", 200)]


def test_a_401_is_answered_by_one_refresh_and_one_more_try(world) -> None:
    """A policy that refreshes at the last moment meets the expiry, and mends it once."""
    w = world("naive", refresh_before="0s")
    w.connect()
    w.app._authorizer._store._held["p00001"] = replace_expiry(w, 2**62)
    w.clock.jump(3600 * S)
    w.app.event("p00001", "1", FOREVER)
    assert statuses(w) == [("token", 200), ("api", 401), ("token", 200), ("api", 200)]


def test_the_token_that_was_refused_is_renewed_though_it_came_while_the_budget_was_waited_for(world) -> None:
    """Renewed at once, by the token that was sent, and not an hour later with the refused one still in hand."""
    fault = {"kind": "spurious_401", "from": "30m"}
    w = world("polite", provider={"faults": [fault]}, budget={"calls": 1, "period": "1h", "margin": 0.0})
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    w.clock.jump(50 * 60 * S)
    with pytest.raises(ProviderError):
        w.app.event("p00001", "2", FOREVER)
    calls = [
        (call["kind"], call["status"], (call["at"].value - 1_767_571_200 * S) // (60 * S))
        for call in w.tables().calls.to_pandas().to_dict("records")
        if call["kind"] in ("api", "token")
    ]
    assert calls == [
        ("token", 200, 0),
        ("api", 200, 0),
        ("token", 200, 60),
        ("api", 401, 60),
        ("token", 200, 60),
        ("token", 200, 120),
        ("api", 401, 120),
    ]


def replace_expiry(w, expires_ns: int):
    """The person's tokens, as an app with a wrong idea of their lifetime would hold them."""
    from dataclasses import replace

    return replace(w.app._authorizer._store.get("p00001"), expires_ns=expires_ns)


def test_after_invalid_grant_the_provider_is_not_asked_again(world) -> None:
    """A dead refresh token means connecting again; the app forgets it and says so."""
    w = world()
    w.connect()
    w.clock.jump(31 * 86400 * S)
    for _ in range(3):
        with pytest.raises(NotConnected):
            w.app.event("p00001", "1", FOREVER)
    assert statuses(w) == [("token", 200), ("token", 400)]


def test_a_refusal_is_waited_out_as_promised_and_told_to_the_whole_app(world) -> None:
    """Retry-After is kept to the second, and another person's call waits as well."""
    w = world("polite", "limits.hourly.limit=1", retry={"jitter": "none", "base": "0s"})
    w.connect("p00001")
    w.connect("p00002")
    w.app.event("p00001", "1", FOREVER)
    w.clock.jump(10 * S)
    w.app.event("p00001", "1", FOREVER)
    assert w.now_s() == 3600.0
    w.app.event("p00002", "1", FOREVER)
    assert w.now_s() == 7200.0
    assert statuses(w).count(("api", 429)) == 2


def test_whoever_gives_up_still_tells_the_app_what_was_promised(world) -> None:
    """One attempt only: the person gets an error, and the next person's call waits all the same."""
    w = world("polite", "limits.hourly.limit=1", retry={"attempts": 1})
    w.connect("p00001")
    w.connect("p00002")
    w.app.event("p00001", "1", FOREVER)
    with pytest.raises(ProviderError, match="429"):
        w.app.event("p00001", "2", FOREVER)
    assert w.now_s() == 0.0
    w.app.event("p00002", "1", FOREVER)
    assert w.now_s() == 3600.0
    assert statuses(w).count(("api", 429)) == 1


def test_a_wait_beyond_the_deadline_fails_at_once(world) -> None:
    """The deadline is the person's, not the provider's."""
    w = world("obedient", "limits.hourly.limit=1")
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    with pytest.raises(ProviderError, match="deadline is too near"):
        w.app.add("p00001", "x", Patience(w.clock.now_ns() + 30 * S))
    assert w.now_s() == 0.0


def test_the_naive_policy_asks_five_times_at_once(world) -> None:
    """Retry-After is ignored, so one operation is five refused calls."""
    w = world("naive", "limits.hourly.limit=1")
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    with pytest.raises(ProviderError, match="429"):
        w.app.event("p00001", "2", FOREVER)
    assert statuses(w)[2:] == [("api", 429)] * 5
    assert w.clock.now_ns() % S == 0


def test_a_spent_budget_serves_what_the_app_had_and_declines_what_it_had_not(world) -> None:
    """Stale beats nothing; a write has nothing to fall back on."""
    w = world("polite", budget={"calls": 1, "margin": 0.0})
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    soon = Patience(w.clock.now_ns() + 30 * S)
    assert w.app.event("p00001", "1", soon).stale
    with pytest.raises(Declined):
        w.app.event("p00001", "2", soon)
    with pytest.raises(Declined):
        w.app.add("p00001", "x", soon)
    assert w.now_s() == 0.0


def test_stale_first_does_not_wait_when_it_has_something(world) -> None:
    """The policy's order decides: with stale first nobody waits for fresh data."""
    w = world("polite", budget={"calls": 1, "margin": 0.0, "when_spent": ["stale", "wait"]})
    w.connect()
    w.app.event("p00001", "1", FOREVER)
    assert w.app.event("p00001", "1", FOREVER).stale
    assert w.now_s() == 0.0


def answering(w, *answers: httpx.Response) -> list[float]:
    """Let the API give these answers in turn; the returned list fills with when it was asked, in seconds."""
    asked, left, original = [], list(answers), w.app._client.request

    def request(method, address, **kwargs):
        if address.endswith("/oauth/token"):
            return original(method, address, **kwargs)
        asked.append(w.now_s())
        return left.pop(0)

    w.app._client.request = request
    return asked


@pytest.mark.parametrize(
    ("first", "at"),
    [
        (httpx.Response(503), None),
        (httpx.Response(503, headers={"Retry-After": "2"}), None),
        (httpx.Response(429, headers={"Retry-After": "2"}), 2.0),
        (httpx.Response(429), 1.0),
    ],
)
def test_a_failed_write_is_not_repeated_but_a_refused_one_is(world, first, at) -> None:
    """After a failure nobody knows whether the work was done (RFC 9110, 9.2.2); a refusal did none."""
    w = world("polite", retry={"jitter": "none", "base": "1s"})
    w.connect()
    asked = answering(w, first, httpx.Response(201, json={"id": "1"}))
    if at is None:
        with pytest.raises(ProviderError, match="503"):
            w.app.add("p00001", "x", FOREVER)
        assert asked == [0.0]
    else:
        w.app.add("p00001", "x", FOREVER)
        assert asked == [0.0, at]


def test_a_failed_read_is_repeated_with_growing_waits(world) -> None:
    """After 1 and 2 seconds; Retry-After goes before the backoff, and what tells of limits does not."""
    waits = ["x-reset: seconds", "Retry-After: seconds"]
    w = world("polite", retry={"jitter": "none", "base": "1s"}, provider={"reference": {"waits": waits}})
    w.connect()
    limits_only = httpx.Response(502, headers={"x-reset": "1800"})
    told = httpx.Response(503, headers={"Retry-After": "30", "x-reset": "1800"})
    asked = answering(w, httpx.Response(500), limits_only, told, httpx.Response(503))
    with pytest.raises(ProviderError, match="503"):
        w.app.event("p00001", "1", FOREVER)
    assert asked == [0.0, 1.0, 3.0, 33.0]


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b"[" * 200_000),
        httpx.Response(200, json={"events": {"1": 2}}),
        httpx.Response(302, headers={"Location": "https://elsewhere.test/"}, json={"events": [1]}),
    ],
)
def test_what_is_no_list_of_events_is_an_error_and_no_data(world, broken) -> None:
    """Whatever came, the app raises its own error and keeps what it had."""
    w = world()
    w.connect()
    had = w.app.week("p00001", FOREVER).data
    answering(w, *[broken] * 8)
    with pytest.raises(ProviderError):
        w.app.export("p00001", FOREVER)
    fetched = w.app.week("p00001", FOREVER)
    assert (fetched.data, fetched.stale) == (had, True)


def test_a_callback_with_a_state_of_nobody_is_refused(world) -> None:
    """A forged callback redeems nothing (RFC 6749, 10.12)."""
    w = world()
    with pytest.raises(ConsentRefused, match="answers no request"):
        w.app.connected("https://app.test/oauth/callback?code=stolen&state=guessed")
    assert statuses(w) == []


def test_a_person_who_says_no_is_not_connected(world) -> None:
    """access_denied comes back by redirect, with the state (RFC 6749, 4.1.2.1)."""
    w = world()
    browser = Browser(w.transport, "p00001", w.sandbox.password_of("p00001"))
    callback = browser.visit(w.app.connect("p00001"), "https://app.test/oauth/callback", {"decision": "deny"})
    with pytest.raises(ConsentRefused, match="access_denied"):
        w.app.connected(callback)
    assert not w.app.is_connected("p00001")


def test_tokens_at_rest_are_encrypted_and_survive_the_process(world) -> None:
    """No token stands in a file; with the key they are read back, with another they are not there."""
    from quotalab.reference.tokens import TokenStore

    w = world()
    w.connect()
    tokens = w.app._authorizer._store.get("p00001")
    (file,) = w.state.iterdir()
    content = file.read_bytes()
    assert tokens.access_token.encode() not in content
    assert tokens.refresh_token.encode() not in content
    assert file.stat().st_mode & 0o077 == 0
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    TokenStore(w.state, key).put("p00001", tokens)
    assert TokenStore(w.state, key).get("p00001") == tokens
    assert TokenStore(w.state, Fernet.generate_key()).get("p00001") is None


def test_secrets_are_not_in_what_objects_say_of_themselves(world) -> None:
    """A traceback or a log line that shows an object shows no secret."""
    w = world()
    w.connect()
    tokens = w.app._authorizer._store.get("p00001")
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)
    assert w.app._authorizer._access.client_secret not in repr(w.app._authorizer._access)


def test_a_second_401_stands_however_fresh_the_token(world) -> None:
    """One renewal is tried; an API that refuses the new token too is not asked for ever."""
    w = world()
    w.connect()
    bearer = httpx.Request("GET", "/", headers={"Authorization": f"Bearer {token_of(w)}"})
    asked = answering(w, httpx.Response(401, request=bearer), httpx.Response(401))
    with pytest.raises(ProviderError, match="401"):
        w.app.event("p00001", "1", FOREVER)
    assert len(asked) == 2
    assert statuses(w) == [("token", 200), ("token", 200)]


def token_of(w) -> str:
    """The access token that the app holds."""
    return w.app._authorizer.token("p00001")


def test_whoever_disconnects_has_their_tokens_revoked_and_deleted(world) -> None:
    """One call to the revocation endpoint, with the refresh token, which takes the access token along."""
    w = world()
    w.connect()
    w.app.disconnect("p00001")
    assert not w.app.is_connected("p00001")
    w.app.disconnect("p00001")  # nothing is left to give back
    assert statuses(w) == [("token", 200), ("revoke", 200)]
    assert w.tables().events.column("what").to_pylist()[-1] == "token-revoked"


def test_where_there_is_no_revocation_endpoint_tokens_are_deleted_all_the_same(world) -> None:
    """Nobody is asked."""
    w = world(provider={"oauth": {"revocation": False}})
    w.connect()
    w.app.disconnect("p00001")
    assert not w.app.is_connected("p00001")
    assert statuses(w) == [("token", 200)]


def test_a_callback_that_names_no_issuer_is_refused_where_every_one_does(world) -> None:
    """RFC 9207, 2.4; where the provider is not known to name itself, such a callback is as good as before."""
    from urllib.parse import urlsplit, urlunsplit

    def without_issuer(w) -> str:
        browser = Browser(w.transport, "p00001", w.sandbox.password_of("p00001"))
        parts = urlsplit(browser.visit(w.app.connect("p00001"), "https://app.test/oauth/callback"))
        kept = [pair for pair in parts.query.split("&") if not pair.startswith("iss=")]
        return urlunsplit(parts._replace(query="&".join(kept)))

    w = world()
    callback = without_issuer(w)
    with pytest.raises(ConsentRefused, match="does not say who it comes from"):
        w.app.connected(callback)
    assert not w.app.is_connected("p00001")
    from dataclasses import replace

    w.app._authorizer._access = replace(w.app._authorizer._access, names_issuer=False)
    w.app.connected(without_issuer(w))
    assert w.app.is_connected("p00001")


AT_RENEWAL = {"calls": ["token"], "from": "54m", "until": "56m"}


@pytest.mark.parametrize(
    ("fault", "renewals", "waited_s"),
    [
        # At 55 min: after 1, 2 and 4 s; the fourth attempt is the last.
        ({"kind": "error", "until": "55m 6s"}, [503, 503, 503, 200], 7),
        ({"kind": "error", "until": "55m 6s", "retry_after": "10s"}, [503, 200], 10),
        ({"kind": "drop", "until": "55m 1s"}, [0, 200], 1),
        ({"kind": "truncate", "until": "55m 1s"}, [200, 200], 1),
        ({"kind": "not_json", "until": "55m 1s"}, [200, 200], 1),
    ],
    ids=["error", "retry-after", "drop", "truncate", "not-json"],
)
def test_a_renewal_that_fails_is_asked_for_again(world, fault, renewals, waited_s) -> None:
    """By the policy, within the deadline; the person gets their event and is asked nothing."""
    planted = {"faults": [{**AT_RENEWAL, **fault}]}
    w = world(
        "polite", "oauth.refresh_rotation=none", provider=planted, retry={"jitter": "none", "base": "1s"}
    )
    w.connect()
    w.clock.jump(55 * 60 * S)
    before_s = w.now_s()
    assert w.app.event("p00001", "1", FOREVER).data["id"] == "1"
    assert w.now_s() - before_s == waited_s
    assert statuses(w) == [("token", 200), *[("token", status) for status in renewals], ("api", 200)]


def test_a_renewal_is_given_up_at_the_deadline_and_tried_again_with_the_next_operation(world) -> None:
    """The grant is kept meanwhile: an outage is no reason to send the person away."""
    w = world(provider={"faults": [{"kind": "error", **AT_RENEWAL}]}, retry={"jitter": "none", "base": "1s"})
    w.connect()
    w.clock.jump(55 * 60 * S)
    with pytest.raises(ProviderError, match="503"):
        w.app.event("p00001", "1", Patience(w.clock.now_ns() + 3 * S))
    assert w.app.is_connected("p00001")
    w.clock.jump(60 * S)
    assert w.app.event("p00001", "1", FOREVER).data["id"] == "1"


def test_a_lost_answer_of_a_single_use_refresh_token_ends_the_grant_and_no_more(world) -> None:
    """Rotated away, and its successor never heard of: invalid_grant, and the person is to connect again."""
    drop = {"kind": "drop", "when": "after", **AT_RENEWAL, "until": "55m 1s"}
    w = world("polite", "oauth.refresh_rotation=single_use", provider={"faults": [drop]})
    w.connect()
    w.clock.jump(55 * 60 * S)
    with pytest.raises(NotConnected):
        w.app.event("p00001", "1", FOREVER)
    assert not w.app.is_connected("p00001")
    w.connect()
    assert w.app.event("p00001", "1", FOREVER).data["id"] == "1"


def test_a_client_that_is_refused_does_not_ask_again(world) -> None:
    """invalid_client is nobody's bad day: one attempt, and the error is told."""
    from dataclasses import replace

    w = world()
    w.connect()
    w.clock.jump(55 * 60 * S)
    w.app._authorizer._access = replace(w.app._authorizer._access, client_secret="wrong")
    w.app._authorizer._basic = "Basic YXBwLTE6d3Jvbmc="
    with pytest.raises(ProviderError, match="401 invalid_client"):
        w.app.event("p00001", "1", FOREVER)
    assert statuses(w) == [("token", 200), ("token", 401)]
