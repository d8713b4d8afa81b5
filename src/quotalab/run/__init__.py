"""Composes a run: clock, sandbox, app, scenario and ledger; drives Locust.

Called, as ``quotalab.run(...)``, it is `quotalab.api.run`: the package and the function share their name.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("quotalab.api").run(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        """What a notebook shows of the arguments."""
        import inspect

        return inspect.signature(importlib.import_module("quotalab.api").run)


sys.modules[__name__].__class__ = _CallableModule
