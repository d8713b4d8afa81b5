"""A verdict to look at: in words on a terminal, as a table in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from quotalab.report import sentences, summary
from quotalab.report.text import visible
from quotalab.rules import Verdict

__all__ = ["Judged"]

_COLOURS = {"FAIL": "#b3261e", "WARN": "#8a5a00", "REVIEW": "#6b3fa0", "PASS": "#1b6e3c", "NA": "#5c6672"}
_MOST_FINDINGS = 3
_ROW = Markup('<tr><td>{}</td><td>{}</td><td>{}</td><td style="text-align: left">{}</td></tr>')


class Judged:
    """The verdict on a run; compares equal to its word: ``run.verdict == "PASS"``."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.document: Mapping[str, Any] = verdict.as_document()
        """`verdict.json`."""

    @property
    def word(self) -> str:
        """PASS, WARN, FAIL, REVIEW or NA."""
        return self._verdict.verdict

    @property
    def sentences(self) -> tuple[str, str, str]:
        """The verdict, the tightest limit with its worst moment, and what to change first."""
        return sentences(self._verdict)

    @property
    def rules(self) -> pd.DataFrame:
        """A row for each rule, by its id: name, verdict, metric, threshold, findings (how many)."""
        rows = [{**row, "findings": row["findings_total"]} for row in self.document["rules"]]
        columns = ["id", "name", "verdict", "metric", "threshold", "findings"]
        return pd.DataFrame(rows, columns=columns).set_index("id")

    @property
    def findings(self) -> pd.DataFrame:
        """A row for each finding that is told: rule, message, at (UTC), calls (their `seq`)."""
        rows = [
            {"rule": rule["id"], **finding} for rule in self.document["rules"] for finding in rule["findings"]
        ]
        table = pd.DataFrame(rows, columns=["rule", "message", "at", "calls"])
        table["at"] = pd.to_datetime(table["at"], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
        return table

    @property
    def metrics(self) -> Mapping[str, float | int | None]:
        """The figures of the run, as `verdict.json` has them."""
        return self._verdict.metrics

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.word == other
        return isinstance(other, Judged) and self.document == other.document

    __hash__ = None  # type: ignore[assignment]  # equal to a word and to documents, which have no hash

    def __str__(self) -> str:
        return summary(self._verdict)

    def __repr__(self) -> str:
        return f"<{self.word}: {self.sentences[1]}>"

    def _repr_html_(self) -> str:
        """For notebooks. Whatever an app or a client sent is escaped."""
        told = Markup("").join(Markup("<p>{}</p>").format(_shown(line)) for line in self.sentences)
        rows = Markup("").join(
            _ROW.format(rule["id"], _shown(rule["name"]), _badge(rule["verdict"]), _told(rule))
            for rule in self.document["rules"]
            if rule["verdict"] not in ("PASS", "NA")
        )
        passed = sum(rule["verdict"] == "PASS" for rule in self.document["rules"])
        table = Markup("<table><tr><th>rule</th><th></th><th></th><th>findings</th></tr>{}</table>")
        return str(
            Markup("<div>{}{}{}<p>{} rules passed.</p></div>").format(
                _badge(self.word), told, table.format(rows) if rows else Markup(""), passed
            )
        )


def _shown(text: object) -> Markup:
    return escape(visible(str(text)))


def _badge(word: str) -> Markup:
    return Markup('<strong style="color:{}">{}</strong>').format(_COLOURS[word], word)


def _told(rule: Mapping[str, Any]) -> Markup:
    lines = [_shown(finding["message"]) for finding in rule["findings"][:_MOST_FINDINGS]]
    more = rule["findings_total"] - len(lines)
    if more > 0:
        lines.append(_shown(f"and {more:,} more"))
    return Markup("<br>").join(lines)
