"""One scenario over many seeds: how often each limit was overrun, and how much that shows."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from quotalab.nightly.statistics import share_at_most
from quotalab.nightly.workers import Cell, Ended, locked, run_cells

__all__ = ["SeedsResult", "run_seeds"]

_VERDICTS = ("FAIL", "WARN", "REVIEW", "PASS", "NA")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class SeedsResult:
    """What many seeds say together."""

    document: dict[str, Any]
    """``seeds.json``: `verdict`, `seeds`, `verdicts`, `limits`, `waits_p95_s`, `done_share`, `rules` and
    `repeat` (the command of the first seed with the worst verdict, null where all pass)."""
    code: int

    def text(self) -> str:
        """A screen of plain text."""
        return _text(self.document)


def run_seeds(
    arguments: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    jobs: int,
    cwd: Path,
    locust: Sequence[str] = (),
    strict: bool = False,
    progress: Callable[[str], None] | None = None,
) -> SeedsResult:
    """Run ``quotalab`` with `arguments` and each seed in ``folder/seed-N``, and write ``seeds.json``.

    The exit code is the worst: 3 before 1 before 0. Raises `InputError` with a run's own words when it could
    not be judged.
    """
    cells = [Cell(f"seed-{seed}", (*arguments, "--seed", str(seed)), tuple(locust)) for seed in seeds]
    over: list[Ended] = []

    def ended(one: Ended) -> None:
        over.append(one)
        if progress is not None:
            progress(f"{len(over)} of {len(cells)} seeds are over")

    with locked(folder) as lock:
        results = run_cells(cells, folder, jobs=jobs, cwd=cwd, lock=lock, ended=ended)
        document = _together(seeds, results)
        part = folder / "seeds.json.part"
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        part.replace(folder / "seeds.json")
    bad = strict and document["verdict"] in ("WARN", "REVIEW")
    return SeedsResult(document, max(*(one.code for one in results), int(bad)))


def _together(seeds: Sequence[int], results: Sequence[Ended]) -> dict[str, Any]:
    verdicts = [one.verdict for one in results]
    each = [document["verdict"] for document in verdicts]
    counts = Counter(each)
    worst = min(each, key=_VERDICTS.index)
    limits = []
    for place, first in enumerate(verdicts[0]["limits"]):
        rows = [document["limits"][place] for document in verdicts]
        # Beyond a limit by what was asked, or refused by it: with a limit on people nobody asks for more.
        overran = sum(row["headroom"] < 0 or row["refused"] > 0 for row in rows)
        limits.append(
            {
                "name": first["name"],
                "overran": overran,
                "share": overran / len(rows),
                "share_at_most": share_at_most(overran, len(rows), _CONFIDENCE),
                "headroom": _spread([row["headroom"] for row in rows]),
                "refused": _spread([row["refused"] for row in rows]),
            }
        )
    rules: dict[str, Counter[str]] = {}
    names: dict[str, str] = {}
    for document in verdicts:
        for rule in document["rules"]:
            names[rule["id"]] = rule["name"]
            rules.setdefault(rule["id"], Counter())[rule["verdict"]] += 1
    bad = next((i for i, verdict in enumerate(each) if verdict == worst), 0)
    return {
        "schema": 1,
        "verdict": worst,
        "run": {name: verdicts[0]["run"][name] for name in ("scenario", "provider", "traffic", "policy")},
        "seeds": [
            {"seed": seed, "verdict": verdict, "folder": one.folder.name}
            for seed, verdict, one in zip(seeds, each, results, strict=True)
        ],
        "verdicts": {verdict: counts[verdict] for verdict in _VERDICTS if counts[verdict]},
        "confidence": _CONFIDENCE,
        "limits": limits,
        "waits_p95_s": _spread([document["metrics"]["wait_p95_s"] for document in verdicts]),
        "done_share": _spread(
            [
                document["metrics"]["operations_done"] / document["metrics"]["operations"]
                if document["metrics"]["operations"]
                else None
                for document in verdicts
            ]
        ),
        "rules": [
            {"id": id, "name": names[id], "verdicts": dict(told)} for id, told in sorted(rules.items())
        ],
        "repeat": None if worst in ("PASS", "NA") else shlex.join(("quotalab", *results[bad].cell.command())),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Least, median and most; None where no seed has a value."""
    known = [value for value in values if value is not None]
    return {"least": min(known), "median": median(known), "most": max(known)} if known else None


def _text(document: dict[str, Any]) -> str:
    run, seeds = document["run"], document["seeds"]
    head = [run["scenario"], run["provider"], run["traffic"], run["policy"], f"{len(seeds)} seeds"]
    rows = [("limit", "overran", "share at most", "headroom", "refused")]
    for limit in document["limits"]:
        rows.append(
            (
                limit["name"][:24],
                f"{limit['overran']} of {len(seeds)}",
                f"{limit['share_at_most']:.1%}",
                _range(limit["headroom"], ".0%"),
                _range(limit["refused"], ",.0f"),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [" · ".join(part for part in head if part), ""]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [
        f"(ranges: least, median, most; at most: with {document['confidence']:.0%} confidence, "
        f"from {len(seeds)} seeds)",
        "",
        f"waits, 95th percentile, in seconds: {_range(document['waits_p95_s'], ',.1f')}",
        f"operations done: {_range(document['done_share'], '.0%')}",
        "",
    ]
    for rule in document["rules"]:
        told = ", ".join(
            f"{verdict} in {rule['verdicts'][verdict]}"
            for verdict in _VERDICTS[:3]
            if verdict in rule["verdicts"]
        )
        if told:
            lines.append(f"{rule['id']} {rule['name']}: {told} of {len(seeds)}")
    if lines[-1]:
        lines.append("")
    told = ", ".join(f"{verdict} {number}" for verdict, number in document["verdicts"].items())
    lines += [f"{document['verdict']} is the worst of {len(seeds)} seeds ({told})."]
    if document["repeat"]:
        lines.append(f"The first such run again: {document['repeat']}")
    return "\n".join(lines)


def _range(spread: dict[str, float] | None, form: str) -> str:
    if spread is None:
        return "none"
    return " / ".join(format(spread[name], form) for name in ("least", "median", "most"))
