"""What code begins with: imports are followed through the user's own modules, and no further than anything else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.model.function import Code
from squall.runner.leading import Import, leading_imports
from squall.runner.named import named

_USUAL = '''
"""A program as people write it."""
from __future__ import annotations
import os, numpy as np
import torch.nn as nn
from transformers import pipeline
import squall

app = squall.App("shop")
image = squall.Image.host().pip_install("torch", "numpy").env({"A": "1"})
SIZES: list[int] = [1, 2 * 3, -4]
NAME = f"model-{SIZES[0]}"

with image.imports():
    import pandas as pd

class Net(nn.Module):
    """Small."""
    width = 3
    def forward(self, x): return x

@app.function(image=image, gpu="H100", timeout=60)
def train(steps: int = SIZES[0]) -> None:
    import secret_package
    os.environ["LATE"] = "1"

if __name__ == "__main__":
    train.remote(3)
'''


def modules(text: str) -> list[str]:
    return [one.module for one in leading_imports(text).imports]


def test_a_usual_program_begins_with_all_that_it_imports() -> None:
    found = leading_imports(_USUAL)
    assert found.whole
    assert [one.module for one in found.imports] == [
        "os", "numpy", "torch.nn", "transformers", "squall", "pandas",
    ]  # fmt: skip
    assert found.imports[3] == Import("transformers", ("pipeline",))


@pytest.mark.parametrize(
    "does",
    [
        "os.environ['HF_HOME'] = '/cache'",
        "os.environ.setdefault('A', '1')",
        "sys.path.append('/more')",
        "print('hello')",
        "numpy.seterr(all='raise')",
        "x = numpy.zeros(3)",
        "x.y = 1",
        "x += 1",
        "del os",
        "for name in (): pass",
        "while False: pass",
        "if os.name == 'nt': import winreg",
        "try:\n    import fast\nexcept ImportError:\n    fast = None",
        "@numpy.vectorize\ndef f(x): return x",
        "@decorated\ndef f(x): return x",
        "def f(x=open('/etc/hosts')): return x",
        "class A:\n    os.environ['B'] = '1'",
        "class A(metaclass=make()): pass",
        "with open('/etc/hosts') as file: import inside",
        "assert numpy.ones(1)",
        "raise SystemExit",
        "a = b = make()",
        "names = [n for n in sorted('ab')]",
        "squall = make()",
        "(a := make())",
        "match 1:\n    case _: pass",
        "global_name: int = make()",
    ],
)
def test_nothing_counts_that_comes_after_something_was_done(does: str) -> None:
    found = leading_imports(f"import sys, os, numpy\n{does}\nimport torch\n")
    assert [one.module for one in found.imports] == ["sys", "os", "numpy"]
    assert not found.whole


@pytest.mark.parametrize(
    "does",
    [
        "'text'",
        "A = 1; B = 'x' + 'y'; C = (1, [2], {3: 4}); D = not A",
        "T = TypeVar('T')",
        "import re; P = re.compile('a+')",
        "@dataclass\nclass A:\n    x: int = field(default=1)\n    @property\n    def y(self): return self.x",
        "if TYPE_CHECKING:\n    import heavy",
        "f = lambda x: numpy.zeros(x)",
        "kind = numpy.float32",
        "home = os.environ['HOME']",
        "pass",
        "secret = squall.Secret.from_name('a')",
    ],
)
def test_what_changes_nothing_is_read_over(does: str) -> None:
    head = "import os, numpy, squall\nfrom dataclasses import dataclass, field\nfrom typing import *\n"
    found = leading_imports(f"{head}from typing import TypeVar, TYPE_CHECKING\n{does}\nimport torch\n")
    assert found.whole
    assert found.imports[-1].module == "torch"


def test_a_module_that_is_imported_by_its_name_counts() -> None:
    assert modules("import importlib\nt = importlib.import_module('torch')") == ["importlib", "torch"]
    assert modules("from importlib import import_module\nt = import_module('torch')")[-1] == "torch"
    assert modules("import importlib as i\nt = i.import_module('torch')")[-1] == "torch"
    assert modules("import importlib\nt = importlib.import_module(name)") == ["importlib"]
    assert modules("import mine as importlib\nt = importlib.import_module('torch')") == ["mine"]


def test_a_name_that_is_something_else_by_now_is_not_quiet() -> None:
    assert not leading_imports("import squall\nsquall = 3\nx = squall.App('a')").whole
    assert not leading_imports("import squall\nfrom mine import squall\nx = squall.App('a')").whole


@pytest.mark.parametrize("text", ["import (", "\0", "x = " + "(" * 500, b"\xff\xfe"])
def test_text_that_is_no_python_has_no_imports(text: str | bytes) -> None:
    assert leading_imports(text).imports == ()
    assert not leading_imports(text).whole


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path


def write(source: Path, **files: str) -> None:
    for name, text in files.items():
        path = source / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def of(source: Path, module: str = "app", **code: object) -> list[str]:
    given = {"main": True, "file": f"{module}.py", **code}
    return list(named(Code(module=module, qualname="f", **given), str(source)))  # type: ignore[arg-type]


def test_packages_are_found_through_the_users_own_modules(source: Path) -> None:
    write(
        source,
        app="import numpy\nimport settings\nimport torch\n",
        settings="import os\nimport yaml.nodes\nX = 1\n",
    )
    assert of(source) == ["numpy", "yaml.nodes", "torch"]


def test_what_a_module_of_the_users_own_does_ends_it(source: Path) -> None:
    write(source, app="import settings\nimport torch\n", settings="import numpy, os\nos.environ['A'] = '1'\n")
    assert of(source) == ["numpy"]


def test_packages_of_the_users_own_are_followed_to_what_is_taken_from_them(source: Path) -> None:
    write(source, app="from lib import tools, missing\nimport torch\n")
    (source / "lib").mkdir()
    (source / "lib" / "__init__.py").write_text("from . import first\nfrom .second import x\n")
    (source / "lib" / "first.py").write_text("import numpy\n")
    (source / "lib" / "second.py").write_text("import lib.first\nimport pandas\n")
    (source / "lib" / "tools.py").write_text("from ..out import of_it\n")
    assert of(source) == ["numpy", "pandas"], "a module that reaches above its package ends it"
    (source / "lib" / "tools.py").write_text("from . import first\nimport scipy\n")
    assert of(source) == ["numpy", "pandas", "scipy", "torch"]


def test_a_circle_of_imports_ends(source: Path) -> None:
    write(source, app="import a\nimport torch", a="import b", b="import a\nimport numpy")
    assert of(source) == ["numpy", "torch"]


def test_a_module_of_a_package_is_found_by_its_name(source: Path) -> None:
    (source / "lib").mkdir()
    (source / "lib" / "__init__.py").write_text("import numpy\n")
    (source / "lib" / "job.py").write_text("import torch\n")
    assert of(source, "lib.job", main=False, file="lib/job.py") == ["numpy", "torch"]
    (source / "lib" / "__init__.py").write_text("print()\n")
    assert of(source, "lib.job", main=False, file="lib/job.py") == []


def test_what_no_one_can_read_has_none(source: Path) -> None:
    assert of(source) == []
    write(source, app="import numpy\nimport broken\nimport torch", broken="import (")
    assert of(source) == ["numpy"]
    (source / "native.so").write_bytes(b"")
    write(source, app="import numpy\nimport native\nimport torch")
    assert of(source) == ["numpy"]


def test_a_file_that_packages_read_themselves_keeps_them_with_the_code(source: Path) -> None:
    write(source, app="import numpy\nimport matplotlib\n")
    assert of(source) == ["numpy", "matplotlib"]
    (source / "matplotlibrc").write_text("backend: Agg\n")
    assert of(source) == []
