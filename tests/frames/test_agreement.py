"""The second witness: it agrees with what is right, and catches each thing that is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quotalab.frames import disagreements, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.ledger import Call

ROLLING = {"kind": "rolling_window", "limit": 3, "period": "10s", "key": ["app"]}
KINDS = {
    "rolling": ROLLING,
    "clock": {"kind": "fixed_window", "limit": 2, "period": "7s", "key": ["person"]},
    "first": {
        "kind": "fixed_window",
        "limit": 3,
        "period": "5s",
        "key": ["person", "route"],
        "align": "first_call",
    },
}
SECOND = 10**9


def messages(ledger, path):
    return [(one.seq, one.message) for one in disagreements(load(ledger.write(path)))]


def change(ledger, seq, **columns):
    ledger._rows[seq] = ledger._rows[seq]._replace(**columns)


def full_window(**columns):
    """Three calls that fill a limit of 3 in 10 s at 0, 1 and 2 s, and a fourth that is decided at 9.5 s."""
    ledger = LedgerBuilder(provider_document({"rolling": ROLLING}))
    for at in range(3):
        ledger.decided_call(at)
    ledger.decided_call(9.5, **columns)
    return ledger


def test_a_call_that_had_to_be_refused_is_caught(tmp_path):
    """A fourth call admitted within the window is a fault, with what was used."""
    ledger = LedgerBuilder(provider_document({"rolling": ROLLING}))
    for at in (0, 1, 2):
        ledger.decided_call(at)
    ledger.call(at_ns=10 * SECOND - 1)
    (found,) = messages(ledger, tmp_path / "run")
    assert found[0] == 3
    assert "was admitted, but by the judges' account 'rolling' had to refuse it: 3 of 3" in found[1]


def test_a_call_one_nanosecond_later_is_admitted_rightly(tmp_path):
    """At exactly one period after the first call it has left: the same call is no fault."""
    ledger = LedgerBuilder(provider_document({"rolling": ROLLING}))
    for at in (0, 1, 2):
        ledger.decided_call(at)
    ledger.call(at_ns=10 * SECOND)
    assert messages(ledger, tmp_path / "run") == []


def test_a_call_that_had_room_is_caught(tmp_path):
    """A refusal at the instant when the first call has left is a fault, and reported once."""
    ledger = LedgerBuilder(provider_document({"rolling": ROLLING}))
    for at in (0, 1, 2):
        ledger.decided_call(at)
    ledger.call(10, refused_by="rolling", retry_after_s=1)
    ledger.decided_call(10.5)
    (found,) = messages(ledger, tmp_path / "run")
    assert found[0] == 3
    assert "was refused by 'rolling', but by the judges' account all limits had room for it" in found[1]


@pytest.mark.parametrize("wrong_s", [None, 0, 2])
def test_a_promise_that_is_not_the_wait_rounded_up_is_caught(tmp_path, wrong_s):
    """The wait of 0.5 s makes a promise of 1 s: any other is a fault, and so is none."""
    assert messages(full_window(), tmp_path / "right") == []
    ledger = full_window()
    change(ledger, 3, retry_after_ns=None if wrong_s is None else wrong_s * SECOND)
    (found,) = messages(ledger, tmp_path / "wrong")
    shown = "nothing" if wrong_s is None else f"{wrong_s * SECOND} ns"
    assert found == (3, f"was promised {shown}, but its wait of 500000000 ns makes 1000000000 ns")


def test_a_provider_that_promises_nothing_must_not_promise(tmp_path):
    """With `retry_after = "none"` a promise is a fault, and none is right."""
    document = provider_document({"rolling": ROLLING}, refusal={"retry_after": "none"})
    for name, promise in (("right", None), ("wrong", 7)):
        ledger = LedgerBuilder(document)
        for at in (0, 1, 2):
            ledger.decided_call(at)
        ledger.call(3, refused_by="rolling", retry_after_s=promise)
        assert len(messages(ledger, tmp_path / name)) == (promise is not None)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"charges": ()}, "was charged nothing to 'rolling', but had to be charged 1"),
        ({"charges": (("rolling", 2),)}, "was charged 2 to 'rolling', but had to be charged 1"),
        ({"remaining": (("rolling", 1),)}, "left 1 of 'rolling' by the sandbox's account, 0 by the judges'"),
        ({"keys": (("rolling", "other"),)}, "was counted by 'rolling' under 'other', but is of 'app'"),
    ],
)
def test_wrong_accounts_are_caught(tmp_path, columns, said):
    """A charge, a remainder or a key that is not what it had to be is a fault with both figures."""
    ledger = full_window()
    change(ledger, 2, **columns)
    assert (2, said) in messages(ledger, tmp_path / "run")


def test_a_refused_call_that_was_charged_is_caught(tmp_path):
    """Refused by one, charged by none; what is left had to be one less if it was charged."""
    ledger = full_window()
    change(ledger, 3, charges=(("rolling", 1),))
    assert messages(ledger, tmp_path / "run") == [
        (3, "left 0 of 'rolling' by the sandbox's account, -1 by the judges'"),
        (3, "was charged 1 to 'rolling', but had to be charged nothing"),
    ]


def test_of_several_that_refuse_the_longest_wait_is_named(tmp_path):
    """Naming the limit with the shorter wait is a fault; of equal waits the profile's first is right."""
    limits = {
        "short": {"kind": "rolling_window", "limit": 1, "period": "10s"},
        "long": {"kind": "rolling_window", "limit": 1, "period": "20s"},
        "same": {"kind": "rolling_window", "limit": 1, "period": "20s"},
    }
    for name, faults in (("long", 0), ("short", 1), ("same", 1)):
        ledger = LedgerBuilder(provider_document(limits))
        ledger.decided_call(0)
        ledger.call(5, refused_by=name, retry_after_s=15)
        found = messages(ledger, tmp_path / name)
        assert len(found) == faults
        if faults:
            assert f"was refused by '{name}', but by the judges' account 'long' had to refuse" in found[0][1]


def test_a_limit_that_was_left_out_is_caught(tmp_path):
    """A call that was asked of one limit and not of the other is a fault."""
    ledger = LedgerBuilder(provider_document(KINDS))
    ledger.decided_call(0)
    row = ledger._rows[0]
    change(
        ledger,
        0,
        keys=tuple(pair for pair in row.keys if pair[0] != "clock"),
        charges=tuple(pair for pair in row.charges if pair[0] != "clock"),
        remaining=tuple(pair for pair in row.remaining if pair[0] != "clock"),
    )
    assert messages(ledger, tmp_path / "run") == [(0, "was decided without asking the limit 'clock'")]


def test_a_limit_that_the_profile_does_not_have_is_caught(tmp_path):
    """Counting under an unknown limit is a fault, and so is being refused without being asked."""
    ledger = full_window()
    change(ledger, 0, keys=(("rolling", "app"), ("secret", "app")))
    assert messages(ledger, tmp_path / "run") == [
        (0, "was counted under the limit 'secret', which the profile does not have")
    ]
    ledger = full_window()
    change(ledger, 1, limit="rolling", keys=(), charges=(), remaining=())
    found = messages(ledger, tmp_path / "unasked")
    assert (1, "was refused by 'rolling' without having been asked of it") in found


def test_calls_that_were_not_asked_take_no_part(tmp_path):
    """A 401 before the quota, and calls to OAuth endpoints, neither count nor are judged."""
    ledger = LedgerBuilder(provider_document({"rolling": {**ROLLING, "limit": 1}}))
    ledger.call(0, asked=False, status=401)
    ledger.call(1, kind="token")
    ledger.decided_call(2)
    ledger.call(3, asked=False, status=401)
    assert messages(ledger, tmp_path / "run") == []


def test_calls_of_one_instant_are_taken_in_order_of_seq(tmp_path):
    """Of four calls at one instant the first three fit: refusing the third in place of the fourth is wrong."""
    ledger = LedgerBuilder(provider_document({"rolling": ROLLING}))
    for _ in range(4):
        ledger.decided_call(1)
    assert [row.limit for row in ledger._rows if isinstance(row, Call)] == [None, None, None, "rolling"]
    assert messages(ledger, tmp_path / "right") == []
    swapped = LedgerBuilder(provider_document({"rolling": ROLLING}))
    swapped._rows = [ledger._rows[i] for i in (0, 1, 3, 2)]
    assert {seq for seq, _ in messages(swapped, tmp_path / "wrong")} == {2}


def test_a_limit_of_one_less_is_not_what_was_enforced(tmp_path):
    """Judged by a profile whose limit is one smaller, a full window is a fault: off by one is seen."""
    ledger = full_window()
    folder = ledger.write(tmp_path / "run")
    frames = load(folder)
    smaller = replace(frames.provider.limits[0], limit=2)
    frames = replace(frames, provider=replace(frames.provider, limits=(smaller,)), _known={})
    assert any("had to refuse it: 2 of 2" in one.message for one in disagreements(frames))
