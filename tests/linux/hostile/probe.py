"""A probe: one thing that hostile code tries, what it meets where it is stopped, and what is expected at each level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Every attempt of the probe meets what it meets where it is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStopped:
    """The level does not stop it. says: words of what a run at this level tells its user."""

    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost:
    """Inside, anything may be met, for the kernel there is another one; what counts is what the host shows."""


Expected = Stopped | NotStopped | OnHost


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One row of the catalogue.

    code: the function of `inside` that makes the attempts, as module.name; it gives what each met. refused: for the
    names of attempts (patterns, the first that fits counts) the outcomes that mean stopped, with `|` between them.
    build: the same where it differs for the steps of an image's build, which hold some powers in their own namespace;
    loading: for what a template loads, which holds one, in a namespace around those of its containers; oci: where an
    OCI runtime makes the inner half of the sandbox.
    may_lack: attempts that find nothing on kernels without that feature. unproven: attempts whose refusal cannot be
    shown to be ours, each with the reason. here: made by the runner itself, not in a child. twice: made in a second
    container too, after the first. differs: what the two draw is no outcome, but must not be the same. process: what
    is expected at level `process`.
    """

    id: str
    title: str
    code: str
    refused: Mapping[str, str]
    build: Mapping[str, str] = field(default_factory=dict)
    loading: Mapping[str, str] = field(default_factory=dict)
    oci: Mapping[str, str] = field(default_factory=dict)
    may_lack: tuple[str, ...] = ()
    unproven: Mapping[str, str] = field(default_factory=dict)
    here: bool = False
    twice: bool = False
    differs: bool = False
    process: Expected

    def at(self, level: str) -> Expected:
        """What is expected at an isolation level."""
        if level == "process":
            return self.process
        return OnHost() if level == "gvisor" else Stopped()


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A row of the threat model that another test tries. test: its path, with its name where that says it."""

    id: str
    title: str
    test: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTried:
    """A row that cannot be tried by these tests, and why."""

    id: str
    title: str
    why: str
