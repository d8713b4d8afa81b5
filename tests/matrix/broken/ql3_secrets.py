"""Integrations that leave secrets where they can be read."""

import json
import os
from pathlib import Path

from reference_variants import Calendar, reference

CASES = [
    {
        "RULE": "QL320",
        "TOLD": "It keeps tokens in a plain JSON file.",
        "build": "keeping_them_plain",
        "RUN": {"users": 10, "for": "3h", "app": {"files": ["kept/*.json"]}},
    },
    {
        "RULE": "QL321",
        "TOLD": "It logs the address that people come back with, code and all.",
        "build": "logging_the_callback",
        "RUN": {"users": 10, "for": "3h", "app": {"files": ["logs/*.log"]}},
    },
]


def _file(name):
    path = Path(os.environ["MATRIX_WORKSPACE"]) / name
    path.parent.mkdir(exist_ok=True)
    return path


class KeepingThemPlain(Calendar):
    """Beside the encrypted store lies a readable copy."""

    def connected(self, callback):
        person = super().connected(callback)
        tokens = self._authorizer._store.get(person)
        _file("kept/tokens.json").write_text(json.dumps({person: tokens.refresh_token}))
        return person


class LoggingTheCallback(Calendar):
    """Every request of a browser is logged as it came."""

    def connected(self, callback):
        with _file("logs/web.log").open("a") as log:
            log.write(f"GET {callback}\n")
        return super().connected(callback)


def keeping_them_plain(access):
    return reference(access, KeepingThemPlain)


def logging_the_callback(access):
    return reference(access, LoggingTheCallback)
