"""OAuth flows as sequence pictures: who asked whom for what, in the commonest flow and in each other kind.

A flow is what one person's browser and the app did at the provider's OAuth endpoints in one go: from the
first page of an authorization until the token, or one request for a token alone, with the call to the API
before it where that was rejected, and the first one after it. Flows of the same steps are of one kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import escape

from quotalab.frames import Frames
from quotalab.report.text import visible
from quotalab.rules.grants import AUTHORIZE, holders, rejected_calls
from quotalab.rules.times import clock_time, count, duration

__all__ = ["Flow", "Step", "oauth_flows"]

Ints = npt.NDArray[np.int64]
_Key = tuple[object, ...]

_MOST_CALLS = 200_000
"""To the OAuth endpoints: later ones are not looked at, as kinds of flows show early."""
_MOST_KINDS = 8
_MOST_STEPS = 14
_LANES = {"browser": 90, "app": 320, "provider": 550}
_WIDTH, _HEAD, _STEP, _NOTE = 640, 44, 46, 26
_TOLD = {
    "consent-given": "the person agrees",
    "consent-denied": "the person says no",
    "consent-withdrawn": "the consent is withdrawn",
    "token-refused": "no token is given",
    "token-revoked": "the token is revoked",
}
_LETTER = 6.4  # of the pictures' text, about


@dataclass(frozen=True)
class Step:
    """One request and its answer, or with an empty `request` something that happened between two."""

    seq: int
    at_ns: int
    sender: str
    """``browser`` or ``app``."""
    request: str
    answer: str
    good: bool
    is_api: bool = False
    """Whether it is a call to the API, and not to an OAuth endpoint."""


@dataclass(frozen=True)
class Flow:
    """A kind of flow, shown by the first one of it."""

    number: int
    """How many there were of this kind."""
    of: int
    """How many flows there were in all."""
    person: str
    steps: tuple[Step, ...]
    left_out: int
    """Further steps of the one that is shown."""

    @property
    def title(self) -> str:
        """What was asked, and how it ended."""
        oauth = [step for step in self.steps if step.request and not step.is_api]
        asked = [step.request for step in oauth if step.request.startswith("token: ")]
        kind = "Authorization" if any(step.sender == "browser" for step in oauth) else "Another request"
        if kind != "Authorization" and asked:
            grant = asked[-1].removeprefix("token: ").split(",")[0]
            kind = {"refresh_token": "Renewal", "client_credentials": "Token for the app"}.get(
                grant, f"Token by {grant}"
            )
        if self.steps and self.steps[0].is_api:
            kind += " after the API rejected a token"
        wrong = [step.answer for step in oauth if not step.good]
        if wrong:
            return f"{kind}: {wrong[-1]}"
        if kind.startswith("Authorization") and not asked:
            return f"{kind} without a token"
        return f"{kind}, and the API rejects the token" if self.is_rejected else kind

    @property
    def is_rejected(self) -> bool:
        """Whether the API rejected the token at its first use."""
        return len(self.steps) > 1 and self.steps[-1].is_api and "401" in self.steps[-1].answer

    @property
    def words(self) -> list[str]:
        """The picture as sentences, one a step."""
        told = []
        for step in self.steps:
            who = "The browser" if step.sender == "browser" else "The app"
            when = clock_time(step.at_ns, decimals=3)
            told.append(
                f"{when}: {who} sends {step.request}; the provider answers {step.answer} (call {step.seq})."
                if step.request
                else f"{when}: {step.answer}."
            )
        return told

    def svg(self, name: str) -> str:
        """The picture; every text in it is escaped, every colour a CSS variable of the page."""
        height = _HEAD + 10 + sum(_STEP if step.request else _NOTE for step in self.steps)
        alt = f"{self.title}: {count(len(self.steps), 'step')} between browser, app and provider."
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(visible(alt))}" class="flow" font-size="12">',
            f'<defs><marker id="{name}-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="var(--ink)"/></marker></defs>',
        ]
        for lane, x in _LANES.items():
            label = {"browser": self.person or "browser", "app": "app", "provider": "provider"}[lane]
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="28" y2="{height - 4}" stroke="var(--grid)" stroke-width="1"/>'
                f'<text x="{x}" y="18" text-anchor="middle" font-weight="700" fill="var(--text)">'
                f"{_text(label, 24)}</text>"
            )
        y, before = _HEAD, self.steps[0].at_ns if self.steps else 0
        for step in self.steps:
            gap = step.at_ns - before
            before = step.at_ns
            if gap >= 1_000_000_000:
                parts.append(
                    f'<text x="6" y="{y + 8}" fill="var(--soft)" font-size="10">+{duration(gap)}</text>'
                )
            if not step.request:
                parts.append(
                    f'<text x="{_LANES["app"]}" y="{y + 12}" text-anchor="middle" font-style="italic" '
                    f'fill="var({"--soft" if step.good else "--fail"})">{_text(step.answer, 70)}</text>'
                )
                y += _NOTE
                continue
            start, end = _LANES[step.sender], _LANES["provider"]
            most = round((end - start) / _LETTER)
            middle, colour = (start + end) / 2, "--ink" if step.good else "--fail"
            parts.append(
                f'<text x="{middle:g}" y="{y + 8}" text-anchor="middle" fill="var(--text)">'
                f"{_text(step.request, most)}</text>"
                f'<line x1="{start}" x2="{end}" y1="{y + 13}" y2="{y + 13}" stroke="var(--ink)" '
                f'marker-end="url(#{name}-tip)"/>'
                f'<text x="{middle:g}" y="{y + 26}" text-anchor="middle" fill="var({colour})">'
                f"{_text(step.answer, most)}</text>"
                f'<line x1="{end}" x2="{start}" y1="{y + 31}" y2="{y + 31}" stroke="var({colour})" '
                f'stroke-dasharray="5 3" marker-end="url(#{name}-tip)"/>'
            )
            y += _STEP
        return "".join([*parts, "</svg>"])


def oauth_flows(frames: Frames) -> tuple[list[Flow], int]:
    """The commonest kind of flow and then the others, the rarest first; and how many kinds are left out."""
    calls = frames.calls
    who = _whose(frames)
    is_oauth = calls["kind"].isin(["authorize", "token", "revoke"]).to_numpy() & (who >= 0)
    rows = np.flatnonzero(is_oauth)[:_MOST_CALLS]
    if not len(rows):
        return [], 0
    rows = rows[np.lexsort((rows, who[rows]))]
    parts = _parts(frames, rows, who)
    kinds: Counter[_Key] = Counter()
    first: dict[_Key, list[int]] = {}
    for flow, key in zip(parts, _keys(frames, parts), strict=True):
        kinds[key] += 1
        if key not in first or flow[0] < first[key][0]:
            first[key] = flow
    ((commonest, _),) = kinds.most_common(1)
    others = sorted((key for key in kinds if key != commonest), key=lambda key: (kinds[key], first[key][0]))
    shown = [commonest, *others][:_MOST_KINDS]
    flows = [_flow(frames, first[key], kinds[key], len(parts)) for key in shown]
    return flows, len(kinds) - len(shown)


def _whose(frames: Frames) -> Ints:
    """Whose each call is; a page that was opened before anybody signed in is known by its `state`."""
    calls = frames.calls
    who = frames.once(holders).copy()
    state = calls["oauth:state"].cat.codes.to_numpy().astype(np.int64)
    known = np.flatnonzero((who >= 0) & (state >= 0))
    owner = np.full(int(state.max(initial=-1)) + 2, -1, dtype=np.int64)
    owner[state[known]] = who[known]
    lost = (who < 0) & (state >= 0)
    who[lost] = owner[state[lost]]
    return who


def _parts(frames: Frames, rows: Ints, who: Ints) -> list[list[int]]:
    """The rows of each flow, of calls in order of holder and time, with the calls to the API around it."""
    calls = frames.calls
    kind, path = (calls[name].iloc[rows].astype(object).tolist() for name in ("kind", "path"))
    state = calls["oauth:state"].cat.codes.to_numpy()[rows].tolist()
    owner = who[rows].tolist()
    flows: list[list[int]] = []
    was_kind, was_owner, was_state = "", -1, -1
    for i, row in enumerate(rows.tolist()):
        fresh = kind[i] == "authorize" and (
            was_kind != "authorize" or (path[i] == AUTHORIZE and state[i] != was_state)
        )
        alone = kind[i] != "authorize" and was_kind != "authorize"
        if owner[i] != was_owner or fresh or alone:
            flows.append([])
        flows[-1].append(row)
        was_kind, was_owner = kind[i], owner[i]
        was_state = state[i] if state[i] >= 0 else was_state
    around = _calls_around(frames, flows, who)
    return [[*before, *flow, *after] for flow, (before, after) in zip(flows, around, strict=True)]


def _calls_around(frames: Frames, flows: list[list[int]], who: Ints) -> list[tuple[list[int], list[int]]]:
    """The rejected call to the API before each flow, and the first one after it: lists of none or one."""
    calls = frames.calls
    api = np.flatnonzero((calls["kind"] == "api").to_numpy() & (who >= 0))
    height = len(calls) + 1
    places = np.sort(who[api] * height + api)
    begin, end = (np.array([flow[i] for flow in flows]) for i in (0, -1))
    owner = who[begin]
    follows = np.searchsorted(places, owner * height + end)
    precedes = np.searchsorted(places, owner * height + begin) - 1
    edge = np.append(owner[1:] != owner[:-1], True)
    next_begin = np.where(edge, height, np.append(begin[1:], height))
    last_end = np.where(np.append(True, edge[:-1]), -1, np.append(-1, end[:-1]))
    rejected = frames.once(rejected_calls)
    gave = calls["oauth:issued_token"].notna().to_numpy()
    found = []
    for i in range(len(flows)):
        before, after = [], []
        if precedes[i] >= 0 and places[precedes[i]] // height == owner[i]:
            row = int(places[precedes[i]] % height)
            before = [row] if row > last_end[i] and rejected[row] else []
        if follows[i] < len(places) and places[follows[i]] // height == owner[i] and gave[end[i]]:
            row = int(places[follows[i]] % height)
            after = [row] if row < next_begin[i] else []
        found.append((before, after))
    return found


def _keys(frames: Frames, parts: list[list[int]]) -> list[_Key]:
    """What makes flows one kind: endpoints, grants and answers; of calls to the API if it let them in."""
    calls = frames.calls
    columns = ("kind", "method", "path", "status", "error", "oauth:grant_type", "oauth:issued_token")
    kinds, methods, paths, statuses, errors, grants = (
        calls[name].astype(object).where(calls[name].notna(), "").to_numpy() for name in columns[:-1]
    )
    gave, rejected = calls[columns[-1]].notna().to_numpy(), frames.once(rejected_calls)

    def key(row: int) -> _Key:
        if kinds[row] == "api":
            return ("api", bool(rejected[row]))
        return (
            kinds[row],
            methods[row],
            paths[row],
            statuses[row],
            errors[row],
            grants[row],
            bool(gave[row]),
        )

    return [tuple(key(row) for row in flow) for flow in parts]


def _flow(frames: Frames, rows: Sequence[int], number: int, of: int) -> Flow:
    calls = frames.calls
    whole = list(rows)
    shown = whole[:_MOST_STEPS]
    people = calls["person"].iloc[whole].dropna()
    person = str(people.iloc[-1]) if len(people) else ""
    steps = [_step(frames, row) for row in shown]
    events = frames.events
    begin, end = calls["at"].iloc[shown[0]], calls["at"].iloc[shown[-1]]
    mine = events[(events["at"] >= begin) & (events["at"] <= end) & events["what"].isin(list(_TOLD))]
    if person:
        mine = mine[mine["who"] == person]
        for seq, at_ns, what, details in zip(
            *(mine[name].tolist() for name in ("seq", "at", "what", "details")), strict=True
        ):
            why = _why(details)
            steps.append(Step(seq, at_ns, "", "", f"{_TOLD[what]}{why}", what == "consent-given"))
    steps.sort(key=lambda step: (step.at_ns, step.seq))
    return Flow(number, of, person, tuple(steps), len(whole) - len(shown))


def _why(details: str) -> str:
    try:
        told = json.loads(details)
    except ValueError:
        return ""
    why = told.get("why") or told.get("reason") if isinstance(told, dict) else None
    return f" ({why})" if isinstance(why, str) else ""


def _step(frames: Frames, row: int) -> Step:
    call = frames.calls.iloc[row]

    def text(name: str) -> str:
        value = call[name]
        return value if isinstance(value, str) else ""

    grant, scopes = text("oauth:grant_type"), text("oauth:scopes_granted")
    request = f"{text('method')} {text('path')}"
    status = int(call["status"])
    answer = str(status) if status else "no answer"
    if call["kind"] == "token":
        pkce = f", PKCE {text('oauth:pkce_method')}" if text("oauth:pkce_method") else ""
        request = f"token: {grant or 'no grant'}{pkce}"
        if text("oauth:issued_token"):
            answer += ", access and refresh token" if text("oauth:issued_refresh_token") else ", access token"
            answer += f" for {scopes}" if scopes else ""
    elif call["kind"] == "authorize" and text("path") == AUTHORIZE and text("method") == "GET":
        asked = [text("oauth:pkce_method") and f"PKCE {text('oauth:pkce_method')}"]
        asked.append("state" if text("oauth:state") else "no state")
        request += f" ({', '.join(filter(None, asked))})"
    if text("oauth:code") and call["kind"] == "authorize":
        answer += ", code"
    if text("error"):
        answer += f" {text('error')}"
    good = 0 < status < 400 and not text("error")
    seq, at_ns, sender = int(call["seq"]), int(call["at"]), str(call["actor"])
    is_api = bool(call["kind"] == "api")
    return Step(seq, at_ns, sender if sender in _LANES else "app", request, answer, good, is_api)


def _text(text: str, most: int) -> str:
    shown = visible(text)
    return str(escape(shown if len(shown) <= most else shown[: most - 1] + "…"))
