"""Fresh: what a forked child must have anew, so that no two containers draw the same numbers or share a key."""

from __future__ import annotations

import os
import sys
from typing import Any


def renew(template_pid: int) -> None:
    """Draw anew, in a child just forked, what a fork has copied. Touches only modules that are loaded already.

    template_pid: the template's process id as itself saw it. Raises RuntimeError where the child has the same one (in
    its own pid namespace): OpenSSL, tempfile and many clients know a fork by its number alone, and copies of OpenSSL
    inside other packages would give every container the same keys.
    """
    if os.getpid() == template_pid:
        raise RuntimeError(
            f"the template and its child have the same process id, {template_pid}: "
            "libraries that compare it would not notice the fork"
        )
    for name, anew in _ANEW.items():
        if (module := sys.modules.get(name)) is not None:
            anew(module)


def _threading(module: Any) -> None:
    """The main thread's number in the kernel, which Python 3.11 leaves at its parent's."""
    module.main_thread()._native_id = module.get_native_id()


def _numpy(mtrand: Any) -> None:
    """The global generator of numpy: whatever was drawn or seeded at import, every child goes on from the same place."""
    generator = mtrand._rand
    kind = type(generator._bit_generator)
    if kind.__name__ == "MT19937":
        # Half the time of seeding: a state of 624 words, all of them still to be drawn from.
        generator.set_state(("MT19937", memoryview(os.urandom(4 * 624)).cast("I"), 624))
    else:
        mtrand.set_bit_generator(kind())


def _torch(torch: Any) -> None:
    """Only the CPU's generator: `torch.manual_seed` also readies every kind of GPU, which seeds itself at its first use."""
    torch.default_generator.seed()


def _tempfile(tempfile: Any) -> None:
    """The names of temporary files come from a generator that is drawn anew when the process id changes."""
    tempfile._name_sequence = None


def _uuid(uuid: Any) -> None:
    """uuid1: a node of this container's own in place of one that was looked up, and the C library's clock forgotten."""
    uuid._generate_time_safe = None
    # The lowest bit of the first octet says that it is no hardware address.
    uuid._node = int.from_bytes(os.urandom(6)) | (1 << 40)
    for name in ("_last_timestamp", "_last_timestamp_v6", "_last_timestamp_v7"):
        if hasattr(uuid, name):
            setattr(uuid, name, None)


def _platform(platform: Any) -> None:
    """The host's name is kept from the first question, and it is the template's."""
    platform._uname_cache = None


def _multiprocessing(process: Any) -> None:
    """The key by which processes trust each other is drawn once, at import: it would open every sibling."""
    process.current_process().authkey = os.urandom(32)


_ANEW = {
    "threading": _threading,
    "numpy.random.mtrand": _numpy,
    "torch": _torch,
    "tempfile": _tempfile,
    "uuid": _uuid,
    "platform": _platform,
    "multiprocessing.process": _multiprocessing,
}
