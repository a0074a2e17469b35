"""Whatever a process has and holds, the gate is never kinder to more than to less, and says why and what to do."""

from dataclasses import replace
from typing import TypeVar

from hypothesis import given, strategies as st

from squall.runtime.template import remedies
from squall.runtime.template.gate import Descriptor, Kind, Made, Seen, Task, Thread, Verdict, What, judge

T = TypeVar("T")

names = st.text("abcdefg-:[]/", min_size=1, max_size=12)
tasks = st.builds(Task, id=st.integers(1, 99), name=names)
threads = st.builds(Thread, name=names, module=st.sampled_from(["", "one.module"]))
descriptors = st.builds(
    Descriptor,
    number=st.integers(0, 20),
    kind=st.sampled_from(Kind),
    target=names,
    writable=st.booleans(),
    holder=st.sampled_from(["", "one.module.name"]),
)
made = st.builds(Made, what=st.sampled_from(What), type=names, holder=st.sampled_from(["", "a.b"]))
seen = st.builds(
    Seen,
    tasks=st.none() | st.lists(tasks, min_size=1, max_size=4).map(tuple),
    descriptors=st.none() | st.frozensets(descriptors, max_size=4),
    shared=st.none() | st.frozensets(names, max_size=2),
    withheld=st.none() | st.frozensets(names, max_size=2),
    children=st.none() | st.frozensets(st.integers(-1, 9), max_size=2),
    threads=st.frozensets(threads, max_size=2),
    made=st.frozensets(made, max_size=3),
    modules=st.frozensets(st.sampled_from(["polars", "grpc", "torch"]), max_size=3),
    handlers=st.frozensets(st.sampled_from(["SIGUSR1", "SIGTERM"]), max_size=2),
    alarm=st.booleans(),
)

ALONE = Seen(
    tasks=(Task(id=1, name="python"),),
    descriptors=frozenset({Descriptor(number=0, kind=Kind.PIPE, target="pipe:[1]")}),
    shared=frozenset(),
    withheld=frozenset(),
    children=frozenset(),
)


def words(verdict: Verdict) -> set[str]:
    return {reason.word for reason in verdict.reasons}


def test_what_imports_nothing_is_safe() -> None:
    assert judge(ALONE, ALONE) == Verdict()


@given(after=seen)
def test_what_cannot_be_looked_at_is_refused(after: Seen) -> None:
    verdict = judge(ALONE, after)
    hidden = [getattr(after, name) for name in ("tasks", "descriptors", "shared", "withheld", "children")]
    assert ("unseen" in words(verdict)) == (None in hidden)
    for before in (
        replace(ALONE, descriptors=None),
        replace(ALONE, shared=None),
        replace(ALONE, withheld=None),
        replace(ALONE, children=None),
    ):
        assert "unseen" in words(judge(before, after))


@given(more=st.lists(tasks, min_size=1, max_size=3), known=st.frozensets(threads, max_size=3))
def test_a_process_with_a_second_task_is_never_safe(more: list[Task], known: frozenset[Thread]) -> None:
    after = replace(ALONE, tasks=(Task(id=1, name="python"), *more), threads=known)
    assert not judge(ALONE, after).safe
    assert not judge(after, after).safe, "also one that was there before the imports"


@given(before=seen, after=seen, thread=threads)
def test_a_thread_that_python_knows_is_told_with_its_module(
    before: Seen, after: Seen, thread: Thread
) -> None:
    verdict = judge(before, replace(after, threads=after.threads | {thread}))
    assert any(reason.word == "thread" and reason.module == thread.module for reason in verdict.reasons)


@given(descriptor=descriptors)
def test_of_new_descriptors_only_devices_without_state_and_files_that_are_read_pass(
    descriptor: Descriptor,
) -> None:
    verdict = judge(ALONE, replace(ALONE, descriptors=(ALONE.descriptors or frozenset()) | {descriptor}))
    kept = descriptor.kind is Kind.HARMLESS or (descriptor.kind is Kind.FILE and not descriptor.writable)
    assert verdict.safe == kept
    assert verdict.keep == ((descriptor.number,) if kept else ())


@given(one=descriptors, other=descriptors)
def test_a_number_that_has_become_something_else_is_new(one: Descriptor, other: Descriptor) -> None:
    before = replace(ALONE, descriptors=frozenset({one}))
    after = replace(ALONE, descriptors=frozenset({replace(other, number=one.number)}))
    same = (one.kind, one.target) == (other.kind, other.target)
    assert judge(before, after) == (
        Verdict() if same else judge(replace(ALONE, descriptors=frozenset()), after)
    )


@given(what=st.sampled_from(What))
def test_of_objects_only_idle_executors_and_generators_pass_with_a_warning(what: What) -> None:
    verdict = judge(ALONE, replace(ALONE, made=frozenset({Made(what=what, type="a.B", holder="c.d")})))
    assert verdict.safe == (what in {What.IDLE_EXECUTOR, What.GENERATOR})
    (told,) = verdict.reasons + verdict.warnings
    assert told.word == what
    assert told.module == "c.d"


@given(pids=st.frozensets(st.integers(-1, 99), min_size=1), memory=st.frozensets(names, min_size=1))
def test_a_new_child_and_new_shared_memory_are_refused(pids: frozenset[int], memory: frozenset[str]) -> None:
    assert words(judge(ALONE, replace(ALONE, children=pids))) == {"child_process"}
    assert words(judge(ALONE, replace(ALONE, shared=memory))) == {"shared_memory"}
    assert words(judge(ALONE, replace(ALONE, withheld=memory))) == {"withheld_memory"}


@given(before=seen, after=seen, more=seen)
def test_to_hold_more_is_never_safer(before: Seen, after: Seen, more: Seen) -> None:
    both = Seen(
        tasks=None if after.tasks is None or more.tasks is None else after.tasks + more.tasks,
        descriptors=_union(after.descriptors, more.descriptors),
        shared=_union(after.shared, more.shared),
        withheld=_union(after.withheld, more.withheld),
        children=_union(after.children, more.children),
        threads=after.threads | more.threads,
        made=after.made | more.made,
        modules=after.modules,
        handlers=after.handlers,
        alarm=after.alarm,
    )
    assert not (judge(before, both).safe and not judge(before, after).safe)


def _union(one: frozenset[T] | None, other: frozenset[T] | None) -> frozenset[T] | None:
    return None if one is None or other is None else one | other


@given(before=seen, after=seen)
def test_every_reason_and_warning_says_what_was_found_and_what_to_do(before: Seen, after: Seen) -> None:
    verdict = judge(before, after)
    for told in verdict.reasons + verdict.warnings:
        assert told.word in remedies.TOLD
        assert told.found
        assert told.remedy
        assert "{" not in str(told).replace(told.found, "")
    assert list(verdict.reasons) == sorted(set(verdict.reasons))
    assert verdict.safe == (not verdict.reasons)


@given(after=seen)
def test_what_was_there_before_is_not_the_imports_doing(after: Seen) -> None:
    verdict = judge(after, after)
    assert words(verdict) <= {"unseen", "native_thread", "thread"}
    assert not verdict.warnings
