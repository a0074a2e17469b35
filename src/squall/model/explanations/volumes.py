"""Why errors of volumes happen."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

VOLUMES: Final = {
    "SQ-1945": Explanation(
        why="Nobody has made a volume of this name in this environment, it was deleted since, or it was an ephemeral one, which ends with its client. A handle that was used before a volume was deleted does not reach a new one of the same name.",
        example='squall.Volume.from_name("weights", create_if_missing=True)',
    ),
    "SQ-1946": Explanation(
        why="A path of a volume begins at the volume's own directory and never leads out of it: not by `..`, and not by a link. Where a volume is mounted must be a directory of its own, since it hides what the image has there.",
        example='@app.function(volumes={"/data": squall.Volume.from_name("weights")})\ndef train(): ...',
    ),
    "SQ-1947": Explanation(
        why="The newest version of the volume has nothing there. What a container writes is in the volume once it is committed; a path is written from the volume's own directory on, so what is at /data/a.txt in a container that mounts it at /data is a.txt. `FileNotFoundError` catches it too.",
        example="$ squall volume ls weights /checkpoints",
    ),
    "SQ-1948": Explanation(
        why="An upload does not overwrite unless it is told to, a file never takes the place of a directory, and a directory that is moved never that of one that holds something. Nothing of the change was made. `FileExistsError` catches it too.",
        example="with volume.batch_upload(force=True) as batch:\n    batch.put_file('model.bin', '/model.bin')",
    ),
    "SQ-1949": Explanation(
        why="Versions are numbered from 0, and old ones go after a time (the options `volume_keep_s` and `volume_versions`), but for the newest and those that were given a name.",
        example="$ squall volume history weights",
    ),
    "SQ-1950": Explanation(
        why="`read_only()` is a promise of the code that made this handle: nothing is changed through it, and where it is mounted nothing can be written.",
        example='volume = squall.Volume.from_name("weights")   # without .read_only()',
    ),
    "SQ-1951": Explanation(
        why="`commit()` takes what this container has written below the volume's mount point. Where the volume is not mounted, nothing was written into it: a client program changes a volume with `batch_upload`, `copy_files`, `rename` and `remove_file`, each of which is a version by itself.",
        example="with volume.batch_upload() as batch:\n    batch.put_directory('results', '/results')",
    ),
    "SQ-1952": Explanation(
        why="`reload()` puts another directory in the place of the one that is mounted. Files that are open, and programs whose working directory is in there, would still see the old one.",
        example="file.close()\nvolume.reload()",
    ),
}
