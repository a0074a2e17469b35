"""The seccomp profile of an OCI container: our own filter, told in the words of the runtime-spec."""

from typing import Any

from squall.runtime.seccomp import ALLOWED, NEW_NAMESPACES
from squall.runtime.syscall_numbers import NUMBERS

# A foreign ABI kills the process, as libseccomp does with what is not named here: x32 and i386 among them.
_ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_EPERM, _ENOSYS, _EPROTONOSUPPORT, _EAFNOSUPPORT = 1, 38, 93, 97
# The kernel reads the lower half of an int; a whole argument is never compared, as its upper half may hold anything.
_INT = 0xFFFFFFFF
_INT_BITS = 32
_STREAM, _DATAGRAM = 1, 2
_PROTOCOLS = (0, 6, 17, 1, 58)
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_TERMINAL_CALLS = (0x5412, 0x541C)
_DEVICES = (0x2000, 0x6000)

Condition = dict[str, Any]
Rule = dict[str, Any]


def profile_for(machine: str) -> dict[str, Any]:
    """What a container on `machine` (as `uname -m` says) may call: linux.seccomp of its configuration.

    It decides like `seccomp.filter_for`, but that calls which no table knows meet what the runtime's library answers.
    Raises KeyError for a machine without a table.
    """
    known = NUMBERS[machine]
    conditional = _conditional()
    plain = [
        name
        for name in ALLOWED.split()
        if name in known and name not in {rule["names"][0] for rule in conditional}
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [_ARCHITECTURE[machine]],
        "syscalls": [
            {"names": plain, "action": "SCMP_ACT_ALLOW"},
            *(rule for rule in conditional if rule["names"][0] in known),
        ],
    }


def _conditional() -> list[Rule]:
    """Calls that are allowed, or refused in their own way, by what they ask for."""
    return [
        _refuse("clone3", _ENOSYS),
        _refuse("memfd_secret", _ENOSYS),
        _allow("clone", _masked(0, NEW_NAMESPACES, 0)),
        *(_allow("personality", _masked(0, _INT, value)) for value in (0, _INT)),
        *(_allow("ioctl", condition) for condition in _none_of(1, _TERMINAL_CALLS, bits=_INT_BITS)),
        *(_allow("mknod", condition) for condition in _file_kinds(1)),
        *(_allow("mknodat", condition) for condition in _file_kinds(2)),
        *_sockets(),
        _allow("socketpair", _masked(0, _INT, _UNIX)),
        *(
            _refuse("socketpair", _EAFNOSUPPORT, condition)
            for condition in _none_of(0, (_UNIX,), bits=_INT_BITS)
        ),
    ]


def _sockets() -> list[Rule]:
    families = (_UNIX, _INET, _INET6, _NETLINK)
    return [
        _allow("socket", _masked(0, _INT, _UNIX)),
        _allow("socket", _masked(0, _INT, _NETLINK), _masked(2, _INT, 0)),
        *(
            _allow("socket", _masked(0, _INT, family), _masked(1, 0xF, kind), _masked(2, _INT, protocol))
            for family in (_INET, _INET6)
            for kind in (_STREAM, _DATAGRAM)
            for protocol in _PROTOCOLS
        ),
        *(_refuse("socket", _EAFNOSUPPORT, condition) for condition in _none_of(0, families, bits=_INT_BITS)),
        *(
            _refuse("socket", _EPROTONOSUPPORT, _masked(0, _INT, _NETLINK), condition)
            for condition in _none_of(2, (0,), bits=_INT_BITS)
        ),
    ]


def _file_kinds(argument: int) -> list[Condition]:
    """Any kind of file but a device, in the argument that holds a mode."""
    return [_masked(argument, 0xF000, kind << 12) for kind in range(16) if kind << 12 not in _DEVICES]


def _none_of(argument: int, values: tuple[int, ...], *, bits: int) -> list[Condition]:
    """Conditions of which exactly one holds where the lower `bits` of the argument are none of `values`.

    The words of a profile know "is", of some bits, but not "is none of". So numbers are told apart from the top bit on:
    where all values agree on a bit, the other half is free.
    """
    return [_masked(argument, mask, value) for mask, value in _free(values, bits - 1, 0, 0)]


def _free(values: tuple[int, ...], bit: int, mask: int, value: int) -> list[tuple[int, int]]:
    if not values:
        return [(mask, value)]
    if bit < 0:
        return []
    one = 1 << bit
    return [
        *_free(tuple(v for v in values if not v & one), bit - 1, mask | one, value),
        *_free(tuple(v for v in values if v & one), bit - 1, mask | one, value | one),
    ]


def _masked(argument: int, mask: int, value: int) -> Condition:
    return {"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _allow(name: str, *conditions: Condition) -> Rule:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(conditions)}


def _refuse(name: str, error: int, *conditions: Condition) -> Rule:
    rule: Rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": error}
    return {**rule, "args": list(conditions)} if conditions else rule
