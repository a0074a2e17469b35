"""History: what was ever asked of a conda environment, in the file where conda and micromamba keep it. Pure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence

_SAID = re.compile(r"# (?P<what>update|install|remove|neutered) specs:\s*(?P<specs>\[.*\])")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def requested(text: str) -> dict[str, tuple[str, ...]]:
    """The match specs that stand, by the name of their package: those that were asked for last. What cannot be read is passed over."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        said = _SAID.match(line)
        if said is None:
            continue
        specs = _strings(said["specs"])
        for name in filter(None, map(name_of, specs)):
            if said["what"] in {"update", "install"}:
                found[name] = tuple(spec for spec in specs if name_of(spec) == name)
            else:
                found.pop(name, None)
    return found


def entry(specs: Sequence[str], linked: Iterable[str], unlinked: Iterable[str], when: str) -> str:
    """One more entry of a history. linked, unlinked: "CHANNEL/SUBDIR::NAME-VERSION-BUILD"; when: "2025-01-01 00:00:00"."""
    lines = [
        f"==> {when} <==",
        f"# cmd: micromamba_install {' '.join(specs)}",
        *(f"-{one}" for one in sorted(unlinked)),
        *(f"+{one}" for one in sorted(linked)),
        f"# update specs: {json.dumps(list(specs))}",
    ]
    return "\n".join(lines) + "\n"


def name_of(spec: str) -> str:
    """The name of the package that a match spec is of, as packages are compared; "" where it names none."""
    name = _NAME.match(spec.rpartition("::")[2].strip())
    return name[0].lower() if name else ""


def _strings(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
