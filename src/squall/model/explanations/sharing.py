"""Why errors of Dicts and Queues happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

SHARING: Final = {
    "SQ-1930": Explanation(
        why="Nobody has made one of this name, it was deleted since, or it was an ephemeral one, which ends with its client. A handle that was made before a Dict was deleted does not reach a new one of the same name.",
        example='squall.Dict.from_name("scores", create_if_missing=True)',
    ),
    "SQ-1931": Explanation(
        why="Names stand in commands and in paths, so they are short and plain. A partition's name follows the same rule.",
        example='squall.Queue.from_name("work.2-fast")',
    ),
    "SQ-1932": Explanation(
        why="Two keys are one where Python's `==` says so, in whatever process they were made. Only values of which equal ones always have the same bytes can promise that: pickles of equal objects may differ.",
        example='d["user", 17] = "a tuple of a string and a number"',
    ),
    "SQ-1933": Explanation(
        why="A value may have 2 MiB once it is packed. It lies in the record beside calls, and is written to disk before the answer.",
        example='path = f"/shared/{name}.npy"   # put the file there, and its path into the Dict',
    ),
    "SQ-1934": Explanation(
        why="A Dict has at most 1,000,000 keys and 256 MiB.",
        example="d.clear()",
    ),
    "SQ-1935": Explanation(
        why="A partition has at most 100,000 items and 256 MiB, and a Queue at most 10,000 partitions. A `put` waits for room unless it is told not to. What was refused is not in the Queue; of a `put_many` in several parts the error says in `put` how many items are in.",
        example="q.put(item, timeout=60)",
    ),
    "SQ-1936": Explanation(
        why="A `get` with a timeout waited for an item, and none came. `queue.Empty` catches it too.",
        example="try:\n    item = q.get(timeout=5)\nexcept queue.Empty:\n    ...",
    ),
}
