"""Names in the directory of a process that serves a bucket."""

from __future__ import annotations

from typing import Final

DOOR: Final = "door"
"""The directory that containers' first processes are shown, and nothing else of this."""
SOCKET: Final = "sock"
CONTROL: Final = "control"
