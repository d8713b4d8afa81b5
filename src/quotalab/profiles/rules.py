"""Settings of rules as data: thresholds and silences by id, of a workspace or of a provider profile.

::

    [tool.quotalab.rules.QL105]        # in a provider profile: [approval.rules.QL105]
    within_s = "2s"                    # a threshold: a number, or a duration where the name ends in _s
    silence = "our cron jobs may"      # a workspace's alone: the reason, which every report shows

Which rules there are, and which thresholds each has, is known where the rules are: `quotalab.rules`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from quotalab.profiles.reading import Table, parse_duration_ns

__all__ = ["RULE_ID", "SILENCE", "RuleSettings", "rule_settings", "workspace_rules"]

RuleSettings = Mapping[str, Mapping[str, int | float | str]]
"""Id of a rule -> its thresholds by name, as written, and under `SILENCE` the reason why it is silent."""

RULE_ID = re.compile(r"[A-Z]{2,8}[0-9]{3}")
SILENCE = "silence"
_LONGEST_REASON = 300
_MOST = 2**53


def rule_settings(table: Table, *, may_silence: bool = True) -> RuleSettings:
    """Read a table of settings by rule. Raises `ProfileError` naming the file and the key."""
    settings: dict[str, Mapping[str, int | float | str]] = {}
    for id in table:
        if not RULE_ID.fullmatch(id):
            raise table.error(id, "is no rule's id, which is letters and three digits, as in QL101")
        settings[id] = _one(table.table(id), may_silence)
    return settings


def workspace_rules(settings: Mapping[str, Any], file: str) -> RuleSettings:
    """``[tool.quotalab.rules]`` of a workspace's settings. Raises `ProfileError`."""
    return rule_settings(Table(settings, file, "tool.quotalab").table("rules", {}))


def _one(table: Table, may_silence: bool) -> dict[str, int | float | str]:
    values: dict[str, int | float | str] = {}
    for key in table:
        if key == SILENCE:
            if not may_silence:
                raise table.error(key, "only a workspace silences a rule, in its [tool.quotalab.rules.ID]")
            values[key] = _reason(table)
        else:
            values[key] = _threshold(table, key)
    return values


def _reason(table: Table) -> str:
    wanted = f"the reason, a text of at most {_LONGEST_REASON} characters"
    reason = table.any(SILENCE)
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= _LONGEST_REASON:
        shown = repr(reason)
        raise table.error(
            SILENCE, f"must be {wanted}, not {shown if len(shown) < 60 else shown[:57] + '...'}"
        )
    return " ".join(reason.split())


def _threshold(table: Table, key: str) -> int | float | str:
    value = table.any(key)
    wanted = "a number of 0 or more"
    if key.endswith("_s"):
        wanted += ' (of seconds), or a duration such as "90s"'
        if isinstance(value, str):
            try:
                parse_duration_ns(value)
            except ValueError as error:
                raise table.error(key, f"must be {wanted}: {error}") from None
            return value
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    if not good:
        shown = repr(value)
        raise table.error(key, f"must be {wanted}, not {shown if len(shown) < 60 else shown[:57] + '...'}")
    number: int | float = value
    return number
