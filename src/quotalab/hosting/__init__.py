"""The app under test: imported or started, reached by people, pointed at the sandbox, and closed.

An app inside the process lives in the run's time; one in another process has the real time.
"""

from quotalab.hosting.client import AppAnsweredError, AppClient, Misfit
from quotalab.hosting.environment import environment_of, set_environment
from quotalab.hosting.opening import Hosted, open_app

__all__ = [
    "AppAnsweredError",
    "AppClient",
    "Hosted",
    "Misfit",
    "environment_of",
    "open_app",
    "set_environment",
]
