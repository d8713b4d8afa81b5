"""Integrations whose log is not what happened."""

import os
from pathlib import Path

from reference_variants import Calendar, reference

from quotalab.reference.call_log import CallLog

CASES = [
    {
        "RULE": "QL701",
        "TOLD": "It logs no call that asks for a further page.",
        "build": "logging_half",
        "RUN": {"users": 20, "for": "3h", "app": {"log": {"file": "logs/calls.jsonl"}}},
    },
    {
        "RULE": "QL702",
        "TOLD": "Its log does not say for whom a call was.",
        "build": "logging_nobody",
        "RUN": {"users": 20, "for": "3h", "app": {"log": {"file": "logs/calls.jsonl"}}},
    },
    {
        "RULE": "QL703",
        "TOLD": "It logs every call twice.",
        "build": "logging_twice",
        "RUN": {"users": 20, "for": "3h", "app": {"log": {"file": "logs/calls.jsonl"}}},
    },
]


class LoggingHalf(Calendar):
    """Further pages are fetched by a library that logs nothing."""

    def _note(self, person, request, answer, wait_ns):
        if "page=" not in request.url:
            super()._note(person, request, answer, wait_ns)


class LoggingNobody(Calendar):
    def _note(self, person, request, answer, wait_ns):
        self._log.add(None, None, request, answer, wait_ns)


class LoggingTwice(Calendar):
    def _note(self, person, request, answer, wait_ns):
        super()._note(person, request, answer, wait_ns)
        super()._note(person, request, answer, wait_ns)


def _reference(access, kind):
    app = reference(access, kind)
    app._log = CallLog(Path(os.environ["MATRIX_WORKSPACE"]) / "logs" / "calls.jsonl", app._clock)
    return app


def logging_half(access):
    return _reference(access, LoggingHalf)


def logging_nobody(access):
    return _reference(access, LoggingNobody)


def logging_twice(access):
    return _reference(access, LoggingTwice)
