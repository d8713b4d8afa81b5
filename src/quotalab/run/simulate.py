"""A run from start to end: clock, sandbox, app, scenario and ledger, driven by Locust in this process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quotalab import __version__
from quotalab.clock import Clock, Entropy, RealClock, SeededEntropy
from quotalab.errors import ScenarioError
from quotalab.ledger import LedgerWriter, RunDescription, RunFolder, compact, ledger_sha256, read_ledger
from quotalab.run.inputs import Inputs, as_json, load_policy, load_provider, load_traffic
from quotalab.run.options import DEFAULT_START_NS, RunOptions
from quotalab.workspace import Workspace

__all__ = ["Simulated", "simulate"]

_real = RealClock()
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Simulated:
    """A run that came to its end: its folder, and what went wrong in the app's code or in ours."""

    folder: Path
    errors: tuple[str, ...]
    """Exceptions that the scenario or the app raised, each with how often."""
    faults: tuple[str, ...]
    """What went wrong in the sandbox itself."""


def simulate(
    options: RunOptions,
    workspace: Workspace,
    *,
    progress: Progress | None = None,
    stage_done: Progress | None = None,
) -> Simulated:
    """Simulate a run and leave a run folder, not judged yet.

    `progress` is given a line now and then; `stage_done` the name of each stage that has ended. Virtual
    time is installed once in a process, so this is called once. Raises `QuotalabError`; then no folder is
    left behind, unless the simulation had begun.
    """
    done = stage_done or (lambda _: None)
    scenario = workspace.file("scenario", options.scenario)
    _check_named(options, workspace)
    with _time(options) as (clock, entropy, start_ns):
        done("clock and Locust")
        from quotalab.run.scenario_file import load_scenario

        classes = load_scenario(scenario)
        inputs, users = _resolve(options, workspace, classes, scenario)
        folder = RunFolder.create(_folder(options, inputs, _real.now_ns()))
        description = _describe(options, inputs, folder, users, start_ns)
        folder.write_description(description)
        done("scenario and profiles")
        began_ns = _real.monotonic_ns()
        ledger = LedgerWriter(folder.path, _real.monotonic_ns)
        errors: tuple[str, ...] = ()
        faults: tuple[str, ...] = ()
        try:
            errors, faults = _play(
                options, inputs, workspace, classes, users, start_ns, clock, entropy, ledger, progress
            )
        finally:
            ledger.close()
        wall_s = (_real.monotonic_ns() - began_ns) / 1e9
        ended_ns = clock.now_ns()
        done("the simulated time")
    tables = read_ledger(folder.path)
    compact(folder.path, tables)
    folder.write_description(
        replace(
            description,
            complete=True,
            ended_ns=ended_ns,
            wall_s=round(wall_s, 3),
            ledger_sha256=ledger_sha256(tables),
        )
    )
    done("compacting the ledger")
    return Simulated(folder.path, errors, faults)


def _check_named(options: RunOptions, workspace: Workspace) -> None:
    """Refuse wrong names and settings before anything slow is loaded."""
    from quotalab.profiles.app import app_settings

    app_settings(workspace.settings, str(workspace.root / "pyproject.toml"))
    if options.provider is not None:
        load_provider(workspace, options.provider, options.settings)
    if options.policy is not None:
        load_policy(workspace, options.policy)
    if options.traffic is not None:
        load_traffic(workspace, options.traffic)


@contextlib.contextmanager
def _time(options: RunOptions) -> Iterator[tuple[Clock, Entropy, int]]:
    """The clock and entropy of the run, in force for the block."""
    entropy = SeededEntropy(options.seed)
    if options.clock == "real":
        from gevent import monkey

        monkey.patch_all()
        yield _real, entropy, options.start_ns or _real.now_ns()
        return
    from quotalab.clock.virtual import install

    start_ns = options.start_ns if options.start_ns is not None else DEFAULT_START_NS
    with install(start_ns, options.seed) as virtual:
        yield virtual.clock, entropy, start_ns


def _resolve(
    options: RunOptions, workspace: Workspace, classes: list[type[Any]], scenario: Path
) -> tuple[Inputs, int]:
    """The profiles, by option or else by what the scenario's first class asks for; and the population."""
    first = classes[0]
    traffic_name = options.traffic or first.traffic
    traffic = load_traffic(workspace, traffic_name) if traffic_name is not None else None
    if traffic is not None:
        for kept in classes:
            if not hasattr(kept, "terms"):
                raise ScenarioError(
                    f"{scenario}: {kept.__name__} has tasks of its own and follows no traffic profile; "
                    f"leave out --traffic, or make it a PlannedPerson"
                )
            for name in traffic.mix:
                kept.terms(name)
    elif any(hasattr(kept, "terms") for kept in classes):
        raise ScenarioError(
            f"{scenario}: its people follow a plan; give --traffic, or set traffic in the class"
        )
    provider = load_provider(workspace, options.provider or first.provider, options.settings)
    policy = load_policy(workspace, options.policy or first.policy)
    users = options.users or (traffic.people if traffic is not None else first.population)
    return Inputs(provider, policy, traffic, scenario), users


def _folder(options: RunOptions, inputs: Inputs, now_ns: int) -> Path:
    """Where the run's folder is: ``--out``, else ``runs/<time>-<scenario>-<provider>-<seed>``."""
    if options.out is not None:
        return options.out
    import datetime

    stamp = datetime.datetime.fromtimestamp(now_ns // 10**9, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    provider = inputs.provider.name.replace("/", "+")
    path = Path("runs") / f"{stamp}-{inputs.scenario.stem}-{provider}-{options.seed}"
    count = 1
    while path.exists():
        count += 1
        path = path.with_name(f"{stamp}-{inputs.scenario.stem}-{provider}-{options.seed}-{count}")
    return path


def _describe(
    options: RunOptions, inputs: Inputs, folder: RunFolder, users: int, start_ns: int
) -> RunDescription:
    """Write the inputs into the folder and describe the run that is about to begin."""
    kept = {
        "provider.json": as_json(inputs.provider.document),
        "policy.json": as_json(inputs.policy.document),
        "rules.json": "{}\n",
        inputs.scenario.name: inputs.scenario.read_text(encoding="utf-8"),
    }
    if inputs.traffic is not None:
        kept["traffic.json"] = as_json(inputs.traffic.document)
    packages = ("authlib", "gevent", "httpx", "locust", "numpy", "pandas", "pyarrow", "time-machine")
    versions = {"quotalab": __version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in packages}
    return RunDescription(
        scenario=inputs.scenario.stem,
        provider=inputs.provider.name,
        traffic=inputs.traffic.name if inputs.traffic is not None else None,
        policy=inputs.policy.name,
        seed=options.seed,
        clock=options.clock,
        transport=options.transport,
        users=users,
        start_ns=start_ns,
        span_ns=options.span_ns,
        settings=options.settings,
        command=options.command,
        inputs={name: folder.write_input(name, text) for name, text in kept.items()},
        versions=versions,
    )


def _play(
    options: RunOptions,
    inputs: Inputs,
    workspace: Workspace,
    classes: list[type[Any]],
    users: int,
    start_ns: int,
    clock: Clock,
    entropy: Entropy,
    ledger: LedgerWriter,
    progress: Progress | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Set the stage, let Locust's users live on it for the span, clear it away."""
    import gevent

    from quotalab.profiles.app import app_settings
    from quotalab.run.locust_options import environment_for
    from quotalab.scenario.stage import Stage

    stage = Stage(
        provider=inputs.provider,
        policy=inputs.policy,
        traffic=inputs.traffic,
        users=users,
        start_ns=start_ns,
        span_ns=options.span_ns,
        clock=clock,
        entropy=entropy,
        ledger=ledger,
        app=app_settings(workspace.settings, str(workspace.root / "pyproject.toml")),
        root=workspace.root,
        listens=options.transport == "socket",
    )
    try:
        environment = environment_for(classes, options.locust)
        environment.stage = stage
        runner = environment.create_local_runner()
        if options.clock == "virtual":
            # The only greenlet yet measures this process's CPU share, which means nothing in virtual time.
            runner.greenlet.kill()
        environment.events.init.fire(environment=environment, runner=runner, web_ui=None)
        reporter = gevent.spawn(
            _report_progress, progress, clock, start_ns, options.span_ns, ledger, options.clock
        )
        runner.start(users, spawn_rate=users)
        left_ns = start_ns + options.span_ns - clock.now_ns()
        if left_ns > 0:
            clock.sleep_ns(left_ns)
        reporter.kill()
        runner.quit()
        errors = tuple(
            f"{kept['count']} x {kept['msg'] or 'an exception'}: {_last_place(kept['traceback'])}"
            for kept in runner.exceptions.values()
        )
        return errors, tuple(stage.sandbox.faults)
    finally:
        stage.close()


def _report_progress(
    progress: Progress | None, clock: Clock, start_ns: int, span_ns: int, ledger: LedgerWriter, kind: str
) -> None:
    """A line whenever another part of the run is over; on the real clock it also flushes the ledger."""
    step_ns = 10**9 if kind == "real" else max(span_ns // 48, 1)
    while True:
        clock.sleep_ns(step_ns)
        ledger.flush_if_due()
        if progress is not None:
            gone_ns = clock.now_ns() - start_ns
            progress(
                f"{gone_ns / 3.6e12:.1f} of {span_ns / 3.6e12:g} h simulated, {ledger.seq} rows in the ledger"
            )


def _last_place(formatted: str) -> str:
    """The innermost ``file:line`` of a formatted traceback."""
    import re

    places = re.findall(r'File "(.+?)", line (\d+)', formatted)
    return ":".join(places[-1]) if places else "nowhere known"
