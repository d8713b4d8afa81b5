"""What a scenario needs: profiles and population, by option or else by what its classes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quotalab.errors import ScenarioError
from quotalab.profiles.loading import load_policy, load_provider, load_traffic
from quotalab.profiles.policy import Policy
from quotalab.profiles.provider import Provider
from quotalab.profiles.responses import Responses, with_responses
from quotalab.profiles.rules import RuleSettings, workspace_rules
from quotalab.profiles.traffic import Traffic
from quotalab.scenario.person import Person, PlannedPerson
from quotalab.workspace import Workspace

__all__ = ["Needs", "resolve"]


@dataclass(frozen=True)
class Needs:
    """The profiles of a run, validated, and how many people there are."""

    provider: Provider
    policy: Policy
    traffic: Traffic | None
    users: int
    rules: RuleSettings
    """What the workspace sets for single rules."""
    responses: Responses | None = None
    """Where the provider's further answers come from."""

    def documents(self) -> dict[str, Mapping[str, Any]]:
        """The resolved profiles as a run folder keeps them; of further answers their file's name and hash."""
        kept: dict[str, Mapping[str, Any]] = {
            "provider": self.provider.document,
            "policy": self.policy.document,
            "rules": self.rules,
        }
        if self.traffic is not None:
            kept["traffic"] = self.traffic.document
        if self.responses is not None:
            kept["responses"] = {"file": self.responses.name, "sha256": self.responses.sha256}
        return kept


def resolve(
    classes: Sequence[type[Any]],
    workspace: Workspace,
    file: str,
    *,
    provider: str | None,
    policy: str | None,
    traffic: str | None,
    users: int | None,
    settings: tuple[str, ...] = (),
    responses: Responses | None = None,
) -> Needs:
    """Profiles by the options given, else by the first class; every class is checked to fit.

    `responses` are further answers, for routes that the provider profile does not have.

    Raises `InputError`: a class that is no `Person`, a plan that names operations which a class lacks.
    """
    if not classes:
        raise ScenarioError(f"{file}: defines no user class; a scenario has at least one subclass of Person")
    for kept in classes:
        if not issubclass(kept, Person):
            raise ScenarioError(
                f"{file}: {kept.__name__} is a plain Locust user and would reach no sandbox; make it a "
                f"subclass of quotalab.scenario.Person"
            )
    first: type[Person] = classes[0]
    name = traffic or first.traffic
    plans = load_traffic(workspace, name) if name is not None else None
    for kept in classes:
        planned = issubclass(kept, PlannedPerson)
        if planned and plans is None:
            raise ScenarioError(
                f"{file}: {kept.__name__} follows a plan; give --traffic, or set traffic there"
            )
        if not planned and plans is not None:
            raise ScenarioError(
                f"{file}: {kept.__name__} has tasks of its own and follows no traffic profile; leave out "
                f"--traffic, or make it a PlannedPerson"
            )
        if plans is not None:
            for operation in plans.mix:
                kept.terms(operation)
    asked = load_provider(workspace, provider or first.provider, settings)
    return Needs(
        with_responses(asked, responses) if responses is not None else asked,
        load_policy(workspace, policy or first.policy),
        plans,
        users or (plans.people if plans is not None else first.population),
        workspace_rules(workspace.settings, str(workspace.root / "pyproject.toml")),
        responses,
    )
