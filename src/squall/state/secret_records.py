"""Secret records: what the state store keeps of secrets, which it cannot read."""

from __future__ import annotations

from dataclasses import dataclass, field

from squall.model.ids import AppId, SecretId


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRecord:
    """A version of a secret, or values that came with an app.

    number: 1, 2, 3 of its name. app: empty for a secret that has a name. variables: names of those that it has; of what came
    with an app, the keys of its secrets. uses: "environment/name" of the secrets that such an app uses. sealed, wrapped:
    see `squall.server.sealing`; master: the id of the master key. created_s: seconds since 1970.
    """

    id: SecretId
    environment: str
    name: str = ""
    number: int = 1
    app: AppId = AppId("")
    created_s: float
    variables: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    sealed: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    master: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """The key of a version of a secret under another master key. before: the id of the one that it was under."""

    id: SecretId
    before: str
    master: str
    wrapped: bytes = field(repr=False)
