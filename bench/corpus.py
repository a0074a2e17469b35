"""Corpus: what people import, each judged by the gate of a template and then forked many times under load."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus_packages import PACKAGES, Package
from corpus_page import Row, Trial, false_verdicts, page
from measure import Summary, as_json, machine, say, summarise

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence" / "corpus.json"
PAGE = ROOT / "docs" / "templates-corpus.md"

# Beside the seconds that are asked for: imports and hangs of a machine that does other work too.
GRACE_S = 400.0
BUSY = "while True: pass"

# Native threads that wait for each other sleep rather than spin: on held cores, spinning is all that they would do.
PATIENT = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"}


def main() -> None:
    """Runs the corpus, or a part of it. Raises SystemExit where a template judged safe had a child that failed."""
    options = _arguments()
    rows = {row.package: row for row in _read_rows()}
    chosen = [one for one in PACKAGES if not options.only or one.name in options.only.split(",")]
    if not options.page:
        os.nice(options.nice)
        for number, package in enumerate(chosen, 1):
            row = run(package, options)
            if not options.loud:
                rows[package.name] = row
            say(f"{number}/{len(chosen)} {package.name}: {_told(row)}")
            _write(rows, options)
    _write(rows, options)
    ran = [rows[package.name] for package in chosen if package.name in rows]
    if options.json:
        print(json.dumps({**as_json(_results(ran), machine()), "verdicts": [asdict(row) for row in ran]}))
    if wrong := false_verdicts(ran):
        raise SystemExit(f"judged safe, but children failed: {', '.join(wrong)}")


def run(package: Package, options: argparse.Namespace) -> Row:
    """The row of one package: installed into a folder of its own, then tried in two fresh processes."""
    folder = Path(options.cache) / f"py{sys.version_info[0]}{sys.version_info[1]}" / _folder_name(package)
    if absent := install(package, folder):
        return Row(package=package.name, absent=absent)
    imported = _try(package, folder, options, used=False)
    used = _try(package, folder, options, used=True)
    return Row(package=package.name, version=imported.get("versions", ""), trials=_trials(imported, used))


def install(package: Package, folder: Path) -> str:
    """Put the package and what it needs into `folder`, once; why that is not possible, or nothing."""
    done = folder / ".installed"
    wanted = " ".join(package.requires)
    if not package.requires or (done.exists() and done.read_text() == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(folder)]
    tried = subprocess.run([*command, *package.requires], capture_output=True, text=True, check=False)
    if tried.returncode:
        lines = tried.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"pip ended with {tried.returncode}"
    done.write_text(wanted)
    return ""


def _try(package: Package, folder: Path, options: argparse.Namespace, *, used: bool) -> dict[str, Any]:
    """What corpus_template.py says of the package; `error` where it said nothing."""
    forks = options.forks // 4 if used else options.forks
    seconds = options.seconds / 4 if used else options.seconds
    asked = {
        "imports": package.imports,
        "requires": package.requires,
        "work": package.work,
        "used": used,
        "loud": options.loud,
        "forks": max(1, forks),
        "seconds": seconds,
    }
    with tempfile.TemporaryDirectory(prefix="squall-corpus-") as home, _busy(options.busy):
        result, log = Path(home, "result.json"), Path(home, "log")
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "src"))),
            "HOME": home,
            **PATIENT,
        }
        # -S: what this interpreter has installed for itself is not the package's own.
        script = str(ROOT / "bench" / "corpus_template.py")
        command = [sys.executable, "-S", script, json.dumps(asked), str(result)]
        limit_s = GRACE_S + (seconds or 3600.0)
        with log.open("wb") as out:
            try:
                ended = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=home,
                    env=environ,
                    timeout=limit_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {"error": f"no end within {limit_s:g} s"}
        if ended.returncode or not result.exists():
            lines = log.read_text(errors="replace").strip().splitlines()
            return {"error": f"ended with {ended.returncode}: {lines[-1][:200] if lines else 'said nothing'}"}
        found: dict[str, Any] = json.loads(result.read_text())
        return found


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but keep the cores from being idle, standing back a little."""
    workers = [subprocess.Popen(["nice", "-n", "5", sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _trials(imported: dict[str, Any], used: dict[str, Any]) -> tuple[Trial, ...]:
    return tuple(
        Trial.from_json({**_counts(found), "used": used_first})
        for found, used_first in ((imported, False), (used, True))
    )


def _counts(found: dict[str, Any]) -> dict[str, Any]:
    if "error" in found:
        return {"error": found["error"]}
    times = sorted(found["fork_ms"])
    kept = {name: value for name, value in found.items() if name not in {"versions", "fork_ms"}}
    return {
        **kept,
        "fork_ms": asdict(summarise(times, "ms")) if times else None,
        "told": _without_places(found["told"]),
        "canary": [found["canary"][0], _without_places(found["canary"][1])],
    }


def _without_places(text: str) -> str:
    """What a child said, without the folders of this machine: the end of each path tells enough."""
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line.rpartition("/")[2] if "/" in line else line for line in lines[:4])


def _results(rows: list[Row]) -> dict[str, dict[str, Summary]]:
    """The figures of each package, in the shape that every bench prints."""
    found: dict[str, dict[str, Summary]] = {}
    for row in rows:
        metrics: dict[str, Summary] = {}
        for trial in row.trials:
            if trial.error or trial.fork_ms is None:
                continue
            suffix = "_used" if trial.used else ""
            metrics[f"fork{suffix}_ms"] = Summary(**trial.fork_ms)
            for name in ("forks", "hangs", "crashes", "wrong", "import_s", "rss_mb"):
                unit = {"import_s": "s", "rss_mb": "MiB"}.get(name, "1")
                metrics[f"{name}{suffix}"] = summarise([float(getattr(trial, name))], unit)
        if metrics:
            found[row.package] = metrics
    return found


def _told(row: Row) -> str:
    if row.absent:
        return f"not installed: {row.absent}"
    return "; ".join(trial.told_shortly() for trial in row.trials)


def _folder_name(package: Package) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in package.name).strip("-")


def _read_rows() -> list[Row]:
    if not EVIDENCE.exists():
        return []
    return [Row.from_json(row) for row in json.loads(EVIDENCE.read_text(encoding="utf-8"))["rows"]]


def _write(rows: dict[str, Row], options: argparse.Namespace) -> None:
    """Keep the rows, in the order of the corpus, and the page that is made of them."""
    ordered = [rows[package.name] for package in PACKAGES if package.name in rows]
    here = machine()
    kept = json.loads(EVIDENCE.read_text(encoding="utf-8")) if EVIDENCE.exists() else {}
    if not options.page:
        kept |= {"machine": {name: here[name] for name in ("cpus", "memory_gib", "kernel", "python")}}
        kept |= {"date": time.strftime("%Y-%m-%d"), "busy": options.busy}
    kept |= {"rows": [asdict(row) for row in ordered]}
    EVIDENCE.parent.mkdir(exist_ok=True)
    EVIDENCE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--quick", action="store_true", help="50 forks of each: a look, not a proof")
    parser.add_argument("--forks", type=int, default=1000, help="children of each template (default 1,000)")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="forks end after so long (default: no limit)"
    )
    parser.add_argument("--only", default="", metavar="PACKAGE,...", help="a part of the corpus")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="busy processes beside it")
    parser.add_argument("--nice", type=int, default=10, help="how far to stand back (default 10)")
    parser.add_argument("--cache", default=os.path.join(tempfile.gettempdir(), "squall-corpus"))
    parser.add_argument(
        "--loud", action="store_true", help="without one thread at import: shows why; changes no page"
    )
    parser.add_argument("--page", action="store_true", help="only write the page again from what was run")
    options = parser.parse_args()
    options.forks = 50 if options.quick else options.forks
    return options


if __name__ == "__main__":
    main()
