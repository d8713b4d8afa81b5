"""People who open an event every few minutes."""

from locust import constant, task

from quotalab.scenario import Person


class Steady(Person):
    """Someone who opens one event after the other."""

    policy = "polite"
    population = 3
    wait_time = constant(300)

    def __init__(self, environment: object) -> None:
        super().__init__(environment)
        self._opened = 0

    @task
    def open_event(self) -> None:
        self._opened += 1
        with self.asking("open_event", within_s=60) as asked:
            self.app.event(self.name, str(self._opened), self.patience(asked))
