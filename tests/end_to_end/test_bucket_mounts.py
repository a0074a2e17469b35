"""Buckets as folders of containers: read, written, listed, and what happens where that cannot be."""

from __future__ import annotations

import errno
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

import squall
from squall.model.errors import (
    BucketMissing,
    BucketRefused,
    BucketUnreachable,
    Error,
    SecretNotFound,
)
from squall.settings.paths import StatePaths
from squall.settings.record import read_record
from tests.end_to_end.conftest import House, eventually
from tests.seaweed import KEYS, READER, Seaweed, running

pytestmark = [pytest.mark.needs("linux", "fuse"), pytest.mark.timeout(240)]

BUCKET = "mounted"
Do = Callable[[str], Any]


def secret_of(keys: Any = KEYS) -> squall.Secret:
    return squall.Secret.from_dict(
        {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    )


def mount_of(seaweed: Seaweed, **options: Any) -> squall.CloudBucketMount:
    given = {"bucket_endpoint_url": seaweed.endpoint, "secret": secret_of(), **options}
    return squall.CloudBucketMount(given.pop("bucket_name", BUCKET), **given)


def doing(app: squall.App, mounts: dict[str, Any], **options: Any) -> Any:
    """A function of an app that runs what it is given in a container with these mounts, and gives what `found` is then."""

    def do(code: str) -> Any:
        names: dict[str, Any] = {}
        exec("import os, errno, time\nfrom pathlib import Path\n" + code, names)
        return names.get("found")

    name = f"do{len(app.functions)}"
    options = {"max_containers": 1, **options}
    return app.function(name=name, serialized=True, volumes=mounts, **options)(do)


@pytest.fixture(scope="module")
def store(seaweed: Seaweed) -> Any:
    return seaweed.bucket(BUCKET)


@pytest.fixture
def folder(store: Any) -> str:
    """A prefix of its own."""
    assert store
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def two(at_home: House, seaweed: Seaweed, store: Any) -> Iterator[tuple[Any, Any]]:
    """Two functions, of which each has a container of its own with the same part of the bucket."""
    assert at_home
    assert store
    app = squall.App("buckets")
    mount = mount_of(seaweed, key_prefix="shown/")
    one, other = doing(app, {"/data": mount}), doing(app, {"/data": mount})
    with app.run():
        yield one, other


def test_a_container_sees_what_lies_below_the_prefix_and_nothing_else(two: Any, store: Any) -> None:
    obstore.put(store, "shown/a/b.txt", b"hello")
    obstore.put(store, "hidden", b"no")
    names, text, owner, above = two[0].remote(
        "found = (sorted(os.listdir('/data')), Path('/data/a/b.txt').read_text(), os.stat('/data/a/b.txt').st_uid,"
        " sorted(os.listdir('/data/..')))"
    )
    assert "a" in names
    assert (text, owner) == ("hello", 0)
    assert "hidden" not in names + above


def test_what_one_container_has_closed_another_one_reads(two: Any, store: Any) -> None:
    one, other = two
    one.remote("os.makedirs('/data/shared/deep'); Path('/data/shared/deep/x').write_bytes(b'1' * 100_000)")
    assert other.remote("found = Path('/data/shared/deep/x').stat().st_size") == 100_000
    assert obstore.head(store, "shown/shared/deep/x")["size"] == 100_000
    other.remote("Path('/data/shared/deep/x').write_text('newer')")
    assert one.remote("found = Path('/data/shared/deep/x').read_text()") == "newer"
    one.remote("os.rename('/data/shared/deep/x', '/data/shared/y'); os.rmdir('/data/shared/deep')")
    assert other.remote("found = os.listdir('/data/shared')") == ["y"]
    other.remote("import shutil; shutil.rmtree('/data/shared')")
    assert [row for page in obstore.list(store, "shown/shared") for row in page] == []


def test_an_object_is_there_once_it_is_closed_and_as_a_whole(two: Any, store: Any) -> None:
    two[0].remote(
        "import builtins; f = builtins.kept = open('/data/slowly', 'wb'); f.write(b'a' * 20_000_000); f.flush()"
    )
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "shown/slowly")
    assert two[0].remote("found = os.stat('/data/slowly').st_size") == 20_000_000
    two[0].remote("import builtins; builtins.kept.close()")
    assert obstore.head(store, "shown/slowly")["size"] == 20_000_000
    found = two[1].remote(
        "f = open('/data/slowly', 'r+b'); f.seek(10_000_000); f.write(b'b'); f.close();"
        "data = Path('/data/slowly').read_bytes(); found = (len(data), data.count(b'b'), data[10_000_000:10_000_001])"
    )
    assert found == (20_000_000, 1, b"b")
    assert bytes(obstore.get_range(store, "shown/slowly", start=9_999_999, end=10_000_002)) == b"aba"


def test_what_a_bucket_cannot_do_is_said_by_its_number(two: Any) -> None:
    tried = two[0].remote(
        """
def number(work):
    try:
        work()
    except OSError as error:
        return error.errno
Path('/data/here').write_text('x')
os.makedirs('/data/full', exist_ok=True); Path('/data/full/one').write_text('1')
found = [number(one) for one in (
    lambda: os.symlink('here', '/data/link'), lambda: os.link('/data/here', '/data/hard'),
    lambda: os.mkfifo('/data/pipe'), lambda: os.rmdir('/data/full'), lambda: os.rename('/data/full', '/data/other'),
    lambda: open('/data/missing'), lambda: os.setxattr('/data/here', 'user.x', b'1'),
    lambda: os.mkdir('/data/full'), lambda: open('/data/full', 'w'), lambda: open('/data/' + 'n' * 1100, 'w'),
)]
"""
    )
    unable = errno.EOPNOTSUPP
    assert tried[:5] == [unable, unable, unable, errno.ENOTEMPTY, errno.EXDEV]
    assert tried[5:] == [errno.ENOENT, unable, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG]


def test_containers_of_a_template_have_buckets_and_the_template_only_looks(
    at_home: House, seaweed: Seaweed, store: Any, folder: str
) -> None:
    obstore.put(store, f"{folder}/one", b"1")
    path = at_home.program(
        f"""
import squall
app = squall.App("templated")
mount = squall.CloudBucketMount({BUCKET!r}, bucket_endpoint_url={seaweed.endpoint!r}, key_prefix="{folder}/",
    secret=squall.Secret.from_local_environ(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]))
try:
    at_import = open("/data/one").read()
    open("/data/at-import", "w").close()
except OSError as error:
    at_import = at_import + str(error.errno) if "at_import" in globals() else ""

@app.function(volumes={{"/data": mount}}, single_use_containers=True)
def f(number):
    import os
    open(f"/data/n{{number}}", "w").write(at_import)
    return sorted(os.listdir("/data"))

@app.local_entrypoint()
def main():
    import time
    for number in range(4):
        print(f.remote(number))
        time.sleep(1.5)
"""
    )
    at_home.environ |= {
        "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
        "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
    }
    done = at_home.run("-m", "squall", "run", str(path), within_s=120)
    assert done.returncode == 0, done.stderr
    assert str(["n0", "n1", "n2", "n3", "one"]) in done.stdout.replace("'at-import', ", "")
    # A first container is started without a template and may write, those of the template found that this may not.
    assert bytes(obstore.get(store, f"{folder}/n3").bytes()) == f"1{errno.EROFS}".encode()


def test_a_mount_for_reading_alone_is_one(at_home: House, seaweed: Seaweed, store: Any, folder: str) -> None:
    assert at_home
    obstore.put(store, f"{folder}/one", b"1")
    app = squall.App("reading")
    prefix = f"{folder}/"
    shown = doing(app, {"/in": mount_of(seaweed, key_prefix=prefix, read_only=True)})
    # Keys that only read are no mount that only reads: the bucket's service refuses then.
    allowed = doing(app, {"/in": mount_of(seaweed, key_prefix=prefix, secret=secret_of(READER))})
    code = """
tried = []
for work in (lambda: Path('/in/two').write_text('2'), lambda: os.remove('/in/one'), lambda: os.mkdir('/in/d'),
             lambda: os.rename('/in/one', '/in/three')):
    try:
        work()
    except OSError as error:
        tried.append(error.errno)
found = tried, Path('/in/one').read_text()
"""
    with app.run():
        assert shown.remote(code) == ([errno.EROFS] * 4, "1")
        tried, text = allowed.remote(code)
    # A folder is nothing in a bucket before something is in it.
    assert (tried, text) == ([errno.EACCES] * 3, "1")


@pytest.mark.parametrize("wrong", ["keys", "bucket", "endpoint", "secret"])
def test_a_bucket_that_cannot_be_opened_is_named_before_anything_runs(
    at_home: House, seaweed: Seaweed, store: Any, wrong: str
) -> None:
    assert at_home
    assert store
    bad = squall.Secret.from_dict(
        {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "canary-of-the-key"}
    )
    cases: dict[str, tuple[dict[str, Any], type[Error]]] = {
        "keys": ({"secret": bad}, BucketRefused),
        "bucket": ({"bucket_name": "nobodys-bucket"}, BucketMissing),
        "endpoint": ({"bucket_endpoint_url": "http://127.0.0.1:9"}, BucketUnreachable),
        "secret": ({"secret": squall.Secret.from_name("no-such-secret")}, SecretNotFound),
    }
    options, kind = cases[wrong]
    app = squall.App("refused")
    do = doing(app, {"/data": mount_of(seaweed, **options)})
    with pytest.raises(Error) as caught, app.run():
        do.remote("found = 1")
    assert kind.code in f"{caught.value.code} {caught.value}", repr(caught.value)
    assert caught.value.remedy
    assert "canary-of-the-key" not in str(caught.value)


def test_keys_of_a_secret_that_has_a_name_open_a_bucket(
    at_home: House, seaweed: Seaweed, store: Any, folder: str
) -> None:
    assert at_home
    obstore.put(store, f"{folder}/one", b"named")
    values = {"AWS_ACCESS_KEY_ID": KEYS.access_key_id, "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key}
    squall.Secret.objects.create("bucket-keys", values)
    app = squall.App("named")
    secret = squall.Secret.from_name("bucket-keys")
    do = doing(app, {"/data": mount_of(seaweed, key_prefix=f"{folder}/", secret=secret)})
    with app.run():
        found = do.remote(
            "found = Path('/data/one').read_text(), sorted(n for n in os.environ if 'AWS' in n)"
        )
        kept = everything_of(at_home)
    assert found == ("named", [])
    assert KEYS.secret_access_key.encode() not in kept


def everything_of(house: House) -> bytes:
    """What is written down anywhere, and shown of processes."""
    state = Path(house.environ["SQUALL_STATE_DIR"])
    files = (path for path in state.rglob("*") if path.is_file() and not path.is_symlink())
    found = [path.read_bytes() for path in files]
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:
                continue
            if b"squall." in text and b"pytest" not in text:
                found.append(text)
    return b"\n".join(found)


def serving(house: House) -> list[int]:
    """The processes that serve buckets in this house."""
    state = house.environ["SQUALL_STATE_DIR"].encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"squall.blobs.buckets" in words and any(word.startswith(state) for word in words):
            found.append(int(path.parent.name))
    return found


def test_where_the_process_that_serves_it_dies_new_containers_have_another(
    at_home: House, seaweed: Seaweed, store: Any, folder: str
) -> None:
    obstore.put(store, f"{folder}/one", b"1")
    app = squall.App("dying")
    mount = mount_of(seaweed, key_prefix=f"{folder}/")
    stays, fresh = doing(app, {"/data": mount}), doing(app, {"/data": mount}, single_use_containers=True)
    read = "found = Path('/data/one').read_text()"
    with app.run():
        before = set(serving(at_home))
        assert stays.remote(read) == "1"
        for _ in range(3):
            assert fresh.remote(read) == "1"
            time.sleep(0.5)
        (own,) = set(serving(at_home)) - before
        stays.remote(
            "import builtins; f = builtins.kept = open('/data/half', 'wb'); f.write(b'a' * 9_000_000)"
        )
        os.kill(own, signal.SIGKILL)
        with pytest.raises(OSError, match=str(errno.ENOTCONN)):
            eventually(lambda: stays.remote(read) is None)
        eventually(lambda: _again(lambda: fresh.remote(read) == "1"))
        for _ in range(3):
            assert fresh.remote(read) == "1"
    with pytest.raises(FileNotFoundError):
        obstore.head(store, f"{folder}/half")


def test_a_process_that_hangs_is_ended_and_who_waits_for_it_is_told(
    at_home: House, seaweed: Seaweed, store: Any, folder: str
) -> None:
    obstore.put(store, f"{folder}/one", b"1")
    app = squall.App("hanging")
    mount = mount_of(seaweed, key_prefix=f"{folder}/")
    stays, fresh = doing(app, {"/data": mount}), doing(app, {"/data": mount}, single_use_containers=True)
    read = "found = Path('/data/one').read_text()"
    with app.run():
        before = set(serving(at_home))
        assert stays.remote(read) == "1"
        (own,) = set(serving(at_home)) - before
        os.kill(own, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(OSError, match=rf"\[Errno ({errno.ENOTCONN}|{errno.ECONNABORTED})\]"):
            stays.remote(read)
        assert time.monotonic() - began < 90
        eventually(lambda: _again(lambda: fresh.remote(read) == "1"))


def _again(work: Callable[[], bool]) -> bool:
    try:
        return work()
    except OSError:
        return False


def test_a_bucket_that_is_away_gives_errors_and_comes_back(at_home: House, tmp_path: Path) -> None:
    with running(tmp_path / "own") as own:
        store = own.bucket(BUCKET)
        obstore.put(store, "one", b"1")
        app = squall.App("away")
        do = doing(app, {"/data": mount_of(own)})
        with app.run():
            assert do.remote("found = Path('/data/one').read_text()") == "1"
            own.stop()
            began = time.monotonic()
            tried = do.remote(
                "try:\n    Path('/data/two').read_text()\nexcept OSError as error:\n    found = error.errno"
            )
            assert tried == errno.EIO
            assert time.monotonic() - began < 60
            own.start()
            do.remote("Path('/data/two').write_text('2')")
            assert do.remote("found = Path('/data/two').read_text()") == "2"
    log = Path(at_home.environ["SQUALL_STATE_DIR"], "logs", "buckets.log").read_text()
    assert "does not answer" in log


def agent_in(record: Path) -> int:
    """The agent's process; 0 while there is none."""
    known = read_record(record)
    return 0 if known is None or "agent" not in known.members else known.members["agent"].pid


def test_an_agent_that_comes_back_goes_on_with_the_same_process(
    at_home: House, seaweed: Seaweed, store: Any, folder: str
) -> None:
    obstore.put(store, f"{folder}/one", b"1")
    app = squall.App("adopting")
    do = doing(app, {"/data": mount_of(seaweed, key_prefix=f"{folder}/")})
    record = StatePaths(state=Path(at_home.environ["SQUALL_STATE_DIR"])).supervisor_record
    with app.run():
        before = set(serving(at_home))
        assert do.remote("found = Path('/data/one').read_text()") == "1"
        (own,) = set(serving(at_home)) - before
        agent = agent_in(record)
        os.kill(agent, signal.SIGKILL)
        eventually(lambda: agent_in(record) not in {agent, 0})
        assert do.remote("found = Path('/data/one').read_text()") == "1"
        assert own in serving(at_home)
    eventually(lambda: own not in serving(at_home), within_s=60)
