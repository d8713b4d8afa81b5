"""Virtual time by environment variables alone, in a program that quotalab does not start.

::

    GEVENT_LOOP=quotalab.clock.plugged.loop locust -f their.py --headless --only-summary -u 10 -t 24h

gevent makes its loop by that name, which is an option of its own. When it makes the main thread's, virtual
time is installed on it, before anything has slept. ``QUOTALAB_START`` (ISO 8601), ``QUOTALAB_SEED`` and
``QUOTALAB_STALL`` (``60s``) are what the options of ``quotalab run`` are. Child processes have the real time.

Of Locust's ways to run, those in several processes are refused. Under its web page time stands still until a
test is started there, and again when it is stopped.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any, NoReturn

# gevent asks for its loop in the middle of its own import: only what its stock loop needs is there.
from gevent.libev import corecext

from quotalab.clock.beginning import DEFAULT_START_NS, parse_start_ns
from quotalab.errors import InputError, QuotalabError

if TYPE_CHECKING:
    from types import TracebackType

    from quotalab.clock.virtual import VirtualTime

__all__ = ["loop", "plugged"]

_VARIABLE = "GEVENT_LOOP"
_PAGE_REMEMBERS_S = 5.0  # more than Locust's DEFAULT_CACHE_TIME


class Plugged:
    """What this module has installed."""

    virtual: VirtualTime | None = None
    seed = 1
    begun = False
    """Whether it has been tried: what was refused once is not tried again on the way out."""
    last_words: Callable[[], str] = str
    """What is said at the end of a message after which the process ends; begins with a semicolon."""

    def words(self) -> str:
        """What `last_words` are by then."""
        return self.last_words()


plugged = Plugged()


def loop(flags: Any = None, default: bool | None = None) -> Any:
    """What gevent calls for a loop: the main thread's first is virtual, all others are stock."""
    from gevent.hub import Hub

    hub = sys._getframe(1).f_locals.get("self")
    if plugged.begun or default is False or not isinstance(hub, Hub):
        return corecext.loop(flags=flags, default=default)
    plugged.begun = True
    try:
        _install(hub)
    except QuotalabError as error:
        _refuse(error)
    return hub.loop


loop.__module__ = corecext.__name__  # gevent.core gives on all that is in the loop's module


def _install(hub: Any) -> None:
    import gevent

    from quotalab.clock.virtual import adopt
    from quotalab.profiles.reading import parse_duration_ns

    # Children would be plugged, too, and their seconds pass while this process waits for them.
    os.environ.pop(_VARIABLE, None)
    start = os.environ.get("QUOTALAB_START")
    start_ns = parse_start_ns(start, "QUOTALAB_START") if start else DEFAULT_START_NS
    seed = os.environ.get("QUOTALAB_SEED") or "1"
    if not seed.isdecimal():
        raise InputError(f"QUOTALAB_SEED: must be a whole number, not {seed!r}")
    try:
        stall_s = parse_duration_ns(os.environ.get("QUOTALAB_STALL") or "60s") / 1e9
    except ValueError as error:
        raise InputError(f"QUOTALAB_STALL: {error}") from None
    plugged.seed = int(seed)
    plugged.virtual = adopt(
        hub, start_ns, plugged.seed, stall_s=stall_s, hold_limit_s=stall_s, last_words=plugged.words
    )
    atexit.register(plugged.virtual.restore)
    sys.excepthook = _last_words
    gevent.fork = _no_fork
    sys.meta_path.insert(0, _OnLocust())


def _refuse(error: QuotalabError, last_words: str = "") -> NoReturn:
    print(f"quotalab: {error}{last_words}", file=sys.stderr)
    sys.exit(error.exit_code)


def _last_words(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """One line for a run that could not go on, in place of a traceback of Locust's."""
    from quotalab.clock.virtual import Stalled

    if isinstance(error, Stalled):
        _refuse(error.error, plugged.words())
    sys.__excepthook__(kind, error, traceback)


def _no_fork() -> NoReturn:
    """In place of ``gevent.fork``, by which Locust starts its workers."""
    _refuse(InputError(f"--processes: virtual time is one process; leave one of the two out ({_VARIABLE})"))


class _OnLocust(MetaPathFinder):
    """Finds nothing; sees the moment at which Locust's main module is wanted, with Locust's events there."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        if fullname == "locust.main":
            sys.meta_path.remove(self)
            import locust

            events: Any = locust.events
            events.init.add_listener(_fit_locust)


def _fit_locust(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """What of Locust's own does not go with virtual time; its ``init``."""
    from locust import runners

    assert plugged.virtual is not None, "listened to only then"
    if not isinstance(runner, runners.LocalRunner):
        _refuse(
            InputError(
                f"--master, --worker: virtual time is one process; leave one of the two out ({_VARIABLE})"
            )
        )
    # This process's share of a CPU in some virtual seconds means nothing, and costs more than the users do.
    runners.CPU_MONITOR_INTERVAL = float("inf")
    if web_ui is not None:
        _stand_still(environment, plugged.virtual)


def _stand_still(environment: Any, virtual: VirtualTime) -> None:
    """Hold time while no test is running: somebody at the web page has real time."""
    import gevent

    reason = "somebody to start a test on the web page"
    holds = [virtual.hold(reason, patient=True)]

    def let_go(**_: Any) -> None:
        while holds:
            virtual.release(holds.pop())

    def hold() -> None:
        if not holds and not quitting and environment.runner.state in ("ready", "stopped"):
            holds.append(virtual.hold(reason, patient=True))

    def hold_soon(**_: Any) -> None:
        # The page repeats what it said so long ago; it must come to say that the test has stopped.
        gevent.spawn_later(_PAGE_REMEMBERS_S, hold)

    def quit_(**_: Any) -> None:  # Locust sleeps here and there on its way out
        quitting.append(True)
        let_go()

    quitting: list[bool] = []
    environment.events.test_start.add_listener(let_go)
    environment.events.quitting.add_listener(quit_)
    if environment.parsed_options.autoquit == -1:  # else it sleeps before it quits
        environment.events.test_stop.add_listener(hold_soon)
