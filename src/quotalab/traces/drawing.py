"""Traces as pictures: one, or several on the same axes to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from quotalab.errors import InputError
from quotalab.traces.measuring import HOUR_NS, SECOND_NS, dispersion, sessions_of, windows_of_sources
from quotalab.traces.trace import Trace

__all__ = ["COLOURS", "draw", "plain_ticks", "save"]

COLOURS = ("#0072b2", "#d55e00", "#00866a", "#8a5cb8", "#5c6672")
_STYLE: Any = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "quotalab",
    "text.parse_math": False,
}
_SCALES_S = (1, 2, 5, 10, 30, 60, 180, 600, 1800, 3600)
_POINTS = 2000


def draw(traces: Sequence[tuple[str, Trace]]) -> Figure:
    """Six panels: rate, bursts, gaps, sessions, and the largest counts of one source in 60 s and 1 h."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(11, 6.2), dpi=120, layout="constrained")
        axes = figure.subplots(2, 3)
        for (name, trace), colour in zip(traces, COLOURS, strict=False):
            style = {"color": colour, "label": name, "linewidth": 1.2}
            _rate(axes[0, 0], trace, style)
            _bursts(axes[0, 1], trace, style)
            _tail(axes[0, 2], _gaps_of_sources(trace), style)
            _tail(axes[1, 0], sessions_of(trace).length, style)
            _tail(axes[1, 1], windows_of_sources(trace, 60 * SECOND_NS), style)
            _tail(axes[1, 2], windows_of_sources(trace, HOUR_NS), style)
        axes[0, 1].axhline(1, color="#a3abb5", linewidth=0.8, dashes=(4, 3))
        for ax, title, x in zip(
            axes.flat,
            (
                "Requests",
                "Index of dispersion (Poisson: 1)",
                "Gaps of a source, share longer",
                "Requests of a session, share of more",
                "Most of one source in 60 s, share of more",
                "Most of one source in 1 h, share of more",
            ),
            ("hours since midnight UTC", "s", "s", "requests", "requests", "requests"),
            strict=True,
        ):
            ax.set_title(title, fontsize=9, loc="left")
            ax.set_xlabel(x)
            ax.grid(alpha=0.25, linewidth=0.6)
            plain_ticks(ax)
        axes[0, 0].legend(frameon=False)
    return figure


def plain_ticks(ax: Axes) -> None:
    """Numbers as they are on logarithmic axes."""
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> None:
    """Write a figure as .png or .svg. Raises `InputError`."""
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"--figure {path}: must end in .png or .svg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(_STYLE), path.open("wb") as file:
            if path.suffix == ".svg":
                canvas: Any = FigureCanvasSVG(figure)
                canvas.print_svg(file, metadata={"Date": None, "Creator": None})
            else:
                canvas = FigureCanvasAgg(figure)
                canvas.print_png(file, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"--figure {path}: cannot be written: {error.strerror or error}") from None


def _rate(ax: Axes, trace: Trace, style: dict[str, Any]) -> None:
    span_ns = int(trace.at_ns[-1] - trace.at_ns[0])
    width_ns = next(
        (s * SECOND_NS for s in (1, 10, 60, 600, 3600, 6 * 3600) if span_ns <= 300 * s * SECOND_NS),
        86_400 * SECOND_NS,
    )
    counts = np.bincount((trace.at_ns - trace.at_ns[0]) // width_ns)
    begin = int(trace.at_ns[0]) % (24 * HOUR_NS)
    ax.step((begin + np.arange(len(counts)) * width_ns) / HOUR_NS, counts, where="post", **style)
    ax.set_ylabel(f"per {width_ns // SECOND_NS} s")
    ax.set_ylim(bottom=0)


def _bursts(ax: Axes, trace: Trace, style: dict[str, Any]) -> None:
    told = [(s, dispersion(trace.at_ns, s * SECOND_NS)) for s in _SCALES_S]
    points = [(s, value) for s, value in told if value]
    if points:
        ax.loglog(*zip(*points, strict=True), **style)


def _gaps_of_sources(trace: Trace) -> Any:
    order = np.argsort(trace.source, kind="stable")
    source = trace.source[order]
    return np.diff(trace.at_ns[order])[source[1:] == source[:-1]] / 1e9


def _tail(ax: Axes, values: Any, style: dict[str, Any]) -> None:
    """The share of values that are larger, on two logarithmic axes."""
    if not len(values):
        return
    ordered = np.sort(values)
    share = 1 - np.arange(1, len(ordered) + 1) / len(ordered)
    keep = np.unique(np.geomspace(1, len(ordered), min(len(ordered), _POINTS)).astype(int)) - 1
    keep = len(ordered) - 1 - keep[::-1]
    shown = keep[(ordered[keep] > 0) & (share[keep] > 0)]
    if len(shown):
        ax.loglog(ordered[shown], share[shown], **style)
