"""The `[[faults]]` of a provider profile: what each kind may say, and one clear line where it is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.faults import CALL_FAULTS, KINDS, PROBES, Fault
from quotalab.profiles.provider import parse_provider

FILE = Path(__file__).parents[2] / "profiles" / "providers" / "temporary-production.toml"
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS


def parsed(*faults: dict[str, Any], settings: tuple[str, ...] = ()) -> tuple[Fault, ...]:
    """The faults of the default profile with these."""
    document = {**tomllib.loads(FILE.read_text(encoding="utf-8"))}
    if faults:
        document["faults"] = list(faults)
    return parse_provider(document, "p.toml", settings=settings).faults


def wrong(*faults: dict[str, Any]) -> str:
    """The message with which they are refused."""
    with pytest.raises(ProfileError) as raised:
        parsed(*faults)
    return str(raised.value)


def test_a_profile_has_no_faults_unless_it_says_so() -> None:
    """No bundled profile plants any."""
    for file in FILE.parent.glob("*.toml"):
        assert parse_provider(tomllib.loads(file.read_text(encoding="utf-8")), file.name).faults == ()


def test_a_fault_is_in_force_all_the_time_for_all_unless_it_says_otherwise() -> None:
    """Defaults, and a name from kind and place."""
    assert parsed({"kind": "drop"}, {"kind": "drop"})[1] == Fault(
        name="drop-2", kind="drop", from_ns=0, until_ns=None, share=1.0, people=None, routes=(), when="before"
    )


def test_faults_are_planted_from_the_command_line() -> None:
    """An inline table of TOML, as `--set` takes it."""
    (fault,) = parsed(
        settings=('faults=[{kind="error", from="6h", until="7h", status=503, retry_after="30s"}]',)
    )
    assert (fault.name, fault.from_ns, fault.until_ns) == ("error-1", 6 * HOUR_NS, 7 * HOUR_NS)
    assert (fault.status, fault.retry_after_ns, fault.worked) == (503, 30 * SECOND_NS, False)


@pytest.mark.parametrize(
    ("keys", "read"),
    [
        ({"kind": "error"}, {"status": 503, "worked": False, "retry_after_ns": None}),
        ({"kind": "error", "status": 599, "worked": True}, {"status": 599, "worked": True}),
        ({"kind": "slow", "by": "1ms"}, {"by_ns": 10**6}),
        ({"kind": "clock_skew", "by": "90s"}, {"by_ns": 90 * SECOND_NS}),
        ({"kind": "clock_skew", "by": "-1m 30s"}, {"by_ns": -90 * SECOND_NS}),
        ({"kind": "clock_skew", "by": -90}, {"by_ns": -90 * SECOND_NS}),
        ({"kind": "clock_skew", "by": 90}, {"by_ns": 90 * SECOND_NS}),
        ({"kind": "drop", "when": "after"}, {"when": "after"}),
        ({"kind": "not_json"}, {"worked": True}),
        ({"kind": "not_json", "worked": False}, {"worked": False}),
        ({"kind": "headers", "how": "wrong"}, {"how": "wrong"}),
        ({"kind": "early_expiry"}, {"to": 0.5}),
        ({"kind": "retry_after", "to": "30d"}, {"as_": "", "retry_after_ns": 720 * HOUR_NS}),
        ({"kind": "retry_after", "as": "http_date"}, {"as_": "http_date", "retry_after_ns": None}),
        ({"kind": "revoke_token", "at": "6h", "people": 3}, {"from_ns": 6 * HOUR_NS, "people": 3}),
        ({"kind": "withdraw_consent", "at": "6h", "share": 0.1}, {"from_ns": 6 * HOUR_NS, "share": 0.1}),
        ({"kind": "spurious_401", "routes": ["read_event"]}, {"routes": ("read_event",)}),
        ({"kind": "error", "calls": ["authorize"]}, {"calls": ("authorize",)}),
        ({"kind": "slow", "by": "1s", "calls": ["token", "api"]}, {"calls": ("token", "api")}),
        ({"kind": "truncate", "share": 0}, {"share": 0.0}),
        ({"kind": "forged_state", "share": 0.5}, {"share": 0.5}),
    ],
)
def test_each_kind_has_keys_of_its_own(keys: dict[str, Any], read: dict[str, Any]) -> None:
    """What is written is what is read."""
    (fault,) = parsed(keys)
    assert {name: getattr(fault, name) for name in read} == read


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "eror"}, "faults[0].kind: must be one of"),
        ({}, "faults[0].kind: is missing"),
        ({"kind": "error", "status": 200}, "faults[0].status: must be a whole number of 400 or more"),
        ({"kind": "error", "status": 600}, "faults[0].status: must be a whole number of at most 599"),
        ({"kind": "error", "from": "2h", "until": "2h"}, "faults[0].until: must be later than 'from'"),
        ({"kind": "error", "share": 1.5}, "faults[0].share: must be a number from 0 to 1"),
        ({"kind": "error", "people": 0}, "faults[0].people: must be a whole number of 1 or more"),
        ({"kind": "error", "routes": ["nowhere"]}, "faults[0].routes: must be a list of"),
        ({"kind": "error", "by": "1s"}, "faults[0].by: is not a key that is known here"),
        ({"kind": "error", "name": "a b"}, "faults[0].name: must begin with a letter"),
        ({"kind": "slow"}, "faults[0].by: is missing; it must be a duration"),
        ({"kind": "slow", "by": "0s"}, "faults[0].by: must be a duration"),
        ({"kind": "clock_skew"}, "faults[0].by: is missing; it must be a duration"),
        ({"kind": "clock_skew", "by": "--9s"}, "faults[0].by: must be a duration"),
        ({"kind": "clock_skew", "by": True}, "faults[0].by: must be a duration"),
        ({"kind": "clock_skew", "by": "0s"}, "faults[0].by: must be a duration"),
        ({"kind": "clock_skew", "by": "9s", "share": 0.5}, "faults[0].share: is not a key"),
        ({"kind": "revoke_token"}, "faults[0].at: is missing"),
        ({"kind": "revoke_token", "at": "1h", "until": "2h"}, "faults[0].until: is not a key"),
        ({"kind": "early_expiry", "to": 2}, "faults[0].to: must be a number from 0 to 1"),
        ({"kind": "early_expiry", "routes": ["read_event"]}, "faults[0].routes: is not a key"),
        ({"kind": "spurious_401", "calls": ["token"]}, "faults[0].calls: is not a key"),
        (
            {"kind": "error", "calls": ["metadata"]},
            "faults[0].calls: must be a list of 'api', 'token', 'revoke', 'introspect', 'authorize', not",
        ),
        (
            {"kind": "drop", "calls": ["authorize"]},
            "faults[0].calls: must be a list of 'api', 'token', 'revoke'",
        ),
        (
            {"kind": "drop", "calls": []},
            "faults[0].calls: must name at least one of api, token, revoke, introspect",
        ),
        (
            {"kind": "drop", "calls": ["api", "token"], "routes": ["read_event"]},
            "faults[0].calls: other than 'api' have no routes",
        ),
        ({"kind": "retry_after"}, "faults[0].as: or 'to' must be given"),
        ({"kind": "drop", "when": "during"}, "faults[0].when: must be one of 'before', 'after'"),
        ({"kind": "truncate", "worked": True}, "faults[0].worked: is not a key"),
    ],
)
def test_what_is_wrong_gets_one_line_with_the_key(keys: dict[str, Any], message: str) -> None:
    """File, place and key; nothing is ignored."""
    told = wrong(keys)
    assert told.startswith(f"p.toml: {message}")
    assert "\n" not in told


def test_two_faults_have_two_names() -> None:
    """The ledger must tell them apart."""
    assert "gives one name to two faults" in wrong(
        {"kind": "drop", "name": "x"}, {"kind": "slow", "by": 1, "name": "x"}
    )


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({"kind": "spurious_401"}, True),
        ({"kind": "error"}, True),
        ({"kind": "error", "worked": True}, False),
        ({"kind": "drop"}, True),
        ({"kind": "drop", "when": "after"}, False),
        ({"kind": "not_json"}, False),
        ({"kind": "not_json", "worked": False}, True),
        ({"kind": "truncate"}, False),
        ({"kind": "slow", "by": 1}, False),
        ({"kind": "headers"}, False),
    ],
)
def test_what_comes_before_the_limits_is_known(keys: dict[str, Any], first: bool) -> None:
    """By it the judges know which calls no limit was asked about."""
    assert parsed(keys)[0].comes_first is first


def test_every_kind_is_in_the_documentation() -> None:
    """docs/faults.md has a heading for each, and for no other."""
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    headings = {line.removeprefix("### ").strip("`") for line in text.splitlines() if line.startswith("### ")}
    assert headings == set(KINDS)
    assert set(CALL_FAULTS) | set(PROBES) < set(KINDS)
