"""Two hundred people hammer one shared quota, and wait as long as they are told to when they are refused.

quotalab run overload
quotalab run overload --set limits.hourly.kind=fixed_window
"""

from locust import constant, task

from quotalab.scenario import Person


class Hammerer(Person):
    """Someone who always wants one more event."""

    policy = "obedient"
    population = 200
    wait_time = constant(1)

    @task
    def hammer(self) -> None:
        with self.asking("open_event", within_s=7 * 24 * 3600) as asked:
            self.app.event(self.name, "1", self.patience(asked))
