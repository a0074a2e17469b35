"""Inside: installs conda packages, run in the sandbox of a step by the Python that lies beside the environment.

Only this file knows py-rattler. What it prints is for the log of the build; by its exit status it says what is wrong.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from squall.images.conda import bytecode
from squall.images.conda.channels import logins, place_of, split_channel
from squall.images.conda.complaint import wrong_by
from squall.images.conda.history import entry, name_of, requested
from squall.images.conda.nouns import RECORDS, CondaJob, PackageFile, Wrong, status_of
from squall.images.python.plan import OLDEST
from squall.images.redact import placeholders

_WHEN: Final = "2025-01-01 00:00:00"  # the same in each build, as all that is kept of this step
_RETRIES: Final = 2
_SOLVES: Final = datetime.timedelta(minutes=30)
_OF_FILES: Final = 0o644  # records are written for their owner alone, and a container may have another user


class _Failed(Exception):  # noqa: N818 - it ends this program, and nobody else sees it
    """What a user can do something about."""

    def __init__(self, wrong: Wrong, text: str) -> None:
        super().__init__(text)
        self.wrong = wrong


def main(path: str) -> NoReturn:
    """Carries out the job in the file at `path`, and ends the process."""
    status = 0
    try:
        job = CondaJob.from_json(json.loads(Path(path).read_bytes()))
        asyncio.run(_carried_out(job))
    except _Failed as failed:
        _say(str(failed))
        status = status_of(failed.wrong)
    except BaseException as error:  # noqa: BLE001 - foreign code ends here, and a panic of Rust is no Exception
        kind = type(error).__name__
        wrong = wrong_by(kind, str(error))
        _say(str(error) if wrong is not None else f"{kind}: {error}")
        status = status_of(wrong) if wrong is not None else 1
    sys.stdout.flush()
    # py-rattler has threads that go on for a while, and must not find an interpreter that is being taken down.
    os._exit(status)


async def _carried_out(job: CondaJob) -> None:
    prefix = Path(job.prefix)
    if not job.begins and not (prefix / RECORDS).is_dir():
        raise _Failed("no_environment", f"there is no {prefix / RECORDS}")
    here = _installed(prefix)
    network = _Network(job)
    if job.explicit:
        listed = await network.listed(job.explicit)
        asked = sorted(listed)
        wanted = {**here, **listed}
    else:
        asked = [network.plain(spec) for spec in job.packages]
        anew = {name_of(spec) for spec in asked}
        asked_before = requested(_history(prefix))
        before = [spec for name, specs in asked_before.items() if name not in anew for spec in specs]
        if before:
            _say(f"asked for before: {', '.join(before)}")
        wanted = await network.solved([*before, *asked], here)
    _check_python(wanted)
    await network.install(wanted, here, prefix)
    _settle(prefix, (here, wanted), asked)
    _compile(prefix)


class _Network:
    """Channels, as py-rattler sees them: no address that it is given has a login in it, since it writes addresses down."""

    def __init__(self, job: CondaJob) -> None:
        rattler = _rattler()
        said = " ".join([*job.channels, *job.explicit, *job.packages])
        self._secrets = {name: os.environ.pop(name) for name in placeholders(said) if name in os.environ}
        # Of a package file and of a match spec, it is the channel that may have a login.
        named = [
            *job.channels,
            *job.explicit,
            *filter(None, (split_channel(spec)[0] for spec in job.packages)),
        ]
        places = [place_of(address, self._secrets) for address in named]
        try:
            _write_closed(job.logins, logins(places))
        except ValueError as two:
            raise _Failed("login", str(two)) from None
        os.environ["RATTLER_AUTH_FILE"] = job.logins
        self._channels = [place.address for place in places[: len(job.channels)]]
        self._timeout_s = job.timeout_s
        self._cache = Path(job.cache)
        between = [
            rattler.networking.RetryMiddleware(_RETRIES),
            rattler.networking.AuthenticationMiddleware(),
        ]
        self._client = rattler.Client(between)
        # A request for what a channel has is answered soon; a package may take as long as it likes, if only it moves.
        impatient = rattler.Client(between, timeout=max(1, int(job.timeout_s)))
        self._gateway = rattler.Gateway(cache_dir=self._cache, client=impatient)

    def plain(self, spec: str) -> str:
        """A match spec without the login of its channel."""
        channel, rest = split_channel(spec)
        return f"{place_of(channel, self._secrets).address}::{rest}" if channel else rest

    async def solved(self, specs: Sequence[str], here: Mapping[str, Any]) -> dict[str, Any]:
        """The packages of an environment that has these, by name; what is here stays as far as it can."""
        rattler = _rattler()
        for channel in self._channels:
            _say(f"channel {channel}")
        # An image moves between machines: its packages are for all processors of their kind.
        os.environ.setdefault("CONDA_OVERRIDE_ARCHSPEC", os.uname().machine)
        started_s = time.monotonic()
        overrides = rattler.VirtualPackageOverrides.from_env()
        found = await rattler.solve(
            [rattler.Channel(channel) for channel in self._channels],
            [rattler.MatchSpec(spec) for spec in specs],
            self._gateway,
            locked_packages=list(here.values()),
            virtual_packages=rattler.VirtualPackage.detect(overrides),
            channel_priority=rattler.ChannelPriority.Strict,
            timeout=_SOLVES,
        )
        _say(f"solved in {time.monotonic() - started_s:.1f} s: {len(found)} packages")
        return {record.name.normalized: record for record in found}

    async def listed(self, addresses: Iterable[str]) -> dict[str, Any]:
        """The packages of these files, by name: as their channels list them, whose digests hold."""
        rattler = _rattler()
        subdirs = [rattler.Subdir.current(), rattler.Subdir("noarch")]
        found: dict[str, Any] = {}
        by_channel: dict[str, list[PackageFile]] = {}
        for address in addresses:
            file = PackageFile.of(place_of(address, self._secrets).address)
            if file is None:
                raise _Failed("spec", f"{address} is no address of a package file")
            if file.subdir not in map(str, subdirs):
                raise _Failed(
                    "missing", f"{file.file} is for {file.subdir}, and this machine is {subdirs[0]}"
                )
            by_channel.setdefault(file.channel, []).append(file)
        for channel, files in by_channel.items():
            specs = [rattler.MatchSpec(f"{file.name} =={file.version} {file.build}") for file in files]
            answer = await self._gateway.query([rattler.Channel(channel)], subdirs, specs, recursive=False)
            there = {(str(one.subdir), one.file_name): one for records in answer for one in records}
            for file in files:
                found[file.name] = _checked(file, there.get((file.subdir, file.file)))
        return found

    async def install(self, wanted: Mapping[str, Any], here: Mapping[str, Any], prefix: Path) -> None:
        """Makes the environment what is wanted. Raises _Failed where a package stops to move."""
        for name, record in sorted(wanted.items()):
            if _link(record) != _link(here.get(name)):
                _say(f"  {name} {record.version} {record.build}")
        os.environ["PATH"] = f"{prefix / 'bin'}:{os.environ['PATH']}"  # for scripts of packages
        moving = _Moving()
        installing = asyncio.ensure_future(
            _rattler().install(
                list(wanted.values()),
                prefix,
                cache_dir=self._cache / "pkgs",
                client=self._client,
                # In a sandbox of its own a package may run what it brings.
                execute_link_scripts=True,
                reporter=moving,
            )
        )
        watching = asyncio.ensure_future(moving.stopped(self._timeout_s))
        await asyncio.wait({installing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not installing.done():
            raise _Failed(
                "unreachable", f"nothing has come of {watching.result()} for {self._timeout_s:g} seconds"
            )
        await installing


class _Moving:
    """Which downloads go on, and when something last came; py-rattler tells it, from threads of its own."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._numbers = itertools.count()
        self._loading: set[int] = set()
        self._moved_s = time.monotonic()

    def on_populate_cache_start(self, _operation: int, package: str) -> int:
        number = next(self._numbers)
        self._names[number] = package
        return number

    def on_download_start(self, entry: int) -> int:
        self._moved_s = time.monotonic()
        self._loading.add(entry)
        _say(f"fetching {self._names[entry]}")
        return entry

    def on_download_progress(self, _entry: int, _progress: int, _total: int | None) -> None:
        self._moved_s = time.monotonic()

    def on_download_completed(self, entry: int) -> None:
        self._moved_s = time.monotonic()
        self._loading.discard(entry)

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: 0

    async def stopped(self, after_s: float) -> str:
        """The name of a package of which nothing has come for so long, once there is one."""
        while not self._loading or time.monotonic() - self._moved_s < after_s:
            await asyncio.sleep(min(1.0, after_s / 4))
        return self._names[min(self._loading)]


def _installed(prefix: Path) -> dict[str, Any]:
    """The packages that are there, by name."""
    found = [_rattler().PrefixRecord.from_path(path) for path in sorted((prefix / RECORDS).glob("*.json"))]
    return {record.name.normalized: record for record in found}


def _checked(file: PackageFile, record: Any) -> Any:
    """The record of a package file. Raises _Failed where there is none, or one of other bytes."""
    if record is None:
        raise _Failed("missing", f"No candidates were found for {file.file} in {file.channel}")
    says = [digest.hex() for digest in (record.sha256, record.md5) if digest]
    if file.digest and file.digest not in says:
        raise _Failed(
            "damaged", f"{file.file} is to have the digest {file.digest}, and its channel has {says}"
        )
    return record


def _check_python(wanted: Mapping[str, Any]) -> None:
    python = wanted.get("python")
    version = str(python.version) if python is not None else ""
    parts = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if tuple(parts) < OLDEST:
        raise _Failed("old_python", f"the Python of the environment would be {version or 'none'}")


def _settle(prefix: Path, change: tuple[Mapping[str, Any], Mapping[str, Any]], asked: Sequence[str]) -> None:
    """Writes down what was asked for, where conda and micromamba do, and opens the records to every user of the image."""
    here, wanted = change
    before, after = [{_link(record) for record in found.values()} for found in change]
    history = prefix / RECORDS / "history"
    text = _history(prefix) + entry(asked, after - before, before - after, _WHEN)
    history.write_text(text, encoding="utf-8")
    for path in (prefix / RECORDS).iterdir():
        if stat.S_IMODE(path.stat().st_mode) != _OF_FILES:  # else each record would be in each layer
            path.chmod(_OF_FILES)
    _say(f"{len(after - before)} packages came, {len(set(here) - set(wanted))} went")


def _history(prefix: Path) -> str:
    try:
        return (prefix / RECORDS / "history").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _compile(prefix: Path) -> None:
    started_s = time.monotonic()
    program = Path(bytecode.__file__).read_text(encoding="utf-8")
    # Pythons of conda have a second name for the same library, and once is enough.
    libraries = [path for path in sorted(prefix.glob("lib/python3.*")) if not path.is_symlink()]
    for library in libraries:
        argv = (str(prefix / "bin/python"), "-I", "-S", "-c", program, str(library))
        if subprocess.run(argv, check=False).returncode:
            raise _Failed("broken_python", f"{argv[0]} could not compile what is in {library}")
    _say(f"compiled in {time.monotonic() - started_s:.1f} s")


def _link(record: Any) -> str:
    """A package as histories name it."""
    if record is None:
        return ""
    return f"{record.url.rpartition('/')[0]}::{record.name.normalized}-{record.version}-{record.build}"


def _rattler() -> Any:
    """py-rattler, which lies beside this program in a sandbox, and is no dependency of Squall."""
    import rattler  # type: ignore[import-not-found]  # it lies in the sandbox alone

    return rattler


def _write_closed(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _say(line: str) -> None:
    print(line, flush=True)
