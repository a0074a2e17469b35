"""Image program: a program whose function tells something of the image that it runs in."""

from __future__ import annotations

import json
import subprocess

from tests.end_to_end.conftest import House

HEAD = """
import json, squall

app = squall.App("rooted")

def sh(command):
    import subprocess
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.strip()
"""
TAIL = """

@app.local_entrypoint()
def main():
    print("told:" + json.dumps(look.remote()))
"""


class Program:
    """A program whose function `look` tells something of the image that it runs in."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.said = ""

    def run(self, text: str, **files: str | bytes) -> subprocess.CompletedProcess[str]:
        path = self.house.program(f"{HEAD}{text}{TAIL}")
        for name, content in files.items():
            (path.parent / name).write_bytes(content.encode() if isinstance(content, str) else content)
        done = self.house.run("-m", "squall", "run", str(path), cwd=path.parent, within_s=300)
        self.said = done.stdout + done.stderr
        return done

    def tells(self, text: str, **files: str | bytes) -> object:
        done = self.run(text, **files)
        assert done.returncode == 0, self.said
        return json.loads(done.stdout.partition("told:")[2])
