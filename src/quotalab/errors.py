"""Every error that quotalab raises on purpose, in one tree.

::

    QuotalabError
    ├── InputError            a wrong call or broken input: exit 2
    │   ├── ProfileError      a profile file: names the file and the key
    │   ├── ScenarioError     a locustfile or the app that it drives
    │   ├── WorkspaceError    a workspace, or its [tool.quotalab] table
    │   └── RunFolderError    a run folder that cannot be read or written
    ├── StalledError          virtual time cannot go on: exit 2
    │   ├── BusyWaitError     code spins at one instant
    │   └── HeldTooLongError  work outside the loop never ended
    ├── StateLostError        the limits' state in Redis is out of reach: exit 2
    ├── InterruptedRunError   Ctrl-C during a run: exit 130
    └── FaultError            quotalab itself is wrong: exit 3

A caller that wants to tell the user one line does::

    try:
        ...
    except QuotalabError as error:
        print(f"quotalab: {error}", file=sys.stderr)
        return error.exit_code
"""

from __future__ import annotations

__all__ = [
    "BusyWaitError",
    "FaultError",
    "HeldTooLongError",
    "InputError",
    "InterruptedRunError",
    "ProfileError",
    "QuotalabError",
    "RunFolderError",
    "ScenarioError",
    "StalledError",
    "StateLostError",
    "WorkspaceError",
]


class QuotalabError(Exception):
    """The root; its message is one line that says what was wrong, where, and what would be right."""

    exit_code = 2


class InputError(QuotalabError):
    """A wrong call or broken input."""


class ProfileError(InputError):
    """A profile that cannot be used; the message names the file and the key."""

    def __init__(self, file: str, key: str, message: str) -> None:
        self.file = file
        self.key = key
        super().__init__(f"{file}: {key}: {message}" if key else f"{file}: {message}")


class ScenarioError(InputError):
    """A scenario or the app it drives cannot be loaded, or cannot work together."""


class WorkspaceError(InputError):
    """A workspace that is not there, or whose settings are wrong."""


class RunFolderError(InputError):
    """A run folder that cannot be read, or cannot be written."""


class StalledError(QuotalabError):
    """Virtual time cannot go on."""


class BusyWaitError(StalledError):
    """Code spins at one virtual instant instead of sleeping; the message names it."""


class HeldTooLongError(StalledError):
    """Work outside the loop has held time for too long; the message names it."""


class StateLostError(QuotalabError):
    """Redis, which holds the state of the limits, can't be asked; nothing may be admitted meanwhile."""


class InterruptedRunError(QuotalabError):
    """A run was interrupted; the message says where what it recorded lies."""

    exit_code = 130


class FaultError(QuotalabError):
    """quotalab contradicts itself: a fault of its own, never of the app."""

    exit_code = 3
