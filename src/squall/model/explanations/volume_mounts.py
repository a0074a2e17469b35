"""Why errors of volumes in containers happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

VOLUME_MOUNTS: Final = {
    "SQ-1953": Explanation(
        why="A commit keeps what was written in the store of the server, and the store took none of it: the disk is full, or the machine cannot reach the server. The volume is as it was, the files are in the container as they were written, and a commit is tried again every few seconds and at the container's end.",
        example="try:\n    volume.commit()\nexcept squall.Error as refused:\n    print(refused)  # goes on: nothing is lost while the container, or its machine, lives",
    ),
    "SQ-1954": Explanation(
        why="A volume is mounted, and the level `process` has no mounts. At the level `gvisor` it is a copy, made as the container starts, that cannot be exchanged while it runs. Elsewhere the kernel refused: the message says what.",
        example='@app.function(volumes={"/data": volume})  # at the level "sandbox", the default\ndef train(): ...',
    ),
}
