"""The sandbox stand-alone: for an app in any language, in real time, until it is told to end."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quotalab.clock import RealClock, SystemEntropy
from quotalab.errors import InputError, StateLostError
from quotalab.ledger import Call, Event
from quotalab.ledger.recording import Recording, default_folder
from quotalab.ledger.text import visible
from quotalab.profiles.loading import load_provider
from quotalab.profiles.provider import Provider
from quotalab.profiles.rules import RuleSettings, workspace_rules
from quotalab.traffic import person_name
from quotalab.workspace import Workspace

__all__ = ["SCENARIO", "ServeOptions", "Served", "serve"]

SCENARIO = "stand-alone"
"""What a run folder says in place of a scenario."""
DEFAULT_REDIRECT_URI = "http://127.0.0.1/callback"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.1
_PATH_WIDTH = 38
_LONGEST_URI = 2000

_real = RealClock()


@dataclass(frozen=True)
class ServeOptions:
    """Options of ``quotalab sandbox``."""

    provider: str
    host: str = "127.0.0.1"
    allow_remote: bool = False
    port: int = 0
    """0: a free one."""
    people: int = 10
    redirect_uris: tuple[str, ...] = ()
    consents: bool = False
    settings: tuple[str, ...] = ()
    redis: str | None = None
    out: Path | None = None
    quiet: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Served:
    """A sandbox that was told to end."""

    folder: Path
    faults: tuple[str, ...]
    """What went wrong in the sandbox itself."""


def serve(
    options: ServeOptions, workspace: Workspace, show: Callable[[str], None], *, colour: bool = False
) -> Served:
    """Serve until SIGINT, SIGTERM or SIGHUP, and leave a run folder, not judged yet.

    `show` is given text for people: what an app needs to know, then a line a call. Raises `QuotalabError`;
    no folder is left behind unless the sandbox had begun to answer.
    """
    provider = load_provider(workspace, options.provider, options.settings).for_people(options.people)
    rules = workspace_rules(workspace.settings, str(workspace.root / "pyproject.toml"))
    for uri in options.redirect_uris:
        _check_redirect_uri(uri)
    from quotalab.sandbox.server import LoopbackServer, is_loopback

    if not options.allow_remote and not is_loopback(options.host):
        raise InputError(
            f"--host {options.host}: others than this machine could reach it; add --allow-remote to let them"
        )
    from gevent import monkey, signal_handler
    from gevent.event import Event as Flag

    # Only sleeping: it has to let other calls run. Redis is asked with everything standing still, so that
    # calls are decided one by one.
    monkey.patch_time()
    ending = Flag()
    handlers = [signal_handler(number, ending.set) for number in _SIGNALS]
    server = LoopbackServer(options.host, options.port)
    try:
        return _serve(options, provider, rules, server, ending, _Console(provider, show, colour))
    finally:
        server.stop()
        for handler in handlers:
            handler.cancel()


def _serve(
    options: ServeOptions,
    provider: Provider,
    rules: RuleSettings,
    server: Any,
    ending: Any,
    console: _Console,
) -> Served:
    import gevent

    from quotalab.sandbox import Sandbox

    people = [person_name(i + 1) for i in range(options.people)]
    more: dict[str, Any] = {}
    shared = None
    if options.redis is not None:
        from quotalab.sandbox.shared import in_redis, without_password

        more["make_engine"] = in_redis(options.redis, provider.name)
        shared = without_password(options.redis)
    start_ns = _real.now_ns()
    recording = Recording(
        options.out or default_folder(start_ns, SCENARIO, provider.name, None),
        _real.monotonic_ns,
        scenario=SCENARIO,
        documents={"provider": provider.document, "rules": rules},
        provider=provider.name,
        traffic=None,
        policy=None,
        app="unknown",
        seed=None,
        clock="real",
        transport="socket",
        users=options.people,
        start_ns=start_ns,
        span_ns=0,
        settings=options.settings,
        command=tuple(part.replace(options.redis or part, shared or part) for part in options.command),
    )
    try:
        writer = recording.writer
        sandbox = Sandbox(
            provider,
            clock=_real,
            entropy=SystemEntropy(),
            ledger=writer,
            people=people,
            issuer=server.address,
            start_ns=start_ns,
            consents=options.consents,
            **more,
        )
        if shared is not None:
            writer.event(Event(start_ns, "state-shared", None, {"redis": shared}))
        access = sandbox.register(*(options.redirect_uris or (DEFAULT_REDIRECT_URI,)))
        server.serve(sandbox)
    except BaseException:
        recording.discard()
        raise
    passwords = {person: sandbox.password_of(person) for person in people}
    console.introduce(access, passwords, recording.folder.path, options)
    if not options.quiet:
        writer.listener = console.heard.append
        console.title()
    try:
        while not ending.wait(_TICK_S):
            console.flush()
            writer.flush_if_due()
        server.stop()
        gevent.sleep(0)
    finally:
        server.stop()
        writer.listener = None
        console.flush()
    with contextlib.suppress(StateLostError):
        sandbox.close(_real.now_ns())
    recording.end(_real.now_ns())
    return Served(recording.folder.path, tuple(sandbox.faults))


def _check_redirect_uri(uri: str) -> None:
    """An absolute URI without a fragment (RFC 6749, 3.1.2), and none that a browser runs by itself."""
    try:
        parts = urlsplit(uri)
        wrong = not parts.scheme or not (parts.netloc or parts.path) or "#" in uri
        wrong = wrong or parts.scheme in ("javascript", "data", "vbscript", "blob")
    except ValueError:
        wrong = True
    if wrong or len(uri) > _LONGEST_URI or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise InputError(
            f"--redirect-uri: must be an absolute URI without a fragment, as {DEFAULT_REDIRECT_URI}, "
            f"not {uri[:100]!r}"
        )


class _Console:
    """What people see: how to reach the sandbox, then a line for each call."""

    def __init__(self, provider: Provider, show: Callable[[str], None], colour: bool) -> None:
        self.heard: list[Call] = []
        """Calls that no line has been written for yet."""
        self._provider = provider
        self._show = show
        self._colour = colour
        self._gone = False
        self._numbers = {
            limit.name: limit.limit for limit in provider.limits if not limit.hidden and not limit.changes
        }
        self._untold = {limit.name for limit in provider.limits if limit.kind == "opaque"}

    def introduce(self, access: Any, passwords: dict[str, str], folder: Path, options: ServeOptions) -> None:
        """What an app, and whoever tries it by hand, has to know; `export` lines are for a shell."""
        from quotalab.sandbox.rfc8414 import metadata

        reach = "others than this machine can reach it" if options.allow_remote else "for this machine only"
        document = metadata(self._provider, access.issuer)
        exports = {"ISSUER": access.issuer, "API_BASE": access.api_base}
        exports |= {
            name.upper(): str(address) for name, address in document.items() if name.endswith("_endpoint")
        }
        exports |= {
            "CLIENT_ID": access.client_id,
            "CLIENT_SECRET": access.client_secret,
            "REDIRECT_URI": access.redirect_uri,
            "SCOPE": self._scope(),
        }
        person, password = next(iter(passwords.items()))
        exports |= {"TEST_PERSON": person, "TEST_PASSWORD": password}
        lines = [
            visible(f"{self._provider.title} ({self._provider.name}) at {access.issuer}, {reach}"),
            f"metadata   {access.issuer}/.well-known/oauth-authorization-server",
            f"described  {access.issuer}/.well-known/openapi.json",
            *(visible(f"redirects to {uri} as well") for uri in options.redirect_uris[1:]),
            "consent is given at once" if options.consents else "consent is asked for on a page",
            visible(f"recorded in {folder}; Ctrl-C ends it"),
            "",
            *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
            "",
            "test person  password",
            *(f"{person:<11}  {password}" for person, password in passwords.items()),
            "",
        ]
        self._say("\n".join(lines) + "\n")

    def _scope(self) -> str:
        phase = self._provider.test_phase
        untaken = {*phase.forbidden_scopes, *phase.restricted_scopes}
        return self._provider.oauth.scope_delimiter.join(
            scope for scope in self._provider.scopes if scope not in untaken
        )

    def title(self) -> None:
        """The heads of the columns."""
        self._say(f"{'time':<12}  {'kind':<10}  {'call':<{_PATH_WIDTH}}  {'person':<8}  status  left\n")

    def flush(self) -> None:
        """Write the lines of the calls that have come."""
        if self.heard:
            calls, self.heard[:] = self.heard[:], []
            self._say("".join([self._line(call) for call in calls]))

    def _line(self, call: Call) -> str:
        seconds, rest_ns = divmod(call.at, 10**9)
        time = f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest_ns // 10**6:03d}"
        said = visible(f"{call.method} {call.path}")
        if len(said) > _PATH_WIDTH:
            said = said[: _PATH_WIDTH - 3] + "..."
        left = ", ".join([self._left(name, left) for name, left in call.remaining])
        why = f"refused by {call.limit}" if call.limit is not None else call.error or ""
        status = self._painted(call.status)
        line = f"{time}  {call.kind:<10}  {said:<{_PATH_WIDTH}}  {call.person or '-':<8}  {status}     "
        line += visible("; ".join(part for part in (left, why, call.fault and f"fault {call.fault}") if part))
        return line.rstrip() + "\n"

    def _left(self, name: str, left: int) -> str:
        if name in self._untold:
            return f"{name} ?"
        number = self._numbers.get(name)
        return f"{name} {left}" if number is None else f"{name} {left}/{number}"

    def _painted(self, status: int) -> str:
        if not self._colour:
            return str(status)
        return f"\x1b[{31 if status >= 500 or status == 429 else 33 if status >= 400 else 32}m{status}\x1b[0m"

    def _say(self, text: str) -> None:
        """To whoever still reads; where nobody does any more, the sandbox goes on all the same."""
        if not self._gone:
            try:
                self._show(text)
            except OSError:
                self._gone = True
