"""QL320 to QL322: what the search at a run's end found."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import LedgerBuilder

SECRETS = {"access token": 3, "client secret": 1}


def searched(*found, logs=0, state=0, secrets=SECRETS, **more):
    ledger = LedgerBuilder()
    for place, file, line, kind, encoding in found:
        ledger.event(9, "secret-found", place=place, file=file, line=line, kind=kind, encoding=encoding)
    told = {"skipped": [], "skipped_total": 0, "secrets_left_out": 0, **more}
    ledger.event(9, "secrets-searched", logs=logs, state=state, secrets=secrets, found=len(found), **told)
    return ledger


@pytest.mark.parametrize(("rule", "place"), [("QL320", "state"), ("QL321", "log")])
def test_a_secret_is_a_failure_where_it_stands_and_nowhere_else(ask, rule, place):
    """One finding for each file, kind and encoding, with the lines; the other rule is not concerned."""
    hits = [(place, "a.x", line, "access token", "base64") for line in (7, 3)]
    ledger = searched(*hits, (place, "token.x", 0, "client secret", "plain"), logs=1, state=1)
    judgement = ask(rule, ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 3.0)
    assert [finding.message for finding in judgement.findings] == [
        "a.x holds a secret (access token, base64) 2 times, in line 3, 7.",
        "token.x holds a secret (client secret, plain) in its name.",
    ]
    other = ask("QL321" if rule == "QL320" else "QL320", ledger)
    assert other.verdict == "PASS"


def test_what_was_searched_and_what_not_is_said(ask):
    """PASS has its evidence: how many secrets, in how many files, and which were left out."""
    skipped = [{"file": f"f{i}", "why": "was not changed by the run"} for i in range(4)]
    ledger = searched(logs=2, skipped=skipped, skipped_total=4, secrets_left_out=5)
    judgement = ask("QL321", ledger)
    assert judgement.verdict == "PASS"
    assert judgement.note == (
        "4 secrets (3 access token, 1 client secret) looked for in 2 files; 5 more were too many to be looked "
        "for; not searched: f0 was not changed by the run, f1 was not changed by the run, f2 was not changed by "
        "the run and 1 more"
    )


def test_without_files_or_secrets_there_is_nothing_to_pass(ask):
    """No search, no such file, or no secret to look for: NA."""
    for rule in ("QL320", "QL321", "QL322"):
        assert ask(rule, LedgerBuilder()).verdict == "NA"
    assert ask("QL320", searched(logs=1)).verdict == "NA"
    assert ask("QL321", searched(state=1)).verdict == "NA"
    assert ask("QL321", searched(logs=1, secrets={})).verdict == "NA"
    empty = LedgerBuilder()
    empty.event(9, "own-output-searched", tables=3, inputs=2, secrets=SECRETS, found=0, whole=True)
    assert ask("QL322", empty).verdict == "NA"


@pytest.mark.parametrize(("found", "verdict"), [(0, "PASS"), (2, "FAIL")])
def test_our_own_output_is_judged(ask, found, verdict):
    """The verdict follows the search; a part that was not searched is said."""
    ledger = LedgerBuilder()
    ledger.call(at_s=1)
    if found:
        told = {"file": "calls.parquet", "kind": "access token", "encoding": "plain"}
        ledger.event(9, "secret-in-own-output", **told)
    ledger.event(9, "own-output-searched", tables=3, inputs=2, secrets=SECRETS, found=found, whole=not found)
    judgement = ask("QL322", ledger)
    assert (judgement.verdict, judgement.found) == (verdict, found)
    assert judgement.note.startswith("4 secrets (3 access token, 1 client secret) looked for in 3 tables")
    assert judgement.note.endswith("to a part") == bool(found)
