"""What does the app do with people who have taken their consent back?

At noon ten of sixty people remove the app, on the provider's own page.

quotalab run revoked_consent
quotalab run revoked_consent --set 'faults=[{kind="withdraw_consent", at="12h"}]'       (everybody does)

Their tokens are dead, and no renewal brings them back. A good app finds that out with one call and one
renewal a person, asks nothing more in their name, forgets their tokens, and sends whoever opens it again to
the provider, once. Everybody else notices nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from quotalab.scenario import Asked, Declined, PlannedPerson, operation


class Member(PlannedPerson):
    """Someone who has connected the app, and may think better of it."""

    provider = "temporary-production/revoked"
    traffic = "revoked-consent"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        with self.known_to_be_gone():
            return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        with self.known_to_be_gone():
            return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="2h", interactive=False)
    def export_calendar(self, asked: Asked) -> object:
        with self.known_to_be_gone():
            return self.app.export(self.name, self.patience(asked))

    @contextmanager
    def known_to_be_gone(self) -> Iterator[None]:
        """An app that has noticed that the consent is gone has declined; one that has not has failed."""
        try:
            yield
        except Declined:
            raise
        except Exception as error:
            if self.is_connected():
                raise
            raise Declined("the person has taken their consent back") from error
