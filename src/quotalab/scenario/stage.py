"""The stage: sandbox, app and ledger, set up for a cast of people. What a scenario plays on."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx
from gevent import Greenlet
from gevent.pool import Group

from quotalab.browser import Browser
from quotalab.clock import Clock, Entropy
from quotalab.clock.carried import CarriedContext
from quotalab.errors import ScenarioError
from quotalab.ledger import LedgerWriter, Operation
from quotalab.profiles.app import AppSettings
from quotalab.profiles.policy import Policy
from quotalab.profiles.provider import Provider
from quotalab.profiles.reference import ReferenceApi
from quotalab.profiles.traffic import Habits, Traffic
from quotalab.reference import build as build_reference
from quotalab.sandbox import Access, Sandbox
from quotalab.sandbox.transport import MemoryTransport, current_operation
from quotalab.scenario.probes import Probes
from quotalab.traffic import PersonPlan, person_name, plan

__all__ = ["Stage"]

_MEMORY_ISSUER = "https://provider.test"  # .test: RFC 6761, never a real host
_CALLBACK = "https://app.test/oauth/callback"


class Stage:
    """Everything that people act on in one run.

    `close` ends it; the ledger is then whole, and the app's state is gone.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        policy: Policy,
        traffic: Traffic | None,
        users: int,
        start_ns: int,
        span_ns: int,
        clock: Clock,
        entropy: Entropy,
        ledger: LedgerWriter,
        app: AppSettings,
        root: Path,
        listens: bool = False,
    ) -> None:
        self.clock = clock
        self.entropy = entropy
        self.callback = _CALLBACK
        self.ledger = ledger
        if traffic is not None:
            self._plans = plan(traffic, entropy, people=users, start_ns=start_ns, span_ns=span_ns)
        else:
            self._plans = tuple(PersonPlan(person_name(i + 1), ()) for i in range(users))
        self.habits = traffic.habits if traffic is not None else Habits()
        self.later = Group()
        """What people will do some time, beside what they ask of the app."""
        self.later.greenlet_class = Greenlet  # so no part of the operation in which they decide it
        self._cast = 0
        self._abandoned: list[Operation] = []
        self._count: dict[str, int] = {}
        self._operation_key = entropy.key("operations")
        self._server: Any = None
        self._opened: Sandbox | None = None
        self._state = tempfile.TemporaryDirectory(prefix="quotalab-app-")
        self._transport: httpx.BaseTransport | None = None
        self._carried = CarriedContext()
        self.app: Any = None
        try:
            self.sandbox, access = self._open(provider.for_people(users), start_ns, listens=listens)
            self._opened = self.sandbox
            self.probes = Probes(
                provider.faults,
                [kept.person for kept in self._plans],
                sandbox=self.sandbox,
                clock=clock,
                entropy=entropy,
                ledger=ledger,
                start_ns=start_ns,
            )
            self.app = self._build(app, access, policy, provider.reference, root)
        except BaseException:
            self.close()
            raise

    def _open(self, provider: Provider, start_ns: int, *, listens: bool) -> tuple[Sandbox, Access]:
        parts: dict[str, Any] = {
            "clock": self.clock,
            "entropy": self.entropy,
            "ledger": self.ledger,
            "people": [kept.person for kept in self._plans],
            "start_ns": start_ns,
        }
        if not listens:
            sandbox = Sandbox(provider, issuer=_MEMORY_ISSUER, **parts)
            self._transport = MemoryTransport(sandbox, self.clock)
            return sandbox, replace(sandbox.register(self.callback), transport=self._transport)
        from quotalab.sandbox.server import LoopbackServer

        self._server = LoopbackServer()
        sandbox = Sandbox(provider, issuer=self._server.address, **parts)
        self._server.serve(sandbox)
        self._transport = httpx.HTTPTransport()
        return sandbox, sandbox.register(self.callback)

    def _build(
        self, settings: AppSettings, access: Access, policy: Policy, api: ReferenceApi | None, root: Path
    ) -> Any:
        if settings.build is None:
            return build_reference(
                access,
                policy,
                api=api,
                clock=self.clock,
                entropy=self.entropy,
                state=Path(self._state.name),
                traceparent=_traceparent,
            )
        self._set_environment(settings.env, access)
        build = _import(settings.build, root)
        try:
            return build(access)
        except Exception as error:
            raise ScenarioError(f"app {settings.build!r}: build(access) raised {_told(error)}") from error

    def _set_environment(self, env: Mapping[str, str], access: Access) -> None:
        known = {
            name: str(getattr(access, name))
            for name in ("issuer", "api_base", "authorization_endpoint", "token_endpoint", "redirect_uri")
        } | {"client_id": access.client_id, "client_secret": access.client_secret}
        for name, template in env.items():
            try:
                os.environ[name] = template.format_map(known)
            except (KeyError, ValueError, IndexError):
                raise ScenarioError(
                    f"tool.quotalab.app.env.{name}: {template!r} may use only "
                    + ", ".join("{" + key + "}" for key in known)
                ) from None

    def next_person(self, *, again: bool = False) -> PersonPlan:
        """The next of the cast, with what they will do.

        With `again`, as a shape that shrinks and grows needs it, the cast begins anew when it is through.
        Raises `ScenarioError` when more people appear than were announced.
        """
        if again and self._cast == len(self._plans):
            self._cast = 0
        if self._cast == len(self._plans):
            raise ScenarioError(f"more than the {self._cast} people of this run appeared; give --users")
        self._cast += 1
        return self._plans[self._cast - 1]

    def browser(self, person: str) -> Browser:
        """A browser with the person's name and password at the provider."""
        assert self._transport is not None
        return Browser(self._transport, person, self.sandbox.password_of(person), _traceparent)

    def next_operation(self, person: str) -> str:
        """An id for the person's next operation."""
        count = self._count[person] = self._count.get(person, 0) + 1
        return blake2b(f"{person} {count}".encode(), key=self._operation_key, digest_size=16).hexdigest()

    def record(self, row: Operation) -> None:
        """Append an operation to the ledger.

        What the end of the run cut off comes in no certain order, and is written sorted when it closes.
        """
        if row.outcome == "abandoned":
            self._abandoned.append(row)
        else:
            self.ledger.operation(row)

    def close(self) -> None:
        """Write what was cut off, close app, server and sandbox, and forget the app's state."""
        self.later.kill()
        for row in sorted(self._abandoned, key=lambda row: (row.planned, row.operation)):
            self.ledger.operation(row)
        self._abandoned.clear()
        close = getattr(self.app, "close", None)
        if callable(close):
            close()
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.stop()
        if self._opened is not None:
            self._opened.close(self.clock.now_ns())
        self._carried.restore()
        self._state.cleanup()


def _traceparent() -> str | None:
    """The current operation as a `traceparent` header (W3C Trace Context, 3.2)."""
    operation = current_operation.get()
    return f"00-{operation}-{operation[:16]}-01" if operation else None


def _import(build: str, root: Path) -> Callable[[Access], Any]:
    module, _, name = build.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ScenarioError(f"app {build!r}: cannot be imported: {error}") from error
    except AttributeError:
        raise ScenarioError(f"app {build!r}: module {module!r} has no {name!r}") from None
    except Exception as error:
        raise ScenarioError(f"app {build!r}: importing it raised {_told(error)}") from error
    if not callable(found):
        raise ScenarioError(f"app {build!r}: is not a function")
    build_app: Callable[[Access], Any] = found
    return build_app


def _told(error: BaseException) -> str:
    """An exception in one line, with where it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    at = f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})" if last is not None else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{at}" if text else f"{type(error).__name__}{at}"
