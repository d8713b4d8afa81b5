"""Fit the traffic profile `office-day` to the EPA-HTTP trace, and write it to profiles/traffic/.

    python scripts/fit_office_day.py [TRACE]

TRACE is epa_1995_08_29.csv.gz; without it, it is looked for in the folder `traces` of the folder that the
environment variable QUOTALAB_DATA names. The trace stays where it is: what is written holds fitted figures
only, and the same trace gives the same bytes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.profiles.traffic import Quantiles

PROFILE = Path(__file__).parents[1] / "profiles" / "traffic" / "office-day.toml"
TRACE = "epa_1995_08_29.csv.gz"

# A page of 1995 fetches its pictures one by one: gaps up to this belong to one page, which is one operation.
# No valley in the gaps divides pages from thinking, so this is a judgement: with each second, gaps grow
# rarer by 36 % up to 5 s, by 12 % from there to 10 s, but by 6 % beyond, evenly, as silences between pages do.
# It matters: 5 s would make 23,830 operations, 20 s 14,625.
BURST_S = 10
# A source that is silent for longer begins a new session when it comes back.
SESSION_S = 1800
# The trace's t = 0 is 23:00 local time on 29 August 1995.
FIRST_LOCAL_HOUR = 23
# Twentieths, and closer where the laws are long-tailed.
AT = (*(i / 20 for i in range(20)), 0.975, 0.99, 0.995, 0.999, 1.0)

# Not fitted, our choice: how many people there are and what they ask.
PEOPLE = 185
MIX = {"look_at_week": 0.45, "open_event": 0.37, "add_event": 0.13, "export_calendar": 0.05}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What the trace holds of each thing that is fitted."""

    hour: npt.NDArray[np.int64]
    """Local hour in which each session begins."""
    per_person: npt.NDArray[np.int64]
    """Sessions of each source."""
    per_session: Floats
    """Operations of each session."""
    think_s: Floats
    """Seconds from one operation of a session to the next, start to start."""


def sample(trace: pd.DataFrame) -> Sample:
    """Sessions and operations of a trace with the columns `t` (seconds) and `client`."""
    trace = trace.sort_values(["client", "t"], kind="stable")
    silence = trace.groupby("client")["t"].diff()
    begins = silence.isna() | (silence > SESSION_S)
    trace = trace.assign(session=begins.cumsum())
    operations = trace[silence.isna() | (silence > BURST_S)]
    return Sample(
        hour=((trace.loc[begins, "t"] // 3600 + FIRST_LOCAL_HOUR) % 24).to_numpy(),
        per_person=np.asarray(begins.groupby(trace["client"]).sum(), dtype=np.int64),
        per_session=np.asarray(operations["session"].value_counts(), dtype=np.float64),
        think_s=operations.groupby("session")["t"].diff().dropna().to_numpy(dtype=np.float64),
    )


def listed(values: Floats, digits: int) -> str:
    """Numbers as a TOML list."""
    return "[" + ", ".join(f"{value:.{digits}f}".rstrip("0").rstrip(".") for value in values) + "]"


def told(values: Floats) -> str:
    """The figures by which a law and the trace are compared."""
    median, high, highest = np.quantile(values, [0.5, 0.9, 0.99])
    return f"mean {values.mean():.4g}, p50 {median:.4g}, p90 {high:.4g}, p99 {highest:.4g}"


def law(values: Floats, *, whole: bool) -> str:
    """The quantile table of some values as TOML, and how it compares with them when people are drawn from it."""
    table = np.quantile(values, AT).round(2)
    quantiles = Quantiles(AT, tuple(table.tolist()))
    drawn = np.array([quantiles.value((i + 0.5) / 100_000) for i in range(100_000)])
    if whole:
        drawn = drawn.round()
    error = drawn.mean() / values.mean() - 1
    return f"""\
# In the trace: {told(values)}
# Drawn from this: {told(drawn)}; the mean is {error:+.1%} off
at = {listed(np.array(AT), 3)}
values = {listed(table, 2)}"""


def profile(trace: pd.DataFrame) -> str:
    """The TOML text, from a trace with the columns `t` and `client`."""
    found = sample(trace)
    by_hour = np.bincount(found.hour, minlength=24) / len(found.hour)
    per_person = np.bincount(found.per_person)[1:] / len(found.per_person)
    mix = "\n".join(f"{name} = {share}" for name, share in MIX.items())
    return f"""\
# An office day, fitted by scripts/fit_office_day.py to a recorded one: change the script, not this file.
#
# Source: EPA-HTTP, one day of requests to the web server of the US Environmental Protection Agency at Research
# Triangle Park, 29 to 30 August 1995; collected by Laura Bottomley, Duke University; Internet Traffic Archive,
# ita.ee.lbl.gov/html/contrib/EPA-HTTP.html, "may be freely redistributed"; read through the copy in
# github.com/r-forge/r-marketing. {len(trace):,} requests of {len(found.per_person):,} sources.
# Gaps of up to {BURST_S} s belong to one page, which is one operation: {found.per_session.sum():,.0f} operations. A silence of more
# than {SESSION_S // 60} min ends a session: {len(found.hour):,} sessions. A source stands for a person. Local hours are taken for UTC.
# Not fitted, our choice: `people` and `[mix]`; what was asked of a web server in 1995 is not what a calendar
# app is asked. One weekday is no week: every day is drawn alike.
schema = 1
name = "office-day"
title = "An office day"
description = "People come through the day as they came to a public web server on a Wednesday of 1995."
people = {PEOPLE}

[arrivals]
# Shares of sessions by the hour in which they begin, 0 to 23; as in the trace.
by_hour = {listed(by_hour, 4)}

[sessions]
# Shares of people with one, two, three, ... sessions a day; as in the trace: mean {found.per_person.mean():.2f}.
per_person = {listed(per_person, 4)}

[operations.per_session]
# Operations in a session; quantiles, straight lines between, rounded to whole operations.
{law(found.per_session, whole=True)}

[operations.think_s]
# Seconds from one operation of a session to the next; quantiles, straight lines between.
{law(found.think_s, whole=False)}

[mix]
{mix}
"""


def main(arguments: list[str]) -> int:
    """Write the profile; 2 when there is no trace to read."""
    data = os.environ.get("QUOTALAB_DATA")
    if len(arguments) > 1 or not (arguments or data):
        print("fit_office_day: name the trace's file, or set QUOTALAB_DATA", file=sys.stderr)
        return 2
    path = Path(arguments[0]) if arguments else Path(data or "") / "traces" / TRACE
    try:
        trace = pd.read_csv(path, usecols=["t", "client"])
    except (OSError, ValueError) as error:
        print(f"fit_office_day: {path} is not the trace: {error}", file=sys.stderr)
        return 2
    PROFILE.write_text(profile(trace), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
