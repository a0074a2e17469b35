"""What type checkers must understand of the public API; mypy and pyright both read it, nobody runs it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import squall
from squall import App, Dict, Function, FunctionCall, Image, Queue, Retries, Secret

app = App("typed", image=Image.host())


@app.function(cpu=2, memory=(256, 512), retries=Retries(max_retries=3), timeout=60)
def scale(number: int, by: float = 1.5) -> float:
    return number * by


@app.function()
async def fetch(url: str, *, tries: int = 3) -> bytes:
    return url.encode() * tries


@app.function(name="counted")
def count(upto: int) -> Iterator[int]:
    yield from range(upto)


@app.cls(cpu=1)
class Model:
    size: int = squall.parameter()
    name: str = squall.parameter(default="a")

    @squall.enter()
    def load(self) -> None:
        self.loaded = self.name * self.size

    @squall.method()
    def predict(self, number: int, *, by: float = 1.0) -> float:
        return number * by

    @squall.method()
    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @squall.method()
    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @squall.exit()
    async def close(self) -> None: ...


def methods() -> None:
    # mypy does not see what a method says of the classes that it decorates; pyright does.
    model = Model(size=3)  # type: ignore[call-arg]
    assert_type(model, Model)
    assert_type(model.predict.remote(3, by=2.0), float)
    assert_type(model.predict.local(3), float)
    assert_type(model.predict(3), float)
    assert_type(model.predict.map([1, 2]), Iterator[float])
    assert_type(model.predict.spawn(3), FunctionCall[float])
    assert_type(model.fetch.remote("a"), bytes)
    assert_type(model.count.remote_gen(3), Iterator[Any])
    assert_type(model.count.remote(3), Iterator[int])


async def awaited_methods() -> None:
    model = Model(3, name="b")  # type: ignore[call-arg]
    assert_type(await model.predict.remote.aio(3), float)
    assert_type(await model.fetch.local("a"), bytes)
    assert_type(await model.fetch.remote.aio("a"), bytes)


def other_options() -> None:
    large = squall.Cls.of(Model).with_options(cpu=2).with_concurrency(max_inputs=4)
    assert_type(large, squall.Cls[Model])
    assert_type(large(size=3), Model)
    assert_type(large(size=3).predict.remote(3), float)
    assert_type(squall.Cls.from_name("typed", "Model"), squall.Cls[Any])
    assert_type(scale.with_concurrency(max_inputs=4).remote(3), float)
    assert_type(scale.with_batching(max_batch_size=4, wait_ms=10).map([1]), Iterator[float])
    assert_type(scale.get_current_stats().backlog, int)
    assert_type(large.info().name, str)
    for line in large(size=3).predict.logs(follow=True):
        assert_type(line.text, str)


async def awaited_looks() -> None:
    assert_type((await scale.stats.aio()).running, int)
    await scale.update_autoscaler.aio(min_containers=1)


@app.local_entrypoint()
def main(number: int = 3) -> None:
    print(number)


def blocking_verbs() -> None:
    assert_type(scale.remote(3), float)
    assert_type(scale.remote(3, by=2.0), float)
    assert_type(scale.local(3), float)
    assert_type(scale(3), float)
    assert_type(scale.map([1, 2]), Iterator[float])
    assert_type(scale.starmap([(1, 2.0)]), Iterator[float])
    assert_type(scale.for_each([1, 2]), None)
    assert_type(scale.spawn(3), FunctionCall[float])
    assert_type(scale.spawn_map([1, 2]), FunctionCall[float])
    assert_type(count.remote_gen(3), Iterator[Any])
    assert_type(fetch.remote("a"), bytes)
    assert_type(fetch.map(["a"]), Iterator[bytes])
    assert_type(fetch.spawn("a").get(), bytes)
    assert_type(count.remote(3), Iterator[int])
    assert_type(FunctionCall.from_id("fc"), FunctionCall[Any])
    assert_type(FunctionCall.gather(scale.spawn(1), scale.spawn(2)), list[Any])


async def awaited_verbs() -> None:
    assert_type(await Image.debian_slim().build.aio(app), Image)
    assert_type(await Image.debian_slim().publish.aio("base:1"), Image)
    assert_type(await scale.remote.aio(3), float)
    assert_type(await scale.spawn(3).get.aio(), float)
    assert_type(scale.map.aio([1]), AsyncIterator[float])
    assert_type(scale.starmap.aio([(1, 2.0)]), AsyncIterator[float])
    assert_type(await scale.for_each.aio([1]), None)
    assert_type(await scale.spawn.aio(3), FunctionCall[float])
    assert_type(await scale.spawn_map.aio([3]), FunctionCall[float])
    assert_type(await FunctionCall.gather.aio(scale.spawn(1)), list[Any])
    assert_type(scale.spawn_map([1]).iter.aio(), AsyncIterator[float])
    assert_type(await fetch.remote.aio("a"), bytes)
    assert_type(await fetch.local("a"), bytes)
    assert_type(await fetch("a"), bytes)
    assert_type(count.remote_gen.aio(3), AsyncIterator[Any])


def results() -> None:
    call = scale.spawn(3)
    assert_type(call.get(), float)
    assert_type(call.get(timeout=3), float)
    assert_type(call.object_id, str)
    assert_type(call.num_inputs(), int)
    assert_type(call.iter(0, 2), Iterator[float])
    assert_type(call.cancel(terminate_containers=True), None)


def running() -> None:
    with app.run():
        print(scale.remote(1))
    assert_type(squall.is_local(), bool)
    assert_type(squall.current_input_id(), str | None)
    assert_type(squall.current_function_call_id(), str | None)
    assert_type(squall.__version__, str)


def takes_a_function(function: Function[[int], float]) -> float:
    return function.remote(3)


def shared() -> None:
    scores = Dict.from_name("scores", create_if_missing=True)
    assert_type(scores, Dict)
    assert_type(scores.put("a", 1, skip_if_exists=True), bool)
    assert_type(scores.get("a", 0), Any)
    assert_type(scores.keys(), Iterator[Any])
    assert_type(scores.items(), Iterator[tuple[Any, Any]])
    assert_type("a" in scores, bool)
    assert_type(len(scores), int)
    with Queue.ephemeral() as work:
        assert_type(work, Queue)
        assert_type(work.put_many([1], timeout=3, partition="p"), None)
        assert_type(work.get(block=False), Any)
        assert_type(work.get_many(3), list[Any])
        assert_type(work.iterate(item_poll_timeout=1), Iterator[Any])
    assert_type(Queue.objects.create("work"), Queue)


async def awaited_shared(work: Queue) -> None:
    assert_type(await work.len.aio(total=True), int)
    assert_type(work.iterate.aio(), AsyncIterator[Any])
    async with Dict.ephemeral() as scores:
        assert_type(await scores.contains.aio("a"), bool)


def images() -> None:
    assert_type(Image.from_name("base:1"), Image)
    assert_type(Image.debian_slim().build(app), Image)
    assert_type(Image.debian_slim().publish("base:1").run_commands("true"), Image)
    token = Secret.from_dict({"TOKEN": "x"})
    assert_type(Image.debian_slim("3.12").apt_install("git", ["curl"]), Image)
    assert_type(Image.host().pip_install("six").add_local_dir(".", "/data"), Image)
    assert_type(Image.from_registry("debian", token).run_commands("make", secrets=[token]), Image)
    assert_type(Image.debian_slim().run_function(main, args=(3,), kwargs={"number": 3}), Image)
    assert_type(Image.from_scratch().dockerfile_commands("COPY a /a", context_files={"a": "b"}), Image)
