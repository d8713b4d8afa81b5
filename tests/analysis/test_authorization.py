"""QL4: how people are asked for consent, and how their answers are taken."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.ledger import OAuthFacts

SECOND = 10**9
SCOPES = {"events.read": "See events", "events.write": "Change events", "admin": "All"}


def document(**more):
    """A provider with three scopes, two of which its routes need, and no PKCE demanded."""
    made = provider_document()
    made["oauth"]["pkce"] = "optional"
    made["oauth"] |= more.pop("oauth", {})
    made["scopes"] = SCOPES
    made["routes"] = [
        {"name": "list_events", "path": "/list_events", "answer": "fixed", "scopes": ["events.read"]},
        {"name": "add_event", "path": "/add_event", "answer": "fixed", "scopes": ["events.write"]},
    ]
    return made | more


def asked(ledger, at_s, number=1, **changed):
    """An authorization request that ends with a code; facts and columns of the call by their names."""
    columns = {
        name: changed.pop(name)
        for name in ("status", "error", "person", "client_id", "method", "path")
        if name in changed
    }
    facts = {
        "response_type": "code",
        "pkce_method": "S256",
        "state": f"state-{number}",
        "state_length": 43,
        "code": f"code-{number}",
        "redirect_uri": "https://app.test/cb",
        "scopes_asked": "events.read",
        "scopes_granted": "events.read",
        "code_challenge": f"challenge-{number}",
        **changed,
    }
    return ledger.call(
        at_s,
        kind="authorize",
        actor="browser",
        route=None,
        token=None,
        oauth=OAuthFacts(**facts),
        **{"status": 303, "method": "POST", "path": "/oauth/authorize", **columns},
    )


def redeemed(ledger, at_s, number=1, **changed):
    """A code that is sent to the token endpoint, and brings a token."""
    columns = {name: changed.pop(name) for name in ("status", "error", "person") if name in changed}
    facts = {
        "grant_type": "authorization_code",
        "code": f"code-{number}",
        "redirect_uri": "https://app.test/cb",
        "issued_token": f"t{number}",
        "client_auth": "basic",
        **changed,
    }
    return ledger.call(
        at_s,
        kind="token",
        method="POST",
        path="/oauth/token",
        route=None,
        token=None,
        oauth=OAuthFacts(**facts),
        **columns,
    )


@pytest.fixture
def good():
    """One person connects as they should."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1)
    redeemed(ledger, 2)
    return ledger


@pytest.mark.parametrize(
    "id", ["QL401", "QL402", "QL403", "QL404", "QL405", "QL408", "QL412", "QL413", "QL414"]
)
def test_a_connection_as_it_should_be_passes(ask, good, id):
    """PKCE with S256, a fresh long state, one redirect URI, a code redeemed once, the secret in the header."""
    judgement = ask(id, good)
    assert (judgement.verdict, judgement.findings) == ("PASS", ())


# ---- PKCE


@pytest.mark.parametrize(
    ("oauth", "verdict"),
    [
        ({"pkce": "optional"}, "WARN"),
        ({"pkce": "required"}, "FAIL"),
        ({"pkce": "optional", "client_authentication": ["none"]}, "FAIL"),
    ],
)
def test_without_pkce(ask, oauth, verdict):
    """FAIL where the provider wants it or the client has no secret, else WARN."""
    ledger = LedgerBuilder(document(oauth=oauth))
    asked(ledger, 1, 1)
    asked(ledger, 2, 2, pkce_method=None, code_challenge=None)
    judgement = ask("QL401", ledger)
    assert (judgement.verdict, judgement.metric, judgement.findings[0].calls) == (verdict, 1.0, (1,))
    assert judgement.findings[0].message == (
        "app sent 1 authorization request without a code_challenge, first at Mon 5 Jan 00:00:02 (call 1)."
    )


def test_the_pages_on_the_way_are_no_requests_of_their_own(ask):
    """A sign-in and a consent page that brought neither code nor error are not counted."""
    ledger = LedgerBuilder(document())
    bare = {"pkce_method": None, "code_challenge": None}
    asked(ledger, 1, code=None, method="GET", status=200, **bare)
    asked(ledger, 2, code=None, path="/oauth/login", **bare)
    assert ask("QL401", ledger).verdict == "NA"
    asked(ledger, 3, **bare)
    assert ask("QL401", ledger).metric == 1.0


@pytest.mark.parametrize("method", ["plain", None])
def test_a_challenge_in_the_clear_fails(ask, method):
    """`plain`, or no method at all, which means the same (RFC 7636, 4.3)."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, pkce_method=method)
    judgement = ask("QL402", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    assert ask("QL401", ledger).verdict == "PASS"


def test_without_pkce_there_is_no_method_to_judge(ask):
    """NA, with the reason."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, pkce_method=None, code_challenge=None)
    for id in ("QL402", "QL403"):
        judgement = ask(id, ledger)
        assert (judgement.verdict, bool(judgement.note)) == ("NA", True)


def test_one_verifier_for_two_requests_fails(ask):
    """Two codes that came of one challenge."""
    ledger = LedgerBuilder(document())
    for number, person in ((1, "ann"), (2, "bob"), (3, "eve")):
        asked(ledger, number, number, person=person, code_challenge="same" if number < 3 else "other")
    judgement = ask("QL403", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 2.0, 1.0)
    assert judgement.findings[0].calls == (0, 1)


# ---- state


def test_no_state_fails(ask):
    """There is nothing by which the callback could be known."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, state=None, state_length=None)
    judgement = ask("QL404", ledger)
    assert (judgement.verdict, judgement.metric, judgement.findings[0].calls) == ("FAIL", 1.0, (0,))


def test_a_state_of_two_requests_fails(ask):
    """A constant, or one that is kept; a request that a person left on the way is none."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, 1, state="constant", code=None, method="GET", status=200)
    asked(ledger, 2, 2, state="constant")
    assert ask("QL404", ledger).verdict == "PASS"
    asked(ledger, 3, 3, state="constant", person="bob", error="access_denied", code=None)
    judgement = ask("QL404", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 2.0)
    assert judgement.findings[0].message == (
        "2 authorization requests of 2 people had the same state, first at Mon 5 Jan 00:00:02 (call 1)."
    )


@pytest.mark.parametrize(("length", "verdict"), [(21, "WARN"), (22, "PASS")])
def test_a_state_must_have_room_for_128_bits(ask, length, verdict):
    """At six bits a character that is 22 characters."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, state_length=length)
    assert ask("QL404", ledger).verdict == verdict


# ---- redirect URIs


@pytest.mark.parametrize("uri", [None, "[not registered]"])
def test_a_redirect_uri_that_is_not_registered_fails(ask, uri):
    """The person sees an error page of the provider's."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, redirect_uri=uri, code=None, status=400, error="invalid_request")
    assert ask("QL405", ledger).verdict == "FAIL"


@pytest.mark.parametrize("uri", [None, "https://app.test/other"])
def test_a_code_is_redeemed_with_the_redirect_uri_it_was_asked_with(ask, uri):
    """Another one, or none, fails."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1)
    redeemed(ledger, 2, redirect_uri=uri, issued_token=None, status=400, error="invalid_grant")
    judgement = ask("QL405", ledger)
    assert (judgement.verdict, judgement.findings[0].calls) == ("FAIL", (1,))


# ---- scopes


def test_scopes_asked_granted_and_used_are_told(ask):
    """A scope that no successful call needed is for a person to look at; those no route needs are not."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, scopes_asked="admin events.read events.write", scopes_granted="events.read events.write")
    ledger.call(2, scopes_needed="events.read")
    ledger.call(3, scopes_needed="events.write", status=500, error="server_error")
    told = "app: asked: admin events.read events.write; granted: events.read events.write; used: events.read"
    judgement = ask("QL406", ledger)
    assert (judgement.verdict, judgement.note) == (
        "NA",
        f"1 successful call, too few to tell what is used; {told}",
    )
    for at in range(4, 103):
        ledger.call(at, scopes_needed="events.read")
    judgement = ask("QL406", ledger)
    assert (judgement.verdict, judgement.metric, judgement.note) == ("REVIEW", 1.0, told)
    assert judgement.findings[0].message == (
        "app asked for events.write, and no call that succeeded had need of it."
    )
    for nth, verdict in enumerate(("NA", "NA", "NA", "REVIEW")):
        ledger.operation(150, name=f"operation-{nth}")
        assert ask("QL406", ledger).verdict == verdict
    ledger.call(200, scopes_needed="events.write")
    assert ask("QL406", ledger).verdict == "PASS"


@pytest.mark.parametrize(("key", "verdict"), [("forbidden_scopes", "FAIL"), ("restricted_scopes", "WARN")])
def test_scopes_that_only_the_test_phase_forbids(ask, key, verdict):
    """Asked for before the approval they count; from the approval on they do not."""
    profile = document(test_phase={key: ["admin"]})
    ledger = LedgerBuilder(profile)
    asked(ledger, 1, scopes_asked="events.read admin", error="invalid_scope", code=None)
    judgement = ask("QL407", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, 1.0)
    ledger = LedgerBuilder(profile)
    asked(ledger, 1)
    ledger.event(2, "approved")
    asked(ledger, 2, 2, scopes_asked="events.read admin")
    assert ask("QL407", ledger).verdict == "PASS"
    assert ask("QL407", LedgerBuilder(document())).verdict == "NA"


def test_a_scope_that_the_provider_does_not_have_fails(ask):
    """The ledger has it as `[other]`."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, scopes_asked="events.read [other]", error="invalid_scope", code=None)
    assert (ask("QL408", ledger).verdict, ask("QL408", LedgerBuilder()).verdict) == ("FAIL", "NA")


def lacking(ledger, at_s, **more):
    """A call that is refused for want of the scope to write."""
    return ledger.call(
        at_s,
        method="POST",
        route="add_event",
        scopes_needed="events.write",
        status=403,
        error="insufficient_scope",
        **more,
    )


def test_a_call_whose_scope_nobody_was_asked_for(ask):
    """The first is a warning; one that is sent after its answer, for whomever, fails; one before it does not."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1)
    lacking(ledger, 10, done_ns=12 * SECOND)
    lacking(ledger, 11, person="bob", token="t9")
    judgement = ask("QL409", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 2.0)
    assert judgement.note == "app: asked: events.read; granted: events.read; used: none"
    lacking(ledger, 12, person="bob", token="t9")
    judgement = ask("QL409", ledger)
    assert (judgement.verdict, judgement.findings[0].message) == (
        "FAIL",
        "app called 'add_event', which needs events.write, and had asked nobody for that: refused at Mon 5 "
        "Jan 00:00:10 (call 1), and called again 1 time after that answer.",
    )
    assert ask("QL410", ledger).verdict == "NA"


def test_a_call_whose_scope_the_person_did_not_grant(ask):
    """Partial consent: one call for each person is a warning, a second for the same one fails."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1, 1, scopes_asked="events.read events.write")
    assert ask("QL410", ledger).verdict == "PASS"
    lacking(ledger, 10)
    lacking(ledger, 11, person="bob", token="t9")
    judgement = ask("QL410", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 2.0)
    lacking(ledger, 12)
    assert ask("QL410", ledger).verdict == "FAIL"
    assert ask("QL409", ledger).verdict == "PASS"


def test_another_403_is_no_matter_of_scopes(ask):
    """A foreign tenant, say."""
    ledger = LedgerBuilder(document())
    asked(ledger, 1)
    ledger.call(2, scopes_needed="events.write", status=403, error="forbidden")
    assert ask("QL409", ledger).verdict == "PASS"


# ---- people who say no


def denied(ledger, at_s, number):
    """A person opens the consent page and refuses."""
    asked(ledger, at_s, number, code=None, method="GET", status=200)
    asked(ledger, at_s + 1, number, code=None, error="access_denied", scopes_granted=None)


@pytest.mark.parametrize(("times", "verdict"), [(1, "PASS"), (2, "WARN"), (3, "WARN"), (4, "FAIL")])
def test_asking_again_whoever_said_no(ask, times, verdict):
    """Once or twice within a minute is a warning, three times fail."""
    ledger = LedgerBuilder(document())
    for number in range(times):
        denied(ledger, 10 * number, number)
    judgement = ask("QL411", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, times - 1)


@pytest.mark.parametrize(("later_s", "verdict"), [(59.999, "WARN"), (60, "PASS")])
def test_a_minute_later_a_person_may_have_changed_their_mind(ask, later_s, verdict):
    """From then on it is a new question."""
    ledger = LedgerBuilder(document())
    denied(ledger, 10, 1)
    asked(ledger, 11 + later_s, 2, code=None, method="GET", status=200)
    assert ask("QL411", ledger).verdict == verdict


def test_where_nobody_says_no_there_is_nothing_to_judge(ask, good):
    """And another person's request is another matter."""
    assert ask("QL411", good).verdict == "NA"
    denied(good, 10, 2)
    asked(good, 12, 3, code=None, method="GET", person="bob")
    assert ask("QL411", good).verdict == "PASS"


# ---- codes, grants, secrets


def test_a_code_is_good_for_one_use(ask, good):
    """The second use fails, and the revocation that follows is named as its consequence."""
    redeemed(good, 5, issued_token=None, status=400, error="invalid_grant")
    good.event(5, "token-revoked", "ann", client="app", why="code used twice")
    judgement = ask("QL412", good)
    assert (judgement.verdict, judgement.metric, judgement.findings[0].calls) == ("FAIL", 1.0, (1, 2))
    assert judgement.findings[0].message == (
        "ann's code was sent at Mon 5 Jan 00:00:02 (call 1) and 1 more time, first 3 s later (call 2). For "
        "this the provider revoked the tokens that the code had brought."
    )


@pytest.mark.parametrize(("status", "error", "verdict"), [(503, "x", "PASS"), (400, "invalid_grant", "FAIL")])
def test_a_code_that_was_not_looked_at_may_be_sent_again(ask, status, error, verdict):
    """After a failure of the provider's; not after invalid_grant, which is final."""
    ledger = LedgerBuilder(document())
    redeemed(ledger, 1, issued_token=None, status=status, error=error)
    redeemed(ledger, 2)
    assert ask("QL412", ledger).verdict == verdict


def test_grants_that_are_no_longer_to_be_used_fail(ask, good):
    """The password grant and the implicit one, answered or not."""
    redeemed(good, 5, 2, grant_type="password", code=None, issued_token=None, status=400)
    asked(good, 6, 3, response_type="token", code=None, error="unsupported_response_type")
    judgement = ask("QL413", good)
    assert (judgement.verdict, [one.calls for one in judgement.findings]) == ("FAIL", [(2,), (3,)])


@pytest.mark.parametrize(
    ("ways", "verdict"),
    [("basic", "PASS"), ("post", "PASS"), ("none", "PASS"), ("query", "FAIL"), ("basic post", "FAIL")],
)
def test_how_the_secret_is_sent(ask, ways, verdict):
    """In the header or in the form; not in the address, and not in two ways at once."""
    ledger = LedgerBuilder(document())
    redeemed(ledger, 1, client_auth=ways)
    assert ask("QL414", ledger).verdict == verdict


# ---- probes


PROBED = {"QL415": "forged_state", "QL416": "wrong_issuer", "QL417": "injected_code"}


@pytest.mark.parametrize(("id", "question"), PROBED.items())
def test_a_probe_that_the_app_accepts_fails(ask, id, question):
    """Refused it passes; not asked, or asked another question, there is nothing to judge."""
    ledger = LedgerBuilder(document())
    other = next(one for one in PROBED.values() if one != question)
    ledger.event(1, "probe", "ann", question=question, answer="not asked", how="")
    ledger.event(1, "probe", "ann", question=other, answer="accepted", how="")
    assert ask(id, ledger).verdict == "NA"
    ledger.event(2, "probe", "ann", question=question, answer="refused", how="X was raised")
    assert ask(id, ledger).verdict == "PASS"
    ledger.event(3, "probe", "bob", question=question, answer="accepted", how="nothing was raised")
    judgement = ask(id, ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    assert judgement.findings[0].at_ns == START_NS + 3 * SECOND
    assert judgement.note == "1 of 2 probes accepted (50 %)"


def test_a_provider_that_names_no_issuer_gives_no_reason_to_look_for_one(ask):
    """Taking another's name is a warning there."""
    ledger = LedgerBuilder(document(oauth={"issuer_parameter": False}))
    ledger.event(3, "probe", "bob", question="wrong_issuer", answer="accepted", how="")
    assert ask("QL416", ledger).verdict == "WARN"
