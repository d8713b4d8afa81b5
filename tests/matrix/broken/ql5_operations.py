"""Integrations that keep every limit, or nearly, and are of little use to people."""

CASES = [
    {
        "RULE": "QL501",
        "TOLD": "It declines whatever cannot be answered at once, and has nothing from before.",
        "RUN": {"users": 100, "for": "3h", "settings": ("limits.hourly.limit=20",)},
        "POLICY": {"budget": {"calls": 20, "when_spent": []}},
    },
    {
        "RULE": "QL502",
        "TOLD": "It queues everything, however long it takes.",
        "build": "queueing",
        "RUN": {"users": 100, "for": "4h", "settings": ("limits.hourly.limit=20",)},
        "POLICY": {"budget": {"calls": 20}},
        "FOLLOWS": {
            "QL501",  # what still waits when its deadline has passed was not done
            "QL603",  # what was queued for hours goes out together
        },
    },
    {
        "RULE": "QL503",
        "TOLD": "It takes a good answer for a bad one, and shows people an error.",
        "build": "showing_errors",
        "RUN": {
            "users": 60,
            "for": "3h",
            "settings": ("limits.hourly.limit=1000", "limits.hourly.period=1h"),
        },
        "FOLLOWS": {
            "QL501",  # an operation that fails in the app is failed
        },
    },
    {
        "RULE": "QL504",
        "TOLD": "It gives up at once on a long Retry-After and keeps nothing for later.",
        "RUN": {"users": 100, "for": "3h", "settings": ("limits.hourly.limit=20",)},
        "POLICY": {"budget": {"enabled": False, "when_spent": []}, "retry": {"attempts": 1}},
        "FOLLOWS": {
            "QL101",  # without a budget the limit is overrun
            "QL102",
            "QL201",  # others call before the promised end: nothing was shared
            "QL208",  # a wait of seconds is not waited for either
            "QL501",  # what is lost is not done
            "QL503",  # and the error is shown
        },
    },
    {
        "RULE": "QL505",
        "TOLD": "It keeps all it has for exports, and lets whoever waits wait in vain.",
        "build": "background_first",
        "RUN": {"users": 60, "for": "3h"},
        "FOLLOWS": {
            "QL501",  # whoever waits is declined
        },
    },
    {
        "RULE": "QL506",
        "TOLD": "It never gets round to what nobody waits for.",
        "build": "background_never",
        "RUN": {
            "scenario": "nightly_batch",
            "users": 60,
            "start": "2026-01-05T00:00",
            "for": "9h",
        },
        "FOLLOWS": {
            "QL501",  # exports that are declined count
        },
    },
    {
        "RULE": "QL507",
        "TOLD": "It answers from what it had whenever it has something.",
        "build": "always_stale",
        "RUN": {"users": 60, "for": "8h"},
    },
]

from reference_variants import Calendar, reference  # noqa: E402

from quotalab.reference import Declined, Fetched, Patience  # noqa: E402


class Queueing(Calendar):
    """Every call waits until there is room for it."""

    def _call(self, person, request, patience):
        return super()._call(person, request, Patience(2**62, patience.interactive))


class ShowingErrors(Calendar):
    """Takes a good answer for a bad one now and then, and falls over."""

    def event(self, person, event, patience):
        return Fetched(super().event(person, event, patience).data["no such field"])


class BackgroundFirst(Calendar):
    """A page is shown when there is nothing left to export: never."""

    def _send(self, person, request, *, interactive, deadline_ns):
        if interactive:
            self._clock.sleep_ns(max(deadline_ns - self._clock.now_ns() - 10**9, 0))
            raise Declined("the exports come first")
        return super()._send(person, request, interactive=interactive, deadline_ns=deadline_ns)


class BackgroundNever(Calendar):
    """An export is put off for ever."""

    def export(self, person, patience):
        raise Declined("not now")


class AlwaysStale(Calendar):
    """Reads once."""

    def _fetch(self, what, ask, patience):
        if what in self._had:
            return Fetched(self._had[what], stale=True)
        return super()._fetch(what, ask, patience)


def queueing(access):
    return reference(access, Queueing)


def showing_errors(access):
    return reference(access, ShowingErrors)


def background_first(access):
    return reference(access, BackgroundFirst)


def background_never(access):
    return reference(access, BackgroundNever)


def always_stale(access):
    return reference(access, AlwaysStale)
