"""Locust's own options after ``--``: kept with Locust's meaning, or refused with a reason."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
from collections.abc import Sequence
from typing import Any

from quotalab.errors import InputError

__all__ = ["environment_for", "processes_of"]

_KEPT = {"tags", "exclude_tags", "stop_timeout", "loglevel", "processes"}
_REFUSED = {
    "num_users": "the population is --users",
    "spawn_rate": "people come as the traffic plans them",
    "run_time": "the span is --for",
    "locustfile": "the scenario is the first argument",
    "headless": "a run has no web page; it is always headless",
    "host": "everything goes to the sandbox",
    "csv_prefix": "the run folder's ledger has every call and operation",
    "html_file": "the run folder has report.html",
    "json": "the run folder has verdict.json",
    "json_file": "the run folder has verdict.json",
    **dict.fromkeys(
        ("master", "worker", "expect_workers", "expect_workers_max_wait"),
        "a run starts its workers itself: --processes",
    ),
    **dict.fromkeys(("autostart", "autoquit", "web_host", "web_port"), "a run has no web page"),
}


def processes_of(arguments: Sequence[str], clock: str) -> int:
    """How many workers the options after ``--`` want; 0: all is in this process. Raises `InputError`."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--processes", type=int, default=0)
    try:
        wanted: int = parser.parse_known_args(list(arguments))[0].processes
    except argparse.ArgumentError as error:
        raise InputError(f"Locust options after --: {error}") from None
    if wanted and clock == "virtual":
        raise InputError(
            "Locust option --processes: virtual time is one process; leave it out, or add --clock real"
        )
    if wanted < -1:
        raise InputError(
            f"Locust option --processes: must be a number of processes, or -1 for one a CPU, not {wanted}"
        )
    return wanted if wanted >= 0 else os.cpu_count() or 1


def environment_for(classes: Sequence[type[Any]], arguments: Sequence[str]) -> Any:
    """A Locust environment for `classes`, under the options given after ``--``.

    Raises `InputError` for an option that Locust does not know or that a run cannot keep.
    """
    import locust
    from locust.argument_parser import get_parser
    from locust.env import Environment

    parser = get_parser(default_config_files=[])
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = parser.parse_args(list(arguments))
            defaults = parser.parse_args([])
    except SystemExit:
        reason = said.getvalue().strip().splitlines()[-1:] or ["they cannot be read"]
        raise InputError(
            f"Locust options after --: {reason[0].partition('error: ')[2] or reason[0]}"
        ) from None
    changed = {name for name, value in vars(options).items() if value != vars(defaults)[name]}
    flags = {
        action.dest: max(action.option_strings, key=len, default=action.dest) for action in parser._actions
    }
    for name in sorted(changed & flags.keys() - _KEPT):
        flag = flags[name]
        why = _REFUSED.get(name, "means nothing in a run")
        raise InputError(f"Locust option {flag}: {why}")
    tags, without = set(options.tags or ()), set(options.exclude_tags or ())
    for kept in classes:
        marks: list[set[str]] = [getattr(one, "locust_tag_set", set()) for one in kept.tasks]
        if not any((not tags or mark & tags) and not mark & without for mark in marks):
            raise InputError(f"Locust options after --: no task of {kept.__name__} is left by the tags given")
    # What people's tasks raise is counted and told at the end; a traceback each time would bury it.
    logging.getLogger("locust").setLevel(options.loglevel if "loglevel" in changed else logging.CRITICAL)
    environment = Environment(
        user_classes=list(classes),
        events=locust.events,  # on which a locustfile's own listeners are
        tags=options.tags,
        exclude_tags=options.exclude_tags,
        parsed_options=options,
        catch_exceptions=True,
    )
    if options.stop_timeout:
        environment.stop_timeout = float(options.stop_timeout)
    return environment
