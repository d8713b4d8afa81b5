"""An integration against a sandbox, in memory, by hand-moved time."""

from __future__ import annotations

import pathlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from quotalab.browser import Browser
from quotalab.clock import ManualClock, SeededEntropy
from quotalab.ledger import LedgerTables, LedgerWriter, read_ledger
from quotalab.profiles.policy import parse_policy
from quotalab.profiles.provider import parse_provider
from quotalab.profiles.reading import merge
from quotalab.reference import Calendar, build
from quotalab.sandbox import Sandbox
from quotalab.sandbox.transport import MemoryTransport

ROOT = pathlib.Path(__file__).parents[2]
START_NS = 1_767_571_200_000_000_000
CALLBACK = "https://app.test/oauth/callback"


def document(kind: str, name: str) -> dict[str, object]:
    """A bundled profile's TOML document."""
    return tomllib.loads((ROOT / "profiles" / kind / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass
class World:
    """A provider, an app and one person, `p00001`, who has an account."""

    clock: ManualClock
    sandbox: Sandbox
    app: Calendar
    transport: MemoryTransport
    ledger: LedgerWriter
    folder: pathlib.Path
    state: pathlib.Path

    def connect(self, person: str = "p00001") -> None:
        """Let the person give consent, by browser."""
        browser = Browser(self.transport, person, self.sandbox.password_of(person))
        self.app.connected(browser.visit(self.app.connect(person), CALLBACK))

    def now_s(self) -> float:
        """Seconds since the start."""
        return (self.clock.now_ns() - START_NS) / 1e9

    def tables(self) -> LedgerTables:
        """What the ledger holds; nothing can be recorded after that."""
        self.ledger.close()
        return read_ledger(self.folder)


@pytest.fixture
def world(tmp_path: pathlib.Path):
    """Makes a `World` for a policy, with settings of the provider profile; no latency unless set.

    `provider` is laid over the bundled profile's document; of its reference table `replaced` is set.
    """
    opened: list[World] = []

    def make(
        policy: str = "polite",
        *settings: str,
        provider: Mapping[str, Any] | None = None,
        bundled: str = "temporary-production",
        replaced: Mapping[str, Any] | None = None,
        **changed: object,
    ) -> World:
        clock, entropy = ManualClock(START_NS), SeededEntropy(1)
        folder, state = tmp_path / "ledger", tmp_path / "state"
        folder.mkdir()
        state.mkdir()
        ledger = LedgerWriter(folder, lambda: 0)
        whole = merge(document("providers", bundled), provider or {})
        whole["reference"].update(replaced or {})
        parsed = parse_provider(
            whole,
            "p.toml",
            settings=("latency.median=0s", "latency.work=0s", *settings),
        )
        sandbox = Sandbox(
            parsed.for_people(2),
            clock=clock,
            entropy=entropy,
            ledger=ledger,
            people=["p00001", "p00002"],
            issuer="https://provider.test",
            start_ns=START_NS,
        )
        transport = MemoryTransport(sandbox, clock)
        access = replace(sandbox.register(CALLBACK), transport=transport)
        rules = document("policies", policy)
        for table, values in changed.items():
            rules[table] = {**rules.get(table, {}), **values} if isinstance(values, dict) else values
        app = build(
            access,
            parse_policy(rules, "policy.toml"),
            parsed.reference,
            clock=clock,
            entropy=entropy,
            state=state,
        )
        opened.append(World(clock, sandbox, app, transport, ledger, folder, state))
        return opened[-1]

    yield make
    for kept in opened:
        kept.app.close()
        kept.ledger.close()
