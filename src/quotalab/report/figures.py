"""The figures: each takes frames and an `Axes`, draws, and gives the `Axes` back.

Drawn once as SVG, whose text stays text, and once as PNG. Nothing that a client sent is written into a
figure. Long curves are thinned so that the smallest and the largest value of each stretch stay: spikes
survive.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

from quotalab.frames import Frames, LimitUse, limit_uses
from quotalab.frames.asked import numbers
from quotalab.frames.curves import use_curves
from quotalab.profiles.limits import Cost, Match
from quotalab.report.happenings import happenings
from quotalab.report.lifecycle import token_life
from quotalab.report.promises import kept_promises
from quotalab.report.summary import limit_in_words
from quotalab.rules.metrics import HOUR_NS, demand, quantile_ns, waits_ns
from quotalab.rules.times import clock_time, duration

__all__ = ["PALETTE", "Drawing", "bin_ns", "draw_all", "thinned"]

Ints = npt.NDArray[np.int64]

PALETTE = {  # Okabe and Ito's, told apart by colour-blind people; readable on white and on near-black
    "ink": "#5c6672",
    "grid": "#a3abb5",
    "admitted": "#0072b2",
    "asked": "#d55e00",
    "demand": "#8a5cb8",
    "limit": "#c2185b",
    "wait": "#00866a",
}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "quotalab",
    "path.simplify": False,
    "axes.unicode_minus": False,
}
_SIZE = (9.4, 2.7)
_DPI = 120
_BOX = (0.05, 0.135, 0.925, 0.735)
_STRETCHES = (420, 1200)  # of one curve, and of all limits' together, so that a page stays small
_LIVE_STRETCHES = (900, 3600)  # of the curves that can be zoomed into
_MOST_BINS = 48
_BINS_NS = tuple(n * 1_000_000_000 for n in (1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400))
_MINUTE_NS = 60_000_000_000
_MOST_LIMITS = 6
_MARKS = "ABCDEFGH"  # what happened beyond that is in the report's table alone
_PER_LETTER = 0.0105  # of the figure's width
_WHAT = {
    "rolling_window": "At each moment, what was asked of the limit within any window of PERIOD",
    "fixed_window": "At each moment, what was asked of the limit within each window of PERIOD",
    "token_bucket": "At each moment, what was asked for and had not drained away",
    "balance": "At each moment, what had been asked of the balance within PERIOD",
    "concurrency": "At each moment, how many calls were under way",
    "cardinality": "At each moment, how many different ones had asked",
    "penalty": "At each moment, how many answers were counted",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with the words around it."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    alt: str
    svg: str
    """A document of its own, with fixed colours."""
    inline: str
    """The same for an HTML page: colours are CSS variables named after `PALETTE`."""
    png: bytes
    series: str = ""
    """Of a figure that can be zoomed into, its curves as JSON: numbers, and words of ours."""


def draw_all(frames: Frames) -> list[Drawing]:
    """All figures that this run has something to show in."""
    drawings = []
    uses = [use for use in frames.once(limit_uses) if use.keys]
    for number, use in enumerate(uses[:_MOST_LIMITS], 1):
        drawings.append(_limit_drawing(frames, use, number))
    width_ns = bin_ns(frames)
    per = _per(width_ns)
    if len(frames.operations):
        caption = (
            f"Demand is what people's operations would have taken: those planned in each {per}, times the "
            f"mean calls of a done operation of that name. Admitted: the calls to the API that got through; "
            f"neither those that a limit refused nor those that the provider failed to answer."
        )
        table = demand(frames, width_ns)
        alt = (
            f"Bars by {per}: demand up to {table['demand'].max():,.0f} calls, "
            f"admitted up to {table['admitted'].max():,.0f}."
        )
        drawings.append(
            _drawing("demand", f"Demand and what got through, by {per}", caption, alt, frames, demand_by_bin)
        )
    refused = int(frames.api_calls["limit"].notna().sum())
    if refused:
        caption = f"Calls to the API that a limit refused, by {_per(_fine_ns(frames))}."
        alt = f"{refused:,} refused calls over the run."
        drawings.append(_drawing("refused", "Refused calls", caption, alt, frames, refused_by_bin))
    kept = frames.once(kept_promises)
    if len(kept):
        drawings.append(_promises_drawing(frames))
    if frames.once(token_life):
        drawings.append(_tokens_drawing(frames))
    waits = waits_ns(frames).to_numpy()
    if len(waits):
        caption = (
            f"How long people waited for operations that were done or stale, by the {per} in which they were "
            f"planned: the median as a dot, the 95th percentile as a bar."
        )
        alt = (
            f"Waits by {per}: over the run the median is {duration(quantile_ns(waits, 0.5))}, "
            f"the 95th percentile {duration(quantile_ns(waits, 0.95))}."
        )
        drawings.append(_drawing("waits", f"Waits by {per}", caption, alt, frames, waits_by_bin))
    return drawings


def use_of_limit(frames: Frames, use: LimitUse, ax: Axes) -> Axes:
    """What was asked of a limit's worst key against what was admitted, the limit, and the peak."""
    start_ns, end_ns = frames.span_ns
    curves = use_curves(frames, use)
    for curve in curves:
        times, level = np.append(start_ns, curve.at_ns), np.append(0, curve.level)
        shown = times <= end_ns
        times, level = thinned(times[shown], level[shown], _stretches(frames, _STRETCHES))
        times, level = np.append(times, end_ns), np.append(level, level[-1])
        hours = (times - start_ns) / HOUR_NS
        colour = PALETTE[curve.name]
        ax.fill_between(
            hours, level, step=None if curve.slopes else "post", color=colour, alpha=0.16, linewidth=0
        )
        ax.plot(
            hours, level, drawstyle="default" if curve.slopes else "steps-post", color=colour, linewidth=1.3
        )
    most, limit = max(use.peak_asked, use.number), f"limit {use.limit.limit:,}"
    if use.limit.changes:
        changed_ns = frames.run.start_ns + np.array([change.after_ns for change in use.limit.changes])
        times = np.concatenate([[start_ns], changed_ns[changed_ns < end_ns], [end_ns]])
        number = numbers(frames, use.limit, times)
        ax.step((times - start_ns) / HOUR_NS, number, where="post", color=PALETTE["limit"], linewidth=1.2)
        most = max(most, int(number.max()))
        limit = "limit, as it changed" if number.min() != number.max() else limit
    else:
        ax.axhline(use.number, color=PALETTE["limit"], linewidth=1.2, dashes=(5, 3))
    assert use.peak_at_ns is not None, "a limit that was asked has a peak"
    peak = (use.peak_at_ns - start_ns) / HOUR_NS
    ax.plot([peak], [use.peak_asked], "o", color=PALETTE[curves[0].name], markersize=5)
    right = peak > 0.72 * (end_ns - start_ns) / HOUR_NS
    ax.annotate(
        f"peak {use.peak_asked:,} at {clock_time(use.peak_at_ns, day=end_ns - start_ns > 30 * HOUR_NS)}",
        (peak, max(use.peak_asked, use.number)),  # never across the limit's line
        xytext=(-8 if right else 8, 5),
        textcoords="offset points",
        ha="right" if right else "left",
        color=PALETTE["ink"],
        fontweight="bold",
    )
    ax.set_ylim(0, most * 1.16)
    labels = [("asked for", "asked"), ("admitted", "admitted")]
    if use.limit.kind == "penalty":
        labels = [("counted answers", "asked")]
    elif len(curves) == 1:
        labels = [("asked for, and all of it admitted", "admitted")]
    return _finish(ax, frames, [*labels, (limit, "limit")])


def demand_by_bin(frames: Frames, ax: Axes) -> Axes:
    """Demand and admitted calls, side by side."""
    width_ns = bin_ns(frames)
    table = demand(frames, width_ns)
    left = (table.index.to_numpy() - frames.span_ns[0]) / HOUR_NS
    width = width_ns / HOUR_NS
    _bars(ax, left + 0.08 * width, table["demand"].to_numpy(), 0.40 * width, "demand")
    _bars(ax, left + 0.50 * width, table["admitted"].to_numpy(), 0.40 * width, "admitted")
    most = float(max(table["demand"].max(), table["admitted"].max(), 1.0))
    labels = [("demand", "demand"), ("admitted", "admitted")]
    whole = [
        one.limit
        for one in frames.provider.limits
        if (one.counts or one.kind) in ("rolling_window", "fixed_window")
        and one.key == ("app",)
        and one.period_ns == width_ns
        and one.cost == Cost()
        and one.match == Match()
        and not one.changes
    ]
    if whole:
        least = min(whole)
        ax.axhline(least, color=PALETTE["limit"], linewidth=1.2, dashes=(5, 3))
        most = max(most, least)
        labels.append((f"limit {least:,}", "limit"))
    ax.set_ylim(0, most * 1.12)
    return _finish(ax, frames, labels)


def refused_by_bin(frames: Frames, ax: Axes) -> Axes:
    """Calls that a limit refused."""
    width_ns = _fine_ns(frames)
    table = demand(frames, width_ns)
    left = (table.index.to_numpy() - frames.span_ns[0]) / HOUR_NS
    _bars(ax, left, table["refused"].to_numpy(), 0.86 * width_ns / HOUR_NS, "asked")
    ax.set_ylim(0, max(float(table["refused"].max()), 1.0) * 1.12)
    return _finish(ax, frames, [("refused", "asked")])


def waits_by_bin(frames: Frames, ax: Axes) -> Axes:
    """Median and 95th percentile of the waits, by the time for which the operation was planned."""
    width_ns = bin_ns(frames)
    start_ns = frames.span_ns[0] - frames.span_ns[0] % width_ns
    waits = waits_ns(frames)
    place = (frames.operations.loc[waits.index, "planned"].to_numpy() - start_ns) // width_ns
    values = waits.to_numpy()
    order = np.argsort(place, kind="stable")
    places, first = np.unique(place[order], return_index=True)
    groups = np.split(values[order], first[1:])
    median = np.array([quantile_ns(group, 0.5) for group in groups])
    p95 = np.array([quantile_ns(group, 0.95) for group in groups])
    unit_ns, unit = (1_000_000_000, "s") if p95.max() < 3 * _MINUTE_NS else (_MINUTE_NS, "min")
    if p95.max() >= 5 * HOUR_NS:
        unit_ns, unit = HOUR_NS, "h"
    left = (start_ns + places * width_ns - frames.span_ns[0]) / HOUR_NS
    width = width_ns / HOUR_NS
    _bars(ax, left + 0.14 * width, p95 / unit_ns, 0.72 * width, "wait", alpha=0.35)
    ax.plot(left + 0.5 * width, median / unit_ns, "o", color=PALETTE["wait"], markersize=4)
    most = max(float(p95.max()), 1e6) / unit_ns
    tolerated = frames.provider.approval.wait_p95_ns / unit_ns
    labels = [(f"95th percentile, in {unit}", "wait"), ("• median", "wait")]
    if tolerated <= most * 1.5:
        ax.axhline(tolerated, color=PALETTE["limit"], linewidth=1.2, dashes=(5, 3))
        labels.append((f"tolerated {tolerated:g} {unit}", "limit"))
        most = max(most, tolerated)
    ax.set_ylim(0, most * 1.12)
    return _finish(ax, frames, labels, whole=False)


def promised_and_kept(frames: Frames, ax: Axes) -> Axes:
    """After each refusal: how long the promised wait was, and how long it was until the next call."""
    table = frames.once(kept_promises)
    asked = table[table["next"] >= 0]
    promised, kept = (asked[name].to_numpy() / 1e9 for name in ("promised_ns", "kept_ns"))
    most = float(max(promised.max(initial=1), 1.0)) * 1.06
    high = max(most, min(float(kept.max(initial=1)) * 1.06, 2 * most))
    early = asked["late_ns"].to_numpy() < 0
    for chosen, colour in ((~early, "admitted"), (early, "asked")):
        x, y = _spots(promised[chosen], np.minimum(kept[chosen], high), most, high)
        _strokes(ax, x, y, 0.0, colour, 4.5)
    ax.plot([0, min(most, high)], [0, min(most, high)], color=PALETTE["limit"], linewidth=1.2, dashes=(5, 3))
    ax.set_xlim(0, most)
    ax.set_ylim(0, high)
    ax.xaxis.set_major_locator(MaxNLocator(8))
    labels = [("seconds kept: at the promised end or later", "admitted"), ("too early", "asked")]
    return _dressed(ax, [*labels, ("as promised, in s", "limit")])[0]


def tokens_by_lane(frames: Frames, ax: Axes) -> Axes:
    """What happened to tokens, a lane for each kind, a dot for each time."""
    lanes = frames.once(token_life)
    start_ns, end_ns = frames.span_ns
    hours = (end_ns - start_ns) / HOUR_NS
    for i, one in enumerate(reversed(lanes)):
        x = (one.at_ns - start_ns) / HOUR_NS
        x, y = _spots(x, np.full(len(x), float(i)), hours, float(len(lanes)))
        _strokes(ax, x, y, 0.28, one.colour, 1.4)
    ax.set_ylim(-0.6, len(lanes) - 0.4)
    _finish(ax, frames, [])
    ax.yaxis.set_major_locator(FixedLocator(list(range(len(lanes)))))
    ax.yaxis.set_major_formatter(
        FixedFormatter([f"{one.label} {len(one.at_ns):,}" for one in reversed(lanes)])
    )
    ax.set_position((0.185, _BOX[1], _BOX[2] - 0.135, _BOX[3]))
    return ax


def _strokes(
    ax: Axes, x: npt.NDArray[Any], y: npt.NDArray[Any], half: float, colour: str, width: float
) -> None:
    """Upright strokes, or dots, as one path: an element each would make the page large."""
    gap = np.full(len(x), np.nan)
    across, up = np.column_stack([x, x, gap]).ravel(), np.column_stack([y - half, y + half, gap]).ravel()
    cap: Any = "butt" if half else "round"
    ax.plot(across, up, color=PALETTE[colour], linewidth=width, alpha=0.75, solid_capstyle=cap)


def _spots(
    x: npt.NDArray[Any], y: npt.NDArray[Any], width: float, height: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Points of which no two would cover each other: one for each cell of a fine grid."""
    across, up = (
        np.round(values / most * cells).astype(np.int64)
        for values, most, cells in ((x, width, 300), (y, max(height, 1e-9), 90))
    )
    cell = across * 1000 + up
    _, first = np.unique(cell, return_index=True)
    return x[first], y[first]


def thinned(times: Ints, level: Ints, stretches: int = _STRETCHES[0]) -> tuple[Ints, Ints]:
    """A step curve in at most a few thousand points: of each stretch the first, lowest, highest and last."""
    if len(times) <= 2 * stretches:
        return times, level
    span_ns = int(times[-1] - times[0])
    stretch = (times - times[0]) // (span_ns // stretches + 1)
    first = np.flatnonzero(np.append(True, stretch[1:] != stretch[:-1]))
    ends = np.append(first[1:], len(times))
    kept = [first, ends - 1]
    for extreme in (np.minimum, np.maximum):
        best = np.repeat(extreme.reduceat(level, first), ends - first) == level
        where = np.flatnonzero(best)
        kept.append(where[np.searchsorted(where, first)])
    points = np.unique(np.concatenate(kept))
    return times[points], level[points]


def _stretches(frames: Frames, most: tuple[int, int]) -> int:
    """How many stretches a curve is thinned to, so that those of all limits together are not too many."""
    drawn = min(sum(bool(use.keys) for use in frames.once(limit_uses)), _MOST_LIMITS)
    return min(most[0], most[1] // max(drawn, 1))


def bin_ns(frames: Frames) -> int:
    """The width of the bins that a run is shown in: an hour for a day."""
    return _narrowest(frames, _MOST_BINS)


def _fine_ns(frames: Frames) -> int:
    return _narrowest(frames, 3 * _MOST_BINS)


def _narrowest(frames: Frames, most: int) -> int:
    start_ns, end_ns = frames.span_ns
    return next((width for width in _BINS_NS if (end_ns - start_ns) <= most * width), _BINS_NS[-1])


def _per(width_ns: int) -> str:
    return {HOUR_NS: "hour", 24 * HOUR_NS: "day", _MINUTE_NS: "minute", 1_000_000_000: "second"}.get(
        width_ns, duration(width_ns)
    )


def _bars(
    ax: Axes, left: npt.NDArray[Any], height: npt.NDArray[Any], width: float, colour: str, alpha: float = 0.9
) -> None:
    """All bars as one collection: a patch each would take most of the drawing's time."""
    has = height > 0
    left, height = left[has], height[has]
    corners = [
        [(x, 0.0), (x, y), (x + width, y), (x + width, 0.0)]
        for x, y in zip(left.tolist(), height.tolist(), strict=True)
    ]
    bars = PolyCollection(corners, facecolors=PALETTE[colour], alpha=alpha, linewidths=0)
    ax.add_collection(bars, autolim=False)


def _finish(ax: Axes, frames: Frames, labels: list[tuple[str, str]], *, whole: bool = True) -> Axes:
    """The time axis, the grid and the key that all figures share."""
    start_ns, end_ns = frames.span_ns
    ax.set_xlim(0, (end_ns - start_ns) / HOUR_NS)
    places, words = _time_ticks(start_ns, end_ns)
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_major_formatter(FixedFormatter(words))
    ax, x = _dressed(ax, labels, whole=whole)
    return _marked(ax, frames, x)


def _dressed(ax: Axes, labels: list[tuple[str, str]], *, whole: bool = True) -> tuple[Axes, float]:
    """The grid and the key; and where, as a share of the width, the key ends."""
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=whole))
    ax.grid(axis="y", color=PALETTE["grid"], alpha=0.35, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(PALETTE["grid"])
    ax.tick_params(colors=PALETTE["ink"], length=3, color=PALETTE["grid"])
    x = 0.0
    for text, colour in labels:
        ax.text(x, 1.06, text, transform=ax.transAxes, color=PALETTE[colour], fontweight="bold")
        x += _PER_LETTER * len(text) + 0.025
    return ax, x


def _marked(ax: Axes, frames: Frames, x: float) -> Axes:
    """A line where something happened, a band where it lasted; what it was stands after the key, from `x`."""
    start_ns, end_ns = frames.span_ns
    there = [one for one in frames.once(happenings) if start_ns <= one.at_ns < end_ns]
    divides = [one for one in there if not one.lasts(frames.span_ns)]
    for letter, one in zip(_MARKS, divides, strict=False):
        at = (one.at_ns - start_ns) / HOUR_NS
        ax.axvline(at, color=PALETTE["ink"], linewidth=1.0, dashes=(1, 2), zorder=0.6)
        if one.until_ns is not None:
            ax.axvspan(
                at, (one.until_ns - start_ns) / HOUR_NS, color=PALETTE["grid"], alpha=0.2, zorder=0.5, lw=0
            )
        ax.annotate(
            letter,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, -9),
            textcoords="offset points",
            color=PALETTE["ink"],
            fontweight="bold",
        )
        text = f"{letter} {one.label}"
        width = _PER_LETTER * len(text)
        if x + width <= 1.0:
            ax.text(x, 1.06, text, transform=ax.transAxes, color=PALETTE["ink"])
            x += width + 0.015
    return ax


def _time_ticks(start_ns: int, end_ns: int) -> tuple[list[float], list[str]]:
    """Ticks at round times of day, at most about twelve."""
    steps = [1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400]
    step_ns = next((s * 10**9 for s in steps if (end_ns - start_ns) <= 12 * s * 10**9), 7 * 86_400 * 10**9)
    while (end_ns - start_ns) > 14 * step_ns:
        step_ns *= 2
    first_ns = -(-start_ns // step_ns) * step_ns
    moments = range(first_ns, end_ns + 1, step_ns)
    words = []
    for moment in moments:
        midnight = moment % (24 * HOUR_NS) == 0
        day, clock = clock_time(moment).rsplit(" ", 1)
        if step_ns >= 24 * HOUR_NS or (midnight and end_ns - start_ns > 30 * HOUR_NS):
            words.append(day)
        else:
            words.append(clock if step_ns < _MINUTE_NS else clock[:5])
    return [(moment - start_ns) / HOUR_NS for moment in moments], words


def _limit_drawing(frames: Frames, use: LimitUse, number: int) -> Drawing:
    limit = use.limit
    caption = f"{_WHAT[limit.counts or limit.kind]}, refused calls included, against what was admitted."
    if limit.kind == "penalty":
        caption = f"{_WHAT['penalty']}. Above the line a block begins, and the count with it anew."
    if limit.period_ns and not limit.calendar:
        caption = caption.replace("PERIOD", duration(limit.period_ns))
    caption = caption.replace("PERIOD", "a calendar month")
    caption = f"{limit_in_words(use)}. {caption}"
    if limit.key != ("app",):
        caption += f" Shown is the busiest of {use.keys:,} keys."
    if use.refused and (limit.counts or limit.kind) in ("rolling_window", "fixed_window"):
        caption += " Every call above the dashed line was refused."
    alt = (
        f"Use over time of a limit of {use.number:,}: the peak is {use.peak_asked:,}, "
        f"{use.refused:,} calls were refused."
    )
    slug = re.sub(r"[^a-z0-9]+", "-", limit.name.lower()).strip("-")
    drawing = _drawing(
        f"limit-{number}-{slug}" if slug else f"limit-{number}",
        f"Use of the limit {limit.name}",
        caption,
        alt,
        frames,
        lambda frames, ax: use_of_limit(frames, use, ax),
    )
    return replace(drawing, series=_series(frames, use))


def _promises_drawing(frames: Frames) -> Drawing:
    table = frames.once(kept_promises)
    early = int(((table["next"] >= 0) & (table["late_ns"] < 0)).sum())
    caption = (
        "Each dot is a refusal, or several that would cover each other: to the right how long its "
        "Retry-After asked to wait, upwards how long it was until the next call to the same key, both in "
        "seconds. Below the dashed line the app called too early. Waits of more than twice the scale are "
        "drawn at its edge."
    )
    alt = f"Of {len(table):,} refusals with a promised wait, {early:,} were followed by a call too early."
    return _drawing("promises", "Promised waits and kept ones", caption, alt, frames, promised_and_kept)


def _tokens_drawing(frames: Frames) -> Drawing:
    lanes = frames.once(token_life)
    told = ", ".join(f"{one.label} {len(one.at_ns):,}" for one in lanes)
    caption = "Each stroke is one time that it happened, or several that would cover each other."
    return _drawing("tokens", "The life of tokens", caption, f"Over the run: {told}.", frames, tokens_by_lane)


def _series(frames: Frames, use: LimitUse) -> str:
    """The curves of a limit for the page's script, thinned, in ms from the start of the span."""
    start_ns, end_ns = frames.span_ns
    curves = []
    drawn = use_curves(frames, use)
    most: float = max(use.peak_asked, use.number)
    for curve in drawn:
        times, level = np.append(start_ns, curve.at_ns), np.append(0, curve.level)
        shown = times <= end_ns
        times, level = thinned(times[shown], level[shown], _stretches(frames, _LIVE_STRETCHES))
        times, level = np.append(times, end_ns), np.append(level, level[-1])
        ms = (times - start_ns) // 1_000_000
        values = [int(v) if v == int(v) else round(float(v), 2) for v in level.tolist()]
        curves.append(
            {
                "label": "asked" if curve.name == "asked" or len(drawn) == 1 else "admitted",
                "colour": curve.name,
                "slopes": curve.slopes,
                "t": np.diff(ms, prepend=0).tolist(),
                "v": values,
            }
        )
        most = max(most, *values)
    changes = [frames.run.start_ns + change.after_ns for change in use.limit.changes]
    moments = np.array([start_ns, *(moment for moment in changes if start_ns < moment < end_ns)])
    number = numbers(frames, use.limit, moments) if use.limit.changes else [use.number]
    there = [one for one in frames.once(happenings) if start_ns <= one.at_ns < end_ns]
    divides = [one for one in there if not one.lasts(frames.span_ns)]
    marks = [
        (
            (one.at_ns - start_ns) // 1_000_000,
            ((one.until_ns or one.at_ns) - start_ns) // 1_000_000,
            letter,
            one.label,
        )
        for letter, one in zip(_MARKS, divides, strict=False)
    ]
    document = {
        "start": start_ns // 1_000_000,
        "span": max((end_ns - start_ns) // 1_000_000, 1),
        "key": [*dict.fromkeys((curve["label"], curve["colour"]) for curve in curves), ("limit", "limit")],
        "most": float(max(most, *(int(n) for n in number))) * 1.1,
        "curves": curves,
        "limit": {
            "t": [int(moment - start_ns) // 1_000_000 for moment in moments.tolist()][: len(number)],
            "v": [int(n) for n in number],
        },
        "marks": marks,
    }
    return json.dumps(document, separators=(",", ":"))


def _drawing(
    name: str, title: str, caption: str, alt: str, frames: Frames, draw: Callable[[Frames, Axes], Axes]
) -> Drawing:
    with rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, dpi=_DPI)
        figure.patch.set_alpha(0.0)
        ax = figure.add_axes(_BOX)
        ax.patch.set_alpha(0.0)
        draw(frames, ax)
        text = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(text, metadata={"Date": None, "Creator": None})
        figure.dpi = _DPI  # writing SVG sets it to 72
        figure.patch.set_alpha(1.0)
        figure.patch.set_facecolor("white")
        image = io.BytesIO()
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(image, metadata={"Software": None})
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", text.getvalue())  # a hundredth of a point is enough
    return Drawing(name, title, caption, alt, svg, _inline(svg, name, alt), image.getvalue())


def _inline(svg: str, name: str, alt: str) -> str:
    """An SVG document as an element of a page: ids of its own, CSS variables for colours, the page's font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    kept = {one or other for one, other in re.findall(r'href="#([\w-]+)"|url\(#([\w-]+)\)', svg)}
    svg = re.sub(
        r' id="([\w.-]+)"', lambda m: f' id="{name}-{m.group(1)}"' if m.group(1) in kept else "", svg
    )
    svg = re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([\w-]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"(?<=[\d;] )font-family: [^;\"]*; |font-family: [^;\"]*; ", "", svg)
    for variable, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{variable})")
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box, "matplotlib writes a viewBox"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box.group(0)} '
        f'role="img" aria-label="{escape(alt)}" stroke-linejoin="round">{body}'
    )
