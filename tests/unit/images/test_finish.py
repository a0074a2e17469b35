from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from squall.images.finish import finish_layer


def _installed(layer: Path, url: str) -> Path:
    info = layer / "x-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "direct_url.json").write_text(json.dumps({"url": url}), encoding="utf-8")
    (info / "RECORD").write_text(
        "x.py,sha256=abc,1\nx-1.0.dist-info/direct_url.json,sha256=old,9\n", encoding="utf-8"
    )
    return info


def test_the_note_of_a_url_loses_its_credentials_and_the_record_knows(tmp_path: Path) -> None:
    info = _installed(tmp_path, "https://ada:pw99@h/x.whl?token=querysecret")
    assert finish_layer(tmp_path, ["querysecret", ""]) == []
    text = (info / "direct_url.json").read_text(encoding="utf-8")
    assert json.loads(text)["url"] == "https://h/x.whl?token=****"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    lines = (info / "RECORD").read_text(encoding="utf-8").splitlines()
    assert lines == ["x.py,sha256=abc,1", f"x-1.0.dist-info/direct_url.json,sha256={digest},{len(text)}"]


def test_a_note_without_a_secret_stays_as_it_is(tmp_path: Path) -> None:
    info = _installed(tmp_path, "git+ssh://git@h/x.git")
    before = (info / "RECORD").stat().st_mtime_ns
    finish_layer(tmp_path, ["pw99"])
    assert (info / "RECORD").stat().st_mtime_ns == before


def test_a_note_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"url": "https://a:b@h/"}', encoding="utf-8")
    info = tmp_path / "layer" / "x-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "direct_url.json").symlink_to(outside)
    finish_layer(tmp_path / "layer", [])
    assert "a:b" in outside.read_text(encoding="utf-8")


def test_a_package_that_hides_a_standard_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").touch()
    (tmp_path / "numpy").mkdir()
    (tmp_path / ".lock").touch()
    (note,) = finish_layer(tmp_path, [])
    assert "`argparse`" in note
    assert not (tmp_path / ".lock").exists()
