"""Every noun survives its JSON form, and what is no noun is refused by name."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model import ids
from squall.model.container import ContainerEnd, WantedContainer
from squall.model.function import LEVELS, Code, Function, Method, Retries, Scaling
from squall.model.gpu import Gpus
from squall.model.jsonable import from_json, to_json
from squall.model.node import GpuOut, Node
from squall.model.parameters import Parameter
from squall.model.resources import Limits, Resources

texts = st.text(max_size=12)
some = st.none() | texts
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
gpus = st.builds(Gpus, type=st.sampled_from(["any", "H100", "A100-80GB", "L4"]), count=st.integers(1, 16))
resources = st.builds(
    Resources,
    cpu_milli=st.integers(0, 10**6),
    memory_mib=st.integers(0, 10**6),
    gpus=st.integers(0, 8),
    gpu_types=st.lists(gpus, max_size=3).map(tuple),
)
limits = st.builds(
    Limits,
    cpu_milli=st.none() | st.integers(1, 10**6),
    memory_mib=st.none() | st.integers(1, 10**6),
    pids=st.integers(1, 10**6),
    disk_mib=st.none() | st.integers(1, 10**6),
)
retries = st.builds(
    Retries,
    max_retries=st.integers(0, 10),
    backoff_coefficient=st.floats(1.0, 10.0),
    initial_delay=st.floats(0.0, 60.0),
    max_delay=st.floats(0.0, 60.0),
)
scalings = st.builds(
    Scaling,
    min_containers=st.integers(0, 3),
    max_containers=st.none() | st.integers(3, 99),
    buffer_containers=st.integers(0, 9),
    scaledown_window_s=st.floats(2.0, 3600.0),
)
codes = st.builds(
    Code,
    module=texts,
    qualname=texts,
    root=some,
    source=some,
    pickled=some,
    python=texts,
    main=st.booleans(),
    file=some,
)
functions = st.builds(
    Function,
    id=texts,
    app=texts,
    name=texts,
    code=codes,
    image=st.dictionaries(texts, jsons, max_size=3),
    client_python=st.dictionaries(texts, jsons, max_size=3),
    asks=resources,
    gpu=st.lists(gpus, max_size=3).map(tuple),
    limits=limits,
    env=st.dictionaries(texts, texts, max_size=3),
    timeout_s=st.floats(1.0, 86_400.0),
    startup_timeout_s=st.floats(1.0, 86_400.0),
    retries=st.none() | retries,
    scaling=scalings,
    is_generator=st.booleans(),
    is_async=st.booleans(),
    level=st.sampled_from(LEVELS),
    single_use=st.booleans(),
    methods=st.sampled_from([(), (Method(name="a"), Method(name="b", is_generator=True, is_async=True))]),
    parameters=st.sampled_from(
        [(), (Parameter(name="a", kind="int", required=True), Parameter(name="b", kind="str", default="c"))]
    ),
    values=st.none() | st.dictionaries(texts, texts, max_size=3),
).flatmap(
    lambda one: (
        st.just(one)
        | st.integers(1, 1000).map(
            lambda most: replace(one, single_use=False, max_inputs=most, target_inputs=1)
        )
    )
)
ends = st.builds(
    ContainerEnd,
    cause=texts,
    code=st.none() | st.integers(),
    signal=st.none() | st.integers(),
    memory_peak_bytes=st.none() | st.integers(),
    memory_limit_bytes=st.none() | st.integers(),
    cpu_s=st.none() | st.floats(0.0, 1e9),
    said=texts,
)
nodes = st.builds(
    Node,
    id=texts,
    capacity=resources,
    level=texts,
    boot=texts,
    cores=st.integers(1, 512),
    gpus=st.lists(gpus, max_size=3).map(tuple),
    gpus_out=st.lists(st.builds(GpuOut, id=texts, type=texts, why=texts), max_size=2).map(tuple),
)
wanted = st.builds(WantedContainer, id=texts, function=functions, gpus=st.none() | gpus)
nouns: st.SearchStrategy[Any] = st.one_of(
    gpus, resources, limits, retries, scalings, codes, functions, ends, nodes, wanted
)


@given(noun=nouns)
def test_a_noun_comes_back_as_it_was(noun: Any) -> None:
    plain = json.loads(json.dumps(to_json(noun)))
    assert from_json(type(noun), plain) == noun


@given(noun=nouns, name=texts)
def test_an_unknown_field_is_refused_by_name(noun: Any, name: str) -> None:
    plain = to_json(noun)
    if name in {known.name for known in fields(noun)}:
        name += "?"
    with pytest.raises(ValueError, match="has no field"):
        from_json(type(noun), {**plain, name: 1})


@given(noun=nouns, wrong=st.sampled_from([[], "text", 3, None, True]))
def test_what_is_no_object_is_refused(noun: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match="wrong type"):
        from_json(type(noun), wrong)


@given(plain=jsons)
def test_whatever_is_read_gives_a_noun_or_a_value_error(plain: Any) -> None:
    for cls in (Resources, Limits, Retries, Scaling, Code, Function, ContainerEnd, Node, WantedContainer):
        try:
            assert isinstance(from_json(cls, plain), cls)
        except ValueError:
            continue


@given(
    noun=functions,
    name=st.sampled_from(["code", "asks", "scaling", "timeout_s", "env", "main", "is_async"]),
    wrong=st.sampled_from([[1], "text", {"x": 1}]),
)
def test_a_field_of_the_wrong_type_is_refused_by_its_place(noun: Any, name: str, wrong: Any) -> None:
    if name == "env" and isinstance(wrong, dict):
        wrong = 7
    with pytest.raises(ValueError, match=r"Function"):
        from_json(Function, {**to_json(noun), name: wrong})


# -- ids

PREFIXES = [ids.APP, ids.FUNCTION, ids.CALL, ids.CONTAINER, ids.NODE, ids.BUILD]
instants = st.integers(0, 2**48 - 1)
draws = st.binary(min_size=10, max_size=10)


@given(prefix=st.sampled_from(PREFIXES), now_ms=instants, randomness=draws)
def test_an_id_is_one_of_its_own_kind(prefix: str, now_ms: int, randomness: bytes) -> None:
    made = ids.make_id(prefix, now_ms=now_ms, randomness=randomness)
    assert ids.is_id(made, prefix)
    assert [other for other in PREFIXES if ids.is_id(made, other)] == [prefix]
    digits = made.partition("-")[2]
    assert digits[12] == "7", "a version 7 UUID"
    assert digits[16] in "89ab", "of the variant of RFC 9562"


@given(early=instants, late=instants, first=draws, second=draws)
def test_ids_sort_by_time_and_differ_by_chance(early: int, late: int, first: bytes, second: bytes) -> None:
    one, other = (
        ids.make_id(ids.CALL, now_ms=early, randomness=first),
        ids.make_id(ids.CALL, now_ms=late, randomness=second),
    )
    if early != late:
        assert (one < other) == (early < late)


@given(
    now_ms=st.integers(-(2**50), 2**50),
    randomness=st.binary(max_size=20),
    prefix=st.sampled_from([*PREFIXES, "xx"]),
)
def test_an_id_is_made_of_what_fits_or_not_at_all(now_ms: int, randomness: bytes, prefix: str) -> None:
    if prefix in PREFIXES and len(randomness) == 10 and 0 <= now_ms < 2**48:
        return
    with pytest.raises(ValueError):
        ids.make_id(prefix, now_ms=now_ms, randomness=randomness)


@given(text=st.text(max_size=40), prefix=st.sampled_from(PREFIXES))
def test_what_names_a_path_elsewhere_is_no_id(text: str, prefix: str) -> None:
    assert not ids.is_id(f"{prefix}-../{text}", prefix)
    if ids.is_id(text, prefix):
        assert set(text) <= set("0123456789abcdef-" + prefix)


def test_an_input_is_named_by_its_call_and_place() -> None:
    assert ids.input_id(ids.CallId("fc-1"), 7) == "fc-1:7"
