"""One thread while importing, and afterwards what the user would have had: in the environment and in the libraries."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.runtime.template.quiet import Waker, before_imports, restore, wake

NAMES = st.sampled_from(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "_RJEM_MALLOC_CONF", "PATH", "OTHER"])
environments = st.dictionaries(NAMES, st.sampled_from(["", "1", "4", "8,2", "narenas:2"]))


@given(environments)
def test_an_environment_comes_back_as_it_was(environment: dict[str, str]) -> None:
    found = dict(environment)
    settings = before_imports(found)
    assert found["OMP_NUM_THREADS"] == "1"
    restore(settings, found)
    assert found == environment


@given(environments, environments)
def test_what_the_imports_have_set_themselves_stays(
    environment: dict[str, str], changes: dict[str, str]
) -> None:
    found = dict(environment)
    settings = before_imports(found)
    changed = {name: f"{value}!" for name, value in changes.items()}
    found |= changed
    restore(settings, found)
    assert found == environment | changed


def test_options_of_an_allocator_that_the_user_has_set_stay() -> None:
    found = {"_RJEM_MALLOC_CONF": "narenas:2"}
    before_imports(found)
    assert found["_RJEM_MALLOC_CONF"] == "narenas:2,background_thread:false"
    assert found["JE_ARROW_MALLOC_CONF"] == "background_thread:false"


def woken(environment: dict[str, str], *, threads: int) -> list[int]:
    told: list[int] = []
    found = dict(environment)
    settings = before_imports(found)
    waker = Waker(name="blas", wake=told.append, variables=("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    restore(settings, found)
    wake((waker,), found, threads=threads)
    return told


def test_a_library_gets_the_containers_number_of_threads() -> None:
    assert woken({}, threads=4) == [4]


def test_a_library_gets_what_the_user_has_asked_for() -> None:
    assert woken({"OMP_NUM_THREADS": "3"}, threads=8) == [3]
    assert woken({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "2"}, threads=8) == [2]
    assert woken({"OMP_NUM_THREADS": "6,2"}, threads=8) == [6]


def test_what_is_no_number_is_not_heeded() -> None:
    assert woken({"OMP_NUM_THREADS": "many"}, threads=8) == [8]
    assert woken({"OMP_NUM_THREADS": "0"}, threads=8) == [8]


def test_one_thread_needs_no_waking() -> None:
    assert woken({"OMP_NUM_THREADS": "1"}, threads=8) == []
    assert woken({}, threads=1) == []
