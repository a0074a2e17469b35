from __future__ import annotations

from pathlib import Path

import pytest

from squall.blobs.local_files import LocalDirectory, LocalLink
from squall.images.dockerfile import parse, parse_commands
from squall.model.errors import InvalidError, SourceFileNotFound
from squall.sdk.build_context import BuildContext, Place, build_context, by_patterns, ignore_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    top = tmp_path / "project"
    for path in (
        *("app/main.py", "app/deep/more.py", "app/debug.log", "conf/one.toml", "conf/two.toml", "README.md"),
        *(".git/objects/aa", "secret.key", "releases/v2/run.sh"),
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path, encoding="utf-8")
    (top / "empty").mkdir()
    (top / "current").symlink_to("releases/v2")
    (top / "outside").symlink_to("/etc/hostname")
    return top


def _seen(project: Path, *lines: str, ignore: str = "", files: dict[str, str] | None = None) -> BuildContext:
    place = Place(directory=str(project), stays=by_patterns(ignore), files=files or {})
    return build_context(parse_commands("\n".join(lines)), place)


def _paths(context: BuildContext) -> list[str]:
    return [file.path for file in context.files]


def test_only_what_a_line_copies_is_seen(project: Path) -> None:
    assert _paths(_seen(project, "RUN a", "COPY README.md conf/one.toml /etc/")) == [
        "README.md",
        "conf/one.toml",
    ]
    assert _paths(_seen(project, "COPY app /app")) == ["app/debug.log", "app/deep/more.py", "app/main.py"]
    assert _paths(_seen(project, "ADD ./conf/*.toml /etc/")) == ["conf/one.toml", "conf/two.toml"]
    assert _paths(_seen(project, "COPY */deep /x")) == ["app/deep/more.py"]
    assert _paths(_seen(project, "COPY conf/[no]?e.toml /x")) == ["conf/one.toml"]
    assert _seen(project, "RUN a", "COPY <<EOF /x", "text", "EOF") == BuildContext()


def test_files_of_other_stages_and_images_are_none_of_the_context(project: Path) -> None:
    text = "FROM a AS one\nCOPY README.md /\nFROM b\nCOPY --from=one /etc/of-the-stage /\nCOPY --from=c /of-the-image /app\n"
    place = Place(directory=str(project), stays=by_patterns(""))
    assert _paths(build_context(parse(text), place)) == ["README.md"]
    # A stage that the last one does not need is not built, so its files do not travel.
    unneeded = "FROM a AS one\nCOPY secret.key /\nFROM b\nCOPY README.md /\n"
    assert _paths(build_context(parse(unneeded), place)) == ["README.md"]


def test_what_is_ignored_does_not_travel(project: Path) -> None:
    ignore = ".git\n*.key\n**/*.log\n"
    seen = _seen(project, "COPY . /app", ignore=ignore)
    assert _paths(seen) == [
        "README.md", "app/deep/more.py", "app/main.py", "conf/one.toml", "conf/two.toml", "releases/v2/run.sh",
    ]  # fmt: skip
    with pytest.raises(InvalidError, match=r"line 2 .*'secret\.key'.* but what is ignored"):
        _seen(project, "RUN a", "COPY secret.key /x", ignore=ignore)


def test_links_travel_as_they_are_with_what_they_lead_to_in_the_context(project: Path) -> None:
    assert _seen(project, "COPY current /app").others == (LocalLink(path="current", target="releases/v2"),)
    assert _paths(_seen(project, "COPY current /app")) == ["releases/v2/run.sh"]
    through = _seen(project, "COPY current/run.sh /app/")
    assert (_paths(through), len(through.others)) == (["releases/v2/run.sh"], 1)
    outside = _seen(project, "COPY outside /x")
    assert outside == BuildContext(others=(LocalLink(path="outside", target="/etc/hostname"),))
    (project / "top").symlink_to(".")
    assert "README.md" in _paths(_seen(project, "COPY top/README.md /x"))


def test_many_links_are_followed_within_the_time_of_a_test(project: Path) -> None:
    (project / "many").mkdir()
    for number in range(3000):
        (project / "many" / f"l{number}").symlink_to(
            "../releases" if number % 2 else f"../conf/{number}.toml"
        )
        (project / "conf" / f"{number}.toml").write_text("", encoding="utf-8")
    seen = _seen(project, "COPY many /many")
    assert (len(seen.files), len(seen.others)) == (1501, 3000)


def test_empty_directories_travel(project: Path) -> None:
    assert _seen(project, "COPY empty /x").others == (LocalDirectory(path="empty"),)
    assert LocalDirectory(path="empty") in _seen(project, "COPY . /x").others


def test_given_files_lie_at_their_paths_and_win(project: Path) -> None:
    files = {"conf": str(project / "README.md"), "extra/new.txt": str(project / "app/main.py")}
    seen = _seen(project, "COPY . /x", ignore="*.key", files=files)
    places = {file.path: file.absolute for file in seen.files}
    assert places["conf"] == str(project / "README.md")
    assert places["extra/new.txt"] == str(project / "app/main.py")
    assert "conf/one.toml" not in places
    assert _paths(_seen(project, "COPY extra /x", files=files)) == ["extra/new.txt"]
    with pytest.raises(SourceFileNotFound, match="context_files"):
        _seen(project, "COPY a /a", files={"a": str(project / "nothing")})


@pytest.mark.parametrize("source", ["missing.txt", "missing/*.txt", "*.nothing", "app/main.py/below"])
def test_a_line_that_finds_nothing_is_named(project: Path, source: str) -> None:
    with pytest.raises(InvalidError, match="line 3 of the Dockerfile") as raised:
        _seen(project, "RUN a", "", f"COPY {source} /x/")
    assert raised.value.remedy


def test_a_context_that_is_no_directory_is_named_and_only_where_it_is_needed(project: Path) -> None:
    nowhere = Place(directory=str(project / "nowhere"), stays=by_patterns(""))
    assert build_context(parse_commands("RUN a"), nowhere).is_empty
    with pytest.raises(SourceFileNotFound, match="nowhere"):
        build_context(parse_commands("COPY a /a"), nowhere)


def test_an_ignore_file_of_the_dockerfile_comes_before_that_of_the_context(project: Path) -> None:
    (project / ".dockerignore").write_text("README.md\n", encoding="utf-8")
    assert ignore_of(str(project), str(project / "Dockerfile"))("README.md")
    (project / "Dockerfile.dockerignore").write_text("secret.key\n", encoding="utf-8")
    stays = ignore_of(str(project), str(project / "Dockerfile"))
    assert (stays("README.md"), stays("secret.key")) == (False, True)
    assert ignore_of(str(project))("README.md")
    assert not ignore_of(str(project / "conf"))("README.md")
