"""The program of a trial: the smallest that a kernel runs, ending at once with status 0. It needs no file but itself."""

import struct

_BASE = 0x400000
_HEADER, _SEGMENT = 64, 56
_MACHINES = {"x86_64": 62, "aarch64": 183}
# exit(0), as each machine's processor reads it.
_CODE = {
    "x86_64": bytes.fromhex("31ffb83c0000000f05"),
    "aarch64": struct.pack("<3I", 0xD2800000, 0xD2800BA8, 0xD4000001),
}


def program_for(machine: str) -> bytes:
    """An executable file for `machine` (as `uname -m` says). Raises KeyError for one that is not known here."""
    code = _CODE[machine]
    start = _HEADER + _SEGMENT
    size = start + len(code)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(identity, 2, _MACHINES[machine], 1, _BASE + start, _HEADER, 0, 0, _HEADER, _SEGMENT, 1, 0, 0, 0),
    )
    # One segment, the whole file, to be read and run.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code
