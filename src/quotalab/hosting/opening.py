"""Opening the app under test, whatever its kind, and giving each person their side of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import httpx

from quotalab.errors import ScenarioError
from quotalab.hosting.asgi import AsgiHost
from quotalab.hosting.client import AppClient
from quotalab.hosting.environment import environment_of, filled, known_values
from quotalab.hosting.importing import import_module, import_object, told
from quotalab.hosting.process import AppProcess, await_listening, free_port, is_here
from quotalab.hosting.rewriting import Rewriter
from quotalab.hosting.wsgi import OnlyTheApp, wsgi_transport
from quotalab.profiles.app import IN_PROCESS_BASE, AppSettings
from quotalab.sandbox import Access

__all__ = ["Hosted", "base_of", "open_app"]


class Hosted:
    """The app, open: `for_person` is what one person has of it."""

    def __init__(
        self,
        settings: AppSettings,
        access: Access,
        app: Any,
        *,
        base: str = "",
        transport: httpx.BaseTransport | None = None,
        process: AppProcess | None = None,
        rewriter: Rewriter | None = None,
        traceparent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.app = app
        self.label = settings.label
        self._settings = settings
        self._access = access
        self._base = base
        self._transport = transport
        self._process = process
        self._rewriter = rewriter or Rewriter({})
        self._traceparent = traceparent

    def for_person(self) -> Any:
        """A client of their own on a web app, else the app itself."""
        if self._transport is None:
            return self.app
        return AppClient(
            self._transport,
            self._base,
            connect=self._settings.connect,
            rewritten=self._rewriter,
            sandbox=self._access.issuer,
            traceparent=self._traceparent,
        )

    def watch(self, on_end: Callable[[ScenarioError], None]) -> None:
        """Call `on_end` should an app in another process end by itself."""
        if self._process is not None:
            self._process.watch(on_end)

    @property
    def output(self) -> Path | None:
        """The file with what an app in another process has printed."""
        return self._process.output if self._process is not None else None

    def last_output(self) -> str:
        """What an app in another process wrote last, to end a message with."""
        return self._process.last_output() if self._process is not None else ""

    def close(self) -> None:
        """Close the app, if it can be closed, and what it runs on."""
        close = getattr(self.app, "close", None) if self._settings.kind in ("reference", "build") else None
        if callable(close):
            close()
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            self._process.close()
        self._rewriter.undo()


def base_of(settings: AppSettings) -> str:
    """Where people find a web app; a port that it is to be given is chosen now."""
    if settings.url is None:
        return IN_PROCESS_BASE
    return settings.url.replace("{port}", str(free_port())) if "{port}" in settings.url else settings.url


def open_app(
    settings: AppSettings,
    access: Access,
    root: Path,
    *,
    base: str,
    folder: Path,
    traceparent: Callable[[], str | None] = lambda: None,
) -> Hosted:
    """Import or start the app; its environment is set by then, unless it has a process of its own.

    `base` is where people find it, `folder` takes its output. Raises `ScenarioError`.
    """
    known = known_values(access)
    rewriter = Rewriter(
        {begin: filled(f"rewrite.{begin}", target, known) for begin, target in settings.rewrite.items()}
    )
    with _start_limit(settings):
        return _open(settings, access, root, base, folder, traceparent, rewriter, known)


@contextmanager
def _start_limit(settings: AppSettings) -> Iterator[None]:
    """Not for ever: an app that sleeps until something comes would let virtual time pass without end."""
    if settings.is_elsewhere:  # whose waiting has an end of its own
        yield
        return
    late = gevent.Timeout.start_new(settings.listens_within_ns / 1e9)
    try:
        yield
    except gevent.Timeout as error:
        if error is not late:
            raise
        raise ScenarioError(
            f"app {settings.target!r}: still waits for something after {settings.listens_within_ns / 1e9:g} "
            f"s of its start (listens_within allows more)"
        ) from None
    finally:
        late.close()


def _open(
    settings: AppSettings,
    access: Access,
    root: Path,
    base: str,
    folder: Path,
    traceparent: Callable[[], str | None],
    rewriter: Rewriter,
    known: dict[str, str],
) -> Hosted:
    target = settings.target
    process: AppProcess | None = None
    if settings.kind == "build":
        build = import_object(target, root)
        if not callable(build):
            raise ScenarioError(f"app {target!r}: is not a function")
        rewriter.install()
        return Hosted(settings, access, _called(target, "build(access)", build, access), rewriter=rewriter)
    if settings.kind == "module":
        rewriter.install()
        return Hosted(settings, access, import_module(target, root), rewriter=rewriter)
    rewriter.install()
    transport: httpx.BaseTransport
    if settings.kind in ("wsgi", "asgi"):
        app = _web_object(target, root, access)
        transport = (
            wsgi_transport(app, base) if settings.kind == "wsgi" else OnlyTheApp(AsgiHost(app, target), base)
        )
    else:
        app = None
        if not is_here(base):
            raise ScenarioError(
                f"app {target!r}: {base} is not on this machine; the sandbox is, on loopback, and the "
                f"app must reach it there"
            )
        if settings.command:
            process = _started(settings, known, base, root, folder)
        elif not await_listening(base, settings.listens_within_ns):
            raise ScenarioError(
                f"app {target!r}: nothing listens there; start it, or name the command that does under "
                f"[tool.quotalab.app]"
            )
        transport = OnlyTheApp(httpx.HTTPTransport(limits=httpx.Limits(max_connections=None)), base)
    return Hosted(
        settings,
        access,
        app,
        base=base,
        transport=transport,
        process=process,
        rewriter=rewriter,
        traceparent=traceparent,
    )


def _started(settings: AppSettings, known: dict[str, str], base: str, root: Path, folder: Path) -> AppProcess:
    known = {**known, "app_base": base, "port": base.rpartition(":")[2].rstrip("/")}
    command = [filled("command", word, known) if "{" in word else word for word in settings.command]
    if await_listening(base, 0):
        raise ScenarioError(
            f"app {settings.target!r}: something listens at {base} before it is started; end that, or name "
            f"url without command to use it"
        )
    process = AppProcess(settings.target, command, environment_of(settings.env, known), root, folder)
    try:
        process.await_listening(base, settings.listens_within_ns)
    except BaseException:
        with suppress(Exception):
            process.close()
        raise
    return process


def _web_object(target: str, root: Path, access: Access) -> Any:
    name, _, call = target.partition("(")
    app = import_object(name, root)
    if call:
        app = _called(target, "it", app, *([access] if call == "access)" else []))
    if not callable(app):
        raise ScenarioError(f"app {target!r}: is no web app: it cannot be called")
    return app


def _called(target: str, named: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except SystemExit as error:
        raise ScenarioError(f"app {target!r}: {named} exits ({error.code})") from None
    except Exception as error:
        raise ScenarioError(f"app {target!r}: {named} raised {told(error)}") from error
