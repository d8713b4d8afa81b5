"""Variants of the reference integration, for broken integrations: the good one, with one thing done wrong.

::

    from reference_variants import Calendar, reference

    class Impatient(Calendar):
        def _wait_ns(self, *arguments, **more): ...

    def build(access):
        return reference(access, Impatient)
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from quotalab.clock import SeededEntropy
from quotalab.profiles.loading import load_policy, load_provider
from quotalab.reference.integration import Calendar
from quotalab.sandbox import Access
from quotalab.scenario.stage import traceparent
from quotalab.workspace import Workspace

__all__ = ["Calendar", "reference"]


def reference(access: Access, kind: type[Calendar] = Calendar, **changed: Any) -> Calendar:
    """The reference integration as a run makes it, of another class, or with other arguments for it.

    It runs on the run's own clock, with the provider and the policy of the case.
    """
    workspace = Workspace.find(Path.cwd(), Path(os.environ["MATRIX_WORKSPACE"]))
    provider = load_provider(workspace, os.environ["MATRIX_PROVIDER"], _settings())
    transport: Any = access.transport
    arguments = {
        "access": access,
        "policy": load_policy(workspace, os.environ["MATRIX_POLICY"]),
        "api": provider.reference,
        "clock": transport._clock,
        "entropy": SeededEntropy(int(os.environ["MATRIX_SEED"])),
        "state": Path(tempfile.mkdtemp(prefix="state-", dir=os.environ["MATRIX_WORKSPACE"])),
        "traceparent": traceparent,
    }
    return kind(**{**arguments, **changed})


def _settings() -> tuple[str, ...]:
    return tuple(filter(None, os.environ["MATRIX_SETTINGS"].split("\n")))
