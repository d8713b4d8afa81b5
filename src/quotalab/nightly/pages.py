"""Two pages of a night: its index, with links to the runs, and the trend over past nights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from quotalab.ledger.text import visible
from quotalab.nightly.comparing import Compared
from quotalab.nightly.words import lines, sentence

__all__ = ["index_page", "trend_page"]

_WIDTH, _HEIGHT = 260, 48


def index_page(compared: Sequence[Compared], folder: Path, *, kept: bool = False) -> str:
    """The night as HTML; links are relative to `folder`; `kept`: it has just become the baseline."""
    groups = [
        {
            "name": one.group.name,
            "word": one.word,
            "lines": lines(one),
            "runs": [
                {
                    "seed": run.seed,
                    "verdict": run.verdict,
                    "link": f"{run_folder.relative_to(folder)}/report.html",
                }
                for run, run_folder in zip(one.runs, one.folders, strict=True)
            ],
        }
        for one in compared
    ]
    return _render(
        "night.html.jinja", sentence=sentence(compared, kept=kept), night=folder.name, groups=groups
    )


def trend_page(nights: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The medians of each group's figures over the nights, a line each, as HTML."""
    names = list(dict.fromkeys(group["name"] for _, night in nights for group in night["groups"]))
    groups = []
    for name in names:
        mine = [
            (night, next((group for group in document["groups"] if group["name"] == name), None))
            for night, document in nights
        ]
        figures = list(
            dict.fromkeys(f for _, group in mine if group for run in group["runs"] for f in run["figures"])
        )
        rows = []
        for figure in figures:
            values = [(night, _middle(group, figure)) for night, group in mine]
            known = [value for _, value in values if value is not None]
            if known:
                rows.append(
                    {
                        "figure": figure,
                        "points": _points([value for _, value in values]),
                        "least": f"{min(known):.4g}",
                        "most": f"{max(known):.4g}",
                        "last": f"{known[-1]:.4g}",
                    }
                )
        words = [(night, group["word"] if group else "none") for night, group in mine]
        groups.append({"name": name, "rows": rows, "words": words})
    return _render("trend.html.jinja", groups=groups, nights=len(nights), width=_WIDTH, height=_HEIGHT)


def _middle(group: dict[str, Any] | None, figure: str) -> float | None:
    if group is None:
        return None
    values = [run["figures"].get(figure) for run in group["runs"]]
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _points(values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """Stretches of a line, broken where a night has no value; x and y in the picture's units."""
    known = [value for value in values if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    step = (_WIDTH - 8) / max(len(values) - 1, 1)
    stretches: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            stretches.append([])
        else:
            y = _HEIGHT - 4 - (value - low) / span * (_HEIGHT - 8)
            stretches[-1].append((round(4 + i * step, 1), round(y, 1)))
    return [stretch for stretch in stretches if stretch]


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text: str = environment.get_template(template).render(**values)
    return text
