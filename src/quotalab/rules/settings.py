"""What a rule's thresholds are in a run: the workspace's settings, else the profile's, else the defaults."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quotalab.errors import ProfileError
from quotalab.frames import Frames
from quotalab.profiles.reading import parse_duration_ns
from quotalab.profiles.rules import SILENCE, RuleSettings

if TYPE_CHECKING:
    from quotalab.rules.registry import Rule

__all__ = ["RULES_FILE", "check_settings", "silence_of", "thresholds_of", "unknown_ids"]

RULES_FILE = str(Path("inputs") / "rules.json")
"""Where a run folder keeps the workspace's settings."""
_PROVIDER_FILE = str(Path("inputs") / "provider.json")


def thresholds_of(rule: Rule, frames: Frames) -> dict[str, int | float]:
    """Each threshold of the rule as it is for this run. Raises `ProfileError` naming the file and the key."""
    values = dict(rule.thresholds)
    for settings, file, path in _layers(frames):
        values |= _values(rule, settings.get(rule.id, {}), file, path)
    return values


def silence_of(rule: Rule, frames: Frames) -> str | None:
    """Why the rule is silent in this run; None: it is not."""
    reason = frames.settings.get(rule.id, {}).get(SILENCE)
    return None if reason is None else str(reason)


def unknown_ids(rules: Sequence[Rule], frames: Frames) -> list[str]:
    """Ids that the run's settings speak of and that no rule here has: of a workspace's own rules, say."""
    known = {rule.id for rule in rules}
    return sorted({id for settings, _, _ in _layers(frames) for id in settings} - known)


def check_settings(rules: Sequence[Rule], settings: RuleSettings, file: str, path: str) -> None:
    """Raise `ProfileError` for the first setting of a rule, or of a threshold, that there is not.

    `file` and `path` say where the settings stand: ``pyproject.toml`` and ``tool.quotalab.rules``.
    """
    by_id = {rule.id: rule for rule in rules}
    for id, values in settings.items():
        if id not in by_id:
            raise ProfileError(file, f"{path}.{id}", f"there is no such rule; {_near(id, by_id)}")
        _values(by_id[id], values, file, path)


def _layers(frames: Frames) -> tuple[tuple[RuleSettings, str, str], ...]:
    """From the weakest to the strongest, with the file and the key that an error names."""
    return (
        (frames.provider.approval.rules, _PROVIDER_FILE, "approval.rules"),
        (frames.settings, RULES_FILE, ""),
    )


def _values(
    rule: Rule, settings: Mapping[str, int | float | str], file: str, path: str
) -> dict[str, int | float]:
    values: dict[str, int | float] = {}
    for key, value in settings.items():
        if key == SILENCE:
            continue
        where = ".".join(part for part in (path, rule.id, key) if part)
        if key not in rule.thresholds:
            raise ProfileError(
                file, where, f"is no threshold of {rule.name}; {_near(key, (*rule.thresholds, SILENCE))}"
            )
        if isinstance(value, str):
            values[key] = parse_duration_ns(value) / 1e9
        elif isinstance(rule.thresholds[key], int):
            if value != int(value):
                raise ProfileError(file, where, f"must be a whole number, not {value!r}")
            values[key] = int(value)
        else:
            values[key] = float(value)
    return values


def _near(word: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(known)}"
