"""What is said when packages cannot be installed, and what the carried pip is."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from bootstrap import environment, install

ROOT = Path(__file__).parents[3]


def test_the_carried_pip_is_the_one_that_its_page_names() -> None:
    folder = ROOT / "bootstrap" / "vendor"
    (wheel,) = folder.glob("pip-*.whl")
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in page
    assert f"pip {wheel.name.split('-')[1]}" in page


def test_the_base_install_is_light() -> None:
    assert len(environment.requirements(str(ROOT), frozenset())) <= 4


def test_an_extra_that_is_not_offered_is_named() -> None:
    with pytest.raises(install.InstallError, match="no extra is called moon") as caught:
        environment.requirements(str(ROOT), frozenset({"moon"}))
    assert "server" in caught.value.remedy


def test_a_package_that_does_not_exist_ends_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No index, so that nothing is asked of the network.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    log = os.fspath(tmp_path / "log")
    with pytest.raises(install.InstallError, match="pip could not install") as caught:
        install.packages(sys.executable, ["squall-has-no-such-package"], log=log)
    assert "PIP_INDEX_URL" in caught.value.remedy
    assert Path(log).read_text(encoding="utf-8")
