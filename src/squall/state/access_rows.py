"""Access rows: tokens and the machines that joined, as rows of the database, written and read."""

from __future__ import annotations

from typing import Final

from squall.model.access import Scope, TokenKind
from squall.model.ids import NodeId, TokenId
from squall.state.connection import Connection
from squall.state.records import NodeRecord, TokenRecord

_COLUMNS: Final = "id, kind, name, scopes, digest, created_s, expires_s, revoked_s, used_s, used_by"


def put_token(db: Connection, token: TokenRecord) -> None:
    """Adds a token; one that is on record stays as it is."""
    db.execute(
        f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",  # noqa: S608 - names of columns
        (
            token.id,
            token.kind,
            token.name,
            ",".join(sorted(token.scopes)),
            token.digest,
            token.created_s,
            token.expires_s,
            token.revoked_s,
            token.used_s,
            token.used_by,
        ),
    )


def list_tokens(db: Connection) -> tuple[TokenRecord, ...]:
    """Every token, oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created_s, id")  # noqa: S608 - names of columns
    return tuple(
        TokenRecord(
            id=TokenId(id_),
            kind=TokenKind(kind),
            name=name,
            scopes=frozenset(map(Scope, filter(None, scopes.split(",")))),
            digest=digest,
            created_s=created_s,
            expires_s=expires_s,
            revoked_s=revoked_s,
            used_s=used_s,
            used_by=used_by,
        )
        for id_, kind, name, scopes, digest, created_s, expires_s, revoked_s, used_s, used_by in rows
    )


def put_revoked(db: Connection, token: TokenId, at_s: float) -> bool:
    """Takes a token back; whether it was not yet."""
    changed = db.execute("UPDATE tokens SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL", (at_s, token))
    return changed.rowcount == 1


def put_used(db: Connection, token: TokenId, by: str, at_s: float) -> bool:
    """Uses a token that is for once; whether it is `by` who has it."""
    changed = db.execute(
        "UPDATE tokens SET used_s = coalesce(used_s, ?), used_by = ?"
        " WHERE id = ? AND revoked_s IS NULL AND (used_s IS NULL OR used_by = ?)",
        (at_s, by, token, by),
    )
    return changed.rowcount == 1


def put_node(db: Connection, node: NodeRecord) -> None:
    """Adds or replaces a machine that joined."""
    db.execute(
        "INSERT INTO nodes (id, name, token, joined_s, removed_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, token = excluded.token,"
        " joined_s = excluded.joined_s, removed_s = excluded.removed_s",
        (node.id, node.name, node.token, node.joined_s, node.removed_s),
    )


def list_nodes(db: Connection) -> tuple[NodeRecord, ...]:
    """Every machine that ever joined, oldest first."""
    rows = db.execute("SELECT id, name, token, joined_s, removed_s FROM nodes ORDER BY joined_s, id")
    return tuple(
        NodeRecord(id=NodeId(id_), name=name, token=TokenId(token), joined_s=joined_s, removed_s=removed_s)
        for id_, name, token, joined_s, removed_s in rows
    )


def put_removed(db: Connection, node: NodeId, at_s: float) -> bool:
    """Removes a machine; whether it was not yet."""
    changed = db.execute("UPDATE nodes SET removed_s = ? WHERE id = ? AND removed_s IS NULL", (at_s, node))
    return changed.rowcount == 1
