"""Why errors of secrets happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

SECRETS: Final = {
    "SQ-1940": Explanation(
        why="A function names a secret that nobody has made in the environment of its app, or that was deleted since. Containers that run keep what they were given.",
        example="$ squall secret create database PASSWORD --env staging",
    ),
    "SQ-1941": Explanation(
        why="`Secret.from_name(..., required_keys=[...])` has a function started only with a secret that has these variables: what is missing is said before its code fails on it.",
        example="$ squall secret update database USER",
    ),
    "SQ-1942": Explanation(
        why="Each version of a secret is sealed with a key of its own, and that with the master key, which is no part of the record nor of a backup. Without the file nobody can read the secrets; and a file that others may read protects nothing.",
        example="$ chmod 600 ~/.local/state/squall/keys/master",
    ),
    "SQ-1943": Explanation(
        why="What is on record is bound to the secret's name, environment and version. It opens nowhere else, and not after a change of a single bit.",
        example="$ squall secret create database PASSWORD --force",
    ),
    "SQ-1944": Explanation(
        why="Everybody on the machine may read the arguments of a program while it runs, and shells keep them in their history.",
        example="$ squall secret create database PASSWORD    # asks for the value\nsquall secret create database --from-file .env",
    ),
}
