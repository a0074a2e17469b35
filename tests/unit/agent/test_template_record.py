"""What a node remembers of its templates: kept over restarts, bounded, and never a reason to fall."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.agent.template_record import MOST_ROWS, TemplateRecord, version_of
from squall.model.function import Code, Function, Scaling
from squall.model.ids import AppId, FunctionId
from squall.scheduling.template_order import Remembered

NOW_S = 1_000_000_000.0
NAMED = Remembered(app="shop", function="price", version="v1")


def function(**fields: Any) -> Function:
    code = Code(module="m", qualname="f", source="aa", root="/home/me")
    described: dict[str, Any] = {"id": FunctionId("ap-1/f"), "app": AppId("ap-1"), "name": "f", "code": code}
    return Function(**described | fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "templates.json"


def test_what_was_learned_is_known_after_a_restart(path: Path) -> None:
    record = TemplateRecord(path)
    record.ready(NAMED, {"seconds": 1.25, "modules": ["numpy", "torch"]}, 2**25, NOW_S)
    record.started(NAMED, NOW_S)
    record.started(NAMED, NOW_S)
    record.refused(replace(NAMED, version="v2"), NOW_S)
    record.save()
    first, second = TemplateRecord(path).rows
    assert (first.starts, first.used_s, first.load_s, first.bytes) == (2.0, NOW_S, 1.25, 2**25)
    assert (first.modules, first.refused) == (("numpy", "torch"), False)
    assert (second.version, second.refused, second.starts) == ("v2", True, 0.0)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_version_that_was_refused_and_then_has_one_is_refused_no_more(path: Path) -> None:
    record = TemplateRecord(path)
    record.refused(NAMED, NOW_S)
    record.ready(NAMED, {}, 0, NOW_S)
    assert not record.rows[0].refused


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b"7",
        b'{"format": 2, "templates": []}',
        b'{"format": 1, "templates": 5}',
        b'{"format": 1, "templates": {"a": 1}}',
        b'{"format": 1, "templates": [1, null, {}, {"app": 1, "function": "f", "version": "v"}]}',
        b'{"format": 1, "templates": [{"app": "a", "function": "f", "version": "v", "starts": NaN}]}',
        b'{"format": 1, "templates": [{"app": "a", "function": "f", "version": "v", "used_s": -1}]}',
        b'{"format": 1, "templates": [{"app": "a", "function": "f", "version": "v", "bytes": 1e999}]}',
        b'{"format": 1, "templates": [{"app": "a", "function": "f", "version": "v", "load_s": true}]}',
        b'{"format": 1, "templates": [{"app": "a", "function": "f", "version": "v", "starts": 1'
        + b"0" * 400
        + b"}]}",
        b" " * 5_000_000,
    ],
)
def test_what_cannot_be_read_is_nothing_and_is_written_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    record = TemplateRecord(path)
    assert record.rows == ()
    record.started(NAMED, NOW_S)
    record.save()
    assert [row.starts for row in TemplateRecord(path).rows] == [1.0]


def test_of_foreign_content_what_makes_sense_is_kept(path: Path) -> None:
    good = {
        "app": "shop",
        "function": "price",
        "version": "v1",
        "starts": 3,
        "modules": ["numpy", 5, "x" * 999],
    }
    path.write_text(json.dumps({"format": 1, "new": "field", "templates": [{"app": 1}, good]}))
    (row,) = TemplateRecord(path).rows
    assert (row.starts, row.modules) == (3.0, ("numpy",))


def test_a_place_where_nothing_can_be_written_ends_nothing(path: Path) -> None:
    path.mkdir()
    (path / "not ours").touch()
    record = TemplateRecord(path)
    for _ in range(2):
        record.started(NAMED, NOW_S)
        record.save()
    assert os.listdir(path) == ["not ours"]


def test_it_is_written_only_after_a_change(path: Path) -> None:
    record = TemplateRecord(path)
    record.save()
    assert not path.exists()


def test_names_without_end_are_not_kept(path: Path) -> None:
    record = TemplateRecord(path)
    record.started(replace(NAMED, app="x" * 10_000), NOW_S)
    assert record.rows == ()


def test_it_stays_small_and_the_coldest_go(path: Path) -> None:
    record = TemplateRecord(path)
    for number in range(MOST_ROWS + 50):
        named = replace(NAMED, version=str(number))
        record.ready(named, {"modules": [f"m{n}" for n in range(1000)]}, 1, NOW_S)
        for _ in range(3 if number < 100 else 1):
            record.started(named, NOW_S + number)
    record.save()
    kept = {int(row.version) for row in TemplateRecord(path).rows}
    assert len(kept) == MOST_ROWS
    assert set(range(100)) < kept
    assert MOST_ROWS + 49 in kept
    assert path.stat().st_size < 2**20


def test_what_user_code_says_of_its_modules_is_not_trusted(path: Path) -> None:
    record = TemplateRecord(path)
    record.ready(NAMED, {"seconds": "long", "modules": {"a": 1}}, 1, NOW_S)
    record.ready(replace(NAMED, version="v2"), {"seconds": float("nan"), "modules": [None, "a"]}, 1, NOW_S)
    assert [(row.load_s, row.modules) for row in record.rows] == [(0.0, ()), (0.0, ("a",))]


def test_versions_differ_with_all_that_a_template_is_made_of_and_with_nothing_else() -> None:
    base = function()
    code = base.code
    others = [
        function(code=replace(code, source="bb")),
        function(code=replace(code, pickled="cc")),
        function(code=replace(code, qualname="g")),
        function(image={"steps": [1]}),
        function(client_python={"version": "3.12.0"}),
        function(env={"MOOD": "calm"}),
        function(level="sandbox-strict"),
        function(block_network=True),
    ]
    assert len({version_of(one) for one in (base, *others)}) == len(others) + 1
    same = function(
        id=FunctionId("ap-2/f"), app=AppId("ap-2"), timeout_s=5.0, scaling=Scaling(min_containers=1)
    )
    assert version_of(same) == version_of(base)
