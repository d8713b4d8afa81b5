"""The sandbox: our stand-in for the provider."""

from quotalab.sandbox.access import Access
from quotalab.sandbox.app import Sandbox

__all__ = ["Access", "Sandbox"]
