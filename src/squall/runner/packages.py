"""Packages: what of them the user's code imports first, imported ahead of it where nobody could tell the difference."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from squall.model.function import Function
from squall.model.jsonable import from_json
from squall.runner.place import OURS, own_names, take_place
from squall.runner.secret_reads import noted

_without: list[frozenset[str]] = []


class UnfitError(Exception):
    """The packages were imported, and are not what the user's code would have imported itself."""


def ahead(asked: Mapping[str, Any]) -> list[str]:
    """Import the packages that the code which `asked` names begins with, and say which; see runtime.template.packages.

    asked: as for `preload`. Raises UnfitError, or what a package raises: this process is of no use then.
    """
    source = take_place()
    names = _named(asked, source)
    _without.append(frozenset(sys.modules))
    before = list(sys.path)
    # The user's own modules are not theirs to find, and change from version to version.
    sys.path[:] = [place for place in sys.path if place and not _is_below(place, source)]
    try:
        with noted(from_json(Function, asked["function"])):
            for name in names:
                importlib.import_module(name)
    finally:
        sys.path[:] = before
    if names:
        _check_apart(source)
    return names


def suits(asked: Mapping[str, Any], imported: list[str]) -> None:
    """See that the code which `asked` names begins with the packages that were `imported`. Raises UnfitError."""
    source = take_place()
    left = set(imported) - set(_named(asked, source))
    if left:
        raise UnfitError(f"the code does not begin with {', '.join(sorted(left))} any more")
    _check_apart(source)
    # It knows what lay in these directories before.
    sys.path_importer_cache.clear()


def without_packages() -> frozenset[str]:
    """The modules that this process, or the one that it is a fork of, had before any package was imported."""
    return _without[0] if _without else frozenset(sys.modules)


def _named(asked: Mapping[str, Any], source: str) -> list[str]:
    """What `named.named` says, worked out in a child: reading Python leaves a megabyte behind, which every fork would pay for."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            named = importlib.import_module("squall.runner.named").named
            said = json.dumps(named(from_json(Function, asked["function"]).code, source)).encode()
            while said:
                said = said[os.write(write, said) :]
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as told:
        said = told.read()
    os.waitpid(pid, 0)
    names: list[str] = json.loads(said or b"[]")
    return names


def _check_apart(source: str) -> None:
    """See that nothing that is loaded has the name of one of the user's own modules. Raises UnfitError."""
    shared = own_names(source) & {name.partition(".")[0] for name in sys.modules} - OURS
    if shared:
        raise UnfitError(
            f"the code has modules of its own that packages have too: {', '.join(sorted(shared))}"
        )


def _is_below(place: str, source: str) -> bool:
    return place == source or place.startswith(f"{source}/")
