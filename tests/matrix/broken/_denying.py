"""People who say no, in a browser that goes wherever the app sends it."""

from locust import constant, task

from quotalab.scenario import Person


class Denier(Person):
    """Someone who refuses five times, and closes the window."""

    policy = "polite"
    population = 3
    wait_time = constant(7200)

    def connect(self) -> None:
        address = self.begin_consent()
        for _ in range(5):
            browser = self.stage.browser(self.name)
            answer = browser.visit(address, self.stage.callback, {"decision": "deny"})
            address = self.app.connected(answer)

    @task
    def look(self) -> None:
        with self.asking("look_at_week", within_s=60) as asked:
            self.app.week(self.name, self.patience(asked))
