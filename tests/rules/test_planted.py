"""Faults that are planted in the judges: the cases below tell each of them from what is right."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

import quotalab.rules.meanings as meanings
from quotalab.frames import load, windows
from quotalab.frames.testing import LedgerBuilder, provider_document

SECOND = 10**9
FAULTS = {
    "early: a call at the promised end counts": (meanings, "np.maximum(last, 0)] > at[after])", ">="),
    "early: a promise is a nanosecond shorter": (meanings, "end = at + frames.once(promises_ns)", " - 1"),
    "early: the key of the limit is lost": (meanings, "_pair(key, operation), known, known", "operation"),
    "retries: the idempotency key is lost": (meanings, "_pair(who, idempotency), idempotency >= 0,", "False"),
    "retries: the person is lost": (meanings, '("client_id", "person", "target")', "target"),
    "retries: ten minutes are a nanosecond": (meanings, "_LINK_NS = 600 * 1_000_000_000", "1"),
    "retries: the count is off by one": (meanings, "depth = (attempt >= 0).astype(np.int64)", "+ 1"),
    "windows: a window is one nanosecond long": (windows, "axis - window_ns", "axis - 1"),
}
"""What is planted: the module, the text that is replaced, and how (see `planted`)."""


def planted(module, old, how):
    """The module with the fault in it, as a module of its own."""
    new = {
        ">=": old.replace("> at", ">= at"),
        " - 1": old + " - 1",
        "operation": "operation, known, known",
        "False": old.replace("idempotency >= 0", "idempotency < -1"),
        "target": '["target"]',
        "1": "_LINK_NS = 1",
        "+ 1": old + " + 1",
        "axis - 1": "axis - 1",
    }[how]
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert old in source, f"{old!r} is planted nowhere"
    broken = module_from_spec(spec_from_loader(f"planted_{abs(hash(old + how))}", None))
    sys.modules[broken.__name__] = broken
    exec(compile(source.replace(old, new), module.__file__, "exec"), vars(broken))
    del sys.modules[broken.__name__]
    return broken


def told(meanings, windows, folder):
    """What the shared meanings make of a small day, where each detail matters."""
    each = {"kind": "rolling_window", "limit": 100, "period": "1h", "key": ["person"]}
    ledger = LedgerBuilder(provider_document({"each": each}))
    ledger.call(0, refused_by="each", retry_after_s=60, operation="a")
    ledger.call(5, operation="a", person="bob")  # another key
    ledger.call(at_ns=60 * SECOND - 1, operation="a", target="other")  # a nanosecond early
    ledger.call(60, operation="a")  # at the end: a retry, and not early
    ledger.call(70, status=503, target="x", idempotency_key="k", operation="b")
    ledger.call(75, status=503, target="x", idempotency_key="k", operation="c")
    ledger.call(80, status=503, target="y", person="bob")
    ledger.call(90, target="y", person="carl")
    ledger.call(600, target="y", person="bob")
    frames = load(ledger.write(folder))
    early, links = meanings.early_calls(frames), meanings.retries(frames)
    at_ns = frames.calls["at"].to_numpy()
    peaks = windows.largest_in_any_window(at_ns, at_ns * 0, 60 * SECOND)
    return (
        early[["row", "refusal", "same", "early_ns"]].to_numpy().tolist(),
        links[["row", "attempt", "linked_by", "number", "first"]].to_numpy().tolist(),
        peaks.largest.tolist(),
    )


def test_the_small_day_is_told_as_it_is(tmp_path):
    """One early call by a nanosecond; three retries; five calls in the fullest minute."""
    early, links, peaks = told(meanings, windows, tmp_path / "run")
    assert early == [[2, 0, True, 1]]
    assert links == [
        [3, 0, "operation", 1, 0],
        [5, 4, "idempotency key", 1, 4],
        [8, 6, "person, target and time", 1, 6],
    ]
    assert peaks == [6]


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(tmp_path, name):
    """Whichever is planted, the small day is told differently."""
    module, old, how = FAULTS[name]
    broken = planted(module, old, how)
    right = told(meanings, windows, tmp_path / "right")
    wrong = told(
        broken if module is meanings else meanings,
        broken if module is windows else windows,
        tmp_path / "wrong",
    )
    assert wrong != right
