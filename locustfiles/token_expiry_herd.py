"""What happens when everybody's token ends at the same time?

Sixty people connect within a minute, and come back.

quotalab run token_expiry_herd --for 6h

They look at their calendars at every full hour, a second after the tokens of the hour before have expired.
A good app renews a token before it ends or once when it is needed, never twice at a time, and renewals of
many people do not become a herd of calls.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Regular(PlannedPerson):
    """Someone whose app asks on the hour."""

    traffic = "token-expiry-herd"

    @operation(deadline="10m")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))
