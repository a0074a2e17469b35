"""Profiles: servers that a user has given names to, each with its token."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from squall.model.errors import InvalidError, NotFoundError
from squall.settings.whole_file import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A server under a name. trust: "system" where its certificate is one that this machine trusts anyway."""

    name: str
    server: str
    token: str = field(default="", repr=False)
    trust: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """All of a user's, by name, and the one that is used where none is named."""

    known: tuple[Profile, ...] = ()
    active: str = ""

    def find(self, name: str) -> Profile:
        """The profile of that name. Raises NotFoundError, which lists those that there are."""
        for profile in self.known:
            if profile.name == name:
                return profile
        names = ", ".join(profile.name for profile in self.known) or "none"
        raise NotFoundError(
            f"there is no profile {name!r}; there are: {names}",
            remedy="make it with `squall profile add NAME --server HOST:PORT`",
        )

    def having(self, profile: Profile) -> Profiles:
        """The same with this profile, in place of one of its name; the first one is active."""
        others = tuple(one for one in self.known if one.name != profile.name)
        known = tuple(sorted((*others, profile), key=lambda one: one.name))
        return Profiles(known=known, active=self.active or profile.name)

    def without(self, name: str) -> Profiles:
        """The same without this profile. Raises NotFoundError."""
        gone = self.find(name)
        known = tuple(one for one in self.known if one is not gone)
        return Profiles(known=known, active="" if self.active == name else self.active)

    def using(self, name: str) -> Profiles:
        """The same with this profile active; "" for none. Raises NotFoundError."""
        return replace(self, active=self.find(name).name if name else "")


def profiles_file(environ: Mapping[str, str] = os.environ) -> Path:
    """$XDG_CONFIG_HOME/squall/profiles.json, or below ~/.config."""
    config = environ.get("XDG_CONFIG_HOME", "")
    base = (
        Path(config)
        if config.startswith("/")
        else Path(environ.get("HOME") or os.path.expanduser("~")) / ".config"
    )
    return base / "squall" / "profiles.json"


def read_profiles(path: Path) -> Profiles:
    """What the file says; nothing where there is none. Raises InvalidError for one that is none of ours."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        known = tuple(
            Profile(
                name=str(name),
                server=str(one["server"]),
                token=str(one.get("token", "")),
                trust=str(one.get("trust", "")),
            )
            for name, one in sorted(said["profiles"].items())
        )
        return Profiles(known=known, active=str(said.get("active", "")))
    except (FileNotFoundError, NotADirectoryError):
        return Profiles()
    except OSError as problem:
        raise InvalidError(f"{path} cannot be read: {problem.strerror}") from problem
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise InvalidError(
            f"{path} holds no profiles: {wrong!r}", remedy="remove the file, and add the profiles anew"
        ) from wrong


def write_profiles(path: Path, profiles: Profiles) -> None:
    """Keeps them, for this user's eyes alone. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = {
        one.name: {"server": one.server, "token": one.token, "trust": one.trust} for one in profiles.known
    }
    text = json.dumps({"active": profiles.active, "profiles": known}, indent=2)
    write_whole(path, text.encode() + b"\n")


def chosen_profile(environ: Mapping[str, str] = os.environ) -> Profile | None:
    """The profile that SQUALL_PROFILE names, or else the active one; None where there is none.

    Raises NotFoundError where there is none of that name, InvalidError for a file that is none of ours.
    """
    named = environ.get("SQUALL_PROFILE", "").strip()
    profiles = read_profiles(profiles_file(environ))
    if named:
        return profiles.find(named)
    return profiles.find(profiles.active) if profiles.active else None
