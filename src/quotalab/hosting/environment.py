"""What an app is told by its environment: the provider's endpoints, and to reach loopback directly."""

from __future__ import annotations

import os
from collections.abc import Mapping

from quotalab.errors import ScenarioError
from quotalab.sandbox import Access

__all__ = ["environment_of", "filled", "known_values", "set_environment"]

_DIRECT = ("127.0.0.1", "localhost")


def known_values(access: Access, **more: str) -> dict[str, str]:
    """What templates in braces may name."""
    names = ("issuer", "api_base", "authorization_endpoint", "token_endpoint", "revocation_endpoint",
             "introspection_endpoint", "redirect_uri", "client_id", "client_secret")  # fmt: skip
    return {name: str(getattr(access, name) or "") for name in names} | more


def filled(key: str, template: str, known: Mapping[str, str]) -> str:
    """A template with its braces filled in. Raises `ScenarioError` naming what there is."""
    try:
        return template.format_map(known)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError):
        raise ScenarioError(
            f"tool.quotalab.app.{key}: {template!r} may use only "
            + ", ".join("{" + name + "}" for name in known)
            + "; a brace of its own is written twice"
        ) from None


def environment_of(env: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The variables to set: those of the ``env`` table, and loopback kept away from any proxy.

    HTTP libraries send requests to ``HTTP_PROXY`` unless ``NO_PROXY`` names the host; what was there stays.
    """
    variables = {name: filled(f"env.{name}", template, known) for name, template in env.items()}
    for name in ("NO_PROXY", "no_proxy"):
        said = variables.get(name, os.environ.get(name, ""))
        there = [part.strip() for part in said.split(",") if part.strip()]
        if there != ["*"]:
            variables[name] = ",".join([*there, *(host for host in _DIRECT if host not in there)])
    return variables


def set_environment(variables: Mapping[str, str]) -> None:
    """Set variables in this process, for an app that is imported into it."""
    os.environ.update(variables)
