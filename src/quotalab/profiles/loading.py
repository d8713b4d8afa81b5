"""Profiles by name: found in a workspace, read, validated."""

from __future__ import annotations

from pathlib import Path

from quotalab.profiles.policy import Policy, parse_policy
from quotalab.profiles.provider import Provider, parse_provider
from quotalab.profiles.reading import read_toml
from quotalab.profiles.traffic import Traffic, parse_traffic
from quotalab.workspace import Workspace

__all__ = ["load_policy", "load_provider", "load_traffic"]


def load_provider(workspace: Workspace, name: str, settings: tuple[str, ...] = ()) -> Provider:
    """A provider profile by name or path; ``NAME/VARIANT`` names a variant. Raises `InputError`."""
    variant = None
    if "/" in name and Path(name).suffix != ".toml":
        name, _, variant = name.partition("/")
    path = workspace.file("provider", name)
    return parse_provider(read_toml(path), str(path), variant=variant, settings=settings)


def load_policy(workspace: Workspace, name: str) -> Policy:
    """A policy profile by name or path. Raises `InputError`."""
    path = workspace.file("policy", name)
    return parse_policy(read_toml(path), str(path))


def load_traffic(workspace: Workspace, name: str) -> Traffic:
    """A traffic profile by name or path. Raises `InputError`."""
    path = workspace.file("traffic", name)
    return parse_traffic(read_toml(path), str(path))
