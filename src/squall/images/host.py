"""Host image: what a container may see of this machine, and the skeleton that holds it together. Pure.

Nothing is mounted that this module does not name: the system's programs and libraries, an allow-list of /etc, and
the client's Python at its own paths, never the directories above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from squall.images.skeleton import Copy, Skeleton, SkeletonDraft
from squall.model.image import ClientPython
from squall.runtime.spec import Mount

PYTHON_ROOT: Final = "/squall/python"
"""Where the packages show that the runner needs: squall itself and cloudpickle."""

BIN_ROOT: Final = "/squall/bin"
"""Where `python` is found, last on the PATH, for a client's Python that lies nowhere under that name."""

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Package stores whose parts need each other through absolute paths: all of it or nothing runs.
_STORES: Final = ("/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew")
_ETC: Final = (
    *("resolv.conf", "host.conf", "gai.conf", "services", "protocols"),
    *("localtime", "timezone", "locale.conf", "locale.alias"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"),
    *("os-release", "lsb-release", "debian_version", "redhat-release"),
    # Of TLS only what is public: certificates, never /etc/ssl/private or /etc/pki/tls/private.
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf"),
    *("pki/tls/certs", "pki/tls/cert.pem", "pki/ca-trust/extracted", "crypto-policies"),
    *("mime.types", "magic", "magic.mime", "terminfo", "inputrc", "fonts"),
    *("OpenCL", "vulkan", "glvnd"),
    "python3",
)
_WIDE: Final = frozenset(
    {
        *(
            "/",
            "/boot",
            "/dev",
            "/etc",
            "/home",
            "/media",
            "/mnt",
            "/opt",
            "/proc",
            "/root",
            "/run",
            "/srv",
            "/sys",
        ),
        *("/tmp", "/usr", "/var", "/var/lib", "/var/tmp", "/dev/shm"),  # noqa: S108 - names to refuse, not to use
    }
)
# A directory that holds one of these is somebody's home or project, not a Python installation.
_PERSONAL: Final = (".ssh", ".gnupg", ".aws", ".kube", ".netrc", ".git", ".config", ".bash_history")
_USERS: Final = """root:x:0:0:root:/root:{shell}
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
user:x:1000:1000:user:/home/user:{shell}
"""
_GROUP: Final = "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\n"
_NSSWITCH: Final = """passwd: files
group: files
shadow: files
hosts: files dns
networks: files
services: files
protocols: files
"""
_DIRECTORIES: Final = (
    *("/app", "/dev", "/etc", "/proc", "/root", "/sys", "/var/lib"),
    *("/squall/layers", PYTHON_ROOT),
)
# Where programs expect to write. A container has one user, whose id is another one in each: so everybody may.
_WRITABLE: Final = ("/home/user", "/mnt", "/opt", "/run", "/srv", "/var/cache", "/var/log")
# What changes while the machine runs, and must be seen as it is then.
_LIVE: Final = ("/etc/resolv.conf",)
_LINKS_FOLLOWED: Final = 40  # as many as the kernel follows
_HOSTS: Final = "127.0.0.1 localhost squall\n::1 localhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one path of the machine is.

    target: where a link points, as it is written. stamp: of what is below /etc, something that differs when its
    content does.
    """

    kind: Literal["dir", "file", "link"]
    target: str = ""
    stamp: str = ""


Look = Callable[[str], Seen | None]
"""What a path is, its last part not followed; None where nothing is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the host image is decided from.

    python: the client's. packages: pairs of a package's name and where it lies, for the runner. home: the user's
    home directory; private: directories that no mount may contain, such as the state directory.
    """

    python: ClientPython
    packages: tuple[tuple[str, str], ...] = ()
    home: str = "/nonexistent"
    private: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostImage:
    """The mounts of a host image, outer ones first, and the skeleton below them.

    warnings: what of the client's Python cannot be shown, and why.
    """

    mounts: tuple[Mount, ...]
    skeleton: Skeleton
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A host image while it is being put together."""

    look: Look
    facts: Facts
    mounts: dict[str, Mount] = field(default_factory=dict)
    plain_files: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def covered(self, path: str) -> bool:
        """Whether `path` shows already, as a part of something that is bound at its own place."""
        return any(mount.source == at and is_below(path, at) for at, mount in self.mounts.items())

    def drop_inner(self) -> None:
        """Forget the mounts that show in another one anyway."""
        own = [at for at, mount in self.mounts.items() if mount.source == at]
        for at in own:
            if any(is_below(at, top) and at != top for top in own):
                del self.mounts[at]

    def show(self, source: str, target: str, *, is_dir: bool) -> None:
        self.mounts[target] = Mount(source=source, target=target)
        if not is_dir:
            self.plain_files.add(target)


def host_image(facts: Facts, look: Look) -> HostImage:
    """What `Image.host()` mounts on the machine that `look` sees, for the client's Python."""
    draft = _Draft(look=look, facts=facts)
    _add_system(draft)
    _add_etc(draft)
    _add_python(draft)
    for name, path in facts.packages:
        found = follow(path, look)
        if found.seen is not None:
            draft.show(found.real, f"{PYTHON_ROOT}/{name}", is_dir=found.seen.kind == "dir")
    draft.drop_inner()
    mounts = tuple(sorted(draft.mounts.values(), key=lambda mount: (mount.target.count("/"), mount.target)))
    return HostImage(mounts=mounts, skeleton=_skeleton(draft), warnings=tuple(draft.warnings))


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a path leads: the links on the way (path to target as written), the real path, and what is there."""

    links: tuple[tuple[str, str], ...]
    real: str
    seen: Seen | None


def follow(path: str, look: Look) -> Followed:
    """Where `path` leads when every link on the way is followed; a circle of links leads to nothing."""
    links: dict[str, str] = {}
    left = _LINKS_FOLLOWED
    at, todo = "/", [part for part in path.split("/") if part][::-1]
    seen: Seen | None = Seen(kind="dir")
    while todo:
        part = todo.pop()
        if part in {".", ".."}:
            at = parent(at) if part == ".." else at
            continue
        here = join(at, part)
        seen = look(here)
        if seen is None or left < 0:
            return Followed(tuple(links.items()), join(here, *reversed(todo)), None)
        if seen.kind == "link":
            left -= 1
            links[here] = seen.target
            todo.extend([part for part in seen.target.split("/") if part][::-1])
            at = "/" if seen.target.startswith("/") else at
        else:
            at = here
    return Followed(tuple(links.items()), at, look(at) if at != "/" else Seen(kind="dir"))


def is_below(path: str, top: str) -> bool:
    """Whether `path` is `top` or lies in it."""
    return top in {path, "/"} or path.startswith(top + "/")


def parent(path: str) -> str:
    """The directory that holds `path`; the root holds itself."""
    return path.rpartition("/")[0] or "/"


def join(top: str, *parts: str) -> str:
    """`parts` below `top`."""
    return "/".join([top.rstrip("/"), *parts])


def _add_system(draft: _Draft) -> None:
    """/usr and its like; where one is a link into another (the merged layout), the link is made again."""
    for path in _SYSTEM:
        seen = draft.look(path)
        if seen is None:
            continue
        if seen.kind == "link":
            draft.links[path] = seen.target
        elif seen.kind == "dir":
            draft.show(path, path, is_dir=True)


def _add_etc(draft: _Draft) -> None:
    for name in (*_ETC, f"python{draft.facts.python.minor}"):
        path = f"/etc/{name}"
        # A directory of /etc on the way must be a plain one: what shows at a name is what lies at that name.
        if any(at != path for at, _ in follow(path, draft.look).links if is_below(path, at)):
            continue
        seen = draft.look(path)
        if seen is None or draft.covered(path):
            continue
        if seen.kind == "link":
            _add_etc_link(draft, path)
        else:
            _add_etc_entry(draft, path, path, seen)
    shell = "/bin/bash" if follow("/bin/bash", draft.look).seen else "/bin/sh"
    draft.files |= {
        "/etc/passwd": _USERS.format(shell=shell),
        "/etc/group": _GROUP,
        "/etc/nsswitch.conf": _NSSWITCH,
        "/etc/hosts": _HOSTS,
        "/etc/hostname": "squall\n",
    }


def _add_etc_link(draft: _Draft, path: str) -> None:
    """A link of /etc: made again where its end shows in the container, else its end stands in its place."""
    found = follow(path, draft.look)
    if found.seen is None:
        return
    if draft.covered(found.real) or any(is_below(found.real, f"/etc/{name}") for name in _ETC):
        draft.links[path] = found.links[0][1] if len(found.links) == 1 else found.real
    elif not is_too_wide(found.real, draft.facts, draft.look):
        _add_etc_entry(draft, path, found.real, found.seen)


def _add_etc_entry(draft: _Draft, path: str, source: str, seen: Seen) -> None:
    """Copied into the skeleton: a mount for each would double the time in which a container starts."""
    if path in _LIVE:
        draft.show(source, path, is_dir=seen.kind == "dir")
    else:
        draft.copies[path] = Copy(target=path, source=source, stamp=seen.stamp)


def _add_python(draft: _Draft) -> None:
    """The client's Python: prefixes, standard library, packages and the interpreter, each at its own path."""
    python = draft.facts.python
    for path in (python.prefix, python.base_prefix):
        store = next((store for store in _STORES if is_below(follow(path, draft.look).real, store)), None)
        if store is not None and not draft.covered(store):
            draft.show(store, store, is_dir=True)
        if not _add_tree(draft, path):
            _add_parts(draft, path)
    for path in (*python.stdlib_dirs, *python.site_dirs):
        if not _add_tree(draft, path):
            draft.warnings.append(
                f"{path} is not shown in containers: it holds more than Python packages; "
                "install what the functions need with `.pip_install(...)`"
            )
    _add_file(draft, python.executable)


def _add_tree(draft: _Draft, path: str) -> bool:
    """Bind a directory at its real path and keep the links that lead there; False where it is too wide to show."""
    found = follow(path, draft.look)
    if found.seen is None or draft.covered(found.real):
        _keep_links(draft, found)
        return True
    if is_too_wide(found.real, draft.facts, draft.look):
        return False
    _keep_links(draft, found)
    if found.seen.kind == "dir":
        draft.show(found.real, found.real, is_dir=True)
    else:
        _add_file(draft, path)
    return True


def _add_parts(draft: _Draft, prefix: str) -> None:
    """The files of a Python whose prefix is too wide to show; its library directories are named one by one."""
    minor = draft.facts.python.minor
    for name in ("pyvenv.cfg", f"bin/python{minor}", "bin/python3", "bin/python"):
        _add_file(draft, join(prefix, name))
    for name in (f"libpython{minor}.so.1.0", f"libpython{minor}.so", "libpython3.so"):
        _add_file(draft, join(prefix, "lib", name))


def _add_file(draft: _Draft, path: str) -> None:
    found = follow(path, draft.look)
    if found.seen is None:
        return
    _keep_links(draft, found)
    if found.seen.kind == "file" and not draft.covered(found.real):
        draft.show(found.real, found.real, is_dir=False)


def _keep_links(draft: _Draft, found: Followed) -> None:
    draft.links |= dict(found.links)


def is_too_wide(path: str, facts: Facts, look: Look) -> bool:
    """Whether showing the directory would show more than packages: a home, a project, a system directory."""
    home = facts.home
    guarded = (home, join(home, ".local"), join(home, ".local/share"), join(home, ".config"), *facts.private)
    return (
        path in _WIDE
        or any(is_below(inside, path) for inside in guarded)
        or any(look(join(path, name)) is not None for name in _PERSONAL)
    )


def _skeleton(done: _Draft) -> Skeleton:
    """The directory below all: a mount point for each mount, the links that no mount shows, the files that we write."""
    tops = {target for target in done.mounts if target not in done.plain_files}
    draft = SkeletonDraft()
    for path in ("/tmp", "/var/tmp"):  # noqa: S108 - the container's own
        draft.add_dir(path, mode=0o1777)
    for path, target in done.links.items():
        if not any(is_below(path, top) for top in tops):
            draft.add_link(path, target)
    draft.add_link("/var/run", "/run")
    for path in _WRITABLE:
        draft.add_dir(path, mode=0o777)
    for target in done.mounts:
        if any(is_below(target, top) and target != top for top in tops):
            continue  # its place is there in what the other mount shows
        if target in tops:
            draft.add_dir(target)
        else:
            draft.add_file(target)
    for path in _DIRECTORIES:
        draft.add_dir(path)
    for copy in done.copies.values():
        draft.add_copy(copy)
    for name in ("python", "python3"):
        draft.add_link(f"{BIN_ROOT}/{name}", done.facts.python.executable)
    for path, text in done.files.items():
        draft.add_file(path, text)
    return draft.done()
