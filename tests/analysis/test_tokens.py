"""QL3: tokens, how they are presented, renewed and given back."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.ledger import OAuthFacts

SECOND = 10**9


def rejected():
    """A token works at 1 s and is rejected at 10 s; that answer is there at 10.2 s."""
    ledger = LedgerBuilder()
    ledger.call(1)
    ledger.call(10, done_ns=10_200_000_000, status=401, asked=False)
    return ledger


def test_one_rejection_is_fine(ask):
    """A token expires, is rejected, and a new one is used."""
    ledger = rejected()
    ledger.call(11, token="t2")
    judgement = ask("QL301", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 0.0)


def test_presenting_it_again_fails(ask):
    """Two more calls with the rejected token are one finding, with the rejection and both calls."""
    ledger = rejected()
    for at in (12, 13):
        ledger.call(at, status=401, asked=False)
    judgement = ask("QL301", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 2.0, 0.0)
    (finding,) = judgement.findings
    assert (finding.calls, finding.at_ns) == ((1, 2, 3), START_NS + 12 * SECOND)
    assert finding.message == (
        "The token of ann was rejected at Mon 5 Jan 00:00:10 (call 1) and presented 2 more times, first 1.8 s "
        "after that answer (call 2)."
    )


@pytest.mark.parametrize(("sent_ns", "verdict"), [(10_199_999_999, "PASS"), (10_200_000_000, "FAIL")])
def test_a_call_that_was_on_its_way_is_fine(ask, sent_ns, verdict):
    """Only a call sent once the 401 was there presents the token again."""
    ledger = rejected()
    ledger.call(at_ns=11 * SECOND, sent_ns=sent_ns, status=401, asked=False)
    assert ask("QL301", ledger).verdict == verdict


def test_where_nothing_takes_time_the_rejected_call_itself_is_not_a_second_one(ask):
    """Sent, decided and answered at one instant: the 401 does not come after itself, the next call does."""
    ledger = LedgerBuilder()
    ledger.call(10, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "PASS"
    ledger = LedgerBuilder()
    for _ in range(2):
        ledger.call(10, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "FAIL"


def test_tokens_are_judged_each_by_itself(ask):
    """One person's rejected token says nothing of another's; a 401 without a token says nothing at all."""
    ledger = rejected()
    ledger.call(11, token=None, status=401, asked=False)
    ledger.call(12, token="t2", person="bob")
    ledger.call(13, token=None, status=401, asked=False)
    assert ask("QL301", ledger).verdict == "PASS"


def test_a_401_from_the_token_endpoint_is_another_matter(ask):
    """Only answers of the API reject an access token."""
    ledger = LedgerBuilder()
    ledger.call(1, kind="token", status=401)
    ledger.call(2)
    assert ask("QL301", ledger).verdict == "PASS"


def test_a_401_for_want_of_a_scope_rejects_no_token(ask):
    """Some providers answer 401 where a scope lacks: the token is as good as before."""
    ledger = LedgerBuilder()
    for at in (1, 2):
        ledger.call(at, status=401, error="insufficient_scope", token_state="valid")
    assert ask("QL301", ledger).verdict == "PASS"


def test_the_clock_is_named_as_the_cause(ask):
    """A token that was rejected because the provider's clock is ahead: the finding says so."""
    document = provider_document()
    document["faults"] = [{"kind": "clock_skew", "by": "90s", "name": "ahead"}]
    ledger = LedgerBuilder(document)
    ledger.call(10, status=401, asked=False, fault="ahead")
    ledger.call(11, status=401, asked=False, fault="ahead")
    (finding,) = ask("QL301", ledger).findings
    assert finding.message.endswith(
        "The cause is a difference of clocks: the provider's was 90 s ahead of the app's ('ahead')."
    )


# ---- renewals


def token_call(ledger, at_s, grant="refresh_token", *, done_s=None, **facts):
    """A call to the token endpoint, with what `OAuthFacts` takes; columns of the call by the same names."""
    columns = {name: facts.pop(name) for name in ("status", "error", "person", "fault") if name in facts}
    done_ns = None if done_s is None else round(done_s * SECOND)
    return ledger.call(
        at_s,
        kind="token",
        method="POST",
        path="/oauth/token",
        route=None,
        token=None,
        done_ns=done_ns,
        oauth=OAuthFacts(grant, **facts),
        **columns,
    )


def connected(**document):
    """Ann connects at 0 s and is given the access token t1 and the refresh token r1; tokens last an hour."""
    ledger = LedgerBuilder({**provider_document(), **document})
    token_call(ledger, 0, "authorization_code", code="c1", issued_token="t1", issued_refresh_token="r1")
    return ledger


def renewed(ledger, at_s, number, **more):
    """A refresh that works: token `number` takes the place of the one before."""
    return token_call(
        ledger,
        at_s,
        refresh_token=f"r{number - 1}",
        issued_token=f"t{number}",
        issued_refresh_token=f"r{number}",
        **more,
    )


def six_rejected(ledger):
    """Six calls that are all answered 401, within a tenth of a second."""
    for i in range(6):
        ledger.call(3601 + i / 100, token="t1", status=401, token_state="expired")


def test_one_refresh_for_six_concurrent_401s_is_good(ask):
    """The others wait for it."""
    ledger = connected()
    six_rejected(ledger)
    renewed(ledger, 3602, 2)
    judgement = ask("QL302", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 1.0)


@pytest.mark.parametrize(("number", "verdict"), [(2, "WARN"), (3, "FAIL"), (6, "FAIL")])
def test_several_at_once_are_a_stampede(ask, number, verdict):
    """Each of the workers refreshes while the first refresh is under way."""
    ledger = connected()
    six_rejected(ledger)
    renewed(ledger, 3602, 2, done_s=3602.5)
    for i in range(1, number):
        token_call(
            ledger, 3602 + i / 100, refresh_token="r1", status=400, error="invalid_grant", done_s=3602.6
        )
    judgement = ask("QL302", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, float(number), 1.0)
    (finding,) = judgement.findings
    assert finding.message.startswith(
        f"ann's token was renewed {number} times within {10 * (number - 1)} ms from Mon 5 Jan 01:00:02 on, "
        f"{number - 1} of them in vain (calls 7, 8"
    )
    assert finding.calls == tuple(range(7, 7 + number))


@pytest.mark.parametrize(("gap_s", "verdict"), [(5, "WARN"), (5.000000001, "PASS")])
def test_one_after_the_other_is_a_stampede_too(ask, gap_s, verdict):
    """Workers that wait for the lock and then renew what has been renewed; up to five seconds later."""
    ledger = connected()
    six_rejected(ledger)
    renewed(ledger, 3602, 2)
    renewed(ledger, 3602 + gap_s, 3)
    assert ask("QL302", ledger).verdict == verdict


def test_trying_a_failed_refresh_again_is_no_stampede(ask):
    """Answered 503, and repeated."""
    ledger = connected()
    six_rejected(ledger)
    token_call(ledger, 3602, refresh_token="r1", status=503, error="server_error")
    renewed(ledger, 3603, 2)
    assert ask("QL302", ledger).verdict == "PASS"


@pytest.mark.parametrize(("sent_ns", "verdict"), [(64_386_052, "WARN"), (64_386_053, "PASS")])
def test_what_is_sent_when_the_answer_is_there_is_not_together(ask, sent_ns, verdict):
    """To the nanosecond: instants have more digits than a float holds."""
    ledger = connected()
    renewed(ledger, 0, 2, done_s=0.064386053)
    facts = OAuthFacts("refresh_token", refresh_token="r2", issued_token="t3", issued_refresh_token="r3")
    ledger.call(at_ns=65_000_000, sent_ns=sent_ns, kind="token", token=None, route=None, oauth=facts)
    assert ask("QL302", ledger).verdict == verdict


def test_people_renew_each_for_themselves(ask):
    """Two people's refreshes at one time are no stampede."""
    ledger = connected()
    renewed(ledger, 3602, 2, done_s=3603)
    token_call(ledger, 3602.5, refresh_token="s1", issued_token="u2", person="bob", done_s=3603)
    assert ask("QL302", ledger).verdict == "PASS"


# ---- a refresh token that was replaced


def test_reuse_is_named_as_the_cause_of_the_revocation_that_follows(ask):
    """r1 is presented again after r2 took its place: the grant is revoked, and three later calls fail."""
    ledger = connected()
    renewed(ledger, 10, 2)
    token_call(ledger, 20, refresh_token="r1", status=400, error="invalid_grant")
    ledger.event(20, "token-revoked", "ann", client="app", why="refresh token used twice")
    for at in (21, 22):
        ledger.call(at, token="t2", status=401, token_state="revoked")
    token_call(ledger, 23, refresh_token="r2", status=400, error="invalid_grant")
    judgement = ask("QL303", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    (finding,) = judgement.findings
    assert finding.message == (
        "ann's refresh token was replaced at Mon 5 Jan 00:00:10 (call 1) and presented 1 more time, first "
        "10 s after that answer (call 2). For this the provider revoked the grant (call 2): 3 later calls of "
        "theirs were refused."
    )


def test_reuse_within_a_grace_is_a_warning(ask):
    """The provider let it pass."""
    ledger = connected()
    renewed(ledger, 10, 2)
    token_call(ledger, 11, refresh_token="r1", issued_token="t3", issued_refresh_token="r3")
    judgement = ask("QL303", ledger)
    assert judgement.verdict == "WARN"
    assert judgement.findings[0].message.endswith("The provider let it pass.")


def test_each_refresh_token_used_once_passes(ask):
    """r1, r2, r3: one after the other."""
    ledger = connected()
    for number in (2, 3, 4):
        renewed(ledger, 10 * number, number)
    assert ask("QL303", ledger).verdict == "PASS"


def test_where_refresh_tokens_do_not_rotate_there_is_nothing_to_judge(ask):
    """The old one stays good."""
    ledger = connected()
    for at in (10, 20):
        token_call(ledger, at, refresh_token="r1", issued_token=f"t{at}")
    assert ask("QL303", ledger).verdict == "NA"


# ---- grants that are gone


def test_after_invalid_grant_every_further_attempt_counts_and_a_new_consent_ends_it(ask):
    """Two attempts before the new consent, none after it; one that was on its way does not count."""
    ledger = connected()
    refused = {"refresh_token": "r1", "status": 400, "error": "invalid_grant"}
    token_call(ledger, 10, done_s=12, **refused)
    token_call(ledger, 11, **refused)
    for at in (20, 30):
        token_call(ledger, at, **refused)
    token_call(ledger, 40, "authorization_code", code="c2", issued_token="t2", issued_refresh_token="r2")
    token_call(ledger, 50, refresh_token="r2", issued_token="t3", issued_refresh_token="r3")
    judgement = ask("QL304", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 2.0)
    (finding,) = judgement.findings
    assert (finding.calls, finding.at_ns) == ((1, 3, 4), START_NS + 20 * SECOND)


def test_one_invalid_grant_is_how_the_app_learns(ask):
    """Nothing is tried after it."""
    ledger = connected()
    token_call(ledger, 10, refresh_token="r1", status=400, error="invalid_grant")
    assert ask("QL304", ledger).verdict == "PASS"
    assert ask("QL304", connected()).verdict == "NA"


def test_a_holder_that_the_provider_has_forgotten_is_known_by_the_answer_that_gave_the_token(ask):
    """The second attempt has no person any more."""
    ledger = connected()
    for at in (10, 20):
        token_call(ledger, at, refresh_token="r1", status=400, error="invalid_grant", person=None)
    assert ask("QL304", ledger).metric == 1.0


@pytest.mark.parametrize(("sent_ns", "metric"), [(10_999_999_999, 0.0), (11_000_000_000, 1.0)])
def test_going_on_after_a_withdrawal_counts_from_the_answer_on(ask, sent_ns, metric):
    """The 401 at 10 s is how the app learns, at 11 s; what is sent from then on counts."""
    ledger = connected()
    ledger.event(5, "consent-withdrawn", "ann", client="app")
    ledger.call(10, done_ns=11 * SECOND, token="t1", status=401, token_state="revoked")
    ledger.call(at_ns=12 * SECOND, sent_ns=sent_ns, token="t1", status=401, token_state="revoked")
    judgement = ask("QL305", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL" if metric else "PASS", metric)


def test_invalid_grant_tells_of_a_withdrawal_too(ask):
    """A call with the dead token after it counts; after a new consent nothing does."""
    ledger = connected()
    ledger.event(5, "consent-withdrawn", "ann", client="app")
    token_call(ledger, 6, refresh_token="r1", status=400, error="invalid_grant")
    ledger.call(7, token="t1", status=401, token_state="revoked")
    token_call(ledger, 8, "authorization_code", code="c2", issued_token="t2")
    ledger.call(9, token="t1", status=401, token_state="revoked")
    judgement = ask("QL305", ledger)
    assert judgement.metric == 1.0
    assert "which invalid_grant told the app" in judgement.findings[0].message


def test_without_a_withdrawal_there_is_nothing_to_judge(ask):
    """And one after which nothing was presented is fine."""
    assert ask("QL305", connected()).verdict == "NA"
    ledger = connected()
    ledger.event(5, "consent-withdrawn", "ann", client="app")
    assert ask("QL305", ledger).verdict == "PASS"


# ---- when tokens are renewed


def test_a_token_for_each_call_is_a_warning(ask):
    """Four renewals, of which three replaced a token that had served one call."""
    ledger = connected()
    for number in (2, 3, 4, 5):
        ledger.call(100 * number - 1, token=f"t{number - 1}")
        if number == 5:
            ledger.call(100 * number - 1, token=f"t{number - 1}")
        renewed(ledger, 100 * number, number)
    judgement = ask("QL306", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("WARN", 0.75, 0.5)
    assert judgement.findings[0].calls == (2, 4, 6)


def test_one_call_an_hour_with_a_token_that_has_expired_is_fine(ask):
    """Each token serves one call, and is renewed because its life is over."""
    ledger = connected()
    for number in range(2, 8):
        ledger.call(3600 * number, token=f"t{number}")
        renewed(ledger, 3600 * number, number)
    assert ask("QL306", ledger).verdict == "PASS"
    assert ask("QL307", ledger).verdict == "PASS"
    assert ask("QL308", ledger).verdict == "PASS"


def test_client_credentials_for_each_call_are_found(ask):
    """A job that asks for a token before each request."""
    ledger = LedgerBuilder()
    for number in range(5):
        token_call(ledger, 10 * number, "client_credentials", issued_token=f"t{number}", person="app")
        ledger.call(10 * number + 1, token=f"t{number}", person="app")
    judgement = ask("QL306", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 0.8)


@pytest.mark.parametrize(("at_s", "verdict"), [(1799, "WARN"), (1800, "PASS")])
def test_renewing_in_the_first_half_of_a_life_is_too_early(ask, at_s, verdict):
    """An hour's token: more than half an hour left is too early, half an hour is not."""
    ledger = connected()
    for at in (1, 2):
        ledger.call(at, token="t1")
    renewed(ledger, at_s, 2)
    judgement = ask("QL307", ledger)
    assert judgement.verdict == verdict
    assert judgement.metric == (1.0 if verdict == "WARN" else 0.0)


def test_renewing_what_was_rejected_is_never_too_early(ask):
    """The API said that it is no good."""
    ledger = connected()
    for at in (1, 2):
        ledger.call(at, token="t1")
    ledger.call(3, token="t1", status=401, token_state="revoked")
    renewed(ledger, 4, 2)
    assert ask("QL307", ledger).verdict == "PASS"


@pytest.mark.parametrize(("fault", "verdict"), [(None, "WARN"), ("early", "PASS"), ("ahead", "WARN")])
def test_renewing_only_after_a_rejection(ask, fault, verdict):
    """Three times in a row; what a planted early death did is not the app's, a difference of clocks is."""
    faults = [
        {"kind": "early_expiry", "to": 0.5, "name": "early"},
        {"kind": "clock_skew", "by": "90s", "name": "ahead"},
    ]
    ledger = connected(faults=faults)
    for number in (2, 3, 4):
        at = 4000 * number
        ledger.call(at, token=f"t{number - 1}", status=401, token_state="expired", fault=fault)
        renewed(ledger, at + 1, number)
    judgement = ask("QL308", ledger)
    assert judgement.verdict == verdict
    if fault is None:
        assert judgement.findings[0].calls == (1, 2, 3, 4, 5, 6)
    if fault == "ahead":
        assert "the provider's was 90 s ahead of the app's" in judgement.findings[0].message


# ---- where tokens are carried, and their end


def test_a_token_in_the_address_fails(ask):
    """A warning where the provider's documentation has it so; nothing to judge without a token."""
    ledger = LedgerBuilder()
    ledger.call(1)
    assert ask("QL309", ledger).verdict == "PASS"
    ledger.call(2, token_at="query")
    judgement = ask("QL309", ledger)
    assert (judgement.verdict, judgement.metric, judgement.findings[0].calls) == ("FAIL", 1.0, (1,))
    document = provider_document()
    document["oauth"]["token_at"] = ["authorization:bearer", "query:access_token"]
    ledger = LedgerBuilder(document)
    ledger.call(2, token_at="query")
    assert ask("QL309", ledger).verdict == "WARN"


def test_a_person_who_disconnects_has_their_token_revoked(ask):
    """Without it FAIL; with it PASS; if the person had withdrawn before there is nothing to revoke."""
    ledger = connected()
    ledger.event(10, "disconnected", "ann")
    judgement = ask("QL310", ledger)
    assert (judgement.verdict, judgement.findings[0].calls) == ("FAIL", (0,))
    ledger.call(11, kind="revoke", method="POST", token=None, status=200)
    assert ask("QL310", ledger).verdict == "PASS"
    ledger = connected()
    ledger.event(9, "consent-withdrawn", "ann", client="app")
    ledger.event(10, "disconnected", "ann")
    assert ask("QL310", ledger).verdict == "PASS"


def test_a_second_connection_beside_a_living_one_is_for_a_person_to_look_at(ask):
    """REVIEW; not where the first was revoked, nor where the provider has no revocation endpoint."""
    second = {"code": "c2", "issued_token": "t2", "issued_refresh_token": "r2"}
    ledger = connected()
    assert ask("QL310", ledger).verdict == "NA"
    token_call(ledger, 20, "authorization_code", **second)
    assert ask("QL310", ledger).verdict == "REVIEW"
    ledger = connected()
    ledger.call(10, kind="revoke", method="POST", token=None, status=200)
    token_call(ledger, 20, "authorization_code", **second)
    assert ask("QL310", ledger).verdict == "PASS"
    document = provider_document()
    ledger = connected(oauth={**document["oauth"], "revocation": False})
    token_call(ledger, 20, "authorization_code", **second)
    assert ask("QL310", ledger).verdict == "NA"
