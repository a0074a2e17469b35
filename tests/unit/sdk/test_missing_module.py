"""A module that is here but not in the container is explained by what kept it from shipping."""

from pathlib import Path

import pytest

from squall.sdk.missing_module import explain_import_error, missing_local_module, with_explanation
from squall.sdk.source import Source, source_of_file


def project(tmp_path: Path, *paths: str, ignore: str = "", main: str = "import helper\n") -> Source:
    root = tmp_path / "app"
    for path in ("main.py", *paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(main if path == "main.py" else "")
    if ignore:
        (root / ".gitignore").write_text(ignore)
    return source_of_file(str(root / "main.py"))


def test_a_rule_of_an_ignore_file_is_named_with_its_line(tmp_path: Path) -> None:
    source = project(tmp_path, "helper.py", ignore="# comment\nhelp*\n")
    found = missing_local_module("helper", source=source, wanted_by="main.py line 1: `import helper`")
    assert found is not None
    assert "`help*` (line 2 of .gitignore)" in str(found)
    assert "wanted by main.py line 1" in str(found)
    assert "!/helper.py" in found.remedy


def test_an_ignored_directory_above_is_named(tmp_path: Path) -> None:
    source = project(tmp_path, "lib/deep/mod.py", ignore="lib/\n")
    found = missing_local_module("lib.deep.mod", source=source)
    assert found is not None
    assert "lib/ is ignored by `lib/`" in str(found)


def test_a_directory_made_by_a_machine_is_named(tmp_path: Path) -> None:
    source = project(tmp_path, "env/pyvenv.cfg", "env/mod.py")
    found = missing_local_module("env.mod", source=source)
    assert found is not None
    assert "pyvenv.cfg is in it" in str(found)


def test_a_module_above_the_root_is_outside(tmp_path: Path) -> None:
    source = project(tmp_path)
    (tmp_path / "above.py").write_text("")
    found = missing_local_module("above", source=source)
    assert found is not None
    assert f"outside of {tmp_path}/app" in str(found)
    assert "add_local_python_source('above')" in found.remedy


def test_an_installed_package_belongs_into_the_image(tmp_path: Path) -> None:
    found = missing_local_module("pytest", source=project(tmp_path))
    assert found is not None
    assert "pip_install('pytest')" in found.remedy


def test_a_file_that_is_new_since_says_so(tmp_path: Path) -> None:
    source = project(tmp_path)
    (tmp_path / "app" / "late.py").write_text("")
    found = missing_local_module("late", source=source)
    assert found is not None
    assert "after the source was read" in str(found)


def test_what_is_not_here_either_is_not_explained(tmp_path: Path) -> None:
    assert missing_local_module("no_such_module_anywhere", source=project(tmp_path)) is None


def test_an_import_error_names_the_line_that_wanted_the_module(tmp_path: Path) -> None:
    source = project(
        tmp_path, "helper.py", ignore="helper.py\n", main="x = 1\nimport helper_that_is_not_here as helper\n"
    )
    code = compile((tmp_path / "app" / "main.py").read_text(), str(tmp_path / "app" / "main.py"), "exec")
    with pytest.raises(ModuleNotFoundError) as caught:
        exec(code, {})
    caught.value.name = "helper"
    found = explain_import_error(caught.value, source=source)
    assert found is not None
    assert "wanted by main.py line 2: `import helper_that_is_not_here as helper`" in str(found)
    assert explain_import_error(ValueError("x"), source=source) is None


def test_the_explanation_is_a_note_of_the_exception(tmp_path: Path) -> None:
    root = project(tmp_path, "helper.py", ignore="helper.py\n").root
    error = with_explanation(ModuleNotFoundError("No module named 'helper'", name="helper"), root=root)
    assert [note[:20] for note in error.__notes__] == ["the module helper is", "SQ-1209: take it bac"]
    assert not hasattr(
        with_explanation(ModuleNotFoundError("x", name="no_such_module"), root=root), "__notes__"
    )
    assert not hasattr(with_explanation(ValueError("x"), root=root), "__notes__")
    assert not hasattr(with_explanation(ModuleNotFoundError("x", name="helper"), root=None), "__notes__")
