"""Policy profiles: the bundled ones are valid, and each mistake gets one line with file and key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from quotalab.errors import ProfileError
from quotalab.profiles.policy import parse_policy
from quotalab.profiles.reading import merge

POLICIES = Path(__file__).parents[2] / "profiles" / "policies"
S = 1_000_000_000


def polite() -> dict[str, object]:
    """The bundled default's document."""
    return tomllib.loads((POLICIES / "polite.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_bundled_policy_is_valid_and_bears_its_files_name(path: Path) -> None:
    """A name finds the file, and the file says the name."""
    assert parse_policy(tomllib.loads(path.read_text(encoding="utf-8")), str(path)).name == path.stem


def test_the_polite_policy_reads_as_written() -> None:
    """Every figure arrives, in its unit."""
    policy = parse_policy(polite(), "polite.toml")
    assert (policy.budget.calls, policy.budget.period_ns, policy.budget.margin) == (100, 3600 * S, 0.03)
    assert policy.budget.when_spent == ("wait", "stale")
    assert (policy.retry.attempts, policy.retry.cap_ns, policy.refresh_before_ns) == (4, 300 * S, 300 * S)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schema": 2}, "schema: must be a whole number of at most 1, not 2"),
        ({"budget": {"margin": 1.5}}, "budget.margin: must be a number from 0 to 0.99, not 1.5"),
        ({"budget": {"calls": 0}}, "budget.calls: must be a whole number of 1 or more, not 0"),
        ({"budget": {"calls": True}}, "budget.calls: must be a whole number of 1 or more, not True"),
        (
            {"budget": {"when_spent": ["sleep"]}},
            "budget.when_spent: must be a list of 'wait', 'stale', not ['sleep']",
        ),
        (
            {"budget": {"marign": 0.1}},
            "budget.marign: is not a key that is known here; did you mean 'margin'?",
        ),
        ({"retry": {"jitter": "some"}}, "retry.jitter: must be one of 'full', 'none', not 'some'"),
        ({"retry": {"attempts": 0}}, "retry.attempts: must be a whole number of 1 or more, not 0"),
        (
            {"retry": {"statuses": [200]}},
            "retry.statuses: must be a list of HTTP statuses from 400 to 599, not [200]",
        ),
        ({"retry": {"base": "soon"}}, "retry.base: must be a duration such as"),
        ({"refresh_before": -5}, "refresh_before: must be a duration such as"),
        ({"retry": "often"}, "retry: must be a table, not 'often'"),
    ],
)
def test_each_mistake_is_named_with_its_key(changed: dict[str, object], told: str) -> None:
    """file: key: what would be right."""
    with pytest.raises(ProfileError) as caught:
        parse_policy(merge(polite(), changed), "polite.toml")
    assert str(caught.value).startswith(f"polite.toml: {told}")
