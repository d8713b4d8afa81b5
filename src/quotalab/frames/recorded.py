"""Recorded traffic as a run folder: the same tables, of which what the recording lacks is null.

The provider's own decisions stand as they were answered: a call was refused if its status is one by which the
profile says that limits refuse. Which limit it was, nobody recorded: it is the one that the judges' own
arithmetic has furthest from letting the call through. People, tokens, sources and targets are written as
ordinals of first appearance, and nothing else of them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quotalab import __version__
from quotalab.frames.asked import KEY_COLUMNS, UNKNOWN_ROUTE, asked_calls, expected
from quotalab.frames.limits import asked
from quotalab.frames.loading import RECORDED, Frames, frames_of
from quotalab.frames.recorded_oauth import Told, bearer, document_of, kind_of
from quotalab.ledger.canonical import ledger_sha256
from quotalab.ledger.columns import LedgerColumns
from quotalab.ledger.folder import RunDescription, RunFolder
from quotalab.ledger.reader import LedgerTables, compact
from quotalab.ledger.redaction import REDACTED, shown, shown_header
from quotalab.ledger.schema import CALLS, EVENTS, OPERATIONS
from quotalab.profiles.limits import METERED, Limit
from quotalab.profiles.provider import Provider
from quotalab.profiles.reference import Signs
from quotalab.traces.recorded import Reading, RecordedCall

__all__ = ["file_sha256", "record_run"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECOND_NS = 10**9
_ADDRESS = re.compile(r"[^/]*(?:@|%40)[^/]*")
"""A path's segment that holds somebody's address."""
_TOKEN_IN_QUERY = re.compile(r"(?:^|&)access_token=([^&]+)")
_SAFE = ("GET", "HEAD", "OPTIONS")
_LONGEST_PROMISE_NS = 366 * 86_400 * _SECOND_NS


class _Ordinals:
    """Names in place of what must not be written: ``person-1``, ``person-2``, ... as they first appear."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._known: dict[Any, str] = {}

    def __call__(self, value: Any) -> str | None:
        if value in (None, ""):
            return None
        return self._known.setdefault(value, f"{self._stem}-{len(self._known) + 1}")

    def __len__(self) -> int:
        return len(self._known)


def record_run(
    calls: Sequence[RecordedCall],
    reading: Reading,
    provider: Provider,
    folder: Path,
    *,
    app: str,
    rules: Mapping[str, Any],
    settings: tuple[str, ...],
    command: tuple[str, ...],
    sha256: str,
) -> Path:
    """Write the run folder of recorded calls; returns its path.

    `sha256` is the recorded file's. Raises `RunFolderError` when the folder cannot be made.
    """
    notes = reading.told()
    ordered = _in_order(calls, reading, notes)
    columns, tells = _columns(ordered, reading, provider, app, notes)
    people = max(len({one for one in columns["person"] if one is not None}), 1)
    run = RunDescription(
        scenario=reading.file,
        provider=provider.name,
        traffic=None,
        policy=None,
        seed=None,
        clock=RECORDED,
        transport=reading.format,
        users=people,
        start_ns=ordered[0].at_ns,
        span_ns=max(columns["done"]) - ordered[0].at_ns + 1,
        settings=settings,
        command=command,
        inputs={},
        versions={"quotalab": __version__, "python": platform.python_version()},
        app="unknown",
    )
    by_body = _refusing_bodies(ordered, provider, notes)
    tables = _decided(columns, provider, run, tells, notes, by_body)
    recording = {
        "file": reading.file,
        "sha256": sha256,
        "format": reading.format,
        "lines": reading.lines,
        "calls": len(ordered),
        "dropped": [
            {"reason": reason, "number": number, "first": reading.first[reason]}
            for reason, number in reading.dropped.most_common()
        ],
        "tells": sorted(tells),
        "notes": notes,
    }
    run_folder = RunFolder.create(folder)
    inputs = {
        f"{name}.json": run_folder.write_input(
            f"{name}.json", json.dumps(document, indent=2, default=str) + "\n"
        )
        for name, document in (
            ("provider", provider.document),
            ("rules", rules),
            ("recording", recording),
        )
    }
    written = compact(folder, tables)
    described = {
        **vars(run),
        "inputs": inputs,
        "complete": True,
        "ended_ns": run.start_ns + run.span_ns,
        "ledger_sha256": ledger_sha256(tables),
        "tables": written,
    }
    run_folder.write_description(RunDescription(**described))
    return folder


def _in_order(calls: Sequence[RecordedCall], reading: Reading, notes: list[str]) -> list[RecordedCall]:
    """By time, each once; a sentence in `notes` for what was put right."""
    back = [later for before, later in pairwise(calls) if later.at_ns < before.at_ns]
    if back:
        notes.append(
            f"the clock runs backwards {len(back):,} times, first in {reading.unit} {back[0].line:,}: calls "
            "were sorted by time, and what lies between them may be wrong"
        )
    kept: list[RecordedCall] = []
    seen: set[Any] = set()
    twice: list[int] = []
    alike = 0
    for call in sorted(calls, key=lambda call: call.at_ns):
        whole = (*call[1:8], tuple(sorted(call.facts.items())), call.body)
        if whole in seen:
            # A log in whole seconds may well have one line for each of two calls.
            if "request_id" in call.facts or call.at_ns % _SECOND_NS:
                twice.append(call.line)
                continue
            alike += 1
        seen.add(whole)
        kept.append(call)
    if twice:
        notes.append(
            f"{len(twice):,} calls were there twice, first in {reading.unit} {min(twice):,}, and count once"
        )
    if alike:
        notes.append(
            f"{alike:,} calls are the same as another, in a recording of whole seconds: they were kept, for "
            "they may well be calls of their own"
        )
    return kept


def _columns(
    calls: Sequence[RecordedCall], reading: Reading, provider: Provider, app: str, notes: list[str]
) -> tuple[dict[str, list[Any]], set[str]]:
    """The ledger's columns without what limits make of the calls; and what the recording tells."""
    person, target = _Ordinals("person"), _Ordinals("target")
    apps, tenants, ips = _Ordinals(app), _Ordinals("tenant"), _Ordinals("source")
    operations, requests, keys = _Ordinals("operation"), _Ordinals("request"), _Ordinals("key")
    is_har = reading.format == "har"
    tells = {what for call in calls for what in call.facts}
    if is_har:
        tells |= {"headers", "retry_after"}
    if "person" not in tells and is_har:
        by = "token" if "token" in tells else None
        notes.append(
            f"nothing says whose call each is: {'each token' if by else 'all of them'} was taken for one "
            "person's (--headers person=NAME says better)"
        )
        tells.add("person")
    route_of = _Routes(provider)
    told = Told(calls, provider)
    tells |= told.tells
    notes += told.notes
    expired = provider.reference.expired if provider.reference else Signs()
    rejected = provider.dialect.errors["unknown_token"].code
    columns: dict[str, list[Any]] = {}
    unreadable = 0
    for seq, call in enumerate(calls):
        facts = call.facts
        kind = kind_of(call)
        in_query = _TOKEN_IN_QUERY.search(call.query) if call.query else None
        carried = bearer(facts.get("token")) or (in_query.group(1) if in_query else None)
        if kind != "api":
            carried = None  # it is the client's own secret
        who = facts.get("person")
        if who is None and is_har:
            who = told.holder(seq, carried)
        if who is None and is_har:
            who = (carried or "the one") if "token" in tells else "the one"
        promise = call.response_headers.get("retry-after")
        promise_ns = _promise_ns(promise, call.at_ns)
        unreadable += promise is not None and promise_ns is None
        took_ns = round(float(facts["duration"]) * 1e9) if _is_seconds(facts.get("duration")) else 0
        if in_query:
            tells.add("token")
        state, error = None, told.errors.get(seq)
        if call.status == 401:
            error = error or "unauthorized"
        elif kind == "api" and expired.body and expired.in_body(document_of(call.answer)):
            error = rejected
        if kind == "api":
            state = "unknown" if error else "none" if is_har and not carried else None
            if error and carried and told.ends_ns.get(carried, call.at_ns + 1) <= call.at_ns:
                state = "expired"
        same: Any = (call.method, call.path, call.query, call.body)
        if call.method not in _SAFE and not is_har:
            same = seq  # what it sent was not recorded, so that no other is known to be the same
        values = {
            "seq": seq,
            "sent": call.at_ns,
            "at": call.at_ns,
            "answered": call.at_ns + took_ns,
            "done": call.at_ns + took_ns,
            "kind": kind,
            "actor": "app",
            "client_id": apps(facts["app"]) if "app" in facts else app,
            "person": person(who),
            "tenant": tenants(facts.get("tenant")),
            "ip": ips(call.source),
            "token": told.mark("token", carried),
            "token_state": state,
            "method": _shown(call.method)[:16],
            "route": route_of(call.method, call.path) if kind == "api" else None,
            "path": _shown_path(call.path),
            "target": target(same),
            "status": call.status,
            "error": error,
            "cost": 0,
            "objects": 0,
            "objects_asked": 0,
            "retry_after_ns": promise_ns,
            "operation": operations(facts.get("operation")),
            "request_id": requests(facts.get("request_id")),
            "idempotency_key": keys(facts.get("idempotency_key")),
            "oauth": told.facts[seq]._asdict() if seq in told.facts else None,
            "request_headers": _redacted(call.request_headers),
            "response_headers": _redacted(call.response_headers),
            "bytes": max(call.size, 0),
            "token_at": ("query" if in_query else "header") if carried else None,
        }
        if not columns:
            columns = {name: [] for name in values}
        for name, value in values.items():
            columns[name].append(value)
    if unreadable:
        notes.append(f"{unreadable:,} values of Retry-After are no seconds and no date, and were passed over")
    if any(call.status == 0 for call in calls):
        lacking = sum(call.status == 0 for call in calls)
        notes.append(f"{lacking:,} calls have no status: they are taken as let through")
    if any(call.status for call in calls):
        tells.add("status")
    unknown = sum(route is None for route in columns["route"])
    if unknown:
        notes.append(
            f"{unknown:,} of {len(calls):,} calls are to no route of the profile {provider.name}: limits of "
            "the app as a whole count them, limits of single routes do not"
        )
    return columns, tells


@lru_cache(maxsize=1 << 16)
def _shown_path(path: str) -> str:
    return shown(_ADDRESS.sub(REDACTED, path))


@lru_cache(maxsize=1 << 10)
def _shown(text: str) -> str:
    return shown(text)


class _Routes:
    """The profile's route of a method and a path."""

    def __init__(self, provider: Provider) -> None:
        self._prefix = provider.api_path
        self._known: dict[tuple[str, str], str | None] = {}
        plain_first = sorted(provider.routes, key=lambda route: "{" in route.path)
        self._patterns = [
            (route.methods, re.compile(_pattern(route.path)), route.name) for route in plain_first
        ]

    def __call__(self, method: str, path: str) -> str | None:
        key = (method, path)
        if key not in self._known:
            if len(self._known) > 1 << 16:
                self._known.clear()
            self._known[key] = self._find(method, path)
        return self._known[key]

    def _find(self, method: str, path: str) -> str | None:
        paths = [path]
        if self._prefix and path.startswith(self._prefix + "/"):
            paths.insert(0, path.removeprefix(self._prefix))
        for one in paths:
            for methods, pattern, name in self._patterns:
                if method in methods and pattern.fullmatch(one):
                    return name
        return None


def _pattern(path: str) -> str:
    parts = re.split(r"(\{\w+\})", path)
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)


def _is_seconds(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"\d{1,9}(\.\d+)?", text) is not None


def _promise_ns(text: str | None, at_ns: int) -> int | None:
    """What Retry-After promises, from the call on: seconds or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    text = text.strip()
    if _is_seconds(text):
        return min(round(float(text) * 1e9), _LONGEST_PROMISE_NS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return min(max(int(moment.timestamp()) * _SECOND_NS - at_ns, 0), _LONGEST_PROMISE_NS)


def _redacted(headers: Mapping[str, str]) -> str:
    if not headers:
        return "{}"
    told = {shown(name): shown_header(name, value) for name, value in list(headers.items())[:100]}
    return json.dumps(told, separators=(",", ":"))


# ---- what limits make of the calls


def _decided(
    columns: dict[str, list[Any]],
    provider: Provider,
    run: RunDescription,
    tells: set[str],
    notes: list[str],
    by_body: Bools,
) -> LedgerTables:
    rows = len(columns["seq"])
    by_limit = {name: pa.nulls(rows, CALLS.field(name).type) for name in ("keys", "charges", "remaining")}
    plain = {
        field.name: pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in CALLS
        if field.name not in (*by_limit, "limit")
    }

    def tables(limit: Sequence[str | None] | None) -> LedgerTables:
        told = {**plain, **by_limit, "limit": pa.array(limit or [None] * rows, pa.string())}
        calls = pa.Table.from_arrays([told[name] for name in CALLS.names], schema=CALLS)
        return LedgerTables(calls, OPERATIONS.empty_table(), EVENTS.empty_table(), torn=False)

    def framed(limit: Sequence[str | None] | None = None) -> Frames:
        return frames_of(LedgerColumns.of(tables(limit)), provider, run, {}, None)

    bare = framed()
    limits = bare.provider.limits
    counted = _counted(bare, limits, tells, notes)
    by_limit["keys"] = _maps(
        rows, [(limit.name, counted[limit.name], _keys(bare, limit)) for limit in limits], pa.string()
    )
    refused = _refused(bare, columns, counted, provider, notes, by_body)
    first = {row: names[0] for row, names in refused.items()}
    limit_of: list[str | None] = [first.get(row) for row in range(rows)]
    again = framed(limit_of)
    wait = {limit.name: np.zeros(rows, dtype=np.int64) for limit in limits}
    fill = {limit.name: np.zeros(rows) for limit in limits}
    for limit in limits:
        found = again.once(asked)[limit.name]
        wait[limit.name][found.rows] = found.uses.wait_ns
        fill[limit.name][found.rows] = found.uses.used / np.maximum(found.number, 1)
    for row, names in refused.items():
        # max keeps the first of equals: the profile's own order
        limit_of[row] = max(names, key=lambda name: (wait[name][row], fill[name][row]))
    charges = []
    costs = again.once(asked_calls)
    named = {limit.name: limit for limit in limits}
    for limit in limits:
        mine = costs[limit.name]
        amount = np.zeros(rows, dtype=np.int64)
        amount[mine.rows] = np.where(mine.admitted, mine.final, mine.need)
        charged = counted[limit.name].copy()
        if limit.kind not in METERED and limit.kind != "concurrency":
            amount[:] = 0
        for row in refused:
            charged[row] &= limit.kind in METERED and _is_charged(limit, named[str(limit_of[row])])
        charges.append((limit.name, charged, amount))
    by_limit["charges"] = _maps(rows, charges, pa.int64())
    by_limit["remaining"] = _maps(rows, [], pa.int64())
    due = np.zeros(rows, dtype=np.int64)
    for calls in costs.values():
        due[calls.rows] = np.maximum(due[calls.rows], calls.need)
    plain["cost"] = pa.array(due)
    return tables(limit_of)


def _counted(frames: Frames, limits: Sequence[Limit], tells: set[str], notes: list[str]) -> dict[str, Bools]:
    """Which calls each limit counts; none where the recording lacks what the limit counts by."""
    masks = dict(frames.once(expected))
    for limit in limits:
        parts = {*limit.key, *((limit.of,) if limit.kind == "cardinality" else ())} - {"app", "route"}
        whole = masks[limit.name]
        mine = whole.copy()
        for part in parts:
            mine &= frames.calls[KEY_COLUMNS[part]].notna().to_numpy()
        lost = int(whole.sum()) - int(mine.sum())
        if limit.kind == "concurrency" and "duration" not in tells:
            lost, mine = int(whole.sum()), np.zeros(len(whole), dtype=bool)
            parts = {"duration"}
        masks[limit.name] = mine
        if lost:
            notes.append(
                f"the limit {limit.name} counts by {' and '.join(sorted(parts))}, which the recording does "
                f"not tell of {lost:,} calls: it did not count them"
            )
        if limit.kind in METERED and limit.cost.per_object and mine.any():
            notes.append(
                f"the limit {limit.name} counts objects that are returned, which no recording tells: each "
                "call was counted at its cost without them"
            )
    return masks


def _keys(frames: Frames, limit: Limit) -> npt.NDArray[np.object_]:
    parts = []
    for part in limit.key:
        column = frames.calls[KEY_COLUMNS[part]].astype(object)
        parts.append(column.fillna(UNKNOWN_ROUTE if part == "route" else ""))
    key = parts[0]
    for following in parts[1:]:
        key = key + "|" + following
    found: npt.NDArray[np.object_] = key.to_numpy(dtype=object)
    return found


def _maps(rows: int, entries: Sequence[tuple[str, Bools, Any]], kind: pa.DataType) -> pa.MapArray:
    """A map by limit for each row, from (limit, rows that have it, values of all rows)."""
    lengths = np.zeros(rows, dtype=np.int64)
    for _, mask, _ in entries:
        lengths += mask
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = np.empty(offsets[-1], dtype=object)
    values = np.empty(offsets[-1], dtype=object)
    place = offsets[:-1].copy()
    for name, mask, every in entries:
        names[place[mask]] = name
        values[place[mask]] = every[mask]
        place += mask
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(names.tolist(), pa.string()), pa.array(values.tolist(), kind)
    )


def _refused(
    frames: Frames,
    columns: Mapping[str, list[Any]],
    counted: Mapping[str, Bools],
    provider: Provider,
    notes: list[str],
    by_body: Bools,
) -> dict[int, list[str]]:
    """Rows that a limit refused, with the limits that it may have been."""
    dialect = provider.dialect
    status_of = {limit.name: dialect.refusal(limit.name).status for limit in frames.provider.limits}
    other = {error.status for error in dialect.errors.values()}
    found: dict[int, list[str]] = {}
    unsure = without = 0
    meant = frames.once(expected)
    wanted = {429, *(status for status in status_of.values() if status >= 400)}
    status = np.array(columns["status"])
    for row in np.flatnonzero(
        (np.isin(status, list(wanted)) | by_body) & (frames.calls["kind"] == "api")
    ).tolist():
        names = [name for name, mask in counted.items() if mask[row]]
        if not names:  # those that it must have been asked of, though their key is not known
            names = [name for name, mask in meant.items() if mask[row]]
        own = [name for name in names if status_of[name] == status[row]]
        if (
            status[row] != 429
            and not by_body[row]
            and status[row] in other
            and columns["retry_after_ns"][row] is None
        ):
            unsure += 1
        if own or names:
            found[row] = own or names
        else:
            without += 1
    if unsure:
        told = ", ".join(str(one) for one in sorted(wanted & other - {429}))
        notes.append(
            f"{unsure:,} calls were answered {told} without Retry-After, which with this provider may be a "
            "limit's refusal or another error: they are taken as refusals"
        )
    if without:
        notes.append(f"{without:,} calls were answered as refused, and the profile has no limit for them")
    return found


def _refusing_bodies(calls: Sequence[RecordedCall], provider: Provider, notes: list[str]) -> Bools:
    """Which calls were refused by what the answer's body says, as the profile's ``[reference]`` knows it."""
    signs = provider.reference.refused if provider.reference else Signs()
    found = np.zeros(len(calls), dtype=bool)
    if not signs.body and all(refusal.status >= 400 for refusal in provider.dialect.refusals):
        return found
    mute = 0
    for i, call in enumerate(calls):
        if call.answer:
            found[i] = signs.in_body(document_of(call.answer)) is not None
        else:
            mute += call.status < 400
    if mute:
        notes.append(
            "the provider may refuse with a status of success, which only the answer's body tells: of "
            f"{mute:,} calls it was not recorded, and such refusals are not seen"
        )
    return found


def _is_charged(limit: Limit, refusing: Limit) -> bool:
    """Whether a call that `refusing` refuses is charged to `limit`."""
    mode = refusing.refused_calls
    if mode == "longer":
        length, own = limit.length_ns, refusing.length_ns
        return own is not None and (length is None or length > own)
    return mode == "all" or (mode == "this" and limit.name == refusing.name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
