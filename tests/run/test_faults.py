"""Whole runs with each planted fault, as docs/faults.md has them: marked, repeatable, and never contradicted."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from quotalab.ledger import canonical_rows, read_ledger
from quotalab.profiles.faults import CALL_FAULTS, PROBES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [
    fault
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    for fault in tomllib.loads(block).get("faults", ())
]
QUICK = ("drop-api",)


def named(fault: dict[str, Any]) -> str:
    """What an example is called here: by its kind, and by the kinds of call where others than the API's."""
    of_calls = sum(other["kind"] == fault["kind"] for other in EXAMPLES) > 1
    return f"{fault['kind']}-{'-'.join(fault.get('calls', ['api']))}" if of_calls else fault["kind"]


def inline(*faults: dict[str, Any]) -> str:
    """`--set`'s value that plants these faults."""
    tables = (", ".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) for one in faults)
    return "faults=[" + ", ".join(f"{{{table}}}" for table in tables) + "]"


def run(
    run_once: Any, *arguments: str, faults: tuple[dict[str, Any], ...], span: str = "12h", **more: Any
) -> Any:
    """Half a day of the default scenario with these faults; never a fault of quotalab's own."""
    ended = run_once("--for", span, "--set", inline(*faults), *arguments, **more)
    assert ended.code in (0, 1), ended.err
    assert ended.err == ""
    return ended


def calls(ended: Any) -> list[dict[str, Any]]:
    columns = ["kind", "status", "fault", "error", "limit", "keys", "token_state", "retry_after_ns"]
    return read_ledger(ended.folder).calls.select(columns).to_pylist()


def events(ended: Any, what: str) -> list[dict[str, Any]]:
    """Details of the events of a kind, with who."""
    rows = read_ledger(ended.folder).events.to_pylist()
    return [{"who": row["who"], **json.loads(row["details"])} for row in rows if row["what"] == what]


def failed(ended: Any) -> Counter[str]:
    """The errors of operations that failed, each with how often."""
    rows = read_ledger(ended.folder).operations.to_pylist()
    return Counter(row["error"] for row in rows if row["outcome"] == "failed")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(one, id=named(one), marks=() if named(one) in QUICK else pytest.mark.full)
        for one in EXAMPLES
    ],
)
def test_every_example_of_the_page_runs_is_marked_and_repeats(run_once, fault: dict[str, Any]) -> None:
    """Exit 0 or 1; the fault is told as often as it struck; the same seed gives the same ledger."""
    refusals = ("overload", "--users", "20") if fault["kind"] == "retry_after" else ()
    if fault["kind"] == "headers":
        refusals = ("--provider", "github")
    ended = run(run_once, *refusals, faults=(fault,))
    name = f"{fault['kind']}-1"
    if fault["kind"] in PROBES:
        told = events(ended, "probe")
        assert len(told) > 20
        assert {(one["name"], one["question"], one["answer"]) for one in told} == {
            (name, fault["kind"], "refused")
        }
    else:
        told = events(ended, "fault")
        assert {(one["name"], one["kind"]) for one in told} == {(name, fault["kind"])}
        marks = {call["fault"] for call in calls(ended)}
        if fault["kind"] in (*CALL_FAULTS, "early_expiry"):
            assert marks == {None, name}
        assert marks <= {None, name}  # whose token was revoked need not call again before it is renewed
    again = run(run_once, *refusals, faults=(fault,), again=1, PYTHONHASHSEED="7")
    assert list(canonical_rows(read_ledger(ended.folder))) == list(canonical_rows(read_ledger(again.folder)))
    assert ended.description["ledger_sha256"] == again.description["ledger_sha256"]


@pytest.mark.full
def test_an_outage_is_survived_by_an_app_that_waits(run_once) -> None:
    """Half of the calls of an hour are 503 with 30 s to wait: they are asked again, and none was charged."""
    ended = run(run_once, faults=(next(one for one in EXAMPLES if one["kind"] == "error"),))
    struck = [call for call in calls(ended) if call["fault"]]
    assert {(call["status"], call["retry_after_ns"]) for call in struck} <= {(503, 30 * 10**9)}
    assert all(call["keys"] == [] for call in struck)
    assert len(struck) == len(events(ended, "fault"))


def test_lost_answers_are_asked_for_again_where_that_is_safe(run_once) -> None:
    """Dropped after the work: reads come again; what creates is not made twice, and fails with our own error."""
    ended = run(run_once, faults=(next(one for one in EXAMPLES if named(one) == "drop-api"),))
    assert {call["status"] for call in calls(ended) if call["fault"]} == {0}
    for error in failed(ended):
        assert error.startswith("ProviderError: the provider gave no answer"), error


@pytest.mark.full
@pytest.mark.parametrize("kind", ["drop", "truncate", "not_json"])
def test_no_exception_of_a_library_reaches_a_person(run_once, kind: str) -> None:
    """Every tenth answer is spoilt: operations fail with the integration's errors only, and few."""
    ended = run(run_once, faults=({"kind": kind, "share": 0.1},))
    errors = failed(ended)
    assert all(error.startswith(("ProviderError:", "NotConnected:")) for error in errors), errors
    assert sum(errors.values()) < 0.05 * read_ledger(ended.folder).operations.num_rows


@pytest.mark.full
def test_a_token_endpoint_on_its_worst_day_sends_nobody_away_for_good(run_once) -> None:
    """Out of order for two hours, then every other answer cut, then slow, and people sent back: they connect
    again, and an hour after its end nothing fails any more."""
    faults = (
        {"kind": "error", "calls": ["token"], "from": "3h", "until": "5h", "retry_after": "30s"},
        {"kind": "truncate", "calls": ["token"], "from": "5h", "until": "8h", "share": 0.5},
        {"kind": "slow", "calls": ["token"], "from": "8h", "until": "10h", "by": "40s", "share": 0.5},
        {"kind": "error", "calls": ["authorize"], "from": "5h", "until": "9h", "share": 0.5},
    )
    ended = run(run_once, faults=faults, span="24h")
    told = read_ledger(ended.folder).calls.select(["kind", "fault", "at"]).to_pylist()
    assert {(call["kind"], call["fault"]) for call in told if call["fault"]} == {
        ("token", "error-1"),
        ("token", "truncate-2"),
        ("token", "slow-3"),
        ("authorize", "error-4"),
    }
    errors = failed(ended)
    assert all(
        error.startswith(("ProviderError:", "NotConnected:", "ConsentRefused:")) for error in errors
    ), errors
    operations = read_ledger(ended.folder).operations.to_pandas()
    late = operations[operations["planned"] >= pd.Timestamp("2026-01-05T11:00Z")]
    assert len(late) > 500
    assert set(late["error"].dropna()) <= {"the budget has no call left before the deadline"}


@pytest.mark.full
def test_memory_and_sockets_meet_the_same_faults(run_once) -> None:
    """Closed connections, cut bodies, slow and late answers: not one row of the ledger differs."""
    faults = (
        {"kind": "drop", "share": 0.03, "name": "before"},
        {"kind": "drop", "when": "after", "share": 0.03, "name": "after"},
        {"kind": "truncate", "share": 0.03},
        {"kind": "not_json", "share": 0.03},
        {"kind": "slow", "by": "40s", "share": 0.03},
        {"kind": "spurious_401", "share": 0.03},
        {"kind": "wrong_issuer", "share": 0.2},
    )
    one = run(run_once, faults=faults)
    other = run(run_once, "--transport", "socket", faults=faults)
    names = {name for call in calls(one) for name in (call["fault"] or "").split()}
    assert names == {"before", "after", "truncate-3", "not_json-4", "slow-5", "spurious_401-6"}
    assert list(canonical_rows(read_ledger(one.folder))) == list(canonical_rows(read_ledger(other.folder)))


@pytest.mark.full
def test_all_faults_at_once_are_no_contradiction(run_once) -> None:
    """Whatever comes together: the judges agree with every decision."""
    run(run_once, faults=tuple(EXAMPLES))
    run(run_once, "overload", "--users", "10", faults=tuple(EXAMPLES))
    run(run_once, "--provider", "github", faults=tuple(one for one in EXAMPLES if one["kind"] in CALL_FAULTS))


@pytest.mark.full
def test_a_skew_that_is_no_whole_second_agrees_on_dates(run_once) -> None:
    """Dates are rounded up by the provider's own clock; the judges count by it too."""
    skew = {"kind": "clock_skew", "by": "-90.25s", "from": "3h"}
    ended = run(
        run_once, "overload", "--users", "20", "--set", "refusal.retry_after=http_date", faults=(skew,)
    )
    marked = [call for call in calls(ended) if call["fault"] == "clock_skew-1" and call["limit"]]
    assert len(marked) > 100


@pytest.mark.full
def test_an_absurd_retry_after_is_judged_by_what_was_said(run_once) -> None:
    """30 days: what counts as too early is counted from that."""
    # Five people: each whom the app has told of the 30 days asks it again a second later.
    ended = run(
        run_once, "overload", "--users", "5", span="1h", faults=({"kind": "retry_after", "to": "30d"},)
    )
    promises = {call["retry_after_ns"] for call in calls(ended) if call["limit"]}
    assert promises == {30 * 86_400 * 10**9}
    assert ended.rule("QL201") != "NA"


@pytest.mark.full
def test_a_quota_is_cut_in_the_middle_of_an_hour(run_once) -> None:
    """The page's timetable: told as an event at its very instant, and never more than the new number."""
    block = next(b for b in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "timetable" in b)
    (entry,) = tomllib.loads(block)["timetable"]

    def value(thing: Any) -> str:
        if isinstance(thing, dict):
            return "{" + ", ".join(f"{key} = {value(one)}" for key, one in thing.items()) + "}"
        return json.dumps(thing)

    ended = run_once("--for", "12h", "--set", f"timetable=[{value(entry)}]")
    assert ended.code in (0, 1), ended.err
    (told,) = events(ended, "limit-changed")
    assert (told["limit"], told["before"], told["now"]) == ("hourly", 100, 40)
    assert any(call["limit"] == "hourly" for call in calls(ended))
