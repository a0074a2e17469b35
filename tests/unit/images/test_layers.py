from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from squall.blobs.remove import remove_tree
from squall.images.layers import Layers, copy_tree, make_skeleton, measure, take_back
from squall.images.skeleton import Copy, Skeleton, SkeletonDraft

KEY, OTHER = "a" * 64, "b" * 64


def test_a_layer_is_there_only_once_it_is_sealed(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    building = layers.begin(KEY)
    (building.layer / "six.py").write_text("x = 1\n", encoding="utf-8")
    assert KEY not in layers
    assert layers.keys() == frozenset()
    layer = layers.seal(building, {"label": "pip_install six", "made_s": 1.0, "tool": "uv"})
    assert (KEY in layers, layers.keys()) == (True, frozenset({KEY}))
    assert (layer.label, layer.files, layer.tool) == ("pip_install six", 1, "uv")
    assert layer.size_bytes > 0
    assert not building.top.exists()


def test_of_two_builds_of_one_key_the_first_stays(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    first, second = layers.begin(KEY), layers.begin(KEY)
    (first.layer / "a").write_text("first", encoding="utf-8")
    (second.layer / "a").write_text("second", encoding="utf-8")
    layers.seal(first, {})
    layers.seal(second, {})
    assert (layers.path(KEY) / "a").read_text(encoding="utf-8") == "first"
    assert sorted(os.listdir(tmp_path)) == [KEY, f"{KEY}.json"]


def test_what_a_killed_build_left_is_swept_and_layers_stay(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    layers.seal(layers.begin(KEY), {})
    left = layers.begin(OTHER)
    (left.layer / "half").mkdir(mode=0o500)
    (tmp_path / f"{OTHER}.json").write_text("{}", encoding="utf-8")
    for dying in layers.sweep_leftovers():
        remove_tree(dying)
    assert sorted(os.listdir(tmp_path)) == [KEY, f"{KEY}.json"]


def test_a_removed_layer_is_gone_with_its_record(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    building = layers.begin(KEY)
    (building.layer / "closed").mkdir()
    (building.layer / "closed" / "file").touch()
    os.chmod(building.layer / "closed", 0o500)
    layers.seal(building, {})
    layers.remove(KEY)
    assert os.listdir(tmp_path) == []


def test_pruning_removes_the_longest_unused_and_spares_what_is_in_use(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    for at, key in enumerate((KEY, OTHER, "c" * 64)):
        building = layers.begin(key)
        (building.layer / "f").write_bytes(b"x" * 100_000)
        layers.seal(building, {})
        os.utime(tmp_path / f"{key}.json", (100 + at, 100 + at))
    gone = layers.prune(in_use=frozenset({KEY}), keep_bytes=250_000, older_than_s=1000)
    assert [layer.key for layer in gone] == [OTHER]
    assert layers.keys() == {KEY, "c" * 64}


def test_a_use_is_remembered(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    layers.seal(layers.begin(KEY), {})
    os.utime(tmp_path / f"{KEY}.json", (100, 100))
    assert layers.all()[0].used_s == 100
    layers.use(KEY)
    assert layers.all()[0].used_s > 100
    layers.use(OTHER)


@pytest.mark.parametrize("key", ["", "../x", "A" * 64, "a" * 63, f"{'a' * 64}.json"])
def test_only_keys_name_layers(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="no layer"):
        Layers(tmp_path).path(key)


def test_a_copy_has_the_same_content_modes_times_and_links(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "pkg" / "empty").mkdir(parents=True)
    (source / "pkg" / "run").write_bytes(b"#!" * 100_000)
    (source / "pkg" / "run").chmod(0o755)
    os.utime(source / "pkg" / "run", ns=(5, 1_234_567_890_123_456_789))
    (source / "link").symlink_to("pkg/run")
    (source / "dirlink").symlink_to("pkg")
    target.mkdir()
    copy_tree(source, target)
    run = target / "pkg" / "run"
    assert run.read_bytes() == b"#!" * 100_000
    assert (run.stat().st_mtime_ns, stat.S_IMODE(run.stat().st_mode)) == (1_234_567_890_123_456_789, 0o755)
    assert run.stat().st_ino != (source / "pkg" / "run").stat().st_ino
    assert (os.readlink(target / "link"), os.readlink(target / "dirlink")) == ("pkg/run", "pkg")
    assert (target / "pkg" / "empty").is_dir()


def test_what_is_neither_file_directory_nor_link_and_set_user_id_does_not_stay(tmp_path: Path) -> None:
    top = tmp_path / "layer"
    (top / "d").mkdir(parents=True)
    os.mkfifo(top / "d" / "fifo")
    (top / "su").touch()
    (top / "su").chmod(0o4755)
    (top / "closed").touch()
    (top / "closed").chmod(0o600)
    (top / "out").symlink_to("/etc/shadow")
    take_back(top)
    assert sorted(os.listdir(top)) == ["closed", "d", "out", "su"]
    assert os.listdir(top / "d") == []
    assert stat.S_IMODE((top / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((top / "closed").stat().st_mode) == 0o644


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    os.link(tmp_path / "a", tmp_path / "b")
    size, files = measure(tmp_path)
    assert files == 1
    assert size < 20_000


def test_a_skeleton_is_made_once_and_nothing_is_written_through_its_links(tmp_path: Path) -> None:
    draft = SkeletonDraft()
    draft.add_link("/home", str(tmp_path / "outside"))
    draft.add_dir("/home/user")
    draft.add_file("/home/user/x", "text")
    draft.add_dir("/tmp", mode=0o1777)
    draft.add_file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    skeleton = draft.done()
    layers = Layers(tmp_path / "layers")
    place = layers.skeleton(skeleton)
    assert layers.skeleton(skeleton) == place
    assert not (tmp_path / "outside").exists()
    assert os.readlink(place / "home") == str(tmp_path / "outside")
    assert stat.S_IMODE((place / "tmp").stat().st_mode) == 0o1777
    assert (place / "etc" / "passwd").read_text(encoding="utf-8").startswith("root:")


def test_copies_hold_what_everybody_may_read_and_nothing_else(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "private").mkdir(parents=True)
    (etc / "private" / "key").write_text("secret", encoding="utf-8")
    (etc / "private").chmod(0o710)
    (etc / "key.pem").write_text("secret", encoding="utf-8")
    (etc / "key.pem").chmod(0o640)
    (etc / "cert.pem").write_text("public", encoding="utf-8")
    (etc / "cert.pem").chmod(0o644)
    (etc / "link").symlink_to("cert.pem")
    draft = SkeletonDraft()
    draft.add_copy(Copy(target="/etc/ssl", source=str(etc), stamp="1"))
    draft.add_copy(Copy(target="/gone", source=str(tmp_path / "gone"), stamp="1"))
    make_skeleton(tmp_path / "made", draft.done())
    assert sorted(os.listdir(tmp_path / "made" / "etc" / "ssl")) == ["cert.pem", "link"]
    assert not (tmp_path / "made" / "gone").exists()


def test_a_changed_copy_is_another_skeleton() -> None:
    def digest(stamp: str) -> str:
        draft = SkeletonDraft()
        draft.add_copy(Copy(target="/etc/x", source="/etc/x", stamp=stamp))
        return draft.done().digest

    assert digest("1") != digest("2")


def test_skeletons_that_nobody_uses_are_swept(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    places = []
    for name in ("/a", "/b", "/c"):
        draft = SkeletonDraft()
        draft.add_dir(name)
        places.append(layers.skeleton(draft.done()))
        os.utime(places[-1], (100, 100))
    layers.skeleton(_skeleton_of("/c"))
    assert layers.sweep_skeletons(in_use=frozenset({str(places[0])}), older_than_s=200) == 1
    assert [place.exists() for place in places] == [True, False, True]


def _skeleton_of(name: str) -> Skeleton:
    draft = SkeletonDraft()
    draft.add_dir(name)
    return draft.done()


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "gone")
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert os.listdir(tmp_path) == []
