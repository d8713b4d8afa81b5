"""A run from start to end: clock, sandbox, app, scenario and ledger, driven by Locust in this process."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from quotalab.clock import Clock, Entropy, RealClock, SeededEntropy
from quotalab.errors import InputError, InterruptedRunError, QuotalabError, ScenarioError
from quotalab.ledger.recording import Recording, default_folder
from quotalab.profiles.app import AppSettings, app_settings
from quotalab.profiles.loading import load_policy, load_provider, load_traffic
from quotalab.profiles.responses import read_responses
from quotalab.run.app_first import tell_app
from quotalab.run.locust_options import processes_of
from quotalab.run.options import DEFAULT_START_NS, RunOptions, scenario_of
from quotalab.run.worker_processes import WorkerProcesses
from quotalab.workspace import Workspace

if TYPE_CHECKING:
    from quotalab.sandbox import Access
    from quotalab.scenario.master import Workers
    from quotalab.scenario.stage import Stage

__all__ = ["Simulated", "simulate"]

Progress = Callable[[str], None]

_real = RealClock()
_PROGRESS_STEPS = 48
_MOST_ERRORS = 10


@dataclass(frozen=True)
class Simulated:
    """A run that came to its end: its folder, and what went wrong in the app's code or in ours."""

    folder: Path
    errors: tuple[str, ...]
    """Exceptions that the scenario or the app raised, each with how often and where."""
    faults: tuple[str, ...]
    """What went wrong in the sandbox itself."""
    listeners: tuple[str, ...] = ()
    """The same of listeners on Locust's events, which leave no trace in the ledger."""
    silent: str | None = None
    """Why nothing was proved although the run came to its end: the app called nobody."""


def simulate(
    options: RunOptions,
    workspace: Workspace,
    *,
    progress: Progress | None = None,
    stage_done: Progress = lambda _: None,
    say: Progress = lambda _: None,
) -> Simulated:
    """Simulate a run and leave a run folder, not judged yet.

    `progress` is given a line now and then; `stage_done` the name of each stage that has ended; `say` what
    people must know at once. Virtual
    time is installed once in a process, so this is called once. Raises `QuotalabError`; no folder is left
    behind unless the simulation had begun.
    """
    app = app_settings(workspace.settings, str(workspace.root / "pyproject.toml"))
    scenario = workspace.file("scenario", options.scenario or scenario_of(workspace))
    processes = processes_of(options.locust, options.clock)
    transport = _transport(options, app, processes)
    _check_named(options, workspace)
    responses = read_responses(options.responses) if options.responses is not None else None
    begun: list[Recording] = []

    def last_words() -> str:
        for recording in begun:
            recording.writer.flush()  # the main thread, which writes otherwise, is stuck in code of the app's
            return f"; judge what there is: quotalab report {recording.folder.path}"
        return ""

    with _time(options, last_words) as (clock, entropy, installed_ns), ExitStack() as ending:
        # From here on Locust may be imported: it patches the process, which virtual time must do first.
        from quotalab.run.locust_options import environment_for
        from quotalab.run.own_output import search_own_output
        from quotalab.run.scenario_file import load_scenario
        from quotalab.scenario.master import Workers
        from quotalab.scenario.needs import resolve
        from quotalab.scenario.stage import MEMORY_ISSUER, Stage, app_place

        printed = None
        if app.is_in_process and not processes:  # before anything imports it, and takes a stream
            from quotalab.hosting.output import AppOutput

            printed = AppOutput()
            ending.callback(printed.close)
            progress = printed.aside(progress) if progress is not None else None
        stage_done("virtual time, Locust, httpx" if options.clock == "virtual" else "Locust, httpx")
        server = None
        if transport == "socket":
            from quotalab.sandbox.server import LoopbackServer

            server = LoopbackServer(port=app.sandbox_port)
        place = app_place(app)
        told = tell_app(
            app,
            workspace,
            scenario,
            provider=options.provider,
            settings=options.settings,
            seed=options.seed,
            issuer=server.address if server is not None else MEMORY_ISSUER,
            place=place,
        )
        classes, shape = load_scenario(scenario)
        needs = resolve(
            classes,
            workspace,
            str(scenario),
            provider=options.provider,
            policy=options.policy,
            traffic=options.traffic,
            users=options.users,
            settings=options.settings,
            responses=responses,
        )
        environment = environment_for(classes, options.locust)
        environment.shape_class = shape
        crew = None
        if processes:
            runner = environment.create_master_runner("127.0.0.1", 0)
            loglevel = logging.getLevelName(logging.getLogger("locust").level)
            started = WorkerProcesses(
                processes, scenario, runner.server.port, env=told or {}, loglevel=loglevel
            )
            ending.callback(started.close)
            crew = _Crew(Workers(runner), processes, started.check)
            started.await_connected(lambda: len(runner.clients), clock)
        # On the real clock loading is no part of the run.
        start_ns = installed_ns if options.clock == "virtual" else clock.now_ns()
        recording = Recording(
            options.out or default_folder(_real.now_ns(), scenario.stem, needs.provider.name, options.seed),
            _real.monotonic_ns,
            scenario=scenario,
            documents=needs.documents(),
            provider=needs.provider.name,
            traffic=needs.traffic.name if needs.traffic is not None else None,
            policy=needs.policy.name if app.kind == "reference" else None,
            app=app.label,
            seed=options.seed,
            clock=options.clock,
            transport=transport,
            users=needs.users,
            start_ns=start_ns,
            span_ns=options.span_ns,
            settings=options.settings,
            command=options.command,
        )
        begun.append(recording)
        try:
            stage = Stage(
                provider=needs.provider,
                policy=needs.policy,
                traffic=needs.traffic,
                users=needs.users,
                start_ns=start_ns,
                span_ns=options.span_ns,
                clock=clock,
                entropy=entropy,
                ledger=recording.writer,
                app=app,
                root=workspace.root,
                place=place,
                server=server,
                told=told,
                hosts=crew is None,
                printed=printed,
            )
        except BaseException:
            recording.discard()
            raise
        raised, heard = _Raised(), _Raised()
        if crew is not None:
            crew.workers.serve(
                stage,
                needs,
                place=place,
                root=workspace.root,
                seed=options.seed,
                span_ns=options.span_ns,
                expected=processes,
                raised=raised.count,
            )
        if app.kind == "url":
            say(_credentials(stage.access))
        stage_done("scenario, profiles, app")
        try:
            _play(
                stage, environment, needs.users, options, start_ns, raised, heard, crew, progress, last_words
            )
        except BaseException as error:
            stage.close()
            recording.writer.close()
            folder = recording.folder.path
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRunError(
                    f"interrupted; judge what there is: quotalab report {folder}"
                ) from None
            if isinstance(error, SystemExit):
                raise ScenarioError(
                    f"the scenario or the app ended the process: exit({error.code!r})"
                ) from None
            if isinstance(error, ScenarioError):
                raise ScenarioError(
                    f"{error}\nquotalab: what there is until then: quotalab report {folder}"
                ) from None
            raise
        for told_of in crew.workers.lost if crew is not None else ():
            say(told_of)
        silent = _silence(stage, app)
        stage.close()
        ended_ns = clock.now_ns()
        stage_done("the simulated time")
        recording.writer.flush()
        search_own_output(recording.folder, stage.sandbox, stage.app_log)
    recording.end(ended_ns, stage.app_log)
    stage_done("compacting the ledger")
    return Simulated(
        recording.folder.path, raised.in_words(), tuple(stage.sandbox.faults), heard.in_words(), silent
    )


def _transport(options: RunOptions, app: AppSettings, processes: int) -> str:
    """How the app reaches the sandbox. Raises `InputError` for what cannot be."""
    if app.is_elsewhere and options.clock == "virtual":
        raise InputError(
            f"app {app.target!r}: runs in another process, which has the real time; add --clock real, and "
            f"perhaps shorter windows: --set limits.NAME.period=20s"
        )
    if options.transport == "memory" and not app.takes_access:
        raise InputError(
            f"--transport memory: app {app.target!r} calls the sandbox by an HTTP library of its own, over "
            f"loopback; leave --transport out"
        )
    if processes and options.transport == "memory":
        raise InputError("--transport memory: workers are processes of their own; leave --transport out")
    if processes:
        return "socket"
    return options.transport or ("memory" if app.kind in ("reference", "build") else "socket")


def _credentials(access: Access) -> str:
    """What somebody who starts the app must give it; lines for a shell."""
    names = (
        "api_base",
        "authorization_endpoint",
        "token_endpoint",
        "client_id",
        "client_secret",
        "redirect_uri",
    )
    return "\n".join(f"export {name.upper()}={shlex.quote(str(getattr(access, name)))}" for name in names)


def _silence(stage: Stage, app: AppSettings) -> str | None:
    """What to say when people asked for something and not one call of the app's arrived."""
    if app.kind == "reference" or stage.sandbox.app_calls or not stage.asked:
        return None
    return (
        f"not one call of app {app.label!r} reached the sandbox at {stage.sandbox.issuer}, so nothing is "
        f"proved: the app does not use the endpoints that it was given; see env and rewrite under "
        f"[tool.quotalab.app]{stage.last_output()}"
    )


def _gives_up(stage: Stage) -> Callable[[int, int, BaseException, TracebackType | None], None]:
    """What a `Futility` tells: the end of the run."""
    from quotalab.reference import IntegrationError
    from quotalab.scenario.raised import in_words

    def tell(failed: int, in_row: int, error: BaseException, tb: TracebackType | None) -> None:
        what = str(error) if isinstance(error, IntegrationError) else in_words(error, tb)
        stage.give_up(
            ScenarioError(
                f"all that people have done has failed, {failed:,} times, the last {in_row:,} without one "
                f"call of app {stage.app_label!r} to the sandbox; the rest of the run would be no better; "
                f"the last failure: {what}{stage.last_output()}"
            )
        )

    return tell


def _check_named(options: RunOptions, workspace: Workspace) -> None:
    """Refuse wrong names and settings before anything slow is loaded."""
    if options.provider is not None:
        load_provider(workspace, options.provider, options.settings)
    if options.policy is not None:
        load_policy(workspace, options.policy)
    if options.traffic is not None:
        load_traffic(workspace, options.traffic)


@contextmanager
def _time(options: RunOptions, last_words: Callable[[], str]) -> Iterator[tuple[Clock, Entropy, int]]:
    """The clock, the entropy and the start of the run, in force for the block."""
    entropy = SeededEntropy(options.seed)
    if options.clock == "real":
        from gevent import monkey

        monkey.patch_all()
        yield _real, entropy, _real.now_ns()
        return
    from quotalab.clock.virtual import install

    start_ns = options.start_ns if options.start_ns is not None else DEFAULT_START_NS
    stall_s = options.stall_ns / 1e9
    with install(
        start_ns, options.seed, stall_s=stall_s, hold_limit_s=stall_s, last_words=last_words
    ) as virtual:
        yield virtual.clock, entropy, start_ns


def _play(
    stage: Stage,
    environment: Any,
    users: int,
    options: RunOptions,
    start_ns: int,
    raised: _Raised,
    heard: _Raised,
    crew: _Crew | None,
    progress: Progress | None,
    last_words: Callable[[], str],
) -> None:
    """Let Locust's users live on the stage for the span, here or in the crew's processes."""
    import gevent

    from quotalab.hosting.futility import Futility
    from quotalab.run.interrupts import Interrupts
    from quotalab.run.listeners import RaisingListeners

    environment.stage = stage
    main = gevent.getcurrent()

    def give_up(error: QuotalabError) -> None:
        if not given_up:
            given_up.append(error)
            gevent.kill(main, _GivenUp)

    given_up: list[QuotalabError] = []
    stage.give_up = give_up
    runner = environment.runner or environment.create_local_runner()
    if options.clock == "virtual":
        # The one greenlet there is yet watches this process's share of a CPU, which means nothing here.
        runner.greenlet.kill()
    listeners = RaisingListeners(heard.listen)
    environment.events.init.fire(environment=environment, runner=runner, web_ui=None)
    environment.events.user_error.add_listener(raised.listen)
    Futility(stage.clock, users, lambda: stage.sandbox.calls, _gives_up(stage)).listen_to(environment.events)
    # Without this Ctrl-C strikes whatever greenlet is running, and each prints what it was doing.
    interrupts = Interrupts(last_words)
    try:
        reporter = gevent.spawn(_report_progress, stage, options, start_ns, progress)
        stage.watch_app()
        if crew is not None:
            crew.workers.await_ready(crew.number, crew.check)
            stage.begin(stage.clock.now_ns())
        if environment.shape_class is not None:
            runner.start_shape()  # how many people there are is the shape's affair, up to the population
        elif crew is not None:
            gevent.spawn(runner.start, users, spawn_rate=users)  # it waits until the workers have begun
        else:
            runner.start(users, spawn_rate=users)
            runner.spawning_greenlet.link_exception(lambda ended: give_up(_unborn(ended.exception)))
        # On the real clock an app that was slow to start takes nothing of the span.
        begun_ns = start_ns if options.clock == "virtual" else stage.clock.now_ns()
        left_ns = begun_ns + options.span_ns - stage.clock.now_ns()
        if left_ns > 0:
            stage.clock.sleep_ns(left_ns)
        reporter.kill()
        environment.events.quitting.fire(environment=environment, reverse=True)
        runner.quit()
    except _GivenUp:
        raise given_up[0] from None
    finally:
        if crew is not None:
            runner.quit()
            crew.workers.close()
        interrupts.restore()
        listeners.restore()


def _unborn(error: BaseException) -> ScenarioError:
    """What to say when Locust could not make or start the people."""
    from quotalab.scenario.raised import own_place

    text = " ".join(str(error).split())
    return ScenarioError(
        f"the scenario's people cannot be started: {type(error).__name__}: {text} "
        f"({own_place(error.__traceback__)}); does a method hide one of Locust's User?"
    )


def _report_progress(stage: Stage, options: RunOptions, start_ns: int, progress: Progress | None) -> None:
    """A line whenever another part of the run is over; on the real clock, once a second."""
    step_ns = 10**9 if options.clock == "real" else max(options.span_ns // _PROGRESS_STEPS, 1)
    while True:
        stage.clock.sleep_ns(step_ns)
        stage.ledger.flush_if_due()
        if progress is not None:
            gone_ns = stage.clock.now_ns() - start_ns
            progress(
                f"{gone_ns / 3.6e12:.1f} of {options.span_ns / 3.6e12:g} h simulated, "
                f"{stage.ledger.seq} rows in the ledger"
            )


@dataclass(frozen=True)
class _Crew:
    """The workers that people live in."""

    workers: Workers
    number: int
    check: Callable[[], None]
    """Raises what keeps them from getting ready."""


class _GivenUp(BaseException):
    """Thrown into the main greenlet when going on would tell nothing."""


class _Raised:
    """What the scenario and the app raised, counted by type and place."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def listen(self, exception: BaseException, tb: TracebackType | None, **_: Any) -> None:
        """Locust's `user_error`."""
        from quotalab.scenario.raised import in_words

        self.count(in_words(exception, tb))

    def count(self, what: str) -> None:
        """Something that was raised, in words."""
        self._times[what] += 1

    def in_words(self) -> tuple[str, ...]:
        """The most frequent first, each in one line."""
        most = self._times.most_common(_MOST_ERRORS)
        lines = [f"{what}, {times:,} times" for what, times in most]
        if len(self._times) > len(most):
            lines.append(f"{len(self._times) - len(most):,} other exceptions")
        return tuple(lines)
