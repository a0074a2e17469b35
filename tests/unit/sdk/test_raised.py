"""An exception is rebuilt in its own type with all it carried, or becomes a RemoteError that says everything."""

# ruff: noqa: N818 - they are told apart by what they do

import json
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from squall.model.errors import FunctionTimeout, OutOfMemory, RemoteError
from squall.runner.raised import describe
from squall.sdk.raised import rebuild
from squall.sdk.remote_frames import know_moved


def there_and_back(error: BaseException, *, trusted: bool = True, **changes: Any) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - the one just raised
        head, payload = describe(caught, source_root="/app")
    head = json.loads(json.dumps(head))
    head["nodes"][0].update(changes)
    return rebuild(head, payload, source_root_local="/here", trusted=trusted)


class Rich(Exception):
    def __init__(self, a: int, *, b: object) -> None:
        super().__init__(f"rich {a}")
        self.a = a
        self.b = b


class Refusing(Exception):
    def __init__(self) -> None:
        raise RuntimeError("only once")


class WithAProperty(Exception):
    @property
    def shown(self) -> str:
        return "shown"


class UsersOwn(OutOfMemory):
    """A subclass of one of ours."""


class Unloadable:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_arguments_and_attributes_come_back() -> None:
    again = there_and_back(Rich(3, b={"x": (1, 2)}))
    assert isinstance(again, Rich)
    assert (again.args, again.a, again.b) == (("rich 3",), 3, {"x": (1, 2)})


def test_the_constructor_is_not_run() -> None:
    error = Refusing.__new__(Refusing)
    assert isinstance(there_and_back(error), Refusing)


def test_a_type_that_is_not_here_becomes_a_remote_error_with_everything_in_text() -> None:
    again = there_and_back(Rich(3, b=2), module="no_such_module_here", file="")
    assert isinstance(again, RemoteError)
    assert str(again) == "no_such_module_here.Rich: rich 3"
    assert again.type_name == "no_such_module_here.Rich"
    assert again.remote_traceback is not None
    assert "raise error" in again.remote_traceback
    assert again.b == 2  # type: ignore[attr-defined]


def test_a_class_made_in_a_function_becomes_a_remote_error() -> None:
    class Local(Exception):
        pass

    again = there_and_back(Local("x"))
    assert isinstance(again, RemoteError)
    assert "Local: x" in str(again)


def test_what_names_no_exception_is_not_instantiated() -> None:
    assert isinstance(there_and_back(ValueError("x"), module="subprocess", qualname="Popen"), RemoteError)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_would_end_this_process_is_told_instead(error: BaseException) -> None:
    again = there_and_back(error)
    assert isinstance(again, RemoteError)
    assert type(error).__name__ in str(again)


def test_a_value_that_cannot_be_loaded_here_costs_only_itself() -> None:
    again = there_and_back(ValueError("kept", Unloadable()))
    assert again.args == ("kept", "[cannot be rebuilt here: ValueError]")


def test_untrusted_functions_get_text_only() -> None:
    again = there_and_back(ValueError("kept", {1: 2}), trusted=False)
    assert type(again) is ValueError
    assert again.args == ("kept", None)


def test_untrusted_functions_cannot_make_us_import() -> None:
    sys.modules.pop("this", None)
    there_and_back(ValueError("x"), trusted=False, module="this", qualname="Error")
    assert "this" not in sys.modules


def test_errors_of_ours_come_back_with_their_facts() -> None:
    again = there_and_back(OutOfMemory(limit_bytes=5, peak_bytes=9))
    assert type(again) is OutOfMemory
    assert (again.limit_bytes, again.peak_bytes) == (5, 9)
    assert len(again.__notes__) == 1
    assert isinstance(there_and_back(FunctionTimeout(limit_s=2)), TimeoutError)


def test_a_users_subclass_of_one_of_ours_comes_back() -> None:
    again = there_and_back(UsersOwn("mine", limit_bytes=5))
    assert type(again) is UsersOwn
    assert (str(again), again.limit_bytes) == ("mine", 5)


def test_c_level_attributes_come_back() -> None:
    error = there_and_back(FileNotFoundError(2, "gone", "/a", None, "/b"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename, error.filename2) == (2, "/a", "/b")
    exit_like = there_and_back(StopIteration(7))
    assert isinstance(exit_like, StopIteration)
    assert exit_like.value == 7
    missing = there_and_back(ModuleNotFoundError("no", name="n", path="/p"))
    assert isinstance(missing, ModuleNotFoundError)
    assert (missing.name, missing.path) == ("n", "/p")


def test_the_marker_names_the_container_where_it_is_known() -> None:
    head, payload = describe(ValueError("x"), source_root="/app")
    again = rebuild({**head, "container": "ct-7"}, payload, source_root_local=None)
    assert 'File "<squall>", line 1, in container ct-7' in "".join(traceback.format_exception(again))


def test_a_file_that_was_edited_since_shows_the_lines_that_ran(tmp_path: Path) -> None:
    code = "def run():\n    raise ValueError('x')\n"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "edited.py").write_text(code)
    names: dict[str, Any] = {}
    exec(compile(code, str(tmp_path / "app" / "edited.py"), "exec"), names)
    with pytest.raises(ValueError) as caught:
        names["run"]()
    head, payload = describe(caught.value, source_root=str(tmp_path / "app"))
    (tmp_path / "edited.py").write_text("# a line more\n" + code)
    text = "".join(traceback.format_exception(rebuild(head, payload, source_root_local=str(tmp_path))))
    assert f"File \"{tmp_path}/edited.py (as it ran)\", line 2, in run\n    raise ValueError('x')" in text


def test_a_file_named_by_the_container_is_not_read_without_end() -> None:
    head, payload = describe(ValueError("x"), source_root="/app")
    place = {"file": "/dev/zero", "line": 1, "name": "a\nForged", "text": ["x = 1"]}
    head["nodes"][0]["frames"], head["places"] = [[0, 1]], [place]
    text = "".join(traceback.format_exception(rebuild(head, payload, source_root_local=None)))
    assert 'File "/dev/zero (as it ran)", line 1, in a\\nForged\n    x = 1' in text


def test_a_moved_file_is_shown_where_it_is_here(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text("x = 1\n")
    head, payload = describe(ValueError("x"), source_root="/app")
    head["nodes"][0]["frames"] = [[0, 1]]
    head["places"] = [{"file": "lib/lib.py", "source": True, "line": 1, "name": "f", "text": ["x = 1"]}]
    moved = {"lib/lib.py": str(tmp_path / "lib.py")}
    text = "".join(
        traceback.format_exception(rebuild(head, payload, source_root_local="/elsewhere", moved=moved))
    )
    assert f'File "{tmp_path}/lib.py", line 1, in f' in text


def test_a_file_of_an_editable_install_is_shown_where_it_is_here(tmp_path: Path) -> None:
    know_moved(str(tmp_path / "app"), {"lib/lib.py": "/elsewhere/lib.py"})
    head, payload = describe(ValueError("x"), source_root="/app")
    head["nodes"][0]["frames"] = [[0, 1]]
    head["places"] = [{"file": "lib/lib.py", "source": True, "line": 1, "name": "f", "text": ["x = 1"]}]
    text = "".join(
        traceback.format_exception(rebuild(head, payload, source_root_local=str(tmp_path / "app")))
    )
    assert 'File "/elsewhere/lib.py", line 1, in f' in text


def test_a_syntax_error_names_the_local_file(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "broken.py").write_text("x = (1,\n")
    with pytest.raises(SyntaxError) as caught:
        compile((tmp_path / "app" / "broken.py").read_text(), str(tmp_path / "app" / "broken.py"), "exec")
    head, payload = describe(caught.value, source_root=str(tmp_path / "app"))
    again = rebuild(head, payload, source_root_local=str(tmp_path / "here"))
    assert isinstance(again, SyntaxError)
    assert again.filename == str(tmp_path / "here" / "broken.py")
    expected = "".join(traceback.format_exception_only(caught.value)).replace("/app/", "/here/")
    assert "".join(traceback.format_exception_only(again)) == expected


def test_a_class_of_the_script_that_runs_here_is_found_in_main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = sys.modules["__main__"]
    # Where the tests have several processes, their main module has no file.
    monkeypatch.setattr(main, "__file__", str(tmp_path / "script.py"), raising=False)
    monkeypatch.setattr(main, "Mine", Rich, raising=False)
    head, payload = describe(ValueError("x"), source_root="/app")
    head["nodes"][0].update(module="script", qualname="Mine", file="script.py")
    assert type(rebuild(head, payload, source_root_local=str(tmp_path))) is Rich


@pytest.mark.parametrize(
    "head", [{}, {"nodes": []}, {"nodes": 3}, {"type": "x", "message": "y", "nodes": [{}], "places": []}]
)
def test_a_head_that_makes_no_sense_is_told_as_far_as_it_goes(head: dict[str, Any]) -> None:
    assert isinstance(rebuild(head, b"garbage", source_root_local=None), RemoteError)


def test_a_rebuilt_exception_can_be_pickled_on() -> None:
    assert pickle.loads(pickle.dumps(there_and_back(ValueError("x", 2)))).args == ("x", 2)
