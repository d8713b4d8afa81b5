"""Tonight against a baseline, on runs made up for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from quotalab.nightly.baselines import Baseline
from quotalab.nightly.comparing import Compared, compare_night
from quotalab.nightly.matrix import Group
from quotalab.nightly.telling import Told
from quotalab.nightly.words import junit, lines, markdown, night_document, night_text
from quotalab.nightly.workers import Cell

HERE = {"python": "3.12", "machine": "x86_64"}


def told(
    seed: int, *, calls: str = "same", verdict: str = "PASS", rule: str = "PASS", **figures: float
) -> Told:
    """A run; `figures` over those of a plain one."""
    plain = {"utilisation.hourly": 0.9, "wait_p95_s": 10.0 + seed, "done_share": 0.95, "calls": 100.0}
    return Told(seed, verdict, {"QL101": rule}, {**plain, **figures}, calls, calls)


def compared(
    before: Sequence[Told] | None, after: Sequence[Told], here: dict[str, str] | None = None
) -> Compared:
    """One group compared with runs made before."""
    group = Group("day", "small", None, tuple((run.seed, Cell(f"day~{run.seed}", ())) for run in after))
    baseline = None if before is None else Baseline(Path("baselines/day.json"), HERE, tuple(before))
    folders = [Path(f"runs/{run.seed}") for run in after]
    return compare_night([(group, after, folders, baseline, here or HERE)])[0]


EIGHT = [told(seed) for seed in range(1, 9)]


def test_without_a_baseline_there_is_nothing_to_compare_and_it_says_how_to_make_one() -> None:
    """No baseline is no failure."""
    one = compared(None, EIGHT)
    assert one.word == "new"
    assert "quotalab nightly --update-baseline" in night_text([one])


def test_the_same_calls_are_the_same() -> None:
    """Equal digests and figures: nothing to say."""
    one = compared(EIGHT, EIGHT)
    assert (one.word, lines(one)) == ("same", [])


def test_a_figure_that_got_worse_in_all_of_eight_seeds_is_a_regression() -> None:
    """One in 256 by chance, and it is the only figure that changed."""
    after = [told(run.seed, calls="other", wait_p95_s=1.2 * (10 + run.seed)) for run in EIGHT]
    one = compared(EIGHT, [replace(run, calls_sha256="same") for run in after])
    (change,) = one.figures
    assert (one.word, change.word, change.figure) == ("regressed", "regression", "wait_p95_s")
    assert change.chance == 1 / 256
    assert change.effect == 1.0
    assert change.worse == pytest.approx(0.2)


def test_a_worse_figure_within_its_margin_is_no_regression() -> None:
    """Significant is not enough: it must also be larger than the margin."""
    one = compared(EIGHT, [told(run.seed, wait_p95_s=1.01 * (10 + run.seed)) for run in EIGHT])
    assert [change.word for change in one.figures] == ["change"]
    assert one.word != "regressed"


def test_a_large_change_in_half_of_the_seeds_is_no_regression() -> None:
    """Large is not enough: it must also be more than chance would do."""
    after = [told(run.seed, wait_p95_s=(10 + run.seed) * (1.5 if run.seed % 2 else 0.6)) for run in EIGHT]
    assert compared(EIGHT, after).word != "regressed"


def test_less_done_is_worse_and_less_waiting_is_better() -> None:
    """Which way is worse depends on the figure."""
    worse = compared(EIGHT, [told(run.seed, done_share=0.80) for run in EIGHT])
    better = compared(EIGHT, [told(run.seed, wait_p95_s=1.0) for run in EIGHT])
    assert (worse.word, better.word) == ("regressed", "improved")


def test_many_figures_share_one_level() -> None:
    """Eight figures that each changed for the worse in seven of eight seeds do not add up to an alarm."""
    names = [f"utilisation.l{i}" for i in range(8)]
    before = [told(seed, **dict.fromkeys(names, 0.5)) for seed in range(1, 9)]
    after = [told(s, **dict.fromkeys(names, 0.4 if s == 1 else 0.6)) for s in range(1, 9)]
    one = compared(before, after)
    assert {change.word for change in one.figures} == {"change"}


def test_a_rule_that_has_nothing_to_judge_any_more_did_not_improve() -> None:
    """What no longer calls breaks no rule; and what regressed is told first."""
    before = [told(run.seed, rule="FAIL") for run in EIGHT]
    after = [told(run.seed, calls="other", rule="NA") for run in EIGHT]
    one = compared(before, after, {"python": "3.13", "machine": "x86_64"})
    assert [(change.before, change.after, change.word) for change in one.rules] == [("FAIL", "NA", "change")]
    assert one.word == "changed"
    worse = [replace(run, rules={**run.rules, "QL302": "FAIL"}, names={"QL302": "herd"}) for run in after]
    said = lines(compared(before, worse, {"python": "3.13", "machine": "x86_64"}))
    assert said[1].startswith("regression: QL302 herd NA -> FAIL in 8 of 8 seeds")
    assert said[2].startswith("change: QL101 FAIL -> NA in 8 of 8 seeds")


def test_a_rule_that_fails_in_one_seed_where_it_did_not_is_a_regression() -> None:
    """A failure needs no statistics."""
    after = [told(1, rule="FAIL", verdict="FAIL", calls="other"), *EIGHT[1:]]
    one = compared(EIGHT, after, here={**HERE, "python": "3.13"})
    assert one.word == "regressed"
    assert "regression: QL101 PASS -> FAIL in 1 of 8 seeds (1)" in lines(one)


def test_a_warning_in_one_seed_of_eight_is_a_change_and_in_all_a_regression() -> None:
    """A few warnings may come by chance."""
    few = compared(EIGHT, [told(1, rule="WARN"), *EIGHT[1:]])
    every = compared(EIGHT, [told(run.seed, rule="WARN") for run in EIGHT])
    assert (few.rules[0].word, every.rules[0].word) == ("change", "regression")


def test_in_another_environment_figures_are_compared_and_calls_are_not() -> None:
    """A new runner's calls may differ; that alone does not turn the job red."""
    after = [replace(run, calls_sha256="other") for run in EIGHT]
    one = compared(EIGHT, after, here={**HERE, "machine": "aarch64"})
    assert (one.word, one.first) == ("changed", None)
    assert "machine x86_64 -> aarch64" in lines(one)[0]


def test_two_seeds_say_that_they_cannot_show_a_figure_got_worse() -> None:
    """Nothing that can be seen in two seeds is more than chance, and the output says so."""
    one = compared(EIGHT[:2], [told(run.seed, wait_p95_s=99.0) for run in EIGHT[:2]])
    assert one.word != "regressed"
    assert any("2 seeds cannot show" in line for line in lines(one))


def test_the_bound_on_overruns_is_told_where_there_were_any() -> None:
    """Two of eight seeds over the limit: at most 60 % with 95 % confidence (exact)."""
    after = [told(run.seed, **{"utilisation.hourly": 1.01 if run.seed < 3 else 0.9}) for run in EIGHT]
    one = compared(EIGHT, after)
    assert one.overrun["hourly"] == (2, 8, pytest.approx(0.59969, abs=1e-5))
    assert "hourly was overrun in 2 of 8 seeds: at most 60%, 95 % sure" in lines(one)


def test_hostile_names_stay_text_everywhere() -> None:
    """A group's name and a limit's come from files; Markdown and XML take them as text."""
    odd = "<b>|`x\x1b"
    before = [told(seed, **{f"utilisation.{odd}": 0.5}) for seed in range(1, 9)]
    after = [told(seed, **{f"utilisation.{odd}": 1.5}) for seed in range(1, 9)]
    one = compared(before, after)
    page = markdown([one])
    assert "<b>" not in page.replace("\\<b\\>", "")
    assert "\x1b" not in night_text([one]) + page + junit([one])
    assert "&lt;b&gt;" in junit([one])
    assert night_document([one])["groups"][0]["word"] == "regressed"
