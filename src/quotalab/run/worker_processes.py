"""Workers of a run as processes of this machine: Locust's own, on the scenario, told by the master."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from quotalab.clock import Clock
from quotalab.errors import ScenarioError

__all__ = ["WorkerProcesses"]

_LOOK_EVERY_NS = 50_000_000
_GRACE_S = 10


class WorkerProcesses:
    """So many, started; `close` ends them. They end by themselves when the master is gone.

    Environment variables in `env` are set before they load the scenario.
    """

    def __init__(
        self, number: int, scenario: Path, port: int, *, env: Mapping[str, str], loglevel: str
    ) -> None:
        command = [sys.executable, "-m", "locust", "-f", str(scenario.resolve()), "--worker"]
        command += ["--master-port", str(port), "--loglevel", loglevel]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        self._processes = [
            subprocess.Popen(  # noqa: S603 - our own command
                command,
                env={**inherited, **env},
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                start_new_session=True,  # Ctrl-C is the master's, which tells them
            )
            for _ in range(number)
        ]

    def await_connected(self, connected: Callable[[], int], clock: Clock) -> None:
        """Wait until as many have come to the master as were started. Raises as `check` does."""
        while connected() < len(self._processes):
            self.check()
            clock.sleep_ns(_LOOK_EVERY_NS)

    def check(self) -> None:
        """Raise `ScenarioError` when one has ended already."""
        for process in self._processes:
            if process.poll() is not None:
                raise ScenarioError(f"a worker ended ({process.returncode}) before it was ready")

    def close(self) -> None:
        """End those that have not ended yet."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
