"""Secrets where none may stand: what the search at the end of a run found in the app's files and in ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from quotalab.frames import Frames
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule
from quotalab.rules.times import count

_NOT_NAMED = "no file of the app was searched: name them under [tool.quotalab.app] files"


@rule("QL320", "token-at-rest", unit="places")
def token_at_rest(frames: Frames) -> Judgement:
    """A token, a code or the client secret stands readable in a file that the app keeps.

    ## What it checks
    At the end of a run every secret that the sandbox issued or was shown (access and refresh tokens,
    authorization codes, code verifiers, the client secret) is looked for in the files that
    `[tool.quotalab.app] files` names and that the run changed, as it is, percent-encoded and in base64. Any
    is FAIL, with the file and the line; the secret itself is written nowhere. Logs are QL321's: files that
    end in .log, .jsonl, .ndjson, .logfmt, .out or .err, or lie in a folder called log or logs. The reference
    integration's token store is always searched. NA where no such file was there to be searched.

    ## Why it matters
    Who reads a backup or a lost disk acts as every person in it for as long as the refresh tokens live.

    ## Example
    `state/tokens.json` holds `{"p00001": {"refresh_token": "..."}}`.

    ## What to do instead
    Encrypt tokens under a key that lies elsewhere (a key service, the system's key ring), and write nothing
    that is needed for a minute only, such as codes and verifiers.

    ## Source
    RFC 6819, sections 5.1.4.1 and 5.3.3 (protection of stored credentials); Google, "Best
    Practices" for OAuth 2.0, "Handle client credentials securely" and "Handle user tokens securely"
    (developers.google.com/identity/protocols/oauth2/resources/best-practices).
    """
    return _judge(frames, "state", "encrypt tokens at rest, under a key that lies elsewhere")


@rule("QL321", "token-in-log", unit="places")
def token_in_log(frames: Frames) -> Judgement:
    """A token, a code or the client secret stands readable in a log of the app's.

    ## What it checks
    As QL320, in logs: `[tool.quotalab.app] log` and those of `files` that are logs by their names, from where
    they ended before the run, and in what the app has printed. NA where nothing was there to be searched.

    ## Why it matters
    Logs go where databases do not: to collectors, to support, into tickets. They are kept for years and read
    by many.

    ## Example
    `DEBUG POST /oauth/token grant_type=refresh_token&refresh_token=...`

    ## What to do instead
    Log no header, no body and no query of a call that carries credentials; log a hash of the token where one
    has to be told from another.

    ## Source
    RFC 6750, section 5.3 (safeguard bearer tokens; web servers log addresses); OWASP Logging Cheat Sheet,
    "Data to exclude".
    """
    return _judge(frames, "log", "log no header, body or query that carries credentials")


@rule("QL322", "secret-in-own-output", unit="places")
def secret_in_own_output(frames: Frames) -> Judgement:
    """A secret of the run stands in what quotalab itself has written: a fault of quotalab's.

    ## What it checks
    The same secrets, in the same forms, in the run folder: the ledger's tables and the inputs, before the run
    is closed. Reports are made of the ledger alone, without knowledge of any secret. Very large ledgers are
    searched to a part, and the note says so.

    ## Why it matters
    Run folders are passed on: to colleagues, into CI, to providers as evidence.

    ## Example
    A client puts its token into a path, and the ledger has the path as it came.

    ## What to do instead
    Report it: no app can be written so that this is its fault. Delete the run folder.

    ## Source
    RFC 6750, section 5.3; quotalab's own promise that no raw secret is written.
    """
    events = _events(frames, "own-output-searched")
    if not events:
        return Judgement("NA", threshold=0.0, note="what quotalab wrote was not searched in this run")
    told = events[-1]
    if not told["found"] and not len(frames.calls):
        return Judgement("NA", threshold=0.0, note="no call was made, so there was little to search")
    findings = tuple(
        Finding(f"A secret ({one['kind']}, {one['encoding']}) stands in {one['file']}.", None)
        for one in _events(frames, "secret-in-own-output")
    )
    note = f"{_of(told['secrets'])} looked for in {told['tables']} tables and {told['inputs']} other files"
    if not told["whole"]:
        note += "; the ledger is so large that it was searched to a part"
    verdict = "FAIL" if told["found"] else "PASS"
    untold = max(0, int(told["found"]) - len(findings))
    return Judgement(verdict, float(told["found"]), 0.0, findings, note=note, untold=untold)


def _judge(frames: Frames, place: str, remedy: str) -> Judgement:
    searched = _events(frames, "secrets-searched")
    if not searched:
        return Judgement("NA", threshold=0.0, note=_NOT_NAMED)
    told = searched[-1]
    files = int(told["logs" if place == "log" else "state"])
    note = f"{_of(told['secrets'])} looked for in {count(files, 'file')}"
    if told["secrets_left_out"]:
        note += f"; {told['secrets_left_out']:,} more were too many to be looked for"
    skipped = [f"{one['file']} {one['why']}" for one in told["skipped"]]
    if skipped:
        note += f"; not searched: {', '.join(skipped[:3])}"
        if told["skipped_total"] > 3:
            note += f" and {told['skipped_total'] - 3:,} more"
    hits = [one for one in _events(frames, "secret-found") if one["place"] == place]
    if not hits and not files:
        kind = "log" if place == "log" else "file beside the logs"
        return Judgement("NA", threshold=0.0, note=f"no {kind} of the app was there to be searched; {note}")
    if not hits:
        return Judgement("PASS" if sum(told["secrets"].values()) else "NA", 0.0, 0.0, note=note)
    findings = []
    table = pd.DataFrame(hits)
    for _, mine in table.groupby(["file", "kind", "encoding"], sort=False):
        file, kind, encoding = mine.iloc[0][["file", "kind", "encoding"]]
        lines = sorted({int(line) for line in mine["line"] if line})
        if lines:
            where = f"in line {', '.join(f'{line:,}' for line in lines[:5])}" + (
                " ..." if len(lines) > 5 else ""
            )
        else:
            where = "in its name"
        times = f"{len(mine):,} times, " if len(mine) > 1 else ""
        findings.append(Finding(f"{file} holds a secret ({kind}, {encoding}) {times}{where}.", None))
    untold = max(0, len(findings) - MOST_FINDINGS)
    return Judgement(
        "FAIL", float(len(hits)), 0.0, tuple(findings[:MOST_FINDINGS]), remedy, note=note, untold=untold
    )


def _events(frames: Frames, what: str) -> list[Mapping[str, Any]]:
    events = frames.events
    return [json.loads(text) for text in events["details"][(events["what"] == what).to_numpy()]]


def _of(kinds: Mapping[str, int]) -> str:
    """``310 secrets (1 client secret, ...)``."""
    each = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    return f"{count(sum(kinds.values()), 'secret')} ({each})" if kinds else "no secret"
