"""Errors of a container: out of something, ended, or never started."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.root import Error


class ResourceExhaustedError(Error):
    """Something ran out."""

    code, status = "SQ-1400", 429
    remedy = "ask for more of it, or use less"


class OutOfMemory(ResourceExhaustedError):
    """The container used more memory than its limit and was killed."""

    code, status = "SQ-1401", 507
    remedy = "raise the limit: `@app.function(memory=MIB)`, or hold less in memory at once"
    limit_bytes: int | None = None
    peak_bytes: int | None = None


class TooManyProcesses(ResourceExhaustedError):
    """The container reached its limit of processes and threads."""

    code, status = "SQ-1402", 507
    remedy = "start fewer processes and threads at once"
    limit: int | None = None
    peak: int | None = None


class DiskFull(ResourceExhaustedError):
    """There is no room left on the disk."""

    code, status = "SQ-1403", 507
    remedy = "free room on the disk that holds the state directory, or ask for more with `ephemeral_disk=MIB`"
    path: str | None = None
    limit_bytes: int | None = None
    peak_bytes: int | None = None


class TooManyFiles(ResourceExhaustedError):
    """The limit of open files is reached."""

    code, status = "SQ-1404", 507
    remedy = "close files that are no longer used, or raise the limit with `ulimit -n`"
    limit: int | None = None


class ContainerExited(Error):
    """The container ended while it still had work."""

    code, status = "SQ-1405", 502
    remedy = "look at the container's last lines with `squall logs`; `sys.exit`, `os._exit` and crashes in C code end it"
    exit_code: int | None = None
    signal: int | None = None


class ContainerStartError(Error):
    """The container could not be started."""

    code, status = "SQ-1406", 503
    remedy = "run `squall doctor`: it names what this machine does not allow"
    container: str | None = None


class SandboxTerminatedError(Error):
    """The sandbox was terminated."""

    code, status = "SQ-1407", 410
    remedy = "create a new sandbox"


class SandboxFilesystemError(Error):
    """A file operation in the sandbox failed."""

    code, status = "SQ-1408", 422
    remedy = "check the path inside the sandbox"
    path: str | None = None


class SnapshotCreationError(Error):
    """The snapshot could not be taken."""

    code, status = "SQ-1409", 500
    remedy = "stop what writes files in the sandbox, and try again"


class FunctionNeverStarts(Error):
    """The function's containers end before they are ready, again and again."""

    code, status = "SQ-1410", 422
    remedy = (
        "correct what fails at import: the message holds the last cause, and `squall logs` the whole text"
    )
    attempts: int | None = None


class NoNodeFits(ResourceExhaustedError):
    """No machine can ever hold what the function asks for."""

    code, status = "SQ-1411", 409
    remedy = "ask for less cpu, memory or gpus, or add a larger machine"
