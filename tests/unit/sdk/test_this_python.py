from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from squall.model.errors import InvalidError
from squall.model.image import ClientPython
from squall.sdk.this_python import installer_settings, this_python


def test_this_interpreter_is_described_by_paths_that_are_there() -> None:
    python = this_python()
    assert (python.executable, python.prefix) == (sys.executable, sys.prefix)
    assert python.version == ".".join(map(str, sys.version_info[:3]))
    assert sysconfig.get_path("stdlib") in python.stdlib_dirs
    assert all(map(os.path.isdir, (*python.stdlib_dirs, *python.site_dirs)))
    assert any(os.path.isdir(os.path.join(path, "pytest")) for path in python.site_dirs)
    assert ClientPython.from_json(python.to_json()) == python


def test_directories_of_source_are_no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(tmp_path) not in this_python().site_dirs


def test_an_interpreter_that_does_not_know_where_it_lies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(InvalidError, match=r"sys\.executable"):
        this_python()


def test_files_of_pip_uv_and_netrc_are_found_where_they_are_kept(tmp_path: Path) -> None:
    texts = {
        ".config/pip/pip.conf": "[global]\nindex-url = https://h.example/simple\nconstraint = ~no/such\n",
        ".config/uv/uv.toml": 'find-links = ["/uv-wheels"]\n',
        ".netrc": "machine h.example login ada password secret99\n",
        "more.conf": "[install]\npre = true\n",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    found = installer_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "more.conf")})
    (name,) = found.secrets
    assert found.index_url == f"https://${{{name}}}@h.example/simple"
    assert found.secrets[name] == "ada:secret99"
    assert "/uv-wheels" in found.find_links
    assert found.pre


def test_configuration_that_is_switched_off_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").write_text("no-index = true\n", encoding="utf-8")
    env = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    assert installer_settings(env).find_links == ()
    assert not installer_settings(env).no_index


def test_a_file_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text("= nonsense", encoding="utf-8")
    with pytest.raises(InvalidError, match="uv's configuration"):
        installer_settings({"HOME": str(tmp_path), "UV_CONFIG_FILE": str(tmp_path / "uv.toml")})
