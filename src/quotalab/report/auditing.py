"""From recorded traffic to a judged run folder: read, record, judge."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quotalab.errors import InputError
from quotalab.frames.recorded import file_sha256, record_run
from quotalab.profiles.loading import load_provider
from quotalab.profiles.provider import Provider
from quotalab.profiles.rules import workspace_rules
from quotalab.report.judging import check_workspace_rules, judge_run
from quotalab.rules import Verdict
from quotalab.traces.log_formats import LogFormat
from quotalab.traces.recorded import RecordingMap, read_recording
from quotalab.workspace import Workspace

__all__ = ["AuditOptions", "audit", "record"]


@dataclass(frozen=True)
class AuditOptions:
    """What `quotalab audit` is asked."""

    file: Path
    provider: str
    out: Path
    mapped: RecordingMap
    app: str = "app"
    format: str | None = None
    log_format: LogFormat | None = None
    settings: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def audit(options: AuditOptions, workspace: Workspace) -> Verdict:
    """Judge recorded traffic; the run folder is `options.out`. Raises `InputError`."""
    record(options, workspace)
    return judge_run(options.out, workspace)


def record(options: AuditOptions, workspace: Workspace) -> None:
    """Write recorded traffic as the run folder `options.out`. Raises `InputError`."""
    if not options.app.strip() or len(options.app) > 64:
        raise InputError("--app: must be a name of 1 to 64 characters")
    check_workspace_rules(workspace)
    provider = load_provider(workspace, options.provider, options.settings)
    with _no_collector():
        _record(options, workspace, provider)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Millions of small objects that all stay: the cyclic collector would walk them again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _record(options: AuditOptions, workspace: Workspace, provider: Provider) -> None:
    calls, reading = read_recording(
        options.file, options.mapped, format=options.format, log_format=options.log_format
    )
    record_run(
        calls,
        reading,
        provider,
        options.out,
        app=options.app,
        rules=dict(workspace_rules(workspace.settings, str(workspace.root / "pyproject.toml"))),
        settings=options.settings,
        command=options.command,
        sha256=file_sha256(options.file),
    )
