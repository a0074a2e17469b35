"""The network of a container: its loopback device, brought up without any program of the host."""

import fcntl
import socket
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_LOOPBACK = b"lo"


def raise_loopback() -> None:
    """Bring up `lo` of this network namespace, and let anybody inside listen on every port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh", _ask(any_socket, _SIOCGIFFLAGS, 0)[:18])[1]
        _ask(any_socket, _SIOCSIFFLAGS, flags | _IFF_UP)
    # The host's /proc still shows here, but this part of it is that of the asking process's network.
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w", encoding="ascii") as file:
        file.write("0")


def _ask(any_socket: socket.socket, question: int, flags: int) -> bytes:
    return fcntl.ioctl(any_socket, question, struct.pack("16sh22x", _LOOPBACK, flags))
