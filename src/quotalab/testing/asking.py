"""The test's side: start the process, and give back what its ledger holds."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quotalab.api import Run
from quotalab.errors import FaultError, InputError, QuotalabError
from quotalab.workspace import Workspace

__all__ = ["CalledError", "Ledger", "UnderQuota"]


class CalledError(QuotalabError):
    """The function under test raised; the message ends in its traceback, from the other process."""


class Ledger(Run):
    """The run, with what the function returned."""

    def __init__(self, folder: Path, workspace: Workspace, returned: Any) -> None:
        super().__init__(folder, workspace)
        self.returned = returned
        """What came back, as JSON carries it."""


class UnderQuota:
    """Call it with a function of a module: not a lambda, and not one defined inside another."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._times = 0

    def __call__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        provider: str = "temporary-production",
        people: int = 1,
        for_: str = "24h",
        seed: int = 1,
        transport: str = "memory",
        set: Mapping[str, object] | None = None,
    ) -> Ledger:
        """Call ``function(given, *arguments)`` in a process of its own, and read the ledger.

        `given` is a `quotalab.testing.given.Given`; `arguments` and what is returned must be values of JSON.
        The run ends `for_` after it began, in virtual time. `transport="socket"` is for code that brings its
        own HTTP library. Raises `CalledError` when the function raises, `QuotalabError` for wrong arguments.
        """
        __tracebackhide__ = True  # pytest shows the test's line, not this one's source
        name, file = function.__qualname__, inspect.getsourcefile(function)
        if "<" in name or "." in name or file is None:
            raise InputError(f"{name}: must be a function of a module, which another process can import")
        self._times += 1
        folder = self._folder / str(self._times)
        asked = {
            "file": str(Path(file).resolve()),
            "module": function.__module__,
            "function": name,
            "arguments": list(arguments),
            "path": [str(self._root), *sys.path],
            "result": str(self._folder / f"{self._times}.json"),
            "folder": str(folder),
            "workspace": str(self._root),
            "provider": provider,
            "people": people,
            "for": for_,
            "seed": seed,
            "transport": transport,
            "settings": [f"{key}={_toml(value)}" for key, value in (set or {}).items()],
        }
        try:
            text = json.dumps(asked)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: its arguments must be values of JSON: {error}") from None
        ended = subprocess.run(
            [sys.executable, "-m", "quotalab.testing.child"],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        sys.stdout.write(ended.stdout)  # what the function printed, which pytest shows where a test fails
        if ended.returncode:
            said = ended.stderr.strip() or f"{name}: ended with exit code {ended.returncode}"
            kind = FaultError if ended.returncode == FaultError.exit_code else InputError
            raise kind(said.splitlines()[-1].removeprefix("quotalab: "))
        sys.stderr.write(ended.stderr)
        try:
            result = json.loads(Path(asked["result"]).read_text(encoding="utf-8"))  # type: ignore[arg-type]
        except FileNotFoundError:
            raise CalledError(
                f"{name}: had not returned when the run ended, {for_} after it began; for_ gives it longer"
            ) from None
        if "raised" in result:
            raise CalledError(f"{name} raised, in a process of its own:\n{result['raised']}")
        return Ledger(folder, Workspace.find(self._root), result["returned"])


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
