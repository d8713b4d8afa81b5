"""Evidence for a provider's review: figures, demonstrations and redacted logs of a run, in one ZIP file.

The same run gives the same bytes: entries are stored as they are, in order of their names, with a fixed date.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from quotalab.errors import InputError
from quotalab.frames import Frames, load
from quotalab.profiles.reviews import Question, Review
from quotalab.report.evidence_seal import MANIFEST, PUBLIC, SIGNATURE, Seal, manifest
from quotalab.report.judging import document
from quotalab.report.summary import limit_in_words, sentences
from quotalab.report.text import visible
from quotalab.rules import Verdict, judge, load_rules
from quotalab.rules.grants import Scopes, scopes_of
from quotalab.rules.times import clock_time, count, duration, iso, share
from quotalab.workspace import Workspace

__all__ = ["Evidence", "asked_scopes", "gather", "write_zip"]

_DATE = (1980, 1, 1, 0, 0, 0)
_MOST_LOG_ROWS = 10_000
_MOST_REFUSALS = 12
_MOST_FLOW = 12

CANNOT = (
    "The provider's own systems took no part: limits, answers and latency are those of a profile, which says "
    "of each figure where it is from.",
    "How many people will come, and what they will do, is the traffic of the scenario; real people may "
    "differ.",
    "What the app does that the scenario never asked of it was not seen.",
    "How the app stores tokens was looked at only as far as the rules of family QL3 say; brand, policies and "
    "contracts were not looked at.",
)
CAN = (
    "Each call that the app made reached the sandbox, was decided and was written down; none is left out.",
    "The app's real code made them: its HTTP library, its backoff, its token handling.",
    "What a limit counted was counted twice, by the sandbox and again from the calls; both agree, or the "
    "verdict says that they do not.",
)
RECORDED = (
    "The calls were recorded elsewhere and brought as a file: nobody of quotalab saw them happen, and what "
    "the recording lacks is not known."
)


@dataclass(frozen=True)
class Evidence:
    """The files of a ZIP, by name."""

    files: Mapping[str, bytes]
    run_sha256: str
    """The ledger's, over its canonical rows."""


def asked_scopes(folder: Path) -> tuple[Any, str, tuple[str, ...]]:
    """The provider of the run in `folder`, its client, and the scopes that were asked for."""
    frames = load(folder)
    scopes = frames.once(scopes_of)
    client = scopes[0].client if scopes else "the app"
    asked = frozenset().union(*(one.asked for one in scopes)) & frames.provider.scopes.keys()
    return frames.provider, client, tuple(one for one in frames.provider.scopes if one in asked)


def gather(
    folder: Path, workspace: Workspace, review: Review | None, consent: Mapping[str, bytes] | None = None
) -> Evidence:
    """What the run in `folder` can show. `consent` are files of the consent page. Raises `InputError`."""
    frames = load(folder)
    if not len(frames.calls):
        raise InputError(f"{folder}: the run has no calls, so there is nothing to show")
    verdict = judge(frames, load_rules(workspace.rule_files()))
    facts = _Facts(frames, verdict)
    files = {f"consent/{name}": data for name, data in (consent or {}).items()}
    files |= {
        "verdict.json": document(verdict).encode(),
        "usage.csv": _csv(facts.usage),
        "days.csv": _csv(facts.days),
        "routes.csv": _csv(facts.routes),
        "backoff.csv": _csv(facts.backoff),
        "scopes.csv": _csv(facts.scopes),
        "tokens.csv": _csv(facts.tokens),
        "flow.csv": _csv(facts.flow),
        "calls.csv": _csv(facts.log),
    }
    files["index.html"] = _page(facts, review, files).encode()
    return Evidence(files, frames.run.ledger_sha256 or "")


def write_zip(evidence: Evidence, out: Path, *, seal: Seal | None = None) -> None:
    """Write the ZIP, with the manifest and, where there is a `seal`, its signature. Raises `InputError`."""
    listed = manifest(evidence.files, evidence.run_sha256)
    files = {**evidence.files, MANIFEST: listed}
    if seal is not None:
        files |= {SIGNATURE: seal.sign(listed), PUBLIC: seal.public}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    part = out.with_name(out.name + ".part")
    try:
        part.write_bytes(data.getvalue())
        part.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}") from error


Rows = list[dict[str, Any]]


class _Facts:
    """The tables, as rows of texts and numbers."""

    def __init__(self, frames: Frames, verdict: Verdict) -> None:
        self.frames, self.verdict = frames, verdict
        api = frames.api_calls
        self.api = api
        refused = api["limit"].notna()
        good = ~refused & (api["status"] < 400)
        self.success = float(good.mean()) if len(api) else None
        self.limit_errors = float(refused.mean()) if len(api) else None
        self.usage: Rows = [
            {
                "limit": use.limit.name,
                "in words": limit_in_words(use),
                "allowed": use.number,
                "most asked for": use.peak_asked,
                "when": "" if use.peak_at_ns is None else iso(use.peak_at_ns),
                "share": share(use.utilisation),
                "refused": use.refused,
            }
            for use in verdict.limits
        ]
        day = pd.to_datetime(api["at"]).dt.strftime("%Y-%m-%d")
        self.days: Rows = [
            {"day (UTC)": str(name), "calls": len(rows), **_shares(rows)} for name, rows in api.groupby(day)
        ]
        route = api["route"].astype(object).where(api["route"].notna(), "(none of the profile's)")
        self.routes: Rows = [
            {"route": str(name), "calls": len(rows), **_shares(rows)} for name, rows in api.groupby(route)
        ]
        self.backoff = _backoff(frames)
        self.scopes = _scopes(frames)
        self.tokens = _tokens(frames)
        self.flow = _flow(frames)
        self.log = _log(frames, np.arange(min(len(frames.calls), _MOST_LOG_ROWS)))


def _shares(rows: pd.DataFrame) -> dict[str, Any]:
    refused = rows["limit"].notna()
    failed = ~refused & (rows["status"] >= 400)
    return {
        "refused by limits": int(refused.sum()),
        "other errors": int(failed.sum()),
        "success": share(float((~refused & ~failed).mean())),
        "limit errors": share(float(refused.mean())),
    }


def _log(frames: Frames, rows: Any) -> Rows:
    """Calls as the ledger has them: no header, no query, and hashes where a token was."""
    calls = frames.calls.iloc[rows]
    texts = {
        name: calls[name].astype(object).where(calls[name].notna(), "").tolist()
        for name in ("kind", "person", "operation", "method", "path", "route", "limit", "error")
    }
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=-1).tolist()
    return [
        {
            "seq": seq,
            "at": clock_time(at, decimals=3),
            **{name: texts[name][i] for name in texts},
            "status": status,
            "Retry-After": "" if promise[i] < 0 else duration(promise[i]),
        }
        for i, (seq, at, status) in enumerate(
            zip(*(calls[name].tolist() for name in ("seq", "at", "status")), strict=True)
        )
    ]


def _backoff(frames: Frames) -> Rows:
    """Refusals, spread over the run, each with what the same operation or person asked next of the route."""
    calls = frames.calls
    refused = np.flatnonzero(calls["limit"].notna() & (calls["kind"] == "api"))
    if len(refused) > _MOST_REFUSALS:
        refused = refused[np.linspace(0, len(refused) - 1, _MOST_REFUSALS).astype(np.int64)]
    at, done = calls["at"].to_numpy(), calls["done"].to_numpy()
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=-1)
    rows: Rows = []
    for row in refused.tolist():
        one = calls.iloc[row]
        by = "operation" if isinstance(one["operation"], str) else "person"
        same = (calls[by] == one[by]).to_numpy() & (calls["route"] == one["route"]).to_numpy()
        same &= (np.arange(len(calls)) > row) & (at >= done[row])
        then = int(np.argmax(same)) if same.any() else -1
        waited = None if then < 0 else int(at[then] - at[row])
        kept = "" if waited is None or promise[row] < 0 else "yes" if waited >= promise[row] else "no"
        rows.append(
            {
                "call": int(one["seq"]),
                "at": clock_time(int(one["at"]), decimals=3),
                "limit": str(one["limit"]),
                "status": int(one["status"]),
                "promised": "nothing" if promise[row] < 0 else duration(int(promise[row])),
                "then": f"no call of the same {by} to the route"
                if waited is None
                else f"called again by {by}",
                "after": "" if waited is None else duration(waited),
                "promise kept": kept,
                "answered": "" if then < 0 else int(calls["status"].iloc[then]),
            }
        )
    return rows


def _scopes(frames: Frames) -> Rows:
    """Each scope: asked, granted, used, and what it was used for."""
    provider, rows = frames.provider, []
    routes_of = {
        scope: [route.name for route in provider.routes if scope in route.scopes] for scope in provider.scopes
    }
    called = set(frames.api_calls.loc[frames.api_calls["limit"].isna(), "route"].dropna().unique())
    clients: tuple[Scopes, ...] = frames.once(scopes_of)
    for one in clients:
        for scope in sorted(one.asked | one.granted | one.used):
            why = [route for route in routes_of.get(scope, ()) if route in called]
            rows.append(
                {
                    "client": one.client,
                    "scope": scope,
                    "asked": _yes(scope in one.asked),
                    "granted": _yes(scope in one.granted),
                    "used": _yes(scope in one.used),
                    "the provider's words": provider.scopes.get(scope, ""),
                    "needed by": ", ".join(why) or "no route that was called",
                }
            )
    return rows


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _tokens(frames: Frames) -> Rows:
    calls = frames.calls
    grants = calls["oauth:grant_type"]
    issued = calls["oauth:issued_token"].notna()
    rejected = calls["kind"].eq("api") & calls["token_state"].isin(("expired", "revoked", "unknown"))
    figures = {
        "people": int(calls["person"].nunique()),
        "access tokens issued": int(issued.sum()),
        "by authorization code": int((issued & (grants == "authorization_code")).sum()),
        "by refresh": int((issued & (grants == "refresh_token")).sum()),
        "refreshes refused": int(((grants == "refresh_token") & (calls["status"] >= 400)).sum()),
        "tokens revoked by the app": int((calls["kind"] == "revoke").sum()),
        "calls with a token that was expired, revoked or unknown": int(rejected.sum()),
        "calls with a token in the address": int(calls["token_at"].eq("query").sum()),
        "consents with PKCE": int(calls["oauth:code_challenge"].notna().sum()),
    }
    return [{"what": what, "number": number} for what, number in figures.items()]


def _flow(frames: Frames) -> Rows:
    """The first calls of the person whose way began first: consent, token, API."""
    calls = frames.calls
    person = calls["person"].astype(object)
    known = np.flatnonzero(person.notna())
    if not len(known):
        return _log(frames, np.arange(min(len(calls), _MOST_FLOW)))
    begun = np.flatnonzero(person.notna() & calls["oauth:code"].notna())
    first = int(begun[0]) if len(begun) else int(known[0])
    mine = (person == person.iloc[first]).to_numpy(copy=True)
    operation = calls["operation"]  # what came before the provider knew whose call it is
    if isinstance(operation.iloc[first], str):
        mine |= (operation == operation.iloc[first]).to_numpy()
    return _log(frames, np.flatnonzero(mine)[:_MOST_FLOW])


def _csv(rows: Rows) -> bytes:
    """Rows as CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown


def _page(facts: _Facts, review: Review | None, files: Mapping[str, bytes]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    frames, verdict = facts.frames, facts.verdict
    logged = len(facts.log)
    sections: Sequence[tuple[str, str, str, Rows]] = (
        ("usage", "Use of each limit", "Most that was asked for in any window, and when.", facts.usage),
        ("errors", "Use by day", "Calls to the API, and how they ended.", facts.days),
        ("routes", "Use by route", "Calls to the API by the profile's routes.", facts.routes),
        ("backoff", "Backoff", "Refusals, spread over the run, and what the app did next.", facts.backoff),
        ("scopes", "Scopes", "Asked for, granted, used, and by which routes.", facts.scopes),
        ("tokens", "Tokens", "What the app did with tokens. The ledger knows them as hashes.", facts.tokens),
        ("flows", "A sample flow", "The first calls of one person.", facts.flow),
    )
    text: str = environment.get_template("evidence.html.jinja").render(
        title=f"Evidence: {verdict.run['scenario']} against {frames.provider.title}",
        run=frames.run,
        verdict=verdict,
        sentences=sentences(verdict),
        span=duration(frames.span_ns[1] - frames.span_ns[0]),
        calls=count(len(frames.calls), "call"),
        success="not measured" if facts.success is None else share(facts.success),
        limit_errors="not measured" if facts.limit_errors is None else share(facts.limit_errors),
        review=review,
        answers=[] if review is None else [_answer(facts, one) for one in review.questions],
        sections=sections,
        consent=sorted(name for name in files if name.startswith("consent/")),
        can=() if frames.is_recorded else CAN,
        cannot=(RECORDED, *CANNOT[:1]) if frames.is_recorded else CANNOT,
        log=f"{logged:,} of {count(len(frames.calls), 'call')}, the first",
    )
    return text


def _backoff_said(rows: Rows) -> str:
    if not rows:
        return "No call was refused in this run, so it shows no backoff: a run that meets refusals would."
    kept = [row["promise kept"] for row in rows]
    silent = kept.count("")
    return (
        f"Of {count(len(kept), 'refusal')} shown, {kept.count('yes')} kept the wait that was promised, "
        f"{kept.count('no')} did not, and for {silent} no wait was promised or nothing was asked again."
    )


def _answer(facts: _Facts, question: Question) -> dict[str, Any]:
    """What the evidence says to a question; where it says nothing, that."""
    said = {
        "people": "Nothing here answers this: the app's makers must.",
        "consent": "See the consent page and the scopes.",
        "logs": "See calls.csv.",
    }.get(question.answer, "See below.")
    if question.answer == "errors":
        success = "not measured" if facts.success is None else share(facts.success)
        said = f"{success} of the calls to the API succeeded."
    if question.answer == "backoff":
        said = _backoff_said(facts.backoff)
    if question.answer == "usage":
        said = sentences(facts.verdict)[1]
    if question.answer == "scopes":
        unused = [row["scope"] for row in facts.scopes if row["asked"] == "yes" and row["used"] == "no"]
        said = f"Asked for and not used in this run: {', '.join(unused) or 'none'}."
        if not facts.scopes:
            said = "No scope was asked for in this run."
    met = []
    for least, most, value in (
        (question.least_success, None, facts.success),
        (None, question.most_limit_errors, facts.limit_errors),
    ):
        if value is not None and least is not None:
            met.append(
                f"{share(value)}, asked for is {share(least)}: {'met' if value >= least else 'not met'}"
            )
        if value is not None and most is not None:
            met.append(f"{share(value)}, allowed is {share(most)}: {'met' if value <= most else 'not met'}")
    where = question.answer
    return {
        "question": question,
        "said": " ".join([*(f"{one}." for one in met), *(() if met else (said,))]),
        "to": None if where in ("people", "logs") else "consent" if where == "consent" else where,
        "read": "" if question.source.read is None else question.source.read.isoformat(),
    }
