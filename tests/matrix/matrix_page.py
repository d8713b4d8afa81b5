"""The confusion matrix as text and as a page of the docs."""

from __future__ import annotations

from collections.abc import Sequence

from broken_cases import Case
from playing import Played

__all__ = ["BREAKS_NONE", "good_cases", "page", "table"]

BREAKS_NONE = {
    "QL322": "it would be a fault of quotalab's own, which tests/run/test_own_output.py plants.",
}
"""Rules that no integration can break, and why."""
_OTHER = {
    # A day on this one is longer or fuller than its limits allow anybody: see the profile.
}


def good_cases() -> list[Case]:
    """The reference integration on every bundled provider."""
    from playing import ROOT

    names = sorted(path.stem for path in (ROOT / "profiles" / "providers").glob("*.toml"))
    return [
        Case(rule="", told=name, run={"provider": name, "users": 40, "for": "3h", **_OTHER.get(name, {})})
        for name in names
    ]


def table(broken: Sequence[Played], good: Sequence[Played]) -> str:
    """A row a broken integration, a column a rule: ``#`` its own rule fires, ``+`` one declared, ``!`` another."""
    ids = _ids(broken, good)
    lines = [" " * 8 + "".join(f"{id[2:]} " for id in ids)]
    for played in broken:
        lines.append(f"{played.case.name:<8}" + "".join(f" {_mark(played, id)}  " for id in ids))
    lines.append("")
    for name in dict.fromkeys(played.case.name for played in good):
        mine = [played for played in good if played.case.name == name]
        fired = sorted({id for played in mine for id in played.fired})
        seeds = f"{len(mine)} seed{'' if len(mine) == 1 else 's'}"
        lines.append(f"good on {name:<24}{seeds}: {', '.join(fired) or 'none fires'}")
    return "\n".join(line.rstrip() for line in lines)


def _mark(played: Played, id: str) -> str:
    if id == played.case.rule:
        return "#" if id in played.fired else "o"
    if id in played.fired:
        return "+" if id in played.case.allowed else "!"
    return "."


def _ids(broken: Sequence[Played], good: Sequence[Played]) -> list[str]:
    return sorted({id for played in (*broken, *good) for id in played.verdicts})


def page(broken: Sequence[Played], good: Sequence[Played], seeds: int) -> str:
    """``docs/confusion-matrix.md``."""
    providers = list(dict.fromkeys(played.case.name for played in good))
    lines = [
        "# Which rule fires on what",
        "",
        "Each row is an integration that is wrong in one way, run against a sandbox and judged by all rules. "
        "The rule that it breaks fires, with what follows from it, and nothing else. Written by "
        "`./lab python tests/matrix --write`; a test holds it against the runs.",
        "",
        "| rule | what is wrong | found as | and what follows |",
        "|---|---|---|---|",
    ]
    for played in broken:
        rule = played.case.rule
        follows = ", ".join(f"{id} ({played.verdicts[id]})" for id in sorted(played.fired - {rule}))
        lines.append(f"| {rule} | {played.case.told} | {played.verdicts.get(rule, '-')} | {follows or '-'} |")
    lines += ["", "```", table(broken, []).rstrip(), "```", ""]
    lines += [
        "`#`: the broken rule fires. `+`: it follows from what is broken. `.`: silent.",
        "",
        *(f"No integration breaks {id}: {why}" for id, why in BREAKS_NONE.items()),
        "",
        f"The good integration, with {seeds} seed{'' if seeds == 1 else 's'} on each of "
        f"{len(providers)} bundled providers ({', '.join(providers)}), makes no rule fire; "
        f"the runs have {min(one.calls for one in good)} to {max(one.calls for one in good)} calls.",
        "",
    ]
    return "\n".join(lines)
