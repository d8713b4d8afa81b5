"""Scenarios under plain ``locust -f``: a sandbox inside the process, a run folder. The clock is the real one,
or virtual where the environment plugs it in (:mod:`quotalab.clock.plugged`).

Listeners for Locust's own events; in a run of ``quotalab run`` they find a stage set and do nothing. With
``--verdict`` the run is judged at its end, in a process of its own: this one is patched for gevent, and the
judging half is never loaded beside the acting one.

Of several processes the master has sandbox, ledger and verdict, and each worker people and an app.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.event import Event as Flag
from locust import events
from locust.runners import MasterRunner, WorkerRunner

from quotalab.clock import Clock, Entropy, RealClock, SeededEntropy, SystemEntropy
from quotalab.clock.plugged import plugged
from quotalab.errors import InputError, QuotalabError, ScenarioError
from quotalab.ledger.recording import Recording, default_folder
from quotalab.profiles.app import app_settings
from quotalab.sandbox.server import LoopbackServer, is_loopback
from quotalab.scenario.channel import JOIN, TOLD
from quotalab.scenario.master import Workers
from quotalab.scenario.needs import resolve
from quotalab.scenario.raised import in_words
from quotalab.scenario.stage import Stage, app_place
from quotalab.scenario.worker import Channel, WorkerStage
from quotalab.workspace import Workspace

__all__: list[str] = []

_DAY_NS = 86_400 * 10**9
_MOMENT_NS = 10**9
_ASK_EVERY_S = 0.5
_ASK_TIMES = 120


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _arguments(parser: Any) -> None:
    group = parser.add_argument_group("quotalab")
    group.add_argument("--provider", env_var="QUOTALAB_PROVIDER", help="provider profile")
    group.add_argument(
        "--set",
        dest="quotalab_settings",
        metavar="KEY=VALUE",
        action="append",
        help="a setting of the provider profile, as in limits.hourly.limit=50; may be repeated",
    )
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
    parser.set_defaults(master_bind_host="127.0.0.1")  # nobody else has any business there
    for action in parser._actions:
        if action.dest in ("master_host", "master_bind_host"):
            action.type = _loopback


def _loopback(host: str) -> str:
    if not is_loopback(host):
        raise argparse.ArgumentTypeError(
            f"{host} is not on loopback, where the sandbox listens; workers run on the master's machine"
        )
    return host


@events.init.add_listener  # type: ignore[untyped-decorator]
def _set_stage(environment: Any, runner: Any, **_: Any) -> None:
    if getattr(environment, "stage", None) is not None:
        return
    try:
        if isinstance(runner, WorkerRunner):
            _PlainWorker(environment, runner)
        else:
            _PlainRun(environment, runner)
    except QuotalabError as error:
        _say(str(error))
        sys.exit(error.exit_code)


def _say(what: str) -> None:
    print(f"quotalab: {what}", file=sys.stderr, flush=True)


class _PlainRun:
    """One run under plain Locust: all of it, or the master's part."""

    def __init__(self, environment: Any, runner: Any) -> None:
        options = environment.parsed_options
        virtual = plugged.virtual
        spread = isinstance(runner, MasterRunner)
        if spread and virtual is not None:
            raise InputError("--processes, --master: virtual time is one process; leave one of the two out")
        self._workers = Workers(runner) if spread else None
        workspace = Workspace.find(Path.cwd())
        scenario = Path(sys.modules[environment.user_classes[0].__module__].__file__ or "")
        real = RealClock()
        self._clock: Clock = virtual.clock if virtual is not None else real
        entropy: Entropy = SeededEntropy(plugged.seed) if virtual is not None else SystemEntropy()
        settings = tuple(options.quotalab_settings or ())
        needs = resolve(
            environment.user_classes,
            workspace,
            str(scenario),
            provider=options.provider,
            policy=options.policy,
            traffic=options.traffic,
            users=options.num_users,
            settings=settings,
        )
        app = app_settings(workspace.settings, str(workspace.root / "pyproject.toml"))
        in_memory = app.kind in ("reference", "build") and not spread
        server = None if in_memory else LoopbackServer(port=app.sandbox_port)
        seed = plugged.seed if virtual is not None else None
        self._start_ns = self._clock.now_ns()
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
            start_ns=self._start_ns,
            span_ns=span_ns,
            settings=settings,
            command=("locust", *sys.argv[1:]),
        )
        place = app_place(app)
        try:
            self._stage = Stage(
                provider=needs.provider,
                policy=needs.policy,
                traffic=needs.traffic,
                users=needs.users,
                start_ns=self._start_ns,
                span_ns=span_ns,
                clock=self._clock,
                entropy=entropy,
                ledger=self._recording.writer,
                app=app,
                root=workspace.root,
                place=place,
                server=server,
                hosts=not spread,
            )
        except BaseException:
            self._recording.discard()
            raise
        environment.stage = self._stage
        logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line a call, under Locust's own logging
        self._flusher = gevent.spawn(self._flush)
        self._environment = environment
        self._judges = options.verdict
        self._main = gevent.getcurrent()
        self._begun = False
        self._ends = False
        self._has_told = False
        self._given_up: QuotalabError | None = None
        self._stage.give_up = self._give_up
        if self._workers is not None:
            self._workers.serve(
                self._stage,
                needs,
                place=place,
                root=workspace.root,
                seed=None,
                span_ns=span_ns,
                expected=options.expect_workers,
            )
        environment.events.test_start.add_listener(self._begin)
        environment.events.quitting.add_listener(self._end)
        atexit.register(self._cut_off)
        plugged.last_words = self._last_words

    def _last_words(self) -> str:
        """What ends the message of a stall."""
        if not self._begun:
            return ""
        self._has_told = True
        self._recording.writer.flush()  # the greenlet that does it otherwise gets no turn any more
        return f"; judge what there is: quotalab report {self._recording.folder.path}"

    def _flush(self) -> None:
        while True:
            self._clock.sleep_ns(10**9)
            self._recording.writer.flush_if_due()

    def _begin(self, **_: Any) -> None:
        """Locust's `test_start`. Somebody at the web page, or the last of the workers, may be long in coming:
        people's days begin when the test does."""
        now_ns = self._clock.now_ns()
        if not self._begun and now_ns - self._start_ns > _MOMENT_NS:
            self._stage.begin(now_ns)
        self._begun = True

    def _give_up(self, error: QuotalabError) -> None:
        if self._given_up is None:
            self._given_up = error
            _say(str(error))
            gevent.spawn(self._quit, error)

    def _quit(self, error: QuotalabError) -> None:
        if not self._begun:
            gevent.kill(self._main, SystemExit(error.exit_code))
        elif self._environment.web_ui is None:
            self._environment.runner.quit()
        else:
            self._environment.runner.stop()

    def _end(self, **_: Any) -> None:
        """Locust's `quitting`, when the users have stopped and the exit code is not settled yet.

        After SIGTERM there are two: whoever comes second waits until the first ends the process.
        """
        if self._ends:
            Flag().wait()
        self._ends = True
        environment = self._environment
        if self._workers is None:
            environment.runner.stop()
        else:
            environment.runner.quit()
            self._workers.close()
            for told in self._workers.lost:
                _say(told)
        self._flusher.kill()
        self._stage.close()
        if not self._begun:
            self._recording.discard()
            _say("no test was started, so that there is nothing to judge")
            if self._judges:
                environment.process_exit_code = InputError.exit_code
            return
        folder = self._recording.folder.path
        if self._given_up is not None:
            self._recording.writer.close()
            _say(f"what there is until then: quotalab report {folder}")
            environment.process_exit_code = self._given_up.exit_code
            return
        self._recording.end(self._clock.now_ns())
        if not self._judges:
            print(f"quotalab: {folder}\nquotalab: judge it with: quotalab report {folder}", file=sys.stderr)
            return
        judged = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "quotalab", "report", str(folder)], check=False, stdin=subprocess.DEVNULL
        )
        if judged.returncode:  # else Locust's own: what failed, failed
            environment.process_exit_code = judged.returncode

    def _cut_off(self) -> None:
        """At the process's exit, where Locust has ended without its `quitting`."""
        if self._ends:
            return
        self._flusher.kill()
        if self._begun:
            self._recording.writer.close()
            if not self._has_told:
                _say(
                    f"the run was cut off; judge what there is: quotalab report {self._recording.folder.path}"
                )
        else:
            self._recording.discard()
            _say("no test was started, so that there is nothing to judge")


class _PlainWorker:
    """A worker's part of a run. People who come on before it is there wait for it."""

    def __init__(self, environment: Any, runner: Any) -> None:
        if plugged.virtual is not None:
            raise InputError("--worker: virtual time is one process; leave one of the two out")
        self._environment = environment
        self._runner = runner
        self._ends = False
        self._where = AsyncResult()
        self._channel: Channel | None = None
        self._stage: WorkerStage | None = None
        environment.stage = self._pending = AsyncResult()
        logging.getLogger("httpx").setLevel(logging.WARNING)
        runner.register_message(TOLD, lambda msg, **_: self._where.set(msg.data))
        environment.events.user_error.add_listener(self._raised)
        environment.events.quitting.add_listener(self._end)
        gevent.spawn(self._join)

    def _join(self) -> None:
        try:
            for _ in range(_ASK_TIMES):  # a master that is not ready yet hears nothing
                self._runner.send_message(JOIN)
                if self._where.wait(_ASK_EVERY_S) is not None:
                    break
            else:
                raise ScenarioError("the master has no sandbox; start it with the same locustfile")
            self._channel = Channel(**self._where.get(), on_lost=self._lost)
            self._stage = self._environment.stage = WorkerStage(self._channel)
            self._pending.set(self._stage)
        except QuotalabError as error:
            if self._channel is not None:
                self._channel.send("give_up", why=str(error)).get()  # it says so
            else:
                _say(str(error))
            self._leave(error.exit_code)

    def _lost(self) -> None:
        _say("the master is gone, and this worker ends")
        self._leave(ScenarioError.exit_code)

    def _leave(self, code: int) -> None:
        self._environment.process_exit_code = code
        self._runner.quit()

    def _raised(self, exception: BaseException, tb: Any, **_: Any) -> None:
        if self._stage is not None:
            self._stage.raised(in_words(exception, tb))

    def _end(self, **_: Any) -> None:
        """Locust's `quitting`, once: see `_PlainRun`."""
        if self._ends:
            Flag().wait()
        self._ends = True
        self._runner.stop()
        if self._stage is not None:
            self._stage.close()
        if self._channel is not None:
            self._channel.close()
