"""What was raised in a container reads as if it had been raised here, but for one marker line."""

import importlib.util
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from squall.runner.raised import describe
from squall.sdk.raised import rebuild

CASES = {
    "a builtin": "def run():\n    1 / 0\n",
    "a message": "def run():\n    raise ValueError('no such thing: ü €')\n",
    "no message": "def run():\n    raise ValueError\n",
    "two arguments": "def run():\n    raise ValueError('a', 2)\n",
    "a key error": "def run():\n    return {'a': 1}['b']\n",
    "an index error": "def run():\n    xs = [1, 2]\n    return xs[0] + xs[\n        7\n    ]\n",
    "a call over several lines": "def f(*a):\n    raise TypeError('many')\n\ndef run():\n    return f(\n        1,\n        2,\n    )\n",
    "nested calls": "def a():\n    b()\ndef b():\n    c()\ndef c():\n    raise RuntimeError('deep')\ndef run():\n    a()\n",
    "a lambda and a comprehension": "def run():\n    f = lambda x: 1 / x\n    return [f(x) for x in (2, 1, 0)]\n",
    "a method": "class Thing:\n    def go(self):\n        return self.gone.there\n    gone = None\n\ndef run():\n    Thing().go()\n",
    "its own class": "class Broken(Exception):\n    pass\n\ndef run():\n    raise Broken('x')\n",
    "its own class with attributes": (
        "class Broken(Exception):\n    def __init__(self, a, b):\n        super().__init__(f'{a} broke {b}')\n        self.a, self.b = a, b\n"
        "\ndef run():\n    raise Broken('it', [1, {2}])\n"
    ),
    "its own __str__": (
        "class Broken(Exception):\n    def __init__(self, a):\n        self.a = a\n    def __str__(self):\n        return f'<{self.a}>'\n"
        "\ndef run():\n    raise Broken('it')\n"
    ),
    "keyword only": (
        "class Broken(ValueError):\n    def __init__(self, *, a):\n        super().__init__(a)\n        self.a = a\n\ndef run():\n    raise Broken(a=3)\n"
    ),
    "slots": (
        "class Broken(Exception):\n    __slots__ = ('a',)\n    def __init__(self, a):\n        self.a = a\n    def __str__(self):\n"
        "        return str(self.a)\n\ndef run():\n    raise Broken(3)\n"
    ),
    "a class in a class": "class Outer:\n    class Broken(Exception):\n        pass\n\ndef run():\n    raise Outer.Broken('x')\n",
    "notes": "def run():\n    e = ValueError('x')\n    e.add_note('one')\n    e.add_note('two\\nlines')\n    raise e\n",
    "a cause": "def run():\n    try:\n        {}['a']\n    except KeyError as e:\n        raise ValueError('x') from e\n",
    "a context": "def run():\n    try:\n        {}['a']\n    except KeyError:\n        raise ValueError('x')\n",
    "from None": "def run():\n    try:\n        {}['a']\n    except KeyError:\n        raise ValueError('x') from None\n",
    "a chain of three": (
        "def a():\n    int('x')\ndef b():\n    try:\n        a()\n    except ValueError as e:\n        raise KeyError('k') from e\n"
        "def run():\n    try:\n        b()\n    except KeyError:\n        raise RuntimeError('r')\n"
    ),
    "a cause in a circle": (
        "def run():\n    a, b = ValueError('a'), KeyError('b')\n    a.__cause__, b.__cause__ = b, a\n    raise a\n"
    ),
    "recursion": "def f(n):\n    return f(n - 1) if n else 1 / 0\n\ndef run():\n    f(50)\n",
    "recursion without end": "def f(n):\n    return 1 + f(n + 1)\n\ndef run():\n    f(0)\n",
    "recursion of two": "def f(n):\n    return g(n - 1)\ndef g(n):\n    return f(n) if n > 0 else 1 / 0\n\ndef run():\n    f(40)\n",
    "an os error": "def run():\n    open('/no/such/file')\n",
    "an os error with two files": "import os\ndef run():\n    os.rename('/no/a', '/no/b')\n",
    "a unicode error": "def run():\n    b'\\xff'.decode()\n",
    "an import error": "def run():\n    import no_such_module_at_all\n",
    "an import from error": "def run():\n    from json import dumpz\n",
    "an attribute error": "def run():\n    import json\n    json.dumpz\n",
    "a name error": "def run():\n    colour = 1\n    return color\n",
    "a syntax error": "def run():\n    compile('x = (1,\\ny = 2', 'their.py', 'exec')\n",
    "a json error": "import json\ndef run():\n    json.loads('{\"a\": nope}')\n",
    "a stop iteration": "def run():\n    next(iter(()))\n",
    "an assert": "def run():\n    x = 3\n    assert x == 4, 'not four'\n",
    "a group": (
        "def f(n):\n    try:\n        raise ValueError(n)\n    except ValueError as e:\n        return e\n"
        "def run():\n    raise ExceptionGroup('several', [f(1), KeyError('k'), ExceptionGroup('inner', [f(2)])])\n"
    ),
    "a wide group": "def run():\n    raise ExceptionGroup('wide', [ValueError(n) for n in range(30)])\n",
    "a task group": (
        "import asyncio\nasync def f(n):\n    await asyncio.sleep(0)\n    raise ValueError(n)\nasync def main():\n"
        "    async with asyncio.TaskGroup() as tg:\n        tg.create_task(f(1))\n\ndef run():\n    asyncio.run(main())\n"
    ),
    "awaits": "import asyncio\nasync def f():\n    await asyncio.wait_for(g(), 5)\nasync def g():\n    raise ValueError('x')\ndef run():\n    asyncio.run(f())\n",
    "a thread pool": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f():\n    raise ValueError('x')\n"
        "def run():\n    with ThreadPoolExecutor(1) as pool:\n        pool.submit(f).result()\n"
    ),
    "a generator": "def g():\n    yield 1\n    raise ValueError('x')\ndef run():\n    list(g())\n",
    "a broken __str__": (
        "class Broken(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\n\ndef run():\n    raise Broken(1)\n"
    ),
    "several operators on a line": "def run():\n    a, b, c = 1, {}, 0\n    return a + b['x'] + (a / c)\n",
    "wide characters before the column": "def run():\n    größe, 名前 = 1, {}\n    return größe + 名前['ключ']\n",
    "a multi-line message": "def run():\n    raise ValueError('one\\ntwo\\nthree')\n",
    "the library's own frames": "import statistics\ndef run():\n    statistics.mean([])\n",
    "compiled from text": "def run():\n    exec('raise ValueError(1)')\n",
    "a finally that raises": "def run():\n    try:\n        1 / 0\n    finally:\n        {}['k']\n",
    "indented deeply": "def run():\n    if True:\n        if True:\n            for _ in '1':\n                raise ValueError('x')\n",
}


@pytest.mark.parametrize("case", CASES)
def test_a_remote_traceback_reads_like_a_local_one_but_for_the_marker(case: str, tmp_path: Path) -> None:
    source = CASES[case]
    remote = raised_by(loaded(source, tmp_path / "container"))
    head, payload = describe(remote, source_root=str(tmp_path / "container"))
    local = raised_by(loaded(source, tmp_path / "here"))
    again = rebuild(json.loads(json.dumps(head)), payload, source_root_local=str(tmp_path / "here"))
    assert type(again) is type(local)
    assert str_of(again) == str_of(local)
    assert without_marker(text_of(again)) == text_of(local)


@pytest.mark.parametrize("case", CASES)
def test_the_lines_are_shown_also_where_the_files_are_not_here(case: str, tmp_path: Path) -> None:
    source = CASES[case]
    remote = raised_by(loaded(source, tmp_path / "container"))
    head, payload = describe(remote, source_root=str(tmp_path / "container"))
    local = raised_by(loaded(source, tmp_path / "here"))
    again = rebuild(json.loads(json.dumps(head)), payload, source_root_local=str(tmp_path / "nowhere"))
    expected = text_of(local).replace(str(tmp_path / "here"), str(tmp_path / "nowhere"))
    assert without_marker(text_of(again)) == expected


def loaded(source: str, root: Path) -> ModuleType:
    """The case as a module of one name, in whichever directory."""
    root.mkdir(exist_ok=True)
    file = root / "golden_case.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("golden_case", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_case"] = module
    spec.loader.exec_module(module)
    return module


def raised_by(module: ModuleType) -> BaseException:
    run: Callable[[], None] = module.run
    with pytest.raises(BaseException) as caught:
        run()
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without the frame of this test
    return error


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def str_of(error: BaseException) -> str:
    try:
        return str(error)
    except RuntimeError:
        return "failed"


def without_marker(text: str) -> str:
    lines = text.splitlines(keepends=True)
    markers = [at for at, line in enumerate(lines) if 'File "<squall>", line 1, in container' in line]
    assert len(markers) == 1
    del lines[markers[0]]
    return "".join(lines)
