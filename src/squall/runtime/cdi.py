"""CDI specs: the host's paths that one names. Its hooks, variables and edits are never heeded. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# Of what tools write, each path stands alone on its line. Nothing more of YAML is needed.
_LINE: Final = re.compile(
    r"""^[\s-]*(?:hostPath|path):\s*(?P<quote>["']?)(?P<path>/[^"'#]*?)(?P=quote)\s*(?:#.*)?$"""
)
_KEYS: Final = ("hostPath", "path")


def paths_in(spec: str) -> tuple[str, ...]:
    """Every absolute path of the host that a CDI spec names, in its order; JSON and YAML are both read."""
    try:
        named = _walk(json.loads(spec))
    except ValueError:
        named = [match["path"] for line in spec.splitlines() if (match := _LINE.match(line))]
    return tuple(dict.fromkeys(path for path in named if ".." not in path.split("/")))


def _walk(value: Any) -> list[str]:
    if isinstance(value, list):
        return [path for item in value for path in _walk(item)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in _KEYS if isinstance(value.get(key), str) and value[key].startswith("/")]
    return [*own, *(path for item in value.values() for path in _walk(item))]
