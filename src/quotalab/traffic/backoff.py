"""Backoff policies compared: clients that contend for one row, and the same clients under an hourly quota.

The first is the model of AWS's simulator (aws-samples/aws-arch-backoff-simulator, 2015), on our clock and
our entropy. Clients each want one optimistic write of one row: read, then write what was read; the write
fails when another came first, and the client backs off and reads again. A unit of its time is a millisecond
here. In the second, each client wants one call, of which a rolling window lets a few through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random  # noqa: TID251  (the type; nothing is drawn from the module)

from quotalab.clock import Entropy, ManualClock

__all__ = ["POLICIES", "Backoff", "Outcome", "contend", "under_quota"]

_MS_NS = 1_000_000


@dataclass(frozen=True)
class Backoff:
    """Base and cap of the waits, in milliseconds, and the exponent of the first one."""

    base_ms: float = 5
    cap_ms: float = 2000
    first_exponent: int = 1

    def exponential(self, attempt: int) -> float:
        """The wait without jitter after failure number `attempt`, from 1."""
        return min(self.cap_ms, self.base_ms * 2.0 ** (attempt - 1 + self.first_exponent))


Wait = Callable[[Backoff, Random, int, float], float]
"""(settings, draws, failures so far, the wait before; at first the base) -> the next wait, milliseconds."""


def _none(backoff: Backoff, random: Random, attempt: int, before: float) -> float:  # noqa: ARG001
    return 0.0


def _exponential(backoff: Backoff, random: Random, attempt: int, before: float) -> float:  # noqa: ARG001
    return backoff.exponential(attempt)


def _full_jitter(backoff: Backoff, random: Random, attempt: int, before: float) -> float:  # noqa: ARG001
    return random.random() * backoff.exponential(attempt)


def _equal_jitter(backoff: Backoff, random: Random, attempt: int, before: float) -> float:  # noqa: ARG001
    return backoff.exponential(attempt) * (0.5 + 0.5 * random.random())


def _decorrelated(backoff: Backoff, random: Random, attempt: int, before: float) -> float:  # noqa: ARG001
    return min(backoff.cap_ms, backoff.base_ms + random.random() * (3 * before - backoff.base_ms))


POLICIES: Mapping[str, Wait] = {
    "none": _none,
    "exp": _exponential,
    "exp+full jitter": _full_jitter,
    "equal jitter": _equal_jitter,
    "decorrelated jitter": _decorrelated,
}
"""The five of the published comparison, under its names."""


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    calls: int
    """Writes, or calls under a quota, failed ones included."""
    time_ms: float
    """When the last client was done."""


def contend(
    policy: str,
    clients: int,
    entropy: Entropy,
    run: int,
    *,
    backoff: Backoff | None = None,
    delay_ms: tuple[float, float] = (10, 2),
    clock: ManualClock | None = None,
) -> Outcome:
    """One run of optimistic writers; `delay_ms` is mean and standard deviation of each way of the network."""
    backoff = backoff or Backoff()
    clock = clock or ManualClock(0)
    random = entropy.stream("backoff", policy, str(clients), str(run))
    wait, normal, (mean, deviation) = POLICIES[policy], random.gauss, delay_ms
    version = calls = 0
    read, attempts, waits = [0] * clients, [0] * clients, [backoff.base_ms] * clients
    start_ns = clock.now_ns()
    # (when, order, step, client); steps: 0 read at the server, 1 its answer, 2 write at the server, 3 its
    # answer that it failed, 4 that it was done. Equal times keep the order in which they were sent.
    waiting: list[tuple[int, int, int, int]] = []
    sent = 0
    for client in range(clients):
        heappush(waiting, (start_ns + int(abs(normal(mean, deviation)) * _MS_NS), sent, 0, client))
        sent += 1
    while waiting:
        at_ns, _, step, client = heappop(waiting)
        clock.jump(at_ns - clock.now_ns())
        extra = 0.0
        if step == 0:
            read[client], following = version, 1
        elif step == 1:
            following = 2
        elif step == 2:
            calls += 1
            following = 4 if read[client] == version else 3
            version += following == 4
        elif step == 3:
            attempts[client] += 1
            extra = waits[client] = wait(backoff, random, attempts[client], waits[client])
            following = 0
        else:
            continue
        later_ns = at_ns + int((abs(normal(mean, deviation)) + extra) * _MS_NS)
        heappush(waiting, (later_ns, sent, following, client))
        sent += 1
    return Outcome(calls, (clock.now_ns() - start_ns) / _MS_NS)


def under_quota(
    policy: str,
    clients: int,
    entropy: Entropy,
    run: int,
    *,
    backoff: Backoff,
    limit: int,
    window_ms: int,
    delay_ms: tuple[float, float] = (50, 10),
    clock: ManualClock | None = None,
) -> Outcome:
    """One run of clients that each want one call, while at most `limit` are let through in any window.

    The policy ``Retry-After`` waits until the oldest call of the window has left it, as the refusal says.
    """
    clock = clock or ManualClock(0)
    random = entropy.stream("backoff under quota", policy, str(clients), str(run))
    wait, normal, (mean, deviation) = POLICIES.get(policy), random.gauss, delay_ms
    attempts, waits = [0] * clients, [backoff.base_ms] * clients
    start_ns = clock.now_ns()
    let_through: deque[int] = deque()
    waiting: list[tuple[int, int, int]] = []
    sent = calls = 0
    for client in range(clients):
        heappush(waiting, (start_ns + int(abs(normal(mean, deviation)) * _MS_NS), sent, client))
        sent += 1
    done_ns = start_ns
    while waiting:
        at_ns, _, client = heappop(waiting)
        clock.jump(at_ns - clock.now_ns())
        calls += 1
        while let_through and let_through[0] <= at_ns - window_ms * _MS_NS:
            let_through.popleft()
        back = abs(normal(mean, deviation))
        if len(let_through) < limit:
            let_through.append(at_ns)
            done_ns = max(done_ns, at_ns + int(back * _MS_NS))
            continue
        attempts[client] += 1
        if wait is None:
            waits[client] = (let_through[0] - at_ns) / _MS_NS + window_ms
        else:
            waits[client] = wait(backoff, random, attempts[client], waits[client])
        there = abs(normal(mean, deviation))
        heappush(waiting, (at_ns + int((back + waits[client] + there) * _MS_NS), sent, client))
        sent += 1
    clock.jump(max(0, done_ns - clock.now_ns()))
    return Outcome(calls, (done_ns - start_ns) / _MS_NS)
