from __future__ import annotations

import pytest

from squall.images.dockerfile.nouns import ImageConfig, Run
from squall.images.rooted.nouns import Built, LayerStep
from squall.images.rooted.way_in import before, with_way_in
from squall.model.errors import PackageNotFound
from squall.model.image_steps import AptInstall

BELOW = Built(
    key="a" * 64, trees=("t1",), config=ImageConfig(env={"A": "1"}), label="RUN good", size=9, took_s=3.0
)
RUN = Run(argv=("/bin/sh", "-c", "x"), env={"A": "1", "ARG": "2"}, workdir="/srv", user="ada")


def step(action: Run | AptInstall) -> LayerStep:
    config = ImageConfig(env={"A": "1", "LATER": "3"}, workdir="/work")
    return LayerStep(key="c" * 64, action=action, config=config, label="RUN x", secrets=("TOKEN",))


def test_what_a_step_found_is_an_image_over_the_last_good_layer() -> None:
    ground = before(BELOW, step(RUN))
    assert (ground.trees, ground.parent, ground.label) == (BELOW.trees, BELOW.key, "before RUN x")
    assert ground.key not in {BELOW.key, "c" * 64}
    assert (ground.size, ground.took_s, ground.final) == (0, 0.0, False)
    assert ground.config.env == {"A": "1", "ARG": "2"}
    assert (ground.config.workdir, ground.config.user) == ("/srv", "ada")
    assert Built.from_json(ground.to_json()) == ground


def test_a_step_that_installs_runs_elsewhere_than_the_image_starts() -> None:
    ground = before(BELOW, step(AptInstall(packages=("jq",), env={"P": "4"})))
    assert ground.config.env == {"A": "1", "LATER": "3", "P": "4"}
    assert ground.config.workdir == "/"


def test_the_error_stays_what_it_was_and_says_the_way_in() -> None:
    failed = PackageNotFound("no jq\n  last line", remedy="spell it right", package="jq", step="apt")
    said = with_way_in(failed, "f" * 64)
    assert isinstance(said, PackageNotFound)
    assert said.message.splitlines() == [
        "no jq",
        "  last line",
        "to look around where it failed: squall shell --image-step ffffffffffff",
    ]
    assert (said.remedy, said.package, said.step) == ("spell it right", "jq", "apt")


def test_records_of_older_versions_are_read() -> None:
    plain = BELOW.to_json()
    assert "parent" not in plain
    assert "final" not in plain
    assert Built.from_json(plain).parent == ""
    with pytest.raises(ValueError, match="parent"):
        Built.from_json({**plain, "parent": 5})
