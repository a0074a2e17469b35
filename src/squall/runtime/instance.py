"""An instance: the name under which one state directory's things are known to the rest of the machine."""

import hashlib
import os


def instance_of(state: str) -> str:
    """Twelve hexadecimal digits that no other state directory of this machine has."""
    return hashlib.sha256(os.path.realpath(state).encode()).hexdigest()[:12]
