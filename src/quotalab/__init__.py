"""quotalab: a load and rate-limit compliance simulator for OAuth apps.

::

    import quotalab

    run = quotalab.run("temporary_access", users=40, for_="8h")
    run.verdict
    run.plot_use("hourly")

Importing this package patches nothing and imports neither Locust nor gevent; `run`, `audit` and `load` load
what they need when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["QuotalabError", "Run", "__version__", "audit", "load", "run"]

if TYPE_CHECKING:
    from quotalab.api import Run as Run
    from quotalab.api import audit as audit
    from quotalab.api import load as load
    from quotalab.api import run as run
    from quotalab.errors import QuotalabError as QuotalabError

_PLACES = {"QuotalabError": "quotalab.errors", **dict.fromkeys(("Run", "audit", "load"), "quotalab.api")}


def __getattr__(name: str) -> Any:
    if name == "run":
        # The package of that name is bound here as soon as anything of it is imported; it can be called.
        return importlib.import_module("quotalab.run")
    if name not in _PLACES:
        raise AttributeError(f"module 'quotalab' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
