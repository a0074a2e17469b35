"""The ledger of a run, read back: what clients have noted, and what containers have printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squall.testing.chaos.counting import Account, Answer, Failed

_RAN = re.compile(r"^ran (\S+) ([0-9a-f]{12})$", re.MULTILINE)


def read(ledger: Path, logs: Path, clients: frozenset[str]) -> Account:
    """The account of these clients. logs: where the server keeps the containers' output."""
    accepted: set[str] = set()
    answers: list[Answer] = []
    failed: list[Failed] = []
    troubles: list[str] = []
    ended: set[str] = set()
    for client in sorted(clients):
        for what, at_s, *more in _lines(ledger / f"{client}.jsonl"):
            match what:
                case "accepted":
                    accepted.update(more[0])
                case "answer":
                    key, run, via, right = more
                    answers.append(Answer(key=key, run=run, via=via, at_s=at_s, right=right))
                case "failed":
                    failed.append(Failed(key=more[0], code=more[1], said=more[2]))
                case "trouble":
                    troubles.append(f"{more[1]}: {more[0]}")
                case "ended":
                    ended.add(client)
    return Account(
        accepted=frozenset(accepted),
        answers=tuple(answers),
        failed=tuple(failed),
        runs=frozenset(_runs(logs)),
        ended=ended == clients,
        troubles=tuple(troubles),
    )


def outcomes_s(account: Account) -> list[float]:
    """When results have come (monotonic)."""
    return [answer.at_s for answer in account.answers]


def _runs(logs: Path) -> Iterator[tuple[str, str]]:
    """The executions that printed themselves; of a container that was killed the last ones may be missing."""
    texts: dict[str, list[str]] = {}
    for path in sorted(logs.glob("*/*.jsonl")):
        for _at_s, container, _function, _stream, text in _lines(path):
            texts.setdefault(container, []).append(text)
    for parts in texts.values():
        for key, run in _RAN.findall("".join(parts)):
            if not key.endswith("/inner"):
                yield key, run


def _lines(path: Path) -> Iterator[Any]:
    """The lines of a file that are whole; what its writer died over is no line yet."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue
