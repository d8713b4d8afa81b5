"""The fit of the office day: what it takes for a session and an operation, and that the profile is its work."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "profiles" / "traffic" / "office-day.toml"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script as a module, under a name of its own."""
    name = "_fit_office_day_under_test"
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "fit_office_day.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def trace(**times: list[int]) -> pd.DataFrame:
    """Requests of some sources, in order of time."""
    rows = [(t, client) for client, ts in times.items() for t in ts]
    return pd.DataFrame(sorted(rows), columns=["t", "client"])


def test_a_burst_is_one_operation(script: ModuleType) -> None:
    """Gaps of up to 10 s belong to it, however long it lasts; thinking is from start to start."""
    found = script.sample(trace(a=[0, 10, 20, 31, 33, 60]))
    assert found.per_session.tolist() == [3.0]
    assert found.think_s.tolist() == [31.0, 29.0]


def test_sources_do_not_end_each_others_bursts(script: ModuleType) -> None:
    """Requests of two sources that alternate are two bursts."""
    found = script.sample(trace(a=[0, 4, 8], b=[2, 6, 30]))
    assert sorted(found.per_session.tolist()) == [1.0, 2.0]
    assert found.think_s.tolist() == [28.0]


def test_a_session_ends_after_half_an_hour_of_silence(script: ModuleType) -> None:
    """A gap of 1,800 s goes on with it, one of 1,801 s begins another; silence is from request to request."""
    found = script.sample(trace(a=[0, 1800, 3601, 3609, 5409], b=[7]))
    assert sorted(found.per_session.tolist()) == [1.0, 2.0, 2.0]
    assert found.think_s.tolist() == [1800.0, 1808.0]
    assert sorted(found.per_person.tolist()) == [1, 2]


def test_hours_are_local(script: ModuleType) -> None:
    """The trace's t = 0 is 23:00."""
    assert script.sample(trace(a=[3599], b=[3600], c=[86_399])).hour.tolist() == [23, 0, 22]


def test_without_a_trace_nothing_is_written(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what is missing; exit 2."""
    monkeypatch.setattr(script, "PROFILE", tmp_path / "office-day.toml")
    monkeypatch.delenv("QUOTALAB_DATA", raising=False)
    assert script.main([]) == 2
    assert capsys.readouterr().err == "fit_office_day: name the trace's file, or set QUOTALAB_DATA\n"
    assert script.main([str(tmp_path / "none.csv.gz")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("t,who\n1,a\n")
    assert script.main([str(tmp_path / "other.csv")]) == 2
    assert "is not the trace" in capsys.readouterr().err
    assert not (tmp_path / "office-day.toml").exists()


@pytest.mark.skipif(
    "QUOTALAB_DATA" not in os.environ, reason="QUOTALAB_DATA does not name the recorded traces"
)
def test_the_profile_is_a_fresh_fit(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fitting the recorded trace again gives the bytes of the bundled profile."""
    fitted = tmp_path / "office-day.toml"
    monkeypatch.setattr(script, "PROFILE", fitted)
    assert script.main([]) == 0
    assert fitted.read_bytes() == PROFILE.read_bytes()
