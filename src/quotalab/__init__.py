"""quotalab: a load and rate-limit compliance simulator for OAuth apps.

Importing this package patches nothing and imports neither Locust nor gevent.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
