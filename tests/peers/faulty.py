"""``fleetd`` with a fault in its code: deciding what a fleet needs fails while the file that FAULT names exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fleetd.__main__ import main
from fleetd.planner import plan as planning

FAULT = "FAULT"
"""The environment variable."""

sound = planning.decide


def decide(*args: Any) -> Any:
    """What the planner calls for each fleet."""
    if Path(os.environ[FAULT]).exists():
        raise ArithmeticError("a fault for the test")
    return sound(*args)


if __name__ == "__main__":
    planning.decide = decide
    main()
