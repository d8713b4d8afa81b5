"""The meanings that the token and authorization rules share, against plain Python on random ledgers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.ledger import OAuthFacts
from quotalab.rules.grants import holders, known_before, rejected_calls, renewals, scopes_of

HOUR_NS = 3600 * 10**9
NEVER_NS = 2**62


@pytest.mark.parametrize("seed", range(20))
def test_what_was_known_before(seed):
    """The latest of a group's facts by (instant, row), of those that lie before; never a thing's own answer."""
    draw = random.Random(seed)
    base = 1_767_571_200_000_000_001  # more digits than a float holds
    facts = [(draw.randrange(3), base + draw.randrange(6), row) for row in draw.sample(range(40), 15)]
    asked = [(draw.randrange(4), base + draw.randrange(6), row) for row in draw.sample(range(40), 25)]
    columns = [
        tuple(np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
        for rows in (facts, asked)
    ]
    found = known_before(*columns)
    for (group, when, row), place in zip(asked, found.tolist(), strict=True):
        before = [fact for fact in facts if fact[0] == group and fact[1:] < (when, row)]
        assert (facts[place] if place >= 0 else None) == max(before, key=lambda fact: fact[1:], default=None)


def test_nothing_is_known_where_there_is_nothing():
    """No facts, and nothing asked."""
    none = (np.empty(0, dtype=np.int64),) * 3
    one = (np.zeros(1, dtype=np.int64),) * 3
    assert known_before(none, one).tolist() == [-1]
    assert known_before(one, none).tolist() == []


def random_ledger(draw):
    """Two people with codes, refreshes that work or not, calls that are answered 401; answers overlap."""
    ledger = LedgerBuilder(provider_document())
    rows = []
    now, number = 0, 0
    for _ in range(60):
        now += draw.choice([0, 1, 10**9, HOUR_NS // 3])
        person, done = draw.choice(["ann", "bob"]), now + draw.choice([0, 1, 2 * 10**9])
        if draw.random() < 0.5:
            grant = draw.choice(["authorization_code", "refresh_token", "refresh_token"])
            number += 1
            token = f"t{number}" if draw.random() < 0.8 else None
            facts = OAuthFacts(grant, issued_token=token)
            ledger.call(
                at_ns=now, done_ns=done, kind="token", person=person, token=None, route=None, oauth=facts
            )
            rows.append(("token", person, now, done, grant, token, 200))
        else:
            token = f"t{draw.randint(1, number)}" if number else "t0"
            status = draw.choice([200, 401])
            ledger.call(
                at_ns=now, done_ns=done, person=person, token=token, status=status, asked=status == 200
            )
            rows.append(("api", person, now, done, None, token, status))
    return ledger, rows


@pytest.mark.parametrize("seed", range(15))
def test_renewals_are_what_plain_python_makes_of_them(seed, tmp_path):
    """Which token was replaced, how much of its life was left, who had rejected it, what was under way."""
    ledger, rows = random_ledger(random.Random(seed))
    found = load(ledger.write(tmp_path / "run")).once(renewals)
    assert len(found) == sum(row[4] == "refresh_token" for row in rows)
    for one in found.itertuples():
        kind, person, sent, _, grant, token, _ = rows[one.row]
        mine = [(i, row) for i, row in enumerate(rows) if row[0] == "token" and row[1] == person]
        before = [(row[3], i) for i, row in mine if row[5] and (row[3], i) < (sent, one.row)]
        former = max(before)[1] if before else -1
        assert (kind, grant, one.former, one.ok) == ("token", "refresh_token", former, token is not None)
        others = [(row[2], i, row[3]) for i, row in mine if row[4] == "refresh_token"]
        assert one.together == any((at, i) < (sent, one.row) and ends > sent for at, i, ends in others)
        renewed = [(row[3], i) for i, row in mine if row[5] and row[4] == "refresh_token"]
        latest = max((pair for pair in renewed if pair < (sent, one.row)), default=None)
        assert one.since_ns == (NEVER_NS if latest is None else sent - latest[0])
        if former < 0:
            continue
        given = rows[former][5]
        assert one.left_ns == rows[former][2] + HOUR_NS - sent
        carried = [(row[3], i) for i, row in enumerate(rows) if row[0] == "api" and row[5] == given]
        assert one.used == len(carried)
        said = min(((at, i) for at, i in carried if rows[i][6] == 401), default=None)
        assert one.rejected == (said[1] if said is not None and said < (sent, one.row) else -1)


@pytest.mark.parametrize(("renewal_first", "rejected"), [(True, -1), (False, 1)])
def test_where_nothing_takes_time_a_rejection_counts_from_the_next_row_on(renewal_first, rejected, tmp_path):
    """A 401 of the same instant is known to a renewal after it, not to one before it."""
    ledger = LedgerBuilder()
    ledger.call(1, kind="token", token=None, oauth=OAuthFacts("authorization_code", issued_token="t1"))
    for is_renewal in (renewal_first, not renewal_first):
        if is_renewal:
            ledger.call(2, kind="token", token=None, oauth=OAuthFacts("refresh_token", issued_token="t2"))
        else:
            ledger.call(2, token="t1", status=401, asked=False)
    found = load(ledger.write(tmp_path / "run")).once(renewals)
    assert found["rejected"].tolist() == [rejected]


def test_a_refusal_by_a_limit_or_for_a_scope_rejects_no_token(tmp_path):
    """What the provider says of a token is told by 401, or by its own code under another status."""
    document = provider_document()
    document["errors"] = {
        "expired_token": {"status": 200},
        "insufficient_scope": {"status": 401},
    }
    ledger = LedgerBuilder(document)
    ledger.call(1, status=401, asked=False)
    ledger.call(2, status=200, error="invalid_token", token_state="expired")
    ledger.call(3, status=401, error="insufficient_scope", token_state="valid")
    ledger.call(4, refused_by="hourly", retry_after_s=1)
    ledger.call(5, status=500, error="server_error")
    frames = load(ledger.write(tmp_path / "run"))
    assert frames.once(rejected_calls).tolist() == [True, True, False, False, False]


def test_each_client_has_its_own_scopes_and_holders(tmp_path):
    """One person who has allowed two apps is two holders."""
    ledger = LedgerBuilder()
    for client, scope in (("app-1", "a b"), ("app-2", "c")):
        facts = OAuthFacts(response_type="code", scopes_asked=scope, scopes_granted=scope[0])
        ledger.call(1, kind="authorize", client_id=client, token=None, oauth=facts)
        ledger.call(2, client_id=client, scopes_needed=scope[0])
    frames = load(ledger.write(tmp_path / "run"))
    assert [str(one) for one in frames.once(scopes_of)] == [
        "asked: a b; granted: a; used: a",
        "asked: c; granted: c; used: c",
    ]
    codes = frames.once(holders).tolist()
    assert codes[0] == codes[1] != codes[2] == codes[3]
