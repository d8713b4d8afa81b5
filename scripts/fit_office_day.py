"""Fit the traffic profile `office-day` to the EPA-HTTP trace, and write it.

    python scripts/fit_office_day.py [FOLDER]      > profiles/traffic/office-day.toml

FOLDER holds `traces/epa_1995_08_29.csv.gz`; without it the environment variable QUOTALAB_DATA names it.
The trace stays where it is; what is written holds fitted figures only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

# A page of 1995 fetches its pictures one by one: gaps up to this belong to one page, which is one operation.
# The choice: beyond ten seconds the number of gaps per second falls slowly and evenly; below, steeply.
BURST_S = 10
# A source that is silent for longer begins a new session when it comes back.
SESSION_S = 1800
# The trace's t = 0 is 23:00 local time on 29 August 1995.
FIRST_LOCAL_HOUR = 23
AT = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 1)

# Not fitted, our choice: who the people are and what they ask.
PEOPLE = 190
MIX = {"look_at_week": 0.45, "open_event": 0.37, "add_event": 0.13, "export_calendar": 0.05}

Floats = npt.NDArray[np.float64]


def operations(trace: pd.DataFrame) -> pd.DataFrame:
    """One row for each operation: `t` (seconds), `client`, `gap` (seconds since the one before, or NaN)."""
    trace = trace.sort_values(["client", "t"], kind="stable")
    gap = trace.groupby("client")["t"].diff()
    pages = trace.loc[gap.isna() | (gap > BURST_S), ["client", "t"]]
    return pages.assign(gap=pages.groupby("client")["t"].diff())


def fit(trace: pd.DataFrame) -> dict[str, Floats]:
    """The profile's figures from a trace with columns `t` and `client`."""
    pages = operations(trace)
    begins = pages["gap"].isna() | (pages["gap"] > SESSION_S)
    hours = (pages.loc[begins, "t"] // 3600 + FIRST_LOCAL_HOUR) % 24
    session = begins.cumsum()
    per_person = begins.groupby(pages["client"]).sum()
    return {
        "by_hour": np.bincount(hours, minlength=24) / begins.sum(),
        "per_person": np.bincount(per_person)[1:] / len(per_person),
        "per_session": session.value_counts().to_numpy(dtype=float),
        "think_s": pages.loc[~begins, "gap"].to_numpy(dtype=float),
    }


def listed(values: Floats, digits: int) -> str:
    """Numbers as a TOML list."""
    return "[" + ", ".join(f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0" for value in values) + "]"


def check(name: str, values: Floats, quantiles: Floats) -> str:
    """A comment that holds the law against the trace."""
    fitted = float(((quantiles[1:] + quantiles[:-1]) / 2 * np.diff(AT)).sum())
    median, high = np.quantile(values, [0.5, 0.9])
    return f"# {name}: mean {fitted:.1f} (in the trace {values.mean():.1f}), median {median:.0f}, 90 % under {high:.0f}"


def profile(trace: pd.DataFrame) -> str:
    """The TOML text."""
    fitted = fit(trace)
    length = np.quantile(fitted["per_session"], AT)
    think = np.quantile(fitted["think_s"], AT)
    mix = "\n".join(f"{name} = {share}" for name, share in MIX.items())
    pages = operations(trace)
    sessions = int((pages["gap"].isna() | (pages["gap"] > SESSION_S)).sum())
    return f"""\
# An office day, fitted by scripts/fit_office_day.py to a recorded one: change the script, not this file.
#
# Source: EPA-HTTP, one day of requests to the web server of the US Environmental Protection Agency at Research
# Triangle Park, 29 to 30 August 1995; collected by Laura Bottomley, Duke University; Internet Traffic Archive,
# ita.ee.lbl.gov/html/contrib/EPA-HTTP.html, "may be freely redistributed"; read through the copy in
# github.com/r-forge/r-marketing. {len(trace):,} requests of {trace["client"].nunique():,} sources.
# Gaps of up to {BURST_S} s belong to one page, which is one operation: {len(pages):,} operations. A silence of more
# than {SESSION_S // 60} min ends a session: {sessions:,} sessions. A source stands for a person. Local hours are taken for UTC.
# Not fitted, our choice: `people` and `[mix]`; what was asked of a web server in 1995 is not what a calendar
# app is asked. One weekday is no week: every day is drawn alike.
schema = 1
name = "office-day"
title = "An office day"
description = "People come through the day as they came to a public web server on a Wednesday of 1995."
people = {PEOPLE}

[arrivals]
# Shares of sessions by the hour in which they begin.
by_hour = {listed(fitted["by_hour"], 4)}

[sessions]
# Shares of people with one, two, three, ... sessions a day.
per_person = {listed(fitted["per_person"], 4)}

[operations.per_session]
{check("Operations in a session", fitted["per_session"], length)}
at = {listed(np.array(AT), 3)}
values = {listed(length, 2)}

[operations.think_s]
{check("Seconds between operations of a session", fitted["think_s"], think)}
at = {listed(np.array(AT), 3)}
values = {listed(think, 2)}

[mix]
{mix}
"""


def main() -> int:
    """Write the profile to standard output."""
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("QUOTALAB_DATA")
    if not folder:
        print("fit_office_day: name the folder that holds traces/, or set QUOTALAB_DATA", file=sys.stderr)
        return 2
    trace = pd.read_csv(Path(folder) / "traces" / "epa_1995_08_29.csv.gz", usecols=["t", "client"])
    sys.stdout.write(profile(trace))
    return 0


if __name__ == "__main__":
    sys.exit(main())
