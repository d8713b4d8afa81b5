"""People who allow the app to read, and not to write."""

from locust import constant, task

from quotalab.scenario import Person


class Unticker(Person):
    """Someone who leaves out the last of the scopes, and later presses the button that needs it."""

    policy = "polite"
    population = 5
    wait_time = constant(600)

    def connect(self) -> None:
        answer = self.stage.browser(self.name).visit(
            self.begin_consent(), self.stage.callback, consider=lambda boxes: boxes[:-1]
        )
        self.deliver(answer)

    @task
    def add_event(self) -> None:
        with self.asking("add_event", within_s=60) as asked:
            self.app.add(self.name, "Review", self.patience(asked))
