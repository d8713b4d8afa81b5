"""Resolving what a run needs: profiles by name, validated, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quotalab.errors import InputError
from quotalab.profiles.policy import Policy, parse_policy
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reading import read_toml
from quotalab.profiles.traffic import Traffic, parse_traffic
from quotalab.workspace import Workspace

__all__ = ["Inputs", "as_json", "load_policy", "load_provider", "load_traffic"]


@dataclass(frozen=True)
class Inputs:
    """The profiles of a run, and the scenario's file."""

    provider: Provider
    policy: Policy
    traffic: Traffic | None
    scenario: Path


def load_provider(workspace: Workspace, name: str, settings: tuple[str, ...] = ()) -> Provider:
    """A provider profile by name or path; ``NAME/VARIANT`` names a variant. Raises `InputError`."""
    base, slash, variant = name.partition("/")
    if slash and Path(name).suffix != ".toml":
        path = workspace.file("provider", base)
        return parse_provider(read_toml(path), str(path), variant=variant, settings=settings)
    path = workspace.file("provider", name)
    return parse_provider(read_toml(path), str(path), settings=settings)


def load_policy(workspace: Workspace, name: str) -> Policy:
    """A policy profile by name or path. Raises `InputError`."""
    path = workspace.file("policy", name)
    return parse_policy(read_toml(path), str(path))


def load_traffic(workspace: Workspace, name: str) -> Traffic:
    """A traffic profile by name or path. Raises `InputError`."""
    path = workspace.file("traffic", name)
    return parse_traffic(read_toml(path), str(path))


def as_json(document: Mapping[str, Any]) -> str:
    """A resolved profile as a run folder keeps it; dates become text."""
    try:
        return json.dumps(document, indent=2, default=str) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"a profile holds a value that cannot be kept: {error}") from error
