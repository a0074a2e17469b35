"""What has changed in the upper directory of an overlay: told so that whoever has the last state comes to this one."""

from __future__ import annotations

import json

from hypothesis import given, strategies as st

from squall.blobs.upper_changes import (
    SETTLED_NS,
    Stamp,
    changes_of,
    seen_after,
    stamps_from_json,
    stamps_to_json,
    unsettled,
)

Tree = dict[str, Stamp]
Edits = list[tuple[str, str, str]]
names = st.sampled_from("abc")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
edits = st.lists(
    st.tuples(st.sampled_from(["write", "make", "remove", "hide", "move"]), paths, paths), max_size=12
)


def below(tree: Tree, path: str) -> list[str]:
    return [one for one in tree if one == path or one.startswith(f"{path}/")]


class Upper:
    """A directory as a file system has it: each inode is another one, and each change of it has another time."""

    def __init__(self) -> None:
        self.clock = 0
        self.tree: Tree = {"": self.stamp("d")}

    def stamp(self, kind: str, inode: int = 0) -> Stamp:
        self.clock += 1
        return Stamp(kind, inode or self.clock, 0, self.clock, self.clock)  # type: ignore[arg-type]  # one of the five

    def is_directory(self, path: str) -> bool:
        return path in self.tree and self.tree[path].kind == "d"

    def touch_above(self, path: str) -> None:
        above = path.rpartition("/")[0]
        self.tree[above] = self.stamp("d", self.tree[above].inode)

    def edit(self, how: str, path: str, other: str) -> None:
        above = path.rpartition("/")[0]
        if not self.is_directory(above):
            return
        match how:
            case "write" if not self.is_directory(path):
                self.tree[path] = self.stamp("f")
            case "make" if path not in self.tree:
                self.tree[path] = self.stamp("d")
            case "remove" | "hide" if path in self.tree:
                for one in below(self.tree, path):
                    del self.tree[one]
                if how == "hide":
                    self.tree[path] = self.stamp("w")
            case "move" if path in self.tree and other not in self.tree and not other.startswith(path):
                if not self.is_directory(other.rpartition("/")[0]):
                    return
                for one in below(self.tree, path):
                    self.tree[other + one.removeprefix(path)] = self.tree.pop(one)
                self.touch_above(other)
            case _:
                return
        self.touch_above(path)


def carried_out(before: Tree, now: Tree) -> Tree:
    """What somebody has who had `before`, and is told what has changed."""
    changes = changes_of(before, now)
    after = {path: stamp for path, stamp in before.items() if stamp.kind != "w"}
    for path in changes.gone:
        for one in below(after, path):
            del after[one]
    for path in sorted(changes.read, key=lambda one: one.split("/")):
        if now[path].kind != "d":
            for one in below(after, path):
                del after[one]
        after[path] = now[path]
    return {path: stamp for path, stamp in after.items() if stamp.kind != "w"}


@given(first=edits, second=edits)
def test_whoever_is_told_the_changes_has_what_is_there(first: Edits, second: Edits) -> None:
    upper = Upper()
    for edit in first:
        upper.edit(*edit)
    before = dict(upper.tree)
    for edit in second:
        upper.edit(*edit)
    shown = {path: stamp for path, stamp in upper.tree.items() if stamp.kind != "w"}
    assert carried_out(before, upper.tree) == shown


@given(first=edits)
def test_nothing_has_changed_where_nobody_wrote(first: Edits) -> None:
    upper = Upper()
    for edit in first:
        upper.edit(*edit)
    changes = changes_of(upper.tree, upper.tree)
    assert not changes.any
    assert changes.read == changes.gone == changes.around == frozenset()


@given(first=edits, second=edits)
def test_of_what_is_gone_only_the_topmost_is_told_and_all_around_it_is_given(
    first: Edits, second: Edits
) -> None:
    upper = Upper()
    for edit in first:
        upper.edit(*edit)
    before = dict(upper.tree)
    for edit in second:
        upper.edit(*edit)
    changes = changes_of(before, upper.tree)
    for path in changes.gone:
        above = path.rpartition("/")[0]
        assert upper.tree[above].kind == "d"
        assert above in changes.around
    assert not any(
        one != other and one.startswith(f"{other}/") for one in changes.gone for other in changes.gone
    )


@given(first=edits, at=st.integers(0, 40))
def test_what_was_written_just_before_a_look_counts_as_changed_the_next_time(first: Edits, at: int) -> None:
    upper = Upper()
    for edit in first:
        upper.edit(*edit)
    at_ns = at + SETTLED_NS
    seen = seen_after(upper.tree, at_ns)
    assert seen.keys() == upper.tree.keys()
    assert changes_of(seen, upper.tree).read == unsettled(upper.tree, at_ns)


@given(first=edits)
def test_what_was_seen_comes_back_from_disk(first: Edits) -> None:
    upper = Upper()
    for edit in first:
        upper.edit(*edit)
    upper.tree["caf\udce9"] = upper.stamp("f")
    assert stamps_from_json(json.loads(json.dumps(stamps_to_json(upper.tree)))) == upper.tree
