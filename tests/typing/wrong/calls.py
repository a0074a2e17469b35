"""Mistakes that type checkers must find: each line that ends in `# wrong`, and no other."""

from squall import App, Function, FunctionCall, Image

app = App("wrong")


@app.function(cpu=1)
def scale(number: int, by: float = 1.5) -> float:
    return number * by


def mistakes() -> None:
    scale.remote("three")  # wrong
    scale.remote()  # wrong
    scale.remote(3, times=2)  # wrong
    scale.local(3, "by")  # wrong
    scale.spawn(None)  # wrong
    answer: str = scale.remote(3)  # wrong
    call: FunctionCall[str] = scale.spawn(3)  # wrong
    other: Function[[str], float] = scale  # wrong
    App("a", image="debian")  # wrong
    Image.host().env(["A"])  # wrong
    print(answer, call, other)


async def awaited_mistakes() -> None:
    await scale.remote.aio("three")  # wrong
    await scale.spawn.aio("three")  # wrong


@app.function(timeout="long")  # wrong
def late() -> None: ...


@app.function(retries=[1])  # wrong
def stubborn() -> None: ...
