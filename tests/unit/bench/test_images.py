from pathlib import Path

import pytest

import images


def content(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_every_contender_gets_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        images.make_tree(tmp_path / name, 300, seed=seed)
    one = content(tmp_path / "one")
    assert len(one) == 300
    assert max(map(len, one.values())) > 1_000_000
    assert content(tmp_path / "same") == one
    assert content(tmp_path / "other") != one


def test_a_contender_whose_programs_are_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (
        images.turn("skopeo_umoci", quick=True).skipped
        == "not installed: `apt-get install docker-registry skopeo umoci`"
    )


def test_every_bar_speaks_of_a_metric_and_contenders_that_exist() -> None:
    for bar in images.BARS:
        assert bar.metric in images.UNITS
        assert {bar.who, bar.theirs} <= {*images.CONTENDERS, ""}
