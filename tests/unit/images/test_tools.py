from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from squall.images.installer import InstallerSettings, uv_environment
from squall.images.tools import UvPlace, find_pip, find_uv, uv_places, with_authorities
from squall.model.image import ClientPython
from squall.model.image_steps import PipInstall

NOWHERE = ClientPython(executable="/no/python", prefix="/no", base_prefix="/no", version="3.12.1")


def _program(path: Path, content: bytes = b"\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_the_clients_own_uv_comes_first_and_ours_last(tmp_path: Path) -> None:
    own, home = _program(tmp_path / "bin/uv"), _program(tmp_path / "home/.local/bin/uv")
    fetched = _program(tmp_path / "tools/uv-any/bin/uv")
    python = replace(NOWHERE, uv=str(own))
    env = {"PATH": "/nonexistent", "HOME": str(tmp_path / "home")}
    places = uv_places(python, tmp_path / "tools", env)
    assert [(place.path, place.origin) for place in places] == [
        (str(own), "on PATH"),
        (str(home), "in the home directory"),
        (str(fetched), "fetched by Squall"),
    ]


def test_a_script_that_stands_for_uv_is_none(tmp_path: Path) -> None:
    shim = _program(tmp_path / "shims/uv", b"#!/bin/sh\nexec pyenv exec uv\n")
    env = {"PATH": str(shim.parent), "HOME": str(tmp_path)}
    assert uv_places(replace(NOWHERE, uv=str(shim)), tmp_path / "tools", env) == ()


def test_a_program_that_is_no_uv_is_passed_over() -> None:
    assert asyncio.run(find_uv((UvPlace("/bin/true", "x"), UvPlace("/nonexistent", "x")), None)) is None


def test_pip_is_found_installed_or_bundled_or_not_at_all(tmp_path: Path) -> None:
    assert find_pip(NOWHERE) is None
    (tmp_path / "lib/ensurepip/_bundled").mkdir(parents=True)
    (tmp_path / "lib/ensurepip/_bundled/pip-24.0-py3-none-any.whl").touch()
    bundled = find_pip(replace(NOWHERE, executable=sys.executable, stdlib_dirs=(str(tmp_path / "lib"),)))
    assert bundled is not None
    assert bundled.argv[1].endswith("pip-24.0-py3-none-any.whl/pip")
    (tmp_path / "site/pip").mkdir(parents=True)
    (tmp_path / "site/pip/__main__.py").touch()
    installed = find_pip(replace(NOWHERE, site_dirs=(str(tmp_path / "site"),)))
    assert installed is not None
    assert installed.argv == ("/no/python", str(tmp_path / "site/pip"))


def test_uv_trusts_whom_the_machine_trusts_unless_it_is_told_whom() -> None:
    fedora = {"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}.__contains__
    trusting = with_authorities(InstallerSettings(), there=fedora)
    assert (
        uv_environment(PipInstall(packages=("six",)), trusting)["SSL_CERT_FILE"]
        == "/etc/pki/tls/certs/ca-bundle.crt"
    )
    told = InstallerSettings(cert="/etc/corp.pem")
    assert with_authorities(told, there=fedora) == told
    assert with_authorities(InstallerSettings(), there=lambda _path: False) == InstallerSettings()
