"""Telling the app where the sandbox is before anything imports it, the scenario included.

The endpoints depend on the provider, which a scenario may name in its classes; so its text is read for that
before it is loaded. Should it turn out to name another one, the run says so and does not begin.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from quotalab.clock import SeededEntropy
from quotalab.profiles.app import AppSettings
from quotalab.profiles.loading import load_provider
from quotalab.workspace import Workspace

__all__ = ["provider_named_in", "tell_app"]


def tell_app(
    app: AppSettings,
    workspace: Workspace,
    scenario: Path,
    *,
    provider: str | None,
    settings: tuple[str, ...],
    seed: int,
    issuer: str,
    place: tuple[str, str],
) -> Mapping[str, str] | None:
    """Make the project's modules importable and set the app's environment; what was set.

    None: the app needs no telling, or is told when it is started. Raises `InputError`.
    """
    if app.kind == "reference":
        return None
    from quotalab.hosting import environment_of, set_environment
    from quotalab.hosting.environment import known_values
    from quotalab.hosting.importing import make_importable
    from quotalab.sandbox.access import first_access
    from quotalab.scenario import Person

    make_importable(workspace.root)
    if app.is_elsewhere:
        return None
    name = provider or provider_named_in(scenario) or Person.provider
    base, redirect_uri = place
    access = first_access(load_provider(workspace, name, settings), SeededEntropy(seed), issuer, redirect_uri)
    environment = environment_of(app.env, known_values(access, app_base=base))
    set_environment(environment)
    return environment


def provider_named_in(scenario: Path) -> str | None:
    """The first ``provider = "..."`` in a class of a locustfile; None where there is none to be read."""
    try:
        tree = ast.parse(scenario.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None  # whoever loads it says what is wrong
    for kept in tree.body:
        if not isinstance(kept, ast.ClassDef):
            continue
        for line in kept.body:
            targets = line.targets if isinstance(line, ast.Assign) else []
            targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
            named = any(isinstance(target, ast.Name) and target.id == "provider" for target in targets)
            value = getattr(line, "value", None)
            if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return None
