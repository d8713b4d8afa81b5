"""The confusion matrix of the rules: ``./lab python tests/matrix``.

Every broken integration in ``broken/`` is run and judged by all rules: the rule that it breaks must fire, and
what it declares to follow, and nothing else. The good integration is run on every bundled provider, and none
may fire.

    ./lab python tests/matrix                    the broken ones, and the good one with one seed
    ./lab python tests/matrix --seeds 10         the good one with ten
    ./lab python tests/matrix QL101 QL201        these alone, with what was found
    ./lab python tests/matrix --write            and write docs/confusion-matrix.md
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from broken_cases import all_cases
from matrix_page import good_cases, page, table
from playing import ROOT, play, play_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/matrix", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE", help="these alone, with what was found")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of the good one (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs of the RULEs there")
    parser.add_argument("--write", action="store_true", help="write docs/confusion-matrix.md")
    options = parser.parse_args()
    cases = [case for case in all_cases() if not options.rules or case.rule in options.rules]
    if options.rules:
        wrong = []
        for nth, case in enumerate(cases):
            keep = options.keep / f"{case.rule}-{nth}" if options.keep else None
            played = play(case, case.run.get("seed", 1), keep)
            print(f"{case.name}: {case.told} ({played.calls:,} calls)")
            for id in sorted(played.fired):
                print(f"  {played.verdicts[id]:<6} {id}: {' / '.join(played.findings[id][:2])}")
            wrong += played.wrong
        print("\n".join(wrong) or "as declared")
        return int(bool(wrong))
    broken = list(play_all([(case, case.run.get("seed", 1)) for case in cases], options.jobs))
    good = list(
        play_all(
            [(case, seed) for case in good_cases() for seed in range(1, options.seeds + 1)], options.jobs
        )
    )
    print(table(broken, good))
    wrong = [line for played in (*broken, *good) for line in played.wrong]
    print("\n".join(["", *wrong]) if wrong else "\nEach fires on its own, and nothing fires undeclared.")
    if options.write and not wrong:
        path = ROOT / "docs" / "confusion-matrix.md"
        path.write_text(page(broken, good, options.seeds), encoding="utf-8")
        print(f"\n{path.relative_to(ROOT)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
