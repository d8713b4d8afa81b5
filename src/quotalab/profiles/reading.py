"""Reading TOML profiles: a table that knows its file and key, so that each mistake gets one clear line."""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quotalab.errors import ProfileError

__all__ = ["Table", "apply_settings", "merge", "parse_duration_ns", "read_toml"]

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION = re.compile(r"(\d+)(?:\.(\d+))?\s*(ns|us|ms|s|min|m|h|d)")
_MISSING: Any = object()


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of a duration such as ``90s``, ``1.5h``, ``80ms`` or ``1h 30m``; exact, no floats.

    Raises ``ValueError`` with a message that says what would be right.
    """
    total, position = 0, 0
    stripped = text.strip()
    for match in _DURATION.finditer(stripped):
        if stripped[position : match.start()].strip():
            break
        whole, fraction, unit = match.groups()
        scale = _UNITS_NS[unit]
        total += int(whole) * scale
        if fraction:
            scaled, rest = divmod(int(fraction) * scale, 10 ** len(fraction))
            if rest:
                raise ValueError(f"{text!r} is finer than a nanosecond")
            total += scaled
        position = match.end()
    if not stripped or stripped[position:].strip():
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 1h or 24h")
    return total


def read_toml(path: Path, shown: str | None = None) -> dict[str, Any]:
    """The TOML document at `path`; `shown` is how messages call the file."""
    name = shown or str(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(name, "", f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(name, "", f"is not UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(name, "", f"is not valid TOML: {error}") from error
    except RecursionError as error:
        raise ProfileError(name, "", "is not valid TOML: it is nested too deeply") from error


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the keys of `above` laid over it, table by table; lists are replaced whole."""
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def apply_settings(document: Mapping[str, Any], settings: Iterable[str], shown: str) -> dict[str, Any]:
    """`document` with each ``dotted.key=value`` of `settings` set; a value is TOML, else a plain string."""
    changed = copy.deepcopy(dict(document))
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        parts = [part.strip() for part in dotted.split(".")]
        if not equals or not all(parts):
            raise ProfileError("--set", "", f"{setting!r} is not key=value, as in limits.hourly.limit=50")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError, RecursionError):
            value = text
        table: Any = changed
        for depth, part in enumerate(parts[:-1]):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                key = ".".join(parts[: depth + 1])
                raise ProfileError(shown, key, f"is not a table, so --set cannot reach {dotted.strip()!r}")
        table[parts[-1]] = value
    return changed


class Table:
    """One TOML table under validation.

    Each getter takes a key off the table and raises `ProfileError` when its value is missing or wrong;
    `done` then refuses whatever is left over, so that a misspelt key is never silently ignored.
    """

    def __init__(self, values: Mapping[str, Any], file: str, path: str = "") -> None:
        self._values = dict(values)
        self._known: list[str] = []
        self.file = file
        self.path = path

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def error(self, key: str, message: str) -> ProfileError:
        """The error to raise for `key` of this table."""
        return ProfileError(self.file, self._at(key) if key else self.path, message)

    def _take(self, key: str, default: Any, wanted: str) -> Any:
        self._known.append(key)
        if key in self._values:
            return self._values.pop(key)
        if default is _MISSING:
            raise self.error(key, f"is missing; it must be {wanted}")
        return default

    def _wrong(self, key: str, wanted: str, value: Any) -> ProfileError:
        shown = repr(value)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        return self.error(key, f"must be {wanted}, not {shown}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        """The keys not taken yet, in the file's order."""
        return iter(list(self._values))

    def text(self, key: str, default: Any = _MISSING) -> Any:
        """A string that is not empty."""
        wanted = "a text"
        value = self._take(key, default, wanted)
        if value is not default and (not isinstance(value, str) or not value.strip()):
            raise self._wrong(key, wanted, value)
        return value

    def choice(self, key: str, allowed: Sequence[str], default: Any = _MISSING) -> Any:
        """One of `allowed`."""
        wanted = "one of " + ", ".join(repr(word) for word in allowed)
        value = self._take(key, default, wanted)
        if value is not default and value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise self.error(key, f"must be {wanted}, not {value!r}{hint}")
        return value

    def flag(self, key: str, default: Any = _MISSING) -> Any:
        """true or false."""
        value = self._take(key, default, "true or false")
        if value is not default and not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def whole(self, key: str, default: Any = _MISSING, *, least: int = 0, most: int = 2**62) -> Any:
        """A whole number from `least` to `most`."""
        wanted = f"a whole number of {least} or more"
        value = self._take(key, default, wanted)
        if value is default:
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(key, wanted, value)
        if value > most:
            raise self._wrong(key, f"a whole number of at most {most}", value)
        return value

    def number(
        self, key: str, default: Any = _MISSING, *, least: float = 0.0, most: float = float("inf")
    ) -> Any:
        """A number from `least` to `most`, as a float."""
        wanted = (
            f"a number from {least:g} to {most:g}"
            if most < float("inf")
            else f"a number of {least:g} or more"
        )
        value = self._take(key, default, wanted)
        if value is default:
            return value
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(key, wanted, value)
        return float(value)

    def duration_ns(self, key: str, default: Any = _MISSING, *, least_ns: int = 0) -> Any:
        """A duration in nanoseconds, written as ``"1h"`` or as a whole number of seconds."""
        wanted = 'a duration such as "90s", "15m" or "1h"'
        value = self._take(key, default, wanted)
        if value is default:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            duration_ns = value * 1_000_000_000
        elif isinstance(value, str):
            try:
                duration_ns = parse_duration_ns(value)
            except ValueError as error:
                raise self.error(key, f"must be {wanted}: {error}") from None
        else:
            raise self._wrong(key, wanted, value)
        if duration_ns < least_ns or (least_ns == 0 and duration_ns < 0):
            raise self.error(key, f"must be {wanted} of at least {least_ns / 1e9:g} s, not {value!r}")
        if duration_ns > 2**62:
            raise self.error(key, f"must be shorter than 146 years, not {value!r}")
        return duration_ns

    def texts(self, key: str, default: Any = _MISSING, *, allowed: Sequence[str] | None = None) -> Any:
        """A list of strings, each once, as a tuple; each one of `allowed` if given."""
        wanted = "a list of texts"
        if allowed is not None:
            wanted = "a list of " + ", ".join(repr(word) for word in allowed)
        value = self._take(key, default, wanted)
        if value is default:
            return value
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, wanted, value)
        if allowed is not None and any(item not in allowed for item in value):
            raise self._wrong(key, wanted, value)
        if len(set(value)) != len(value):
            raise self.error(key, f"names something twice: {value!r}")
        return tuple(value)

    def numbers(self, key: str, *, count: int | None = None, least: float = 0.0) -> tuple[float, ...]:
        """A list of numbers of `least` or more, `count` of them if given."""
        wanted = f"a list of {count if count is not None else ''} numbers of {least:g} or more".replace(
            "  ", " "
        )
        value = self._take(key, _MISSING, wanted)
        good = isinstance(value, list) and all(
            isinstance(item, int | float) and not isinstance(item, bool) and item >= least for item in value
        )
        if not good or (count is not None and len(value) != count):
            raise self._wrong(key, wanted, value)
        return tuple(float(item) for item in value)

    def peek(self, key: str) -> Any:
        """The value of `key` without taking it; None if it is missing."""
        return self._values.get(key)

    def any(self, key: str, default: Any = _MISSING) -> Any:
        """A value of whatever type, for what the provider's own answers hold."""
        return self._take(key, default, "a value")

    def table(self, key: str, default: Any = _MISSING) -> Table:
        """A table below this one; `default` may be a mapping."""
        value = self._take(key, default, "a table")
        if not isinstance(value, Mapping):
            raise self._wrong(key, "a table", value)
        return Table(value, self.file, self._at(key))

    def tables(self, key: str) -> list[tuple[str, Table]]:
        """The tables of a table of tables, with their names, in the file's order; none if it is missing."""
        below = self.table(key, {})
        return [(name, below.table(name)) for name in below]

    def array(self, key: str) -> list[Table]:
        """An array of tables (``[[key]]``); none if it is missing."""
        value = self._take(key, [], "an array of tables")
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise self._wrong(key, "an array of tables", value)
        return [Table(item, self.file, f"{self._at(key)}[{i}]") for i, item in enumerate(value)]

    def done(self) -> None:
        """Refuse the keys that nothing asked for."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            if near:
                hint = f"did you mean {near[0]!r}?"
            else:
                hint = "known here: " + ", ".join(sorted(set(self._known)))
            raise self.error(key, f"is not a key that is known here; {hint}")
