"""Time and randomness: the only floor that reads a clock or draws a random number.

Everything above is given a :class:`Clock` and an :class:`Entropy`. This module needs the standard library
alone; virtual time, which needs gevent and time-machine, is in :mod:`quotalab.clock.virtual`.
"""

from quotalab.clock.entropy import SeededEntropy, SystemEntropy
from quotalab.clock.interfaces import Clock, Entropy
from quotalab.clock.manual import ManualClock
from quotalab.clock.real import RealClock

__all__ = ["Clock", "Entropy", "ManualClock", "RealClock", "SeededEntropy", "SystemEntropy"]
