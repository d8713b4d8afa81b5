"""What happened while the run was on, besides people and calls: changed limits, an approval, planted faults.

Read from the ledger's events, with the spans that the profile has for its faults. People's own habits are no
happening, nor is a fault that struck nobody.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from quotalab.frames import Frames
from quotalab.rules.times import count

__all__ = ["Happening", "happenings"]

_GRANTS_ENDED = {
    "consent-withdrawn": ("consent withdrawn", "the consent of {} was withdrawn"),
    "token-revoked": ("tokens revoked", "the access tokens of {} were revoked"),
}


@dataclass(frozen=True)
class Happening:
    """Something that happened at a moment, or from one moment to another."""

    at_ns: int
    until_ns: int | None
    """None: a moment."""
    label: str
    """A few words, for a figure; the profile's and ours, nothing that a client sent."""
    told: str
    """A sentence without its full stop."""

    def lasts(self, span_ns: tuple[int, int]) -> bool:
        """Whether it was there for the whole run, and divides it nowhere."""
        return self.until_ns is not None and self.at_ns <= span_ns[0] and self.until_ns >= span_ns[1]


def happenings(frames: Frames) -> list[Happening]:
    """All of them, in the order in which they began."""
    events = [
        (int(at_ns), str(what), who, json.loads(details))
        for at_ns, what, who, details in zip(
            *(frames.events[name].tolist() for name in ("at", "what", "who", "details")), strict=True
        )
    ]
    found = [*_decisions(events), *_ended_grants(events), *_faults(frames, events)]
    return sorted(found, key=lambda one: (one.at_ns, one.label))


def _decisions(events: list[tuple[int, str, Any, dict[str, Any]]]) -> list[Happening]:
    """The provider's: an approval, and limits that got another number; those of one instant are one."""
    moments: dict[int, tuple[list[str], list[str], list[str]]] = {}
    for at_ns, what, _, details in events:
        if what not in ("approved", "limit-changed"):
            continue
        labels, told, why = moments.setdefault(at_ns, ([], [], []))
        if what == "approved":
            labels.insert(0, "approved")
            told.insert(0, "the app was approved")
        else:
            labels.append(f"{details['limit']} now {details['now']:,}")
            told.append(f"the limit {details['limit']} went from {details['before']:,} to {details['now']:,}")
        if details["why"] not in why:
            why.append(details["why"])
    return [
        Happening(at_ns, None, labels[0], f"{', '.join(told)} ({'; '.join(why)})")
        for at_ns, (labels, told, why) in moments.items()
    ]


def _ended_grants(events: list[tuple[int, str, Any, dict[str, Any]]]) -> list[Happening]:
    people: Counter[tuple[int, str]] = Counter(
        (at_ns, what) for at_ns, what, _, details in events if what in _GRANTS_ENDED and "why" in details
    )
    return [
        Happening(
            at_ns,
            None,
            _GRANTS_ENDED[what][0],
            _GRANTS_ENDED[what][1].format(count(number, "person", "people")),
        )
        for (at_ns, what), number in people.items()
    ]


def _faults(frames: Frames, events: list[tuple[int, str, Any, dict[str, Any]]]) -> list[Happening]:
    struck: Counter[str] = Counter(details["name"] for _, what, _, details in events if what == "fault")
    found = []
    for fault in frames.provider.faults:
        if not struck[fault.name] or fault.kind in ("revoke_token", "withdraw_consent"):
            continue
        until_ns = frames.span_ns[1]
        if fault.until_ns is not None:
            until_ns = min(until_ns, frames.run.start_ns + fault.until_ns)
        told = f"the fault {fault.name} ({fault.kind}) struck {count(struck[fault.name], 'time')}"
        found.append(Happening(frames.run.start_ns + fault.from_ns, until_ns, fault.name, told))
    return found
