"""Whether a machine can have a town, in words that say what is missing."""

from __future__ import annotations

import shutil
import sys

import pytest

from squall.testing.chaos.town import why_no_town


@pytest.mark.parametrize(
    ("uid", "programs", "cryptography", "why"),
    [
        (1000, True, True, "machines in networks of their own need root"),
        (0, False, True, "ip, tc, nsenter, unshare is not installed"),
        (0, True, False, "cryptography (pip install 'squall[cluster]') is not installed"),
        (0, True, True, None),
    ],
)
def test_what_a_town_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, uid: int, programs: bool, cryptography: bool, why: str | None
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if programs else None)
    monkeypatch.delitem(sys.modules, "cryptography", raising=False)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if cryptography or name != "cryptography" else None
    )
    assert why_no_town() == why
