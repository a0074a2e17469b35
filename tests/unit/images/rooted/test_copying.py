from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from squall.blobs.digest import digest_of
from squall.blobs.manifest import Attributes, Directory, Entry, File, Hardlink, Manifest, Part, Symlink
from squall.blobs.manifest_bytes import encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.dockerfile.nouns import Copy, InlineFile, MakeDirectory
from squall.images.rooted.copying import Sources, copied, made_directory, placed_tree, user_of
from squall.images.rooted.laying import Bytes, Laid
from squall.model.errors import ImageBuildError
from tests.local_trees import keep_tree, local_tree
from tests.unit.images.rooted.test_laying import FOLDER, LINKED, folder, image, link

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\n"
GROUP = b"root:x:0:\nstaff:x:50:\n"
USERS = {
    **LINKED,
    **image(
        folder("etc"),
        File(
            path="etc/passwd",
            attributes=FOLDER,
            size=len(PASSWD),
            parts=(Part(chunk=digest_of(PASSWD), offset=0, length=len(PASSWD)),),
        ),
        File(
            path="etc/group",
            attributes=FOLDER,
            size=len(GROUP),
            parts=(Part(chunk=digest_of(GROUP), offset=0, length=len(GROUP)),),
        ),
        folder("srv"),
    ),
}
LOCAL = {
    "a.txt": b"a",
    "b.txt": b"b",
    "run.sh": b"#!/bin/sh\n",
    "src/main.py": b"main",
    "src/deep/er.py": b"deeper",
}


def local(blobs: MemoryBlobs) -> Sources:
    tree = local_tree(LOCAL, {"link": "a.txt", "src/out": "../../etc"}, executables=["run.sh"])
    asyncio.run(keep_tree(blobs, tree, LOCAL))
    return Sources(tree=encode(tree))


def result(copy: Copy, sources: Sources | None = None, below: dict[str, Entry] = USERS) -> dict[str, Laid]:
    blobs = MemoryBlobs()
    own = local(blobs)
    asyncio.run(blobs.put(PASSWD))
    asyncio.run(blobs.put(GROUP))
    return {one.path: one for one in asyncio.run(copied(copy, sources or own, below.get, blobs, print))}


@pytest.mark.parametrize(
    ("sources", "dest", "paths"),
    [
        (("a.txt",), "/srv/", {"srv/a.txt"}),
        (("a.txt",), "/srv", {"srv/a.txt"}),
        (("a.txt",), "/srv/other", {"srv/other"}),
        (("a.txt",), "/new/", {"new/a.txt"}),
        (("*.txt",), "/new/", {"new/a.txt", "new/b.txt"}),
        (("?.txt", "run.sh"), "/new/", {"new/a.txt", "new/b.txt", "new/run.sh"}),
        (("[^a].txt",), "/new/", {"new/b.txt"}),
        (("src/*.py",), "/new/", {"new/main.py"}),
        (("src",), "/new", {"new", "new/main.py", "new/deep", "new/deep/er.py", "new/out"}),
        (("src",), "/srv", {"srv/main.py", "srv/deep", "srv/deep/er.py", "srv/out"}),
        (("src/deep",), "/bin/", {"usr/bin/er.py"}),
        (("link",), "/new/", {"new/link"}),
    ],
)
def test_files_go_where_docker_puts_them(sources: tuple[str, ...], dest: str, paths: set[str]) -> None:
    assert result(Copy(sources=sources, dest=dest)).keys() == paths


def test_everything_is_the_content_of_the_context() -> None:
    found = result(Copy(sources=(".",), dest="/new/"))
    assert {f"new/{path}" for path in LOCAL} <= found.keys()


def test_a_link_that_is_named_is_followed_and_one_in_a_directory_is_kept() -> None:
    (followed,) = result(Copy(sources=("link",), dest="/new/x")).values()
    assert isinstance(followed, File)
    assert [part.chunk for part in followed.parts] == [digest_of(b"a")]
    assert isinstance(result(Copy(sources=("src",), dest="/new"))["new/out"], Symlink)


def test_modes_and_owners() -> None:
    def attributes(copy: Copy) -> Attributes:
        (one,) = result(copy).values()
        assert isinstance(one, File)
        # Its time is that of the manifest of local files.
        return replace(one.attributes, mtime_ns=0)

    assert attributes(Copy(sources=("a.txt",), dest="/srv/")) == Attributes(mode=0o644)
    assert attributes(Copy(sources=("run.sh",), dest="/srv/")) == Attributes(mode=0o755)
    assert attributes(Copy(sources=("a.txt",), dest="/srv/", chmod="600")).mode == 0o600
    assert attributes(Copy(sources=("a.txt",), dest="/srv/", chown="web")) == Attributes(
        mode=0o644, uid=33, gid=34
    )
    assert attributes(Copy(sources=("a.txt",), dest="/srv/", chown="web:staff")) == Attributes(
        mode=0o644, uid=33, gid=50
    )
    assert attributes(Copy(sources=("a.txt",), dest="/srv/", chown="5:6")) == Attributes(
        mode=0o644, uid=5, gid=6
    )
    assert attributes(Copy(sources=("a.txt",), dest="/srv/", chown="5")) == Attributes(
        mode=0o644, uid=5, gid=5
    )
    with pytest.raises(ImageBuildError, match="knows no nobody in /etc/passwd"):
        result(Copy(sources=("a.txt",), dest="/srv/", chown="nobody"))


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("web", (33, 34, "/srv")),
        ("web:staff", (33, 50, "/srv")),
        ("33", (33, 34, "/srv")),
        ("33:7", (33, 7, "/srv")),
        ("1234", (1234, 0, "/")),
        ("root", (0, 0, "/root")),
    ],
)
def test_a_user_has_the_ids_and_the_home_that_the_image_says(user: str, ids: tuple[int, int, str]) -> None:
    blobs = MemoryBlobs()
    asyncio.run(blobs.put(PASSWD))
    asyncio.run(blobs.put(GROUP))
    found = asyncio.run(user_of(user, USERS.get, blobs))
    assert (found.uid, found.gid, found.home) == ids
    with pytest.raises(ImageBuildError, match="knows no stranger in /etc/passwd"):
        asyncio.run(user_of("stranger", USERS.get, blobs))


def test_texts_that_stand_in_the_dockerfile() -> None:
    found = result(
        Copy(inline=(InlineFile(name="x", text="1\n"), InlineFile(name="y", text="2\n")), dest="/srv/")
    )
    assert {path: one.data for path, one in found.items() if isinstance(one, Bytes)} == {
        "srv/x": b"1\n",
        "srv/y": b"2\n",
    }


def test_files_of_another_image_are_taken_with_their_chunks() -> None:
    part = Part(chunk=digest_of(b"x"), offset=0, length=1)
    program = File(
        path="opt/tool", attributes=Attributes(mode=0o755, uid=9, mtime_ns=5), size=1, parts=(part,)
    )
    other = Manifest(
        (
            folder(""),
            folder("opt"),
            program,
            Hardlink(path="opt/two", first="opt/tool"),
        )
    )
    found = result(Copy(sources=("opt",), dest="/new", stage=0), Sources(shown=other))
    assert found["new/tool"] == File(
        path="new/tool", attributes=Attributes(mode=0o755, mtime_ns=5), size=1, parts=(part,)
    )
    assert isinstance(found["new/two"], File)


def test_what_is_not_there_or_in_the_way_is_named() -> None:
    with pytest.raises(ImageBuildError, match=r"line 3: there is no missing\.txt"):
        result(Copy(sources=("missing.txt",), dest="/srv/", line=3))
    with pytest.raises(ImageBuildError, match="does not end with a slash"):
        result(Copy(sources=("*.txt",), dest="/srv/x"))
    with pytest.raises(ImageBuildError, match="a directory in the image"):
        result(
            Copy(sources=("a.txt",), dest="/etc/x"),
            below={**USERS, "etc/x": folder("etc/x"), "etc/x/a.txt": folder("etc/x/a.txt")},
        )
    with pytest.raises(ImageBuildError, match="a file in the image"):
        result(Copy(sources=("src",), dest="/etc/passwd"))


def test_local_files_follow_the_links_of_the_image() -> None:
    tree = encode(local_tree({"bin/tool": b""}))
    assert [one.path for one in placed_tree(tree, LINKED.get)] == ["usr/bin/tool"]


def test_a_working_directory_is_made_where_there_is_none() -> None:
    assert made_directory(MakeDirectory(path="/bin"), LINKED.get) == ()
    assert made_directory(MakeDirectory(path="/bin/x/y"), LINKED.get) == (
        Directory(path="usr/bin/x/y", attributes=FOLDER),
    )
    with pytest.raises(ImageBuildError, match="a file there"):
        made_directory(MakeDirectory(path="/etc/passwd"), USERS.get)


def test_a_link_of_the_context_that_leads_out_of_it_leads_to_nothing() -> None:
    sources = Sources(tree=encode(local_tree({}, {"evil": "/etc/shadow"})))
    with pytest.raises(ImageBuildError, match="leads to nothing"):
        result(Copy(sources=("evil",), dest="/new/"), sources)
    assert link("x", "y").target == "y"
