"""The command line: one command a function, no logic."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quotalab import __version__
from quotalab.errors import FaultError, InputError, QuotalabError, ScenarioError
from quotalab.workspace import Workspace

if TYPE_CHECKING:
    from quotalab.rules import Verdict

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: PASS, WARN or REVIEW; 1: FAIL (or, with --strict, WARN and REVIEW too); 2: a wrong call or broken
    input; 3: a fault of quotalab's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character is no reason to fail
            stream.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    before, after = (
        (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    )
    options = _parser().parse_args(before)
    options.locust = after
    options.given = given
    if after and options.command != "run":
        print("quotalab: only run takes Locust options after --", file=sys.stderr)
        return 2
    try:
        code: int = options.function(options)
        sys.stdout.flush()
    except QuotalabError as error:
        print(f"quotalab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("quotalab: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except (MemoryError, RecursionError, TypeError, ValueError, LookupError, AttributeError) as error:
        print(
            f"quotalab: a fault of its own: {type(error).__name__}: {' '.join(str(error).split())}",
            file=sys.stderr,
        )
        return FaultError.exit_code
    except OSError as error:  # a full disk, most likely; what was wrong is in the system's words
        print(f"quotalab: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quotalab",
        description="Tell before a provider does whether an app stays inside the provider's limits.",
        epilog="Exit codes: 0 PASS, WARN or REVIEW; 1 FAIL; 2 wrong call or broken input; 3 our own fault.",
    )
    parser.add_argument("--version", action="version", version=f"quotalab {__version__}")
    parser.add_argument(
        "--workspace", type=Path, metavar="DIR", help="the workspace; default: the nearest above"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="simulate, judge, report",
        description="Run a scenario against a sandbox of the provider, in virtual time, and judge it.",
        epilog="Everything after -- goes to Locust: quotalab run SCENARIO -- --tags morning",
        allow_abbrev=False,  # --seeds passes the other options on as they were given
    )
    run.set_defaults(function=_run)
    run.add_argument("scenario", nargs="?", metavar="SCENARIO",
                     help="a locustfile, by name or path (default: the workspace's own)")  # fmt: skip
    run.add_argument("--provider", metavar="P", help="provider profile, NAME, NAME/VARIANT or a file")
    run.add_argument("--traffic", metavar="T", help="traffic profile (default: the scenario's)")
    run.add_argument("--policy", metavar="P", help="policy of the reference integration: polite, naive, ...")
    run.add_argument("--users", type=_count, metavar="N", help="how many people there are")
    run.add_argument(
        "--for", dest="span", default="24h", metavar="SPAN", help="how long, as 90s, 8h, 7d (default: 24h)"
    )
    run.add_argument(
        "--start", metavar="T", help="when it begins, ISO 8601, UTC (default: Monday 2026-01-05)"
    )
    run.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed repeats a run exactly (default: 1)"
    )
    run.add_argument(
        "--seeds", type=_count, metavar="N", help="so many runs, from --seed on, and what they say together"
    )
    run.add_argument(
        "--jobs", type=_count, metavar="N", help="of --seeds, so many at once (default: a CPU each)"
    )
    run.add_argument("--clock", choices=("virtual", "real"), default="virtual", help="default: virtual")
    run.add_argument("--transport", choices=("memory", "socket"),
                     help="how the app reaches the sandbox (default: as the app can)")  # fmt: skip
    run.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                     help="a key of the provider profile, as limits.hourly.limit=50; repeatable")  # fmt: skip
    run.add_argument("--responses", type=Path, metavar="FILE",
                     help="answers that the profile lacks: a HAR file or OpenAPI examples")  # fmt: skip
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="the run folder (default: runs/TIME-SCENARIO-...)"
    )
    run.add_argument("--stall", default="60s", metavar="SPAN",
                     help="real time for which time may stand still (default: 60s)")  # fmt: skip
    run.add_argument("--strict", action="store_true", help="exit 1 for WARN and REVIEW too")
    run.add_argument("--timings", action="store_true", help="print where the time went")

    init = commands.add_parser(
        "init",
        help="plug in an app of your own",
        description="Find the app of a project, add [tool.quotalab] to its pyproject.toml, and write a first "
        "scenario. Nothing of the project is run. On a terminal it asks.",
    )
    init.set_defaults(function=_init)
    init.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR",
                      help="the project (default: here)")  # fmt: skip
    init.add_argument("--app", metavar="KIND=TARGET", help="the app, as asgi=myapp.web:app (default: found)")
    init.add_argument("--provider", metavar="P", help="provider profile (default: temporary-production)")
    init.add_argument("--scenario", metavar="NAME", help="name of the scenario (default: after the app)")
    init.add_argument("--yes", action="store_true", help="ask nothing")
    init.add_argument("--force", action="store_true", help="replace what an earlier init wrote")

    report = commands.add_parser("report", help="judge a run folder again and render it")
    report.set_defaults(function=_report)
    report.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    report.add_argument(
        "other", type=Path, nargs="?", metavar="OTHER", help="another run folder, to show beside the first"
    )
    report.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="with OTHER: where the page of both goes (OTHER/beside.html)",
    )
    report.add_argument(
        "--annotations",
        action="store_true",
        help="print GitHub's annotations too; under GITHUB_ACTIONS that is the default",
    )
    report.add_argument(
        "--rules",
        metavar="IDS",
        help="only these rules or families, as QL2,QL301; then they are printed, and nothing is written",
    )
    report.add_argument("--json", action="store_true", help="print verdict.json instead of the summary")
    report.add_argument("--strict", action="store_true", help="exit 1 for WARN and REVIEW too")

    sandbox = commands.add_parser(
        "sandbox",
        help="serve a provider, for any app in any language",
        description="Serve a sandbox of the provider in real time, until Ctrl-C or SIGTERM ends it.",
    )
    sandbox.set_defaults(function=_sandbox)
    sandbox.add_argument(
        "--provider", required=True, metavar="P", help="provider profile, NAME, NAME/VARIANT or a file"
    )
    sandbox.add_argument("--port", type=_port, default=0, metavar="N", help="default: a free one")
    sandbox.add_argument(
        "--people", type=_count, default=10, metavar="N", help="how many test people there are (default: 10)"
    )
    sandbox.add_argument(
        "--redirect-uri",
        dest="redirect_uris",
        action="append",
        default=[],
        metavar="URI",
        help="where the app takes codes; repeatable (default: http://127.0.0.1/callback)",
    )
    sandbox.add_argument(
        "--consent",
        choices=("ask", "auto"),
        default="ask",
        help="auto: whoever opens the authorize page consents, as the first person or whom login_hint names",
    )
    sandbox.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the provider profile, as limits.hourly.limit=50; repeatable",
    )
    sandbox.add_argument(
        "--out", type=Path, metavar="DIR", help="the run folder (default: runs/TIME-stand-alone-P)"
    )
    sandbox.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="listen there (default: 127.0.0.1)"
    )
    sandbox.add_argument("--allow-remote", action="store_true", help="let others than this machine reach it")
    sandbox.add_argument(
        "--redis", metavar="URL", help="share the state of the limits, as redis://127.0.0.1:6379/0#NAME"
    )
    sandbox.add_argument("--quiet", action="store_true", help="no line for each call")

    _audit_parser(commands)
    _evidence_parser(commands)

    nightly = commands.add_parser(
        "nightly",
        help="the matrix of runs, against its baselines",
        description="Run the matrix in [tool.quotalab.nightly] side by side and compare it with the "
        "baselines. A job that was killed goes on where it stood.",
    )
    nightly.set_defaults(function=_nightly)
    nightly.add_argument(
        "--jobs", type=_count, metavar="N", help="so many runs at once (default: a CPU each)"
    )
    nightly.add_argument(
        "--update-baseline",
        action="store_true",
        help="tonight's runs become what later ones are held against",
    )
    nightly.add_argument(
        "--out", type=Path, metavar="DIR", help="the night's folder (default: runs/nightly/DATE)"
    )

    profiles = commands.add_parser(
        "profiles",
        help="show provider profiles, or check one of your own",
        description="Without a name: list the provider profiles that there are, with their variants.",
    )
    profiles.set_defaults(function=_profiles)
    profiles.add_argument(
        "name", nargs="?", metavar="NAME", help="show one: NAME, NAME/VARIANT or a file; all that it says"
    )
    profiles.add_argument(
        "--check", type=Path, metavar="FILE", help="say whether a profile of your own is valid"
    )

    rules = commands.add_parser(
        "rules",
        help="show the rules, or the page of one",
        description="Without an id: list the rules that there are, bundled and the workspace's own.",
    )
    rules.set_defaults(function=_rules)
    rules.add_argument(
        "id", nargs="?", metavar="ID", help="show one, by its id or its name, or a family's, as QL2"
    )
    rules.add_argument("--markdown", action="store_true", help="all pages as one Markdown document")

    _trace_parser(commands)
    return parser


def _recording_options(parser: argparse.ArgumentParser) -> None:
    """How recorded traffic is to be read."""
    parser.add_argument(
        "--format",
        choices=("common", "combined", "nginx", "alb", "har", "jsonl", "csv"),
        help="default: found from the first lines",
    )
    parser.add_argument(
        "--log-format",
        metavar="TEXT",
        help="of an access log in a format of your own: as nginx's log_format has it, '$remote_addr ...'",
    )
    parser.add_argument("--unit", default="s", help="what numbers as times count: s, ms, us, ns (default: s)")
    parser.add_argument("--origin", metavar="T", help="the moment at which such times are 0 (default: 1970)")


def _audit_parser(commands: Any) -> None:
    audit = commands.add_parser(
        "audit",
        help="judge recorded traffic",
        description="Judge recorded calls to a provider: a HAR file, an access log, CSV or JSON lines, "
        "plain, gzip or zstd. Rules that need a run say NA. It leaves a run folder, as a run does.",
    )
    audit.set_defaults(function=_audit)
    audit.add_argument("file", type=Path, metavar="FILE", help="the recorded traffic")
    audit.add_argument(
        "--provider", required=True, metavar="P", help="provider profile, NAME, NAME/VARIANT or a file"
    )
    _recording_options(audit)
    audit.add_argument(
        "--columns",
        metavar="MAP",
        help="of CSV and JSON lines: time=t,path=url,status=code,person=user_id,...",
    )
    audit.add_argument(
        "--headers",
        metavar="MAP",
        help="of HAR: request headers that tell whose a call is, as person=x-user-id",
    )
    audit.add_argument("--person", metavar="NAME", help="the column or header that tells whose a call is")
    audit.add_argument("--app", default="app", metavar="NAME", help="what to call the app (default: app)")
    audit.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="HOST",
        help="only calls to it: the provider's; repeatable",
    )
    audit.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of the provider profile, as limits.hourly.limit=50; repeatable",
    )
    audit.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: runs/TIME-FILE-P)")
    audit.add_argument("--json", action="store_true", help="print verdict.json instead of the summary")
    audit.add_argument("--strict", action="store_true", help="exit 1 for WARN and REVIEW too")


def _evidence_parser(commands: Any) -> None:
    evidence = commands.add_parser(
        "evidence",
        help="what a provider's review asks, from a run",
        description="Write a ZIP file with what a run can show to a provider's review, or check one.",
    )
    evidence.set_defaults(function=_evidence)
    evidence.add_argument("run", nargs="?", type=Path, metavar="RUN", help="the run folder")
    evidence.add_argument(
        "--for",
        dest="review",
        metavar="NAME",
        help="the review: strava, google, hubspot, zoom, xero, or a file",
    )
    evidence.add_argument("--out", type=Path, metavar="FILE", help="default: RUN's name with -evidence.zip")
    evidence.add_argument("--sign", type=Path, metavar="KEY", help="sign with an Ed25519 private key, PEM")
    evidence.add_argument("--verify", type=Path, metavar="FILE", help="check an evidence file instead")
    evidence.add_argument(
        "--key", type=Path, metavar="KEY", help="of --verify: the public key that must have signed"
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1000000, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:9]) <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 (a free one) to 65535, not {text!r}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from quotalab.clock import RealClock
    from quotalab.run.options import RunOptions, parse_span_ns, parse_start_ns
    from quotalab.run.simulate import simulate
    from quotalab.run.timings import Timings

    if options.seeds is not None:
        return _run_seeds(options)
    if options.jobs is not None:
        raise InputError("--jobs: is for the runs of --seeds N; one run is one process")
    timings = Timings(RealClock())
    workspace = Workspace.find(Path.cwd(), options.workspace)
    asked = RunOptions(
        scenario=options.scenario,
        provider=options.provider,
        traffic=options.traffic,
        policy=options.policy,
        users=options.users,
        span_ns=parse_span_ns("--for", options.span),
        start_ns=parse_start_ns(options.start) if options.start else None,
        seed=options.seed,
        stall_ns=parse_span_ns("--stall", options.stall),
        clock=options.clock,
        transport=options.transport,
        settings=tuple(options.settings),
        responses=options.responses,
        out=options.out,
        locust=tuple(options.locust),
        command=("quotalab", *options.given),
    )
    if asked.start_ns is not None and asked.clock == "real":
        raise InputError("--start: only virtual time can begin when you like; leave it out with --clock real")
    if workspace.settings.get("rules"):  # else pandas is not needed yet
        from quotalab.report import check_workspace_rules

        check_workspace_rules(workspace)
    progress = _live_line if sys.stderr.isatty() else None
    simulated = simulate(asked, workspace, progress=progress, stage_done=timings.done, say=_tell)
    if progress is not None:
        _live_line("")
    for error in simulated.errors:
        print(f"quotalab: the scenario or the app raised {error}", file=sys.stderr)
    for error in simulated.listeners:
        print(f"quotalab: a listener on Locust's events raised {error}", file=sys.stderr)
    from quotalab.report import judge_run, summary

    verdict = judge_run(simulated.folder, workspace, timer=timings.done)
    print(summary(verdict, colour=_wants_colour()))
    _annotate(verdict)
    if options.timings:
        print("\n" + timings.table(asked.span_ns))
    print(f"\n{simulated.folder}")
    if simulated.errors and verdict.verdict == "NA":
        raise ScenarioError("nothing could be judged: all that the scenario did was to raise exceptions")
    if simulated.silent is not None:
        raise ScenarioError(simulated.silent)
    for fault in simulated.faults:
        print(f"quotalab: {fault}", file=sys.stderr)
    if simulated.faults:
        return 3
    # What a listener was to do, such as to check or to write, was not done: no success.
    return verdict.exit_code(strict=options.strict) or (ScenarioError.exit_code if simulated.listeners else 0)


def _init(options: argparse.Namespace) -> int:
    from quotalab.run.starting import InitOptions, init

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not options.yes
    asked = InitOptions(options.folder, options.app, options.provider, options.scenario, options.force)
    started = init(asked, _ask if asks else None)
    for path, text in ((started.pyproject, started.table), (started.scenario, started.text)):
        print(f"{path}\n" + "".join(f"  + {line}".rstrip() + "\n" for line in text.splitlines()))
    for doubt in started.doubts:
        print(f"look at this: {doubt}")
    print(f"a first run: {started.run}")
    return 0


def _ask(question: str, default: str) -> str:
    try:
        return input(f"{question} [{default}]: " if default else f"{question}: ").strip() or default
    except EOFError:
        raise InputError("init: nothing was answered; give options instead, with --yes") from None


def _run_seeds(options: argparse.Namespace) -> int:
    from quotalab.clock import RealClock
    from quotalab.ledger.recording import default_folder
    from quotalab.nightly.seeds import run_seeds
    from quotalab.run.options import scenario_of

    if options.timings:
        raise InputError("--timings: is for one run; leave --seeds out")
    given = options.given[: options.given.index("--")] if "--" in options.given else options.given
    passed = _without(given, ("--seeds", "--seed", "--jobs", "--out"), ("--strict",))
    workspace = Workspace.find(Path.cwd(), options.workspace)
    scenario = options.scenario or scenario_of(workspace)
    folder = options.out or default_folder(RealClock().now_ns(), Path(scenario).stem, "seeds", options.seed)
    told = run_seeds(
        passed,
        range(options.seed, options.seed + options.seeds),
        folder.absolute(),
        jobs=options.jobs or os.cpu_count() or 1,
        cwd=Path.cwd(),
        locust=options.locust,
        strict=options.strict,
        progress=_live_line if sys.stderr.isatty() else None,
    )
    if sys.stderr.isatty():
        _live_line("")
    print(f"{told.text()}\n\n{folder}")
    return told.code


def _nightly(options: argparse.Namespace) -> int:
    from quotalab.clock import RealClock
    from quotalab.nightly.job import night_folder, run_night

    workspace = Workspace.find(Path.cwd(), options.workspace)
    folder = options.out or night_folder(workspace.root, RealClock().now_ns(), again=options.update_baseline)
    live = sys.stderr.isatty()
    night = run_night(
        workspace,
        folder.absolute(),
        jobs=options.jobs or os.cpu_count() or 1,
        updates=options.update_baseline,
        progress=_live_line if live else None,
    )
    if live:
        _live_line("")
    print(f"{night.text}\n\n{folder}")
    return night.code


def _without(given: Sequence[str], valued: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The arguments less some options, of which the `valued` take what follows with them."""
    kept, skips = [], False
    for argument in given:
        if skips or argument in flags:
            skips = False
        elif argument in valued:
            skips = True
        elif argument.partition("=")[0] not in valued:
            kept.append(argument)
    return kept


def _sandbox(options: argparse.Namespace) -> int:
    from quotalab.run.serve import ServeOptions, serve

    asked = ServeOptions(
        provider=options.provider,
        host=options.host,
        allow_remote=options.allow_remote,
        port=options.port,
        people=options.people,
        redirect_uris=tuple(options.redirect_uris),
        consents=options.consent == "auto",
        settings=tuple(options.settings),
        redis=options.redis,
        out=options.out,
        quiet=options.quiet,
        command=("quotalab", *options.given),
    )
    workspace = Workspace.find(Path.cwd(), options.workspace)
    if workspace.settings.get("rules"):
        from quotalab.report import check_workspace_rules

        check_workspace_rules(workspace)
    served = serve(asked, workspace, _say, colour=_wants_colour())
    for fault in served.faults:
        print(f"quotalab: {fault}", file=sys.stderr)
    _say(f"\n{served.folder}\n")
    return 3 if served.faults else 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _wants_colour() -> bool:
    """Colour for people at a terminal who have not asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _live_line(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _annotate(verdict: Verdict, asked: bool = False) -> None:
    """Lines that GitHub's runner takes out of a job's output and shows beside it."""
    if asked or os.environ.get("GITHUB_ACTIONS") == "true":
        from quotalab.report import github_lines

        print("\n".join(github_lines(verdict)))


def _report(options: argparse.Namespace) -> int:
    from quotalab.report import compare_runs, document, judge_run, summary

    workspace = Workspace.find(Path.cwd(), options.workspace)
    if options.other is not None:
        if options.rules or options.json or options.strict or options.annotations:
            raise InputError("report: two runs side by side take no --rules, --json, --strict, --annotations")
        text, path = compare_runs(options.run, options.other, workspace, options.html)
        print(f"{text}\n\n{path}")
        return 0
    if options.html is not None:
        raise InputError("--html: is for two runs; one run's page is report.html in its folder")
    only = [part.strip() for part in options.rules.split(",") if part.strip()] if options.rules else None
    if options.rules and not only:
        raise InputError("--rules: names no rule")
    verdict = judge_run(options.run, workspace, only=only)
    if options.json:
        print(document(verdict), end="")
    else:
        print(summary(verdict, colour=_wants_colour()))
        print(f"\n{options.run}")
        if only is not None:
            print("Only some rules were asked, so nothing in the run folder was changed.")
        _annotate(verdict, options.annotations)
    return verdict.exit_code(strict=options.strict)


def _audit(options: argparse.Namespace) -> int:
    from quotalab.clock import RealClock
    from quotalab.ledger.recording import default_folder
    from quotalab.report import document, summary
    from quotalab.report.auditing import AuditOptions, audit
    from quotalab.run.options import parse_start_ns
    from quotalab.traces import LogFormat
    from quotalab.traces.recorded import RecordingMap

    columns, headers = options.columns, options.headers
    if options.person is not None:
        told = f"person={options.person}"
        is_har = options.format == "har" or options.file.name.lower().endswith((".har", ".har.gz"))
        headers = f"{told},{headers or ''}" if is_har else headers
        columns = columns if is_har else f"{told},{columns or ''}"
    mapped = RecordingMap.parse(
        columns,
        headers,
        unit=options.unit,
        origin_ns=parse_start_ns(options.origin, "--origin") if options.origin else 0,
        hosts=options.host,
    )
    workspace = Workspace.find(Path.cwd(), options.workspace)
    stem = options.file.name.partition(".")[0] or "recording"
    folder = options.out or default_folder(RealClock().now_ns(), stem, Path(options.provider).stem, None)
    asked = AuditOptions(
        file=options.file,
        provider=options.provider,
        out=folder,
        mapped=mapped,
        app=options.app,
        format=options.format,
        log_format=LogFormat.parse(options.log_format) if options.log_format is not None else None,
        settings=tuple(options.settings),
        command=("quotalab", *options.given),
    )
    verdict = audit(asked, workspace)
    print(document(verdict) if options.json else summary(verdict, colour=_wants_colour()))
    if not options.json:
        print(f"\n{folder}")
    return verdict.exit_code(strict=options.strict)


def _evidence(options: argparse.Namespace) -> int:
    from quotalab.report.evidence_seal import Seal, verify

    if options.verify is not None:
        if options.run is not None:
            raise InputError("evidence: give a RUN, or --verify FILE, not both")
        print(verify(options.verify, options.key))
        return 0
    if options.run is None:
        raise InputError("evidence: give a RUN, or --verify FILE")
    if options.key is not None:
        raise InputError("--key: is for --verify; --sign KEY signs")
    from quotalab.profiles.reviews import load_review
    from quotalab.report.evidence import asked_scopes, gather, write_zip
    from quotalab.run.consent_view import consent_view

    workspace = Workspace.find(Path.cwd(), options.workspace)
    review = load_review(workspace, options.review) if options.review is not None else None
    seal = Seal.load(options.sign) if options.sign is not None else None
    provider, client, scopes = asked_scopes(options.run)
    consent = consent_view(provider, client, scopes) if scopes else None
    out = options.out or Path(f"{options.run.resolve().name}-evidence.zip")
    write_zip(gather(options.run, workspace, review, consent), out, seal=seal)
    print(out)
    return 0


def _profiles(options: argparse.Namespace) -> int:
    from quotalab.profiles.describe import checked, profile_list, profile_page
    from quotalab.profiles.loading import load_provider

    if options.check is not None:
        if options.name is not None:
            raise InputError("profiles: give a NAME, or --check FILE, not both")
        verdict, warnings = checked(options.check)
        for warning in warnings:
            print(f"quotalab: warning: {warning}", file=sys.stderr)
        print(verdict)
        return 0
    workspace = Workspace.find(Path.cwd(), options.workspace)
    if options.name is None:
        print(profile_list(workspace))
    else:
        print(profile_page(load_provider(workspace, options.name)))
    return 0


def _rules(options: argparse.Namespace) -> int:
    from quotalab.rules import load_rules
    from quotalab.rules.catalogue import catalogue, rule_list, rule_page

    if options.markdown and options.id is not None:
        raise InputError("rules: give an ID, or --markdown, not both")
    rules = load_rules(Workspace.find(Path.cwd(), options.workspace).rule_files())
    if options.markdown:
        print(catalogue(rules), end="")
    else:
        print(rule_list(rules) if options.id is None else rule_page(rules, options.id))
    return 0


# ---- quotalab trace


def _trace_parser(commands: Any) -> None:
    trace = commands.add_parser(
        "trace",
        help="recorded traffic: import, show, fit",
        description="Recorded traffic: read it from logs, look at it, make traffic profiles of it.",
    )
    steps = trace.add_subparsers(dest="step", metavar="STEP", required=True)

    imports = steps.add_parser(
        "import",
        help="a log becomes a trace",
        description="Read common, combined, nginx or ALB logs, HAR, JSON lines or CSV, plain, gzip or zstd, "
        "and write a trace. Sources and paths are replaced by keyed hashes.",
    )
    imports.set_defaults(function=_trace_import)
    imports.add_argument("file", type=Path, metavar="FILE", help="the recorded traffic")
    imports.add_argument(
        "--out", type=Path, metavar="TRACE", help="the trace (default: FILE's name .parquet)"
    )
    _recording_options(imports)
    imports.add_argument("--columns", metavar="MAP", help="of CSV and JSON lines, as time=t,source=client")
    imports.add_argument("--operations", type=Path, metavar="FILE", help="which requests are which operation")
    imports.add_argument(
        "--key-file", type=Path, metavar="FILE",
        help="key of the pseudonyms, so that two imports agree (default: a new one, kept nowhere)",
    )  # fmt: skip
    imports.add_argument("--plain", action="store_true", help="keep sources and paths in the clear")

    show = steps.add_parser("show", help="the figures of a trace", description="The figures of a trace.")
    show.set_defaults(function=_trace_show)
    show.add_argument("trace", type=Path, metavar="TRACE", help="a trace that import wrote")
    show.add_argument("--zone", default="UTC", metavar="Z", help="time zone of hours and days (default: UTC)")
    show.add_argument("--by-operation", action="store_true", help="count operations: bursts are one")
    show.add_argument("--json", action="store_true", help="print JSON instead of the table")
    show.add_argument("--figure", type=Path, metavar="FILE", help="draw it, as .png or .svg")

    fit = steps.add_parser(
        "fit",
        help="a trace becomes a traffic profile",
        description="Write a traffic profile and hold what it generates against the trace.",
    )
    fit.set_defaults(function=_trace_fit)
    fit.add_argument("trace", type=Path, metavar="TRACE", help="a trace that import wrote")
    fit.add_argument("--out", type=Path, metavar="FILE", help="the profile (default: TRACE's name .toml)")
    fit.add_argument(
        "--as",
        dest="kind",
        choices=("chain", "laws", "resample", "replay"),
        default="chain",
        help="chain and laws travel without the trace, the others need it beside them (default: chain)",
    )
    fit.add_argument("--by-operation", action="store_true", help="fit operations: bursts are one")
    fit.add_argument("--map", action="append", default=[], metavar="THEIRS=OURS",
                     help="our operation for one of the trace's; * is any other; repeatable")  # fmt: skip
    fit.add_argument("--mix", metavar="SHARES", help="draw operations by shares instead, as look=3,add=1")
    fit.add_argument("--people", type=_count, metavar="N", help="how many (default: the trace's sources)")
    fit.add_argument("--seeds", type=int, default=20, metavar="N",
                     help="how many seeds to hold against the trace; 0: none (default: 20)")  # fmt: skip
    fit.add_argument("--figure", type=Path, metavar="FILE", help="draw the comparison, as .png or .svg")


def _trace_import(options: argparse.Namespace) -> int:
    from quotalab.clock import SystemEntropy
    from quotalab.run.options import parse_start_ns
    from quotalab.traces import ColumnMap, LogFormat, import_trace, load_naming

    if options.log_format is not None and (options.format not in (None, "nginx") or options.columns):
        raise InputError("--log-format: is for access logs; leave out --format and --columns")
    key = SystemEntropy().key("pseudonyms")
    if options.key_file is not None:
        if options.plain:
            raise InputError("--key-file: --plain makes no pseudonyms; leave one of them out")
        try:
            key = options.key_file.read_bytes().strip()
        except OSError as error:
            raise InputError(f"--key-file {options.key_file}: cannot be read: {error.strerror}") from None
        if len(key) < 16:
            raise InputError(f"--key-file {options.key_file}: must hold 16 bytes or more")
    columns = ColumnMap.parse(
        options.columns,
        unit=options.unit,
        origin_ns=parse_start_ns(options.origin, "--origin") if options.origin else 0,
    )
    progress = _live_line if sys.stderr.isatty() else None
    name = options.file.name.removesuffix(".gz").removesuffix(".zst")
    out = options.out or Path(Path(name).stem + ".parquet")
    report = import_trace(
        options.file,
        out,
        key=None if options.plain else key,
        format=options.format,
        columns=columns,
        naming=load_naming(options.operations) if options.operations else None,
        log_format=LogFormat.parse(options.log_format) if options.log_format is not None else None,
        progress=progress,
    )
    if progress is not None:
        progress("")
    print(f"{report.told()}\n\n{out}")
    return 0


def _trace_show(options: argparse.Namespace) -> int:
    import json

    from quotalab.traces import read_trace
    from quotalab.traces.measuring import measure
    from quotalab.traces.telling import table

    trace = read_trace(options.trace)
    if options.by_operation:
        trace = trace.by_operation()
    figures = measure(trace, options.zone)
    if options.figure is not None:
        from quotalab.traces.drawing import draw, save

        save(draw([(options.trace.stem, trace)]), options.figure)
    print(json.dumps(figures.to_json(), indent=1) if options.json else table(figures))
    return 0


def _trace_fit(options: argparse.Namespace) -> int:
    from quotalab.traces import read_trace
    from quotalab.traffic.fits import fit, parse_map, parse_mix, written

    out = options.out or Path(options.trace.stem + ".toml")
    trace = read_trace(options.trace)
    fitted = fit(
        trace.by_operation() if options.by_operation else trace,
        os.path.relpath(options.trace.resolve(), out.parent.resolve()),
        kind=options.kind,
        name=out.stem,
        named=parse_map(options.map),
        mix=parse_mix(options.mix),
        people=options.people,
        seeds=options.seeds,
    )
    if options.figure is not None:
        from quotalab.traces.drawing import draw, save

        save(draw(fitted.pictures()), options.figure)
    print(f"{fitted.told()}\n\n{written(fitted, out)}")
    return 0
