"""The log of a process: lines, crashes and size."""

import json
import subprocess
import sys
from pathlib import Path

SOURCES = str(Path(__file__).parents[3] / "src")


def run(path: Path, program: str) -> None:
    head = f"import sys; sys.path.insert(0, {SOURCES!r})\nfrom pathlib import Path\n"
    log = f"from squall.settings.process_log import ProcessLog\nlog = ProcessLog(Path({str(path)!r}), limit_bytes=400)\n"
    subprocess.run([sys.executable, "-I", "-c", head + log + program], check=False, timeout=30)


def test_lines_are_json_and_a_crash_leaves_its_traceback_behind_them(tmp_path: Path) -> None:
    run(tmp_path / "log", "log.write('began', pid=7); print('plain', flush=True); raise SystemExit('over')")
    lines = (tmp_path / "log").read_text().splitlines()
    assert json.loads(lines[0])["event"] == "began"
    assert json.loads(lines[0])["pid"] == 7
    assert lines[1:] == ["plain", "over"]


def test_a_log_never_grows_far_beyond_its_limit_and_keeps_the_newest(tmp_path: Path) -> None:
    run(tmp_path / "log", "for number in range(200): log.write('line', number=number)")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log", "log.1", "log.2", "log.3"]
    assert all(file.stat().st_size < 600 for file in files)
    newest = (tmp_path / "log.1").read_text() + (tmp_path / "log").read_text()
    assert '"number": 199' in newest
