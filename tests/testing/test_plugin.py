"""The pytest plugin, and the page on it: every example there is a test that passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "test-a-quota.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "test_own_library.py" else pytest.mark.full)
        for name in EXAMPLES
    ],
)
def test_an_example_of_the_page_passes(name: str, pytester: pytest.Pytester) -> None:
    """As it stands there, with nothing but the plugin that is installed."""
    pytester.path.joinpath(name).write_text(EXAMPLES[name])
    pytester.runpytest_subprocess("-p", "no:xdist", "-Werror").assert_outcomes(passed=1)


def test_every_example_is_found() -> None:
    """None is left out for want of a name."""
    assert len(EXAMPLES) == PAGE.count("```python") == 3


@pytest.mark.full
def test_what_goes_wrong_is_told(pytester: pytest.Pytester) -> None:
    """An overrun fails the assertion with its number; what the function raises comes with its traceback; one that
    is still at work at the end, a lambda, an unknown provider and an argument beyond JSON are named."""
    pytester.makepyfile(
        """
        import time
        import pytest
        from quotalab.errors import InputError
        from quotalab.testing.asking import CalledError

        def eager(given):
            with given.client() as http:
                for _ in range(120):
                    http.get("/events/7")

        def wrong(given):
            return {}["nothing"]

        def slow(given):
            time.sleep(7200)

        def test_overrun(under_quota):
            assert under_quota(eager).peak("hourly") <= 90

        def test_others(under_quota):
            with pytest.raises(CalledError, match="KeyError: 'nothing'"):
                under_quota(wrong)
            with pytest.raises(CalledError, match="slow: had not returned when the run ended, 1h after"):
                under_quota(slow, for_="1h")
            with pytest.raises(InputError, match="must be a function of a module"):
                under_quota(lambda given: None)
            with pytest.raises(InputError, match="provider 'nobody'"):
                under_quota(wrong, provider="nobody")
            with pytest.raises(InputError, match="must be values of JSON"):
                under_quota(wrong, {1, 2})
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-Werror")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*assert 120 <= 90*"])
