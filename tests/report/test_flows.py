"""OAuth flows and the life of tokens, read from the ledger."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder
from quotalab.ledger import OAuthFacts
from quotalab.report.flows import oauth_flows
from quotalab.report.lifecycle import life_in_figures, token_life

OAUTH = {"asked": False, "token": None, "route": None}


def consent(ledger, at_s, person, *, error=None, path="/oauth/authorize"):
    """A page opened by nobody known yet, the decision, and unless it was an error the code's redemption."""
    state = OAuthFacts(response_type="code", state=f"state {person} {at_s}", pkce_method="S256")
    browser = {**OAUTH, "kind": "authorize", "actor": "browser", "path": path, "oauth": state}
    ledger.call(at_s, **browser, person=None)
    ledger.call(at_s + 1, **browser, person=person, method="POST", status=303, error=error)
    if error is None:
        ledger.event(at_s + 1, "consent-given", person, scopes="read")
        token(ledger, at_s + 2, person, "authorization_code")
        ledger.call(at_s + 3, person=person, token=f"token {person}")


def token(ledger, at_s, person, grant, error=None):
    given = None if error else f"token {person}"
    facts = OAuthFacts(grant_type=grant, issued_token=given, scopes_granted="read")
    called = {**OAUTH, "kind": "token", "path": "/oauth/token", "method": "POST", "oauth": facts}
    ledger.call(at_s, **called, person=person, error=error, status=400 if error else 200)


@pytest.fixture
def frames(tmp_path):
    """Three that consent, one that declines, one renewal that works and one that does not."""
    ledger = LedgerBuilder()
    for i, person in enumerate(("ann", "bob", "cy")):
        consent(ledger, 10 * i, person)
    consent(ledger, 40, "dan", error="access_denied")
    token(ledger, 50, "ann", "refresh_token")
    ledger.call(51, person="ann", token="token ann")
    token(ledger, 60, "bob", "refresh_token", error="invalid_grant")
    ledger.event(60, "consent-withdrawn", "bob")
    return load(ledger.write(tmp_path / "run"))


def test_the_commonest_kind_comes_first_and_each_other_once(frames):
    """Flows of the same steps are counted as one kind; the page that nobody had signed in on is the person's."""
    flows, left_out = oauth_flows(frames)
    assert [(flow.title, flow.number, flow.of) for flow in flows] == [
        ("Authorization", 3, 6),
        ("Authorization: 303 access_denied", 1, 6),
        ("Renewal", 1, 6),
        ("Renewal: 400 invalid_grant", 1, 6),
    ]
    assert left_out == 0
    assert [step.request or step.answer for step in flows[0].steps] == [
        "GET /oauth/authorize (PKCE S256, state)",
        "POST /oauth/authorize",
        "the person agrees",
        "token: authorization_code",
        "GET /events",
    ]
    assert flows[0].words[-1] == (
        "Mon 5 Jan 00:00:03.000: The app sends GET /events; the provider answers 200 (call 4)."
    )


def test_a_picture_is_a_document_in_which_everything_is_text(tmp_path):
    """Paths, people and errors come from clients."""
    ledger = LedgerBuilder()
    hostile = '</text><script>alert("1")</script>\x1b&'
    consent(ledger, 0, hostile, error=hostile, path=hostile)
    ((flow,), _) = oauth_flows(load(ledger.write(tmp_path / "run")))
    svg = flow.svg("flow-1")
    root = ElementTree.fromstring(svg)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        "svg",
        "defs",
        "marker",
        "path",
        "line",
        "text",
    }
    assert "<script" not in svg
    assert "\x1b" not in svg


def test_lanes_of_a_tokens_life(frames):
    """How often, and to how many people, each thing happened."""
    lanes = {one.label: (len(one.at_ns), one.people) for one in token_life(frames)}
    assert lanes == {
        "consent given": (3, 3),
        "consent withdrawn": (1, 1),
        "token for a code": (3, 3),
        "token renewed": (1, 1),
        "token refused": (1, 1),
    }
    assert dict(life_in_figures(frames))["access tokens given"] == "4"


def test_a_run_without_oauth_has_neither(tmp_path):
    """Nothing is shown where nothing was there."""
    ledger = LedgerBuilder()
    ledger.call(1)
    frames = load(ledger.write(tmp_path / "run"))
    assert oauth_flows(frames) == ([], 0)
    assert token_life(frames) == []
    assert life_in_figures(frames) == []
