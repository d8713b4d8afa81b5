"""Makes the matrix's own files importable, as they are for ``./lab python tests/matrix``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).parent)

if HERE not in sys.path:
    sys.path.append(HERE)
