"""The scenario of a function under test: the first person's day is one call of it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from gevent.event import Event
from locust import constant, task

from quotalab.scenario import Person
from quotalab.testing import child
from quotalab.testing.given import Given
from quotalab.traffic import person_name


class Caller(Person):
    """Whoever calls the function; the others are only there."""

    wait_time = constant(1)

    @task
    def call(self) -> None:
        people = tuple(person_name(number + 1) for number in range(child.asked()["people"]))
        if self.name == people[0]:
            asked = child.asked()
            try:
                text = json.dumps({"returned": self._called(people, asked["arguments"])})
            except Exception:
                text = json.dumps({"raised": traceback.format_exc()})
            Path(asked["result"]).write_text(text, encoding="utf-8")
        Event().wait()  # else Locust would call it again

    def _called(self, people: tuple[str, ...], arguments: list[Any]) -> Any:
        given = Given(self.stage, people)
        try:
            return child.function()(given, *arguments)
        finally:
            given.close()
