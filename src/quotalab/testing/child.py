"""The other process: a run whose scenario is one call of a function, with what is asked on standard input."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quotalab.errors import QuotalabError
from quotalab.workspace import Workspace

__all__ = ["asked", "build", "function"]

_ASKED = "QUOTALAB_ASKED"


def asked() -> dict[str, Any]:
    """What the test wants."""
    document: dict[str, Any] = json.loads(os.environ[_ASKED])
    return document


def function() -> Callable[..., Any]:
    """The function under test, of a module imported from its file."""
    wanted = asked()
    name = wanted["module"]
    if name not in sys.modules or getattr(sys.modules[name], "__file__", None) != wanted["file"]:
        spec = importlib.util.spec_from_file_location(name, wanted["file"])
        assert spec is not None, "a source file can be imported"
        assert spec.loader is not None, "and has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(sys.modules[name], wanted["function"])
    return getattr(found, "__wrapped__", found)


def build(access: Any) -> Any:
    """The app of such a run: the function has the provider to itself."""
    return access


def _main() -> int:
    text = sys.stdin.read()
    os.environ[_ASKED] = text
    wanted = asked()
    sys.path[:] = list(dict.fromkeys([*wanted["path"], *sys.path]))
    from quotalab.run.options import RunOptions, parse_span_ns
    from quotalab.run.simulate import simulate

    workspace = Workspace.find(Path(wanted["workspace"]))
    kept = {name: value for name, value in workspace.settings.items() if name != "app"}
    workspace = replace(workspace, settings={**kept, "app": {"build": f"{__package__}.child:build"}})
    options = RunOptions(
        scenario=str(Path(__file__).with_name("called.py")),
        provider=wanted["provider"],
        users=wanted["people"],
        span_ns=parse_span_ns("for_", wanted["for"]),
        seed=wanted["seed"],
        transport=wanted["transport"],
        settings=tuple(wanted["settings"]),
        out=Path(wanted["folder"]),
        command=("pytest", wanted["module"], wanted["function"]),
    )
    simulated = simulate(options, workspace)
    for fault in simulated.faults:
        print(f"quotalab: {fault}", file=sys.stderr)
    return 3 if simulated.faults else 0


if __name__ == "__main__":
    try:
        sys.exit(_main())
    except QuotalabError as error:
        print(f"quotalab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
