"""Scenarios under plain ``locust -f``: a sandbox inside the process, a run folder. The clock is the real one,
or virtual where the environment plugs it in (:mod:`quotalab.clock.plugged`).

Listeners for Locust's own events; in a run of ``quotalab run`` they find a stage set and do nothing. With
``--verdict`` the run is judged at its end, in a process of its own: this one is patched for gevent, and the
judging half is never loaded beside the acting one.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.runners import LocalRunner

from quotalab.clock import Clock, Entropy, RealClock, SeededEntropy, SystemEntropy
from quotalab.clock.plugged import plugged
from quotalab.errors import QuotalabError, ScenarioError
from quotalab.ledger.recording import Recording, default_folder
from quotalab.profiles.app import app_settings
from quotalab.sandbox.server import LoopbackServer
from quotalab.scenario.needs import resolve
from quotalab.scenario.stage import Stage, app_place
from quotalab.workspace import Workspace

__all__: list[str] = []

_DAY_NS = 86_400 * 10**9


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _arguments(parser: Any) -> None:
    group = parser.add_argument_group("quotalab")
    group.add_argument("--provider", env_var="QUOTALAB_PROVIDER", help="provider profile")
    group.add_argument("--policy", env_var="QUOTALAB_POLICY", help="policy of the reference integration")
    group.add_argument("--traffic", env_var="QUOTALAB_TRAFFIC", help="traffic profile")
    group.add_argument(
        "--verdict",
        action="store_true",
        env_var="QUOTALAB_VERDICT",
        help="judge the run at its end: print the quota summary, and exit 1 if the verdict is FAIL",
    )
    group.add_argument(
        "--run-folder", metavar="DIR", env_var="QUOTALAB_RUN_FOLDER", help="default: runs/TIME-SCENARIO-..."
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def _set_stage(environment: Any, runner: Any, **_: Any) -> None:
    if getattr(environment, "stage", None) is not None:
        return
    try:
        _PlainRun(environment, runner)
    except QuotalabError as error:
        print(f"quotalab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


class _PlainRun:
    """One run under plain Locust."""

    def __init__(self, environment: Any, runner: Any) -> None:
        if not isinstance(runner, LocalRunner):
            raise ScenarioError("each process would have a sandbox and limits of its own; run one process")
        options = environment.parsed_options
        workspace = Workspace.find(Path.cwd())
        scenario = Path(sys.modules[environment.user_classes[0].__module__].__file__ or "")
        real = RealClock()
        virtual = plugged.virtual
        self._clock: Clock = virtual.clock if virtual is not None else real
        entropy: Entropy = SeededEntropy(plugged.seed) if virtual is not None else SystemEntropy()
        needs = resolve(
            environment.user_classes,
            workspace,
            str(scenario),
            provider=options.provider,
            policy=options.policy,
            traffic=options.traffic,
            users=options.num_users,
        )
        app = app_settings(workspace.settings, str(workspace.root / "pyproject.toml"))
        server = None if app.kind in ("reference", "build") else LoopbackServer(port=app.sandbox_port)
        seed = plugged.seed if virtual is not None else None
        start_ns = self._clock.now_ns()
        span_ns = int(options.run_time) * 10**9 if options.run_time else _DAY_NS
        self._recording = Recording(
            Path(options.run_folder)
            if options.run_folder
            else default_folder(real.now_ns(), scenario.stem, needs.provider.name, seed),
            real.monotonic_ns,
            scenario=scenario,
            documents=needs.documents(),
            provider=needs.provider.name,
            traffic=needs.traffic.name if needs.traffic is not None else None,
            policy=needs.policy.name if app.kind == "reference" else None,
            app=app.label,
            seed=seed,
            clock="virtual" if virtual is not None else "real",
            transport="memory" if server is None else "socket",
            users=needs.users,
            start_ns=start_ns,
            span_ns=span_ns,
            settings=(),
            command=("locust", *sys.argv[1:]),
        )
        environment.stage = self._stage = Stage(
            provider=needs.provider,
            policy=needs.policy,
            traffic=needs.traffic,
            users=needs.users,
            start_ns=start_ns,
            span_ns=span_ns,
            clock=self._clock,
            entropy=entropy,
            ledger=self._recording.writer,
            app=app,
            root=workspace.root,
            place=app_place(app),
            server=server,
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line a call, under Locust's own logging
        self._flusher = gevent.spawn(self._flush)
        self._environment = environment
        self._judges = options.verdict
        environment.events.quitting.add_listener(self._end)

    def _flush(self) -> None:
        while True:
            self._clock.sleep_ns(10**9)
            self._recording.writer.flush_if_due()

    def _end(self, **_: Any) -> None:
        """Locust's `quitting`, when the users have stopped and the exit code is not settled yet."""
        self._environment.runner.stop()
        self._flusher.kill()
        self._stage.close()
        self._recording.end(self._clock.now_ns())
        folder = self._recording.folder.path
        if not self._judges:
            print(f"quotalab: {folder}\nquotalab: judge it with: quotalab report {folder}", file=sys.stderr)
            return
        judged = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "quotalab", "report", str(folder)], check=False, stdin=subprocess.DEVNULL
        )
        if judged.returncode:  # else Locust's own: what failed, failed
            self._environment.process_exit_code = judged.returncode
