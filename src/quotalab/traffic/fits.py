"""A fit from start to end: the profile, the laws that were tried, and the traffic held against the trace."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quotalab.errors import InputError, ProfileError
from quotalab.profiles.reading import read_toml
from quotalab.profiles.traffic import parse_traffic
from quotalab.traces.measuring import sessions_of
from quotalab.traces.trace import Trace
from quotalab.traffic.comparing import Comparison, Generator, compare, generators
from quotalab.traffic.fitting import chain_document, gaps_of, laws_document, replay_document, toml
from quotalab.traffic.think_times import FittedLaw, fit_laws

__all__ = ["Fit", "fit", "parse_map", "parse_mix", "written"]


@dataclass(frozen=True)
class Fit:
    """A traffic profile made of a trace, and how true it is."""

    trace: Trace
    document: Mapping[str, Any]
    laws: tuple[FittedLaw, ...]
    made: Mapping[str, Generator]
    comparison: Comparison | None

    def told(self) -> str:
        """What `quotalab trace fit` prints."""
        lines = []
        if self.comparison is not None:
            lines += [self.comparison.table(), ""]
        if self.laws:
            best = self.laws[0].aic
            told = [
                f"{law.law} ({', '.join(f'{name} {value:.4g}' for name, value in law.parameters.items())}"
                f"; AIC {'best' if law.aic == best else f'+{law.aic - best:,.0f}'})"
                for law in self.laws
            ]
            lines.append("think times, best first: " + "; ".join(told))
        return "\n".join(lines)

    def pictures(self) -> list[tuple[str, Trace]]:
        """The trace and one generated day of each generator, to be drawn on the same axes."""
        return [("trace", self.trace), *((name, generate(1)) for name, generate in self.made.items())]


def fit(
    trace: Trace,
    path: str,
    *,
    kind: str = "chain",
    name: str = "fitted",
    named: Mapping[str, str] | None = None,
    mix: Mapping[str, float] | None = None,
    people: int | None = None,
    seeds: int = 20,
) -> Fit:
    """Fit a profile of a kind to a trace, which lies at `path` as seen from the profile."""
    if not 0 <= seeds <= 1000:
        raise InputError(f"--seeds: must be a whole number from 0 to 1000, not {seeds}")
    parts: dict[str, Any] = {"name": name, "named": named, "people": people}
    chain = chain_document(trace, mix=mix, **parts)
    if kind == "chain":
        document = chain
    elif kind == "laws":
        document = laws_document(trace, mix=mix, **parts)
    elif mix:
        raise InputError("--mix: a trace that is replayed says itself what is asked; use --map")
    else:
        document = replay_document(trace, path, kind=kind, **parts)
    sessions = sessions_of(trace)
    laws = tuple(fit_laws(gaps_of(trace, sessions).seconds, trace.resolution_ns / 1e9))
    made = generators(trace, chain)
    comparison = compare(trace, made, seeds) if seeds and kind in ("chain", "resample") else None
    return Fit(trace, document, laws, made, comparison)


def written(fitted: Fit, out: Path) -> Path:
    """Write the profile, with the comparison as its comment; returns its path. Raises `InputError`.

    A traffic profile may be written anew; any other file that is there stays as it is.
    """
    _spare(out)
    trace = fitted.trace
    comments = [
        f"Made by quotalab trace fit of {len(trace):,} requests of {trace.source_count:,} sources.",
        "",
        *fitted.told().splitlines(),
    ]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(toml(fitted.document, comments), encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from None
    parse_traffic(fitted.document, str(out))  # what was written can be read
    return out


def _spare(out: Path) -> None:
    if out.suffix != ".toml":
        raise InputError(f"--out {out}: must end in .toml, as a traffic profile does")
    try:
        parse_traffic(read_toml(out), str(out))
    except ProfileError:
        if out.exists():
            told = "is there already and is no traffic profile; name another file"
            raise InputError(f"--out {out}: {told}") from None


def parse_map(given: Sequence[str]) -> dict[str, str]:
    """``THEIRS=OURS``, each once. Raises `InputError`."""
    named: dict[str, str] = {}
    for text in given:
        theirs, equals, ours = text.rpartition("=")
        if not equals or not theirs or not ours.isidentifier():
            raise InputError(f"--map: {text!r} is not THEIRS=OURS, as request=open_event")
        named[theirs] = ours
    return named


def parse_mix(given: str | None) -> dict[str, float]:
    """``look=3,add=1``. Raises `InputError`."""
    mix: dict[str, float] = {}
    for text in (given or "").split(","):
        if not text.strip():
            continue
        name, equals, share = text.partition("=")
        try:
            mix[name.strip()] = float(share) if equals else math.nan
        except ValueError:
            mix[name.strip()] = math.nan
        if not name.strip().isidentifier() or not 0 <= mix[name.strip()] < math.inf:
            raise InputError(f"--mix: {text!r} is not NAME=SHARE, as look_at_week=0.45")
    if mix and not sum(mix.values()):
        raise InputError("--mix: at least one share must be above 0")
    return mix
