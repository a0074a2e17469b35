"""Machines: recorded layouts of file systems, as a host image is decided from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from squall.images.host import Facts, Look, Seen
from squall.model.image import ClientPython

SECRETS = (
    "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/admins", "/etc/ssh/ssh_host_ed25519_key",
    "/etc/machine-id", "/etc/ssl/private/server.key", "/etc/pki/tls/private/localhost.key", "/etc/pip.conf",
    "/root/.ssh/id_ed25519", "/root/.aws/credentials", "/home/ada/.ssh/id_ed25519", "/home/ada/.netrc",
    "/home/ada/.gnupg/key", "/home/ada/mail/inbox", "/home/ada/.local/share/keyrings/login.keyring",
    "/home/ada/.local/state/squall/config.toml", "/home/bob/diary.txt", "/var/lib/postgresql/data/pg_hba.conf",
    "/opt/company/license.key", "/srv/share/plan.txt",
)  # fmt: skip

DEBIAN = (
    *("/bin -> usr/bin", "/sbin -> usr/sbin", "/lib -> usr/lib", "/lib64 -> usr/lib64"),
    *("/usr/bin/bash", "/usr/bin/python3 -> python3.12", "/usr/bin/python3.12", "/usr/lib/os-release"),
    *(
        "/usr/lib/python3/dist-packages/apt.py",
        "/usr/lib/python3.12/os.py",
        "/usr/share/zoneinfo/Europe/Paris",
    ),
    *("/usr/local/lib/python3.12/dist-packages/numpy/__init__.py", "/run/systemd/resolve/stub-resolv.conf"),
    *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf", "/etc/ld.so.cache"),
    *(
        "/etc/ld.so.conf",
        "/etc/ld.so.conf.d/libc.conf",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/openssl.cnf",
    ),
    *("/etc/alternatives/editor -> /usr/bin/vim", "/etc/python3.12/sitecustomize.py", "/etc/mime.types"),
    "/etc/localtime -> /usr/share/zoneinfo/Europe/Paris",
    "/etc/os-release -> ../usr/lib/os-release",
    "/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
    *SECRETS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A machine on which a client runs a Python. shown: paths that its containers must see, beside the system's."""

    name: str
    paths: tuple[str, ...]
    python: ClientPython
    shown: tuple[str, ...]
    home: str = "/home/ada"
    machine: tuple[str, ...] = DEBIAN
    private: tuple[str, ...] = ("/home/ada/.local/state/squall",)

    @property
    def facts(self) -> Facts:
        return Facts(python=self.python, home=self.home, private=self.private)

    @property
    def look(self) -> Look:
        return machine((*self.machine, *self.paths))


def machine(paths: Iterable[str]) -> Look:
    """A machine with these files and links; their directories come by themselves."""
    seen: dict[str, Seen] = {}
    for line in paths:
        path, _, target = line.partition(" -> ")
        seen[path] = Seen(kind="link", target=target) if target else Seen(kind="file", stamp="1")
        while path := path.rpartition("/")[0]:
            seen.setdefault(path, Seen(kind="dir", stamp="1"))
    return seen.get


@dataclass(slots=True)
class PythonAt:
    """A Python by its prefix, as an interpreter of this layout describes itself."""

    prefix: str
    base: str = ""
    site: tuple[str, ...] = field(default=())

    def python(self) -> ClientPython:
        base = self.base or self.prefix
        return ClientPython(
            executable=f"{self.prefix}/bin/python",
            prefix=self.prefix,
            base_prefix=base,
            version="3.12.4",
            stdlib_dirs=(f"{base}/lib/python3.12",),
            site_dirs=self.site or (f"{self.prefix}/lib/python3.12/site-packages",),
        )


def _prefix(prefix: str) -> tuple[str, ...]:
    return (
        f"{prefix}/bin/python3.12",
        f"{prefix}/bin/python -> python3.12",
        f"{prefix}/lib/libpython3.12.so.1.0",
        f"{prefix}/lib/python3.12/os.py",
        f"{prefix}/lib/python3.12/site-packages/pip/__init__.py",
    )


def _venv(prefix: str, interpreter: str) -> tuple[str, ...]:
    return (
        f"{prefix}/pyvenv.cfg",
        f"{prefix}/bin/python -> {interpreter}",
        f"{prefix}/lib/python3.12/site-packages/numpy/__init__.py",
    )


_UV = "/home/ada/.local/share/uv/python"
_SYSTEM_SITE = ("/usr/local/lib/python3.12/dist-packages", "/usr/lib/python3/dist-packages")

LAYOUTS = (
    Layout(
        name="pyenv in /root",
        home="/root",
        private=("/root/.local/state/squall",),
        paths=(
            *_prefix("/root/.pyenv/versions/3.12.4"),
            "/root/.pyenv/shims/python3",
            "/root/.pyenv/.git/HEAD",
        ),
        python=PythonAt("/root/.pyenv/versions/3.12.4").python(),
        shown=("/root/.pyenv/versions/3.12.4",),
    ),
    Layout(
        name="uv-managed python in a home, venv in a project",
        paths=(
            *_prefix(f"{_UV}/cpython-3.12.4-linux-x86_64-gnu"),
            f"{_UV}/cpython-3.12-linux-x86_64-gnu -> cpython-3.12.4-linux-x86_64-gnu",
            *_venv("/home/ada/project/.venv", f"{_UV}/cpython-3.12-linux-x86_64-gnu/bin/python3.12"),
            *("/home/ada/project/.git/HEAD", "/home/ada/project/.env", "/home/ada/project/main.py"),
        ),
        python=PythonAt("/home/ada/project/.venv", base=f"{_UV}/cpython-3.12-linux-x86_64-gnu").python(),
        shown=("/home/ada/project/.venv", f"{_UV}/cpython-3.12.4-linux-x86_64-gnu"),
    ),
    Layout(
        name="conda environment in /opt",
        paths=(*_prefix("/opt/conda/envs/train"), *_prefix("/opt/conda")),
        python=PythonAt("/opt/conda/envs/train").python(),
        shown=("/opt/conda/envs/train",),
    ),
    Layout(
        name="conda in a home, behind a link to another disk",
        paths=(*_prefix("/data/ada/miniconda3"), "/home/ada/miniconda3 -> /data/ada/miniconda3"),
        python=PythonAt("/home/ada/miniconda3").python(),
        shown=("/data/ada/miniconda3",),
    ),
    Layout(
        name="venv of the Debian Python",
        paths=_venv("/home/ada/project/.venv", "/usr/bin/python3.12"),
        python=PythonAt("/home/ada/project/.venv", base="/usr").python(),
        shown=("/home/ada/project/.venv",),
    ),
    Layout(
        name="Debian's own Python with packages of the user",
        paths=("/home/ada/.local/lib/python3.12/site-packages/torch/__init__.py",),
        python=ClientPython(
            executable="/usr/bin/python3",
            prefix="/usr",
            base_prefix="/usr",
            version="3.12.4",
            stdlib_dirs=("/usr/lib/python3.12",),
            site_dirs=("/home/ada/.local/lib/python3.12/site-packages", *_SYSTEM_SITE),
        ),
        shown=("/home/ada/.local/lib/python3.12/site-packages",),
    ),
    Layout(
        name="Python installed straight into a home",
        paths=_prefix("/home/ada"),
        python=PythonAt("/home/ada").python(),
        shown=(
            "/home/ada/bin/python3.12",
            "/home/ada/lib/libpython3.12.so.1.0",
            "/home/ada/lib/python3.12",
        ),
    ),
    Layout(
        name="environment made in a repository's own directory",
        paths=(*_venv("/home/ada/project", "/usr/bin/python3.12"), "/home/ada/project/.git/HEAD"),
        python=PythonAt("/home/ada/project", base="/usr").python(),
        shown=("/home/ada/project/pyvenv.cfg", "/home/ada/project/lib/python3.12/site-packages"),
    ),
    Layout(
        name="Homebrew on Linux",
        paths=(
            *_prefix("/home/linuxbrew/.linuxbrew/Cellar/python@3.12/3.12.4"),
            "/home/linuxbrew/.linuxbrew/opt/python@3.12 -> ../Cellar/python@3.12/3.12.4",
        ),
        python=PythonAt("/home/linuxbrew/.linuxbrew/opt/python@3.12").python(),
        shown=("/home/linuxbrew/.linuxbrew",),
    ),
)
