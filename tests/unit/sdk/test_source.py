"""The directory of the entry file ships, and nothing that should not."""

import os
import sys
from pathlib import Path

import pytest

from squall.model.errors import ModuleNotMountable, SourceFileNotFound, SourceTooLarge
from squall.sdk import source as source_module
from squall.sdk.outside import Elsewhere, Outside, look_elsewhere
from squall.sdk.shared_directory import why_shared
from squall.sdk.source import Source, entry_of_module, source_of_file, source_of_module, with_outside
from squall.sdk.source_cache import SourceCache


def tree(root: Path, *paths: str, **texts: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(texts.get(Path(path).stem, ""))
    return root


def paths(source: Source) -> list[str]:
    return [file.path for file in source.files]


def test_everything_beside_the_entry_ships(tmp_path: Path) -> None:
    tree(tmp_path, "main.py", "helper.py", "pkg/__init__.py", "pkg/deep/data.json")
    source = source_of_file(str(tmp_path / "main.py"))
    assert paths(source) == ["helper.py", "main.py", "pkg/__init__.py", "pkg/deep/data.json"]
    assert (source.root, source.entry_module) == (str(tmp_path), "main")


def test_the_directory_that_holds_the_package_ships(tmp_path: Path) -> None:
    tree(tmp_path, "pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/main.py", "other.py")
    source = source_of_file(str(tmp_path / "pkg" / "sub" / "main.py"))
    assert source.root == str(tmp_path)
    assert source.entry_module == "pkg.sub.main"
    assert "other.py" in paths(source)


def test_a_package_is_entered_at_its_init(tmp_path: Path) -> None:
    tree(tmp_path, "pkg/__init__.py")
    assert source_of_file(str(tmp_path / "pkg" / "__init__.py")).entry_module == "pkg"


def test_a_module_is_found_without_importing_it(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "pkg/__init__.py",
        "pkg/mod.py",
        "tool/__init__.py",
        "tool/__main__.py",
        mod="raise SystemExit",
    )
    assert entry_of_module("pkg.mod", [str(tmp_path)]).module == "pkg.mod"
    assert entry_of_module("tool", [str(tmp_path)]).module == "tool.__main__"
    assert "pkg/mod.py" in paths(source_of_module("pkg.mod", paths=[str(tmp_path)]))
    with pytest.raises(SourceFileNotFound, match=r"no\.such"):
        entry_of_module("no.such", [str(tmp_path)])


@pytest.mark.parametrize("name", ["missing.py", "."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceFileNotFound):
        source_of_file(str(tmp_path / name))


def test_what_machines_make_does_not_ship(tmp_path: Path) -> None:
    tree(
        tmp_path, "main.py", "__pycache__/main.pyc", ".git/config", "node_modules/x/index.js", "my-env/pyvenv.cfg",
        "my-env/lib/x.py", "target/CACHEDIR.TAG", "target/big.o", ".mypy_cache/x.json", "conda/conda-meta/history",
        *(f"state/{name}/x" for name in ("blobs", "layers", "run", "trees")),
    )  # fmt: skip
    assert paths(source_of_file(str(tmp_path / "main.py"))) == ["main.py"]


def test_ignore_files_hold_where_they_stand_and_below(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "main.py",
        "a.log",
        "keep.log",
        "sub/b.log",
        "sub/secret",
        "secret",
        "data/x",
        "big/x",
        "big/y.py",
    )
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/data/\n")
    (tmp_path / "sub" / ".gitignore").write_text("secret\n")
    (tmp_path / ".dockerignore").write_text("big\n!big/y.py\n")
    assert paths(source_of_file(str(tmp_path / "main.py"))) == [
        ".dockerignore", ".gitignore", "big/y.py", "keep.log", "main.py", "secret", "sub/.gitignore",
    ]  # fmt: skip


def test_a_squallignore_has_the_last_word(tmp_path: Path) -> None:
    tree(tmp_path, "main.py", "generated.py", "node_modules/needed.js", "notes.md")
    (tmp_path / ".gitignore").write_text("generated.py\n")
    (tmp_path / ".squallignore").write_text("!generated.py\n!node_modules\n*.md\n")
    assert paths(source_of_file(str(tmp_path / "main.py"))) == [
        ".gitignore", ".squallignore", "generated.py", "main.py", "node_modules/needed.js",
    ]  # fmt: skip


def test_the_rules_of_the_repository_above_hold_too(tmp_path: Path) -> None:
    tree(tmp_path, ".git/HEAD", "app/main.py", "app/x.ckpt", "app/out/y", "app/sub/out/z")
    (tmp_path / ".gitignore").write_text("*.ckpt\n/app/out\n")
    assert paths(source_of_file(str(tmp_path / "app" / "main.py"))) == ["main.py", "sub/out/z"]


def test_the_entry_ships_whatever_the_rules_say(tmp_path: Path) -> None:
    tree(tmp_path, "main.py", "other.py")
    (tmp_path / ".gitignore").write_text("*\n")
    assert paths(source_of_file(str(tmp_path / "main.py"))) == ["main.py"]


def test_links_ship_what_lies_inside_and_never_what_lies_outside(tmp_path: Path) -> None:
    root = tree(tmp_path / "app", "main.py", "pkg/mod.py")
    tree(tmp_path, "outside/secret.txt")
    (root / "alias.py").symlink_to("main.py")
    (root / "pkg2").symlink_to("pkg")
    (root / "pkg" / "round").symlink_to("..")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "out.txt").symlink_to("../outside/secret.txt")
    (root / "nowhere").symlink_to("no/such/file")
    source = source_of_file(str(root / "main.py"))
    assert paths(source) == ["alias.py", "main.py", "pkg/mod.py", "pkg2/mod.py"]
    assert any("out.txt" in note for note in source.notes)


def test_what_is_no_file_does_not_ship(tmp_path: Path) -> None:
    tree(tmp_path, "main.py")
    os.mkfifo(tmp_path / "pipe")
    assert paths(source_of_file(str(tmp_path / "main.py"))) == ["main.py"]


def test_too_much_names_what_weighs_most(tmp_path: Path) -> None:
    tree(tmp_path, "main.py")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(b"x" * 3_000_000)
    with pytest.raises(SourceTooLarge, match=r"data/ \(2\.9 MiB\)") as refused:
        source_of_file(str(tmp_path / "main.py"), size_limit=1_000_000)
    assert ".squallignore" in refused.value.remedy


def test_from_a_shared_directory_only_what_is_imported_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(
        tmp_path, "main.py", "helper.py", "unrelated.py", "pkg/__init__.py", "pkg/x.py", "deeper.py", "photos/a.jpg",
        "space/part/a.py", "space/other/b.py",
        main="import helper, os\nfrom pkg import x\nimport space.part.a\n", helper="def f():\n    import deeper\n",
    )  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    source = source_of_file(str(tmp_path / "main.py"))
    assert paths(source) == [
        "deeper.py",
        "helper.py",
        "main.py",
        "pkg/__init__.py",
        "pkg/x.py",
        "space/part/a.py",
    ]
    assert source.alone == "your home directory"
    assert "a directory of its own" in source.notes[-1]


@pytest.mark.parametrize(
    "path", ["/", "/tmp", "/usr", os.path.dirname(os.__file__), os.path.dirname(pytest.__file__)]
)
def test_directories_of_everybody_are_known(path: str) -> None:
    assert why_shared(path)


def test_a_project_is_no_shared_directory(tmp_path: Path) -> None:
    assert why_shared(str(tmp_path)) is None


def site_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed packages that Python looks into."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])
    return site


def test_an_editable_install_ships_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_with(tmp_path, monkeypatch)
    tree(
        tmp_path,
        "lib/src/mylib/__init__.py",
        "lib/src/mylib/part.py",
        "lib/src/unused/__init__.py",
        part="import second\n",
    )
    tree(tmp_path, "other/second.py")
    (site / "__editable__.mylib.pth").write_text(f"{tmp_path}/lib/src\n")
    (site / "second.egg-link").write_text(f"{tmp_path}/other\n.\n")
    tree(tmp_path, "app/main.py", main="from mylib import part\n")
    source = with_outside(source_of_file(str(tmp_path / "app" / "main.py")))
    assert paths(source) == ["main.py", "mylib/__init__.py", "mylib/part.py", "second.py"]
    assert source.moved["mylib/part.py"] == str(tmp_path / "lib" / "src" / "mylib" / "part.py")


def test_what_setuptools_maps_ships_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_with(tmp_path, monkeypatch)
    tree(tmp_path, "lib/code/__init__.py", "lib/code/a.py", "ns/impl.py")
    mapping = {"mylib": str(tmp_path / "lib" / "code"), "ns.impl": str(tmp_path / "ns" / "impl")}
    (site / "__editable__.mylib.pth").write_text(
        "import __editable___mylib_finder; __editable___mylib_finder.install()\n"
    )
    (site / "__editable___mylib_finder.py").write_text(
        f"MAPPING: dict[str, str] = {mapping!r}\nraise SystemExit\n"
    )
    tree(tmp_path, "app/main.py", main="import mylib.a\n")
    source = with_outside(source_of_file(str(tmp_path / "app" / "main.py")))
    assert paths(source) == ["main.py", "mylib/__init__.py", "mylib/a.py"]


def test_an_editable_install_without_a_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_with(tmp_path, monkeypatch)
    (site / "mesonic-editable.pth").write_text("import _mesonic_editable_loader\n")
    tree(tmp_path, "app/main.py", "app/other.py", main="import mesonic\n")
    with pytest.raises(ModuleNotMountable, match=r"mesonic-editable\.pth"):
        with_outside(source_of_file(str(tmp_path / "app" / "main.py")))


def test_a_directory_of_pythonpath_ships_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "more")])
    tree(
        tmp_path,
        "more/wanted.py",
        "more/unwanted.py",
        "more/loaded.py",
        "app/main.py",
        main="import wanted\n",
    )
    source = source_of_file(str(tmp_path / "app" / "main.py"))
    assert paths(with_outside(source)) == ["main.py", "wanted.py"]
    assert paths(with_outside(source, loaded=["loaded"])) == ["loaded.py", "main.py", "wanted.py"]


def test_what_the_root_has_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path, "more/helper.py", "more/squall/__init__.py")
    elsewhere = Elsewhere(directories=(str(tmp_path / "more"),), packages={}, unshippable={})
    outside = Outside(elsewhere, taken={"helper"}, imports=lambda _: ())
    assert outside.files([], ["helper", "squall", "json"]) == ()


def test_the_places_of_this_interpreter_are_not_elsewhere() -> None:
    found = look_elsewhere(os.getcwd())
    assert not any(
        "site-packages" in path or path == os.path.dirname(os.__file__) for path in found.directories
    )


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    tree(tmp_path, "app/main.py", "app/b.txt", main="import json\n")
    os.utime(tmp_path / "app" / "main.py", (1, 1))
    source = source_of_file(str(tmp_path / "app" / "main.py"))
    # As if the file had been as it is for a while: a change of the last second is never trusted.
    files = [file._replace(ctime_ns=1, mtime_ns=1) for file in source.files]
    known = SourceCache(str(tmp_path / "cache" / "c.json"))
    known._used = {file.absolute: [*file[3:], ["a" * 64] * bool(file.size), ["json"]] for file in files}
    known._changed = True
    known.save()
    again = SourceCache(str(tmp_path / "cache" / "c.json"))
    assert {again.chunks(file) for file in files if file.size} == {("a" * 64,)}
    assert again.imports(files[1]) == {"json"}


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    tree(tmp_path, "app/main.py", main="one")
    cache = SourceCache.for_root(str(tmp_path / "cache"), str(tmp_path / "app"))
    before = cache.tree(source_of_file(str(tmp_path / "app" / "main.py")).files)
    (tmp_path / "app" / "main.py").write_text("two")
    after = cache.tree(source_of_file(str(tmp_path / "app" / "main.py")).files)
    assert before != after


@pytest.mark.parametrize(
    "damage",
    [
        *("", "[]", "{", '{"version":2,"files":{"/x":[1]}}', '{"version":9,"files":3}'),
        '{"version":2,"files":{"/x":["1",1,1,1,["a"],[]]}}',
        '{"version":2,"files":{"/x":[1,1,1,1,7,[]]}}',
    ],
)
def test_a_damaged_cache_costs_time_only(tmp_path: Path, damage: str) -> None:
    tree(tmp_path, "app/main.py", "c.json", c=damage)
    files = source_of_file(str(tmp_path / "app" / "main.py")).files
    assert SourceCache(str(tmp_path / "c.json")).tree(files) == SourceCache(None).tree(files)


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    tree(tmp_path, "main.py", "file")
    cache = SourceCache(str(tmp_path / "file" / "c.json"))
    assert cache.tree(source_of_file(str(tmp_path / "main.py")).files).manifest.entries


def test_the_limits_are_those_that_are_documented() -> None:
    assert source_module.SIZE_LIMIT_BYTES == 100 * 2**20
