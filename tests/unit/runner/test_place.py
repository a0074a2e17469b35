from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from squall.runner.place import own_names

PROGRAM = """
import json, os, sys
sys.path.insert(0, {source!r})
import encodings, importlib.util, asyncio, email
from squall.runner.place import move_home
move_home({home!r})
import wave, email.mime.text, encodings.punycode
print(json.dumps({{
    "base": sys.base_prefix,
    "new": [wave.__file__, email.mime.text.__file__, encodings.punycode.__file__],
    "path": sys.path,
    "old": asyncio.__file__,
}}))
"""


def test_an_interpreter_that_has_moved_finds_its_library_in_the_copy(tmp_path: Path) -> None:
    home = tmp_path / "copy"
    home.symlink_to(sys.base_prefix)
    source = str(Path(__file__).parents[3] / "src")
    program = PROGRAM.format(source=source, home=str(home), old=sys.base_prefix)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    found = json.loads(said)
    assert found["base"] == str(home)
    assert all(place.startswith(f"{home}/") for place in found["new"])
    assert found["path"]
    assert all(place.startswith(f"{home}/") for place in found["path"])
    assert found["old"].startswith(sys.base_prefix)


def test_what_lies_in_the_source_is_known_by_its_first_name(tmp_path: Path) -> None:
    (tmp_path / "one.py").touch()
    (tmp_path / "two").mkdir()
    assert own_names(str(tmp_path)) == frozenset({"one", "two"})
    assert own_names(str(tmp_path / "none")) == frozenset()
