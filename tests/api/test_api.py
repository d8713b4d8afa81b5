"""`quotalab.run`, `quotalab.audit` and `quotalab.load`: DataFrames, verdicts and plots for notebooks and scripts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.axes import Axes

import quotalab
from quotalab.api import CALLS, EVENTS, LIMITS, OPERATIONS, Judged, Run
from quotalab.errors import InputError, RunFolderError
from quotalab.frames import load as load_frames

matplotlib.use("agg")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twenty people who ask without pause, on a limit of 50, for an hour and ten minutes."""
    return quotalab.run(
        "overload", policy="obedient", users=20, for_="70m", set={"limits.hourly.limit": 50},
        out=tmp_path_factory.mktemp("api") / "run",
    )  # fmt: skip


def test_the_public_surface_is_pinned() -> None:
    """What others may use has these names, and no other comes in by accident."""
    assert quotalab.__all__ == ["QuotalabError", "Run", "__version__", "audit", "load", "run"]
    assert all(getattr(quotalab, name) is not None for name in quotalab.__all__)
    public = sorted(name for name in dir(Run) if not name.startswith("_"))
    assert public == [
        "calls", "description", "events", "limits", "operations", "peak", "plot_demand", "plot_use",
        "plot_waits", "report", "verdict",
    ]  # fmt: skip
    public = sorted(name for name in dir(Judged) if not name.startswith("_"))
    assert public == ["findings", "metrics", "rules", "sentences", "word"]
    with pytest.raises(AttributeError, match="module 'quotalab' has no attribute 'ran'"):
        _ = quotalab.ran


def test_the_function_and_the_package_share_their_name() -> None:
    """`quotalab.run` is called, shows its arguments, and is still the package of the engine."""
    import quotalab.run.options

    assert quotalab.run.options.DEFAULT_SCENARIO == "temporary_access"
    assert "for_" in inspect.signature(quotalab.run).parameters


def test_frames_have_the_documented_columns_and_agree_with_the_ledger(run: Run) -> None:
    """Times are UTC to the nanosecond, spans are seconds, and not a row is lost."""
    frames = load_frames(run.folder)
    by_limit = ["key:hourly", "charge:hourly", "remaining:hourly"]
    assert list(run.calls.columns) == [*CALLS, *by_limit]
    assert list(run.operations.columns) == list(OPERATIONS)
    assert list(run.events.columns) == list(EVENTS)
    assert list(run.limits.columns) == list(LIMITS)
    assert run.calls["at"].astype("int64").tolist() == frames.calls["at"].tolist()
    for table, name in [
        (run.calls, "sent"),
        (run.operations, "planned"),
        (run.events, "at"),
        (run.limits, "peak_at"),
    ]:
        assert str(table[name].dtype) == "datetime64[ns, UTC]"
    assert (run.calls.took_s * 1e9).round().astype("int64").tolist() == (
        frames.calls["done"] - frames.calls["sent"]
    ).tolist()
    promised = frames.calls["retry_after_ns"].dropna()
    assert len(promised)
    assert (run.calls.retry_after_s.dropna() * 1e9).tolist() == promised.tolist()
    assert run.calls.refused.sum() == frames.calls["limit"].notna().sum() > 0
    assert run.events.details.map(type).eq(dict).all()


def test_the_peak_is_what_any_window_of_an_hour_holds(run: Run) -> None:
    """Counted again the slow way, refused calls included."""
    at = run.calls.loc[run.calls.kind == "api", "at"].reset_index(drop=True)
    hour = pd.Timedelta("1h")
    most = max(((at > end - hour) & (at <= end)).sum() for end in at)
    assert run.peak("hourly") == run.limits.peak["hourly"] == most > 50
    with pytest.raises(InputError, match="limit 'daily': the provider has hourly"):
        run.peak("daily")


def test_a_verdict_is_a_word_a_table_and_a_page(run: Run) -> None:
    """It equals its word, lists rules and findings, and prints what the terminal prints."""
    assert run.verdict == "FAIL"
    assert run.verdict.rules.verdict["QL101"] == "FAIL"
    first = run.verdict.findings.iloc[0]
    assert first.rule == "QL101"
    assert set(first.calls) <= set(run.calls.seq)
    assert str(run.verdict).endswith("\n".join(str(run.verdict).splitlines()[-1:]))
    page = run.verdict._repr_html_()
    assert "QL101" in page
    assert run.report.is_file()


def test_what_a_client_sent_is_escaped_in_a_notebook(run: Run) -> None:
    """A path or a header that holds markup stays text, and what cannot be seen is written out."""
    document = {**run.verdict.document, "rules": [{
        "id": "QL1", "name": "<b>", "verdict": "FAIL", "findings_total": 5,
        "findings": [{"message": "<script>alert(1)</script>\u202e"}],
    }]}  # fmt: skip
    faked = Judged.__new__(Judged)
    faked._verdict, faked.document = run.verdict._verdict, document
    page = faked._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "and 4 more" in page


def test_plots_are_drawn_on_the_axes_given(run: Run) -> None:
    """Or on new ones; the Axes come back."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    assert run.plot_use("hourly", ax) is ax
    assert ax.lines
    for drawn in (run.plot_use("hourly"), run.plot_demand(), run.plot_waits()):
        assert isinstance(drawn, Axes)
        assert drawn.figure is not figure
    pyplot.close("all")


def test_errors_are_in_the_runs_own_words(tmp_path: Path) -> None:
    """A wrong scenario, option or folder is an error of quotalab's, with one clear line."""
    with pytest.raises(InputError, match=r"^scenario 'overlod': is not in .*did you mean 'overload'"):
        quotalab.run("overlod")
    with pytest.raises(quotalab.QuotalabError, match="for: "):
        quotalab.run(for_="tomorrow")
    with pytest.raises(RunFolderError, match="there is no such run folder"):
        quotalab.load(tmp_path / "none")


def test_the_page_lists_the_columns_of_the_code() -> None:
    """Each table of the page on notebooks has every column, in its order, with its meaning."""
    page = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for name, columns in (
        ("calls", CALLS),
        ("operations", OPERATIONS),
        ("events", EVENTS),
        ("limits", LIMITS),
    ):
        text = page.partition(f"\n`run.{name}`")[2].partition("|---|---|\n")[2].partition("\n\n")[0]
        rows = [row.strip("| ").split(" | ", 1) for row in text.strip().splitlines()]
        assert {one.strip("`"): meaning for one, meaning in rows} == dict(columns)
        assert [one.strip("`") for one, _ in rows] == list(columns)


def test_the_example_of_the_page_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, on a run that is there already."""
    page = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text(encoding="utf-8")
    asked: dict[str, object] = {}
    known = inspect.signature(quotalab.run).parameters

    def recorded(scenario: str, **options: object) -> Run:
        assert options.keys() <= known.keys()
        asked.update(options, scenario=scenario)
        return run

    monkeypatch.setattr(quotalab, "run", recorded)
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert asked == {"scenario": "overload", "users": 20, "for_": "70m"}


def test_a_run_is_loaded_from_anywhere(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the folder changes, and the verdict is the same."""
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    monkeypatch.chdir(tmp_path)
    again = quotalab.load(str(run.folder))
    assert again.verdict == run.verdict
    assert repr(again).startswith("<Run of overload against temporary-production: ")
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_recorded_traffic_is_judged_and_opened_as_a_run_is(tmp_path: Path) -> None:
    """The arguments reach the command, the peak is that of the file, and what needs a run is NA."""
    file = tmp_path / "calls.csv"
    rows = [f"{1767600000 + 30 * i},/events,{429 if i >= 100 else 200},ann" for i in range(110)]
    file.write_text("t,url,code,who\n" + "\n".join(rows) + "\n")
    judged = quotalab.audit(
        file, provider="temporary-production", person="who", set={"limits.hourly.limit": 50},
        columns={"time": "t", "path": "url", "status": "code"}, out=tmp_path / "judged",
    )  # fmt: skip
    assert judged.verdict == "FAIL"
    assert judged.peak("hourly") == 110
    assert judged.limits.limit["hourly"] == 50
    assert judged.calls.person.unique().tolist() == ["person-1"]
    assert judged.verdict.rules.verdict["QL501"] == "NA"
    assert len(judged.plot_use("hourly").lines)
    with pytest.raises(InputError, match=r"nothing\.csv"):
        quotalab.audit(tmp_path / "nothing.csv", provider="temporary-production")
