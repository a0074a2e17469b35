"""Why the server, its directory, the machine or the wire refuses: codes SQ-1600 to SQ-1999."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

MACHINE: Final = {
    "SQ-1600": Explanation(
        """Nobody answers on the server's socket. `squall run` starts a server by itself, so this means that it could not, or that
`SQUALL_SERVER` points elsewhere. It is also a builtin `ConnectionError`.""",
        """$ squall status
$ squall up""",
    ),
    "SQ-1601": Explanation(
        """The server went away while an answer was awaited, and did not come back in time. A call that had been sent is
run to its end or run again; asking twice is harmless, since calls have ids of their own.""",
        """$ squall status
$ squall logs""",
    ),
    "SQ-1602": Explanation(
        """The server process ended before it answered, or did not answer in time. What it said last is in the message.""",
        """$ squall logs
$ squall doctor""",
    ),
    "SQ-1603": Explanation(
        """Client and server must speak the same version of the protocol, and these two do not.""",
        """$ squall version
squall 0.2.0 (server 0.1.0)""",
    ),
    "SQ-1604": Explanation(
        """After an upgrade a server of the old version may still be running. One that is idle is replaced by itself; this one has
work, which replacing it would lose.""",
        """$ squall status          # what it is doing
$ squall down --force    # end it all the same""",
    ),
    "SQ-1605": Explanation(
        """Squall keeps its record, images and sockets in one directory, and it has to be a local one that you own: file systems that
lock or rename in ways of their own (NFS, an overlay) lose data.""",
        """$ SQUALL_STATE_DIR=/data/squall squall run hello.py""",
    ),
    "SQ-1606": Explanation(
        """One server at a time may write to a state directory, and another one holds its lock. Its pid is in the message.""",
        """$ squall status
$ SQUALL_STATE_DIR=/tmp/second squall up""",
    ),
    "SQ-1607": Explanation(
        """A server that was killed leaves its socket behind. The next start removes it; here it could not be.""",
        """$ squall down
$ squall up""",
    ),
    "SQ-1608": Explanation(
        """Over a local socket the kernel tells who is at the other end. Squall speaks only to processes of the same user, so that
nobody else can hand you code or read your results.""",
        """$ SQUALL_STATE_DIR=$HOME/squall squall run hello.py""",
    ),
    "SQ-1609": Explanation(
        """Large values travel through shared memory, and /dev/shm (or the memory limit around this machine) is too small for
this one. Containers of other systems often give it 64 MiB.""",
        """$ df -h /dev/shm
$ docker run --shm-size=2g ...   # if this machine is a container""",
    ),
    "SQ-1610": Explanation(
        """The directory for temporary files is missing, full, not yours to write to, or mounted so that no program may run
from it.""",
        """$ TMPDIR=$HOME/tmp squall run hello.py""",
    ),
    "SQ-1611": Explanation(
        """Server, agent and each container are processes, and the limit for this user, or for the container that this machine is,
leaves no room for them.""",
        """$ ulimit -u
$ ulimit -u 4096""",
    ),
    "SQ-1612": Explanation(
        """Containers are made of what the Linux kernel offers. On macOS and Windows the SDK and the command line work, and run
functions on a Linux machine's server.""",
        """$ ssh -L /tmp/squall.sock:STATE/run/server.sock HOST
$ SQUALL_SERVER=unix:/tmp/squall.sock squall run hello.py""",
    ),
    "SQ-1613": Explanation(
        """A newer version of Squall has used this directory and changed the form of its record. This version would damage it,
so it touches nothing.""",
        """$ squall migrate --to 1    # with the newer version, where the older one is to go on""",
    ),
    "SQ-1700": Explanation(
        """At level `process` nothing separates the code from this machine. Your own files run there with a warning; code of
others, sandboxes and endpoints open to others do not, unless the operator allows it.""",
        """$ squall doctor   # why this machine offers only `process`""",
    ),
    "SQ-1701": Explanation(
        """The level that was asked for needs something that this machine does not have: namespaces that its kernel refuses, or a program
such as crun, runc or runsc. Squall does not quietly take a weaker level.""",
        """$ squall doctor
$ sysctl user.max_user_namespaces kernel.unprivileged_userns_clone""",
    ),
    "SQ-1800": Explanation(
        """The parts of Squall speak in frames of a fixed form. What arrived has another one: another version, another program on the
socket, or damage. The connection was closed; the process goes on.""",
        """$ squall version
$ squall status""",
    ),
    "SQ-1801": Explanation(
        """Something was to be sent over a connection that had ended already. It is also a builtin `ConnectionError`.""",
        """$ squall status""",
    ),
    "SQ-1802": Explanation(
        """The frame is well-formed, but not in this place: an answer to nothing, or a request that this version does not
know.""",
        """$ squall version   # on both sides""",
    ),
    "SQ-1803": Explanation(
        """Between processes of one machine an open file travels as it is. To another machine its bytes travel instead, so it has to
be a file with a length. A socket, a pipe, a terminal and a device have none, and an end that only writes cannot be read.""",
        """with open("data.bin", "rb") as file:
    f.remote(file.read())""",
    ),
    "SQ-1804": Explanation(
        """Between machines both sides show certificates of the server's own authority. This one was by another authority, has run out,
names another host, or is not the one whose fingerprint was given. Nothing was sent to it.""",
        """$ squall join HOST:PORT TOKEN   # with a fresh token""",
    ),
    "SQ-1805": Explanation(
        """The connection was to be a WebSocket, which is how it passes through proxies that let only the web through. What answered
did so with an HTTP status of its own: it may be another program, a proxy that wants a login, or one that forbids this address.""",
        """$ curl -v https://HOST:PORT/squall/v1   # what answers there?
$ export HTTPS_PROXY=http://proxy.example.com:3128""",
    ),
    "SQ-1900": Explanation(
        """The state directory can be read but not written: its file system is mounted read-only, or its owner is somebody
else. A disk with errors is often made read-only by the kernel.""",
        """$ touch ~/.local/state/squall/x
$ SQUALL_STATE_DIR=/data/squall squall up""",
    ),
    "SQ-1901": Explanation(
        """The file that records apps and calls does not read as it was written. Squall does not repair it by guesswork: it
names the file and leaves it alone.""",
        """$ squall restore            # which backups there are
$ squall restore --latest""",
    ),
    "SQ-1902": Explanation(
        """The server was stopping and had closed its record when this arrived. Nothing was written.""",
        """$ squall run hello.py""",
    ),
    "SQ-1903": Explanation(
        """A call that is sent twice under its id counts once; that is how a lost connection stays harmless. Here the same id came
with other contents.""",
        """call = f.spawn(3)  # draws its own id""",
    ),
    "SQ-1910": Explanation(
        """Files are kept under the digest of their bytes. This one is not there: it was never sent, or was removed as unused.""",
        """$ squall run hello.py   # sends what is missing""",
    ),
    "SQ-1911": Explanation(
        """The bytes that were kept under a digest have changed on the disk. They were moved aside, so that nobody gets wrong
bytes, and will be sent again when they are needed.""",
        """$ dmesg | grep -i error
$ squall run hello.py""",
    ),
    "SQ-1912": Explanation(
        """The digest of what arrived is not the one that was announced, so it was not kept: a file changed while it was
being sent, or the bytes were damaged on the way.""",
        """$ squall run hello.py""",
    ),
    "SQ-1913": Explanation(
        """Paths in a tree are relative, without `.` and `..`, at most 255 bytes a name, each there once, and nothing lies below a
file. The message names the path.""",
        """$ mv 'file\\nwith a line end' file""",
    ),
}
