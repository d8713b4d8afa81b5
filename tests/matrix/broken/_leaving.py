"""People who use the app for a while, and then end the connection."""

from locust import task

from quotalab.scenario import Person


class Leaver(Person):
    """Someone who looks once, and disconnects an hour later."""

    policy = "polite"
    population = 5

    @task
    def look_and_leave(self) -> None:
        with self.asking("look_at_week", within_s=60) as asked:
            self.app.week(self.name, self.patience(asked))
        self.stage.clock.sleep_ns(3_600 * 10**9)
        self.disconnect()
        self.stage.clock.sleep_ns(86_400 * 10**9)
