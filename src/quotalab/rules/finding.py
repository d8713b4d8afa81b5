"""What a rule says: findings, and the judgement that they add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["MOST_FINDINGS", "VERDICTS", "Finding", "Judgement", "worst"]

VERDICTS = ("FAIL", "WARN", "REVIEW", "PASS", "NA")
"""From worst to best. REVIEW: a person must look; NA: there was nothing to judge."""


MOST_FINDINGS = 1000
"""As many as a rule with many cases tells, the worst or the first ones; it counts the rest as untold."""


@dataclass(frozen=True)
class Finding:
    """One case of breaking a rule."""

    message: str
    """A sentence with its numbers; it names calls by their `seq`."""
    at_ns: int | None
    """When, in ns since 1970 UTC."""
    calls: tuple[int, ...] = ()
    """`seq` of the calls that show it."""


@dataclass(frozen=True)
class Judgement:
    """What one rule found in one run."""

    verdict: str
    """One of `VERDICTS`."""
    metric: float | None = None
    threshold: float | None = None
    findings: tuple[Finding, ...] = ()
    remedy: str | None = None
    """What to change, in a clause that follows "Change first: "; else the rule's page says it."""
    note: str | None = None
    """What a reader must know beside the verdict, such as why there was nothing to judge."""
    untold: int = 0
    """Further cases that are only counted: nobody reads a hundred thousand sentences, and they take time."""

    unit: str | None = None
    """Of `metric` and `threshold`, where it is another than the rule's."""

    @property
    def found(self) -> int:
        """How many cases there are, told or not."""
        return len(self.findings) + self.untold

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}, not {self.verdict!r}")


def worst(verdicts: Iterable[str]) -> str:
    """The worst of them, FAIL before WARN before REVIEW before PASS; NA when there is none."""
    return min(verdicts, key=VERDICTS.index, default="NA")
