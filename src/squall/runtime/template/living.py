"""Living: the objects of this process that a fork may break, and which module's name holds each."""

import gc
import os
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any

from squall.runtime.template.gate import Made, What

# Classes by the module that must be loaded for one to exist, and their name there; their subclasses count too.
_CLASSES = (
    ("concurrent.futures.thread", "ThreadPoolExecutor", What.EXECUTOR),
    ("concurrent.futures.process", "ProcessPoolExecutor", What.PROCESS_POOL),
    ("multiprocessing.pool", "Pool", What.PROCESS_POOL),
    ("multiprocessing.managers", "BaseManager", What.PROCESS_POOL),
    ("asyncio.events", "AbstractEventLoop", What.EVENT_LOOP),
    ("grpc._cython.cygrpc", "Channel", What.CHANNEL),
    ("grpc._cython.cygrpc", "Server", What.CHANNEL),
    ("grpc._channel", "Channel", What.CHANNEL),
    ("grpc.aio._channel", "Channel", What.CHANNEL),
    ("sqlite3", "Connection", What.CONNECTION),
    ("duckdb", "DuckDBPyConnection", What.CONNECTION),
    ("onnxruntime.capi.onnxruntime_inference_collection", "InferenceSession", What.SESSION),
    ("numpy.random", "Generator", What.GENERATOR),
    ("numpy.random", "RandomState", What.GENERATOR),
    ("random", "Random", What.GENERATOR),
)
_FILES = (("socket", "socket"), ("_socket", "socket"), ("_io", "FileIO"))
# A library's own are its author's concern.
_TOLD_TO_OWNERS = frozenset({What.IDLE_EXECUTOR, What.GENERATOR})
_STANDARD = os.path.dirname(os.__file__) + "/"
_DEPTH = 3
_MOST_SEARCHED = 8


def look() -> tuple[frozenset[Made], dict[int, str]]:
    """What was made that a fork may break, and for descriptors that Python objects hold, the name of the holder."""
    gc.collect()  # What only waits to be collected is not held by anybody.
    kinds = {found: what for module, name, what in _CLASSES if (found := _class(module, name)) is not None}
    files = tuple(found for module, name in _FILES if (found := _class(module, name)) is not None)
    known = {id(getattr(sys.modules.get("random"), "_inst", None)), *_numpy_global()}
    suspects: list[tuple[Any, What]] = []
    opened: list[Any] = []
    for one in gc.get_objects():
        cls = type(one)
        if issubclass(cls, files):
            opened.append(one)
        elif (what := _what(cls, kinds)) is not None and id(one) not in known and _counts(one, what):
            suspects.append((one, what))
    # Those that refuse the template first: only the first few are searched for.
    suspects.sort(key=lambda suspect: suspect[1] in _TOLD_TO_OWNERS)
    made = {
        Made(what=_refined(one, what), type=f"{type(one).__module__}.{type(one).__qualname__}", holder=holder)
        for (one, what), holder in _held(suspects, [one for one, _ in suspects])
        if _refined(one, what) not in _TOLD_TO_OWNERS or _is_owners(holder)
    }
    return frozenset(made | _device_contexts()), {
        number: holder for one, holder in _held(opened, opened) if (number := _number(one)) > 2
    }


def _is_owners(holder: str) -> bool:
    """Whether a global name is in code of the function's owner: not in a package that was installed, or in Python."""
    module = sys.modules.get(holder) or sys.modules.get(holder.rpartition(".")[0])
    path = getattr(module, "__file__", None)
    return isinstance(path, str) and not any(
        place in path for place in ("/site-packages/", "/dist-packages/", _STANDARD)
    )


def _class(module: str, name: str) -> type | None:
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _what(cls: type, kinds: dict[type, What]) -> What | None:
    for above in cls.__mro__:
        if above in kinds:
            return kinds[above]
    return None


def _counts(one: Any, what: What) -> bool:
    """Whether it is one that a fork breaks: not one that is closed, and not one that draws from the system."""
    if what is What.EVENT_LOOP:
        return not getattr(one, "_closed", False) and not _says(one.is_closed)
    if what in (What.EXECUTOR, What.PROCESS_POOL):
        return not getattr(one, "_shutdown", getattr(one, "_shutdown_thread", False))
    return type(one).__name__ != "SystemRandom"


def _refined(one: Any, what: What) -> What:
    return What.IDLE_EXECUTOR if what is What.EXECUTOR and not getattr(one, "_threads", True) else what


def _numpy_global() -> set[int]:
    """The generator of numpy itself, which is drawn anew in each container."""
    return {id(getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None))}


def _device_contexts() -> set[Made]:
    """GPUs that a library says it has used."""
    found = set()
    cuda = sys.modules.get("torch.cuda")
    if _says(getattr(cuda, "is_initialized", bool)):
        found.add(Made(what=What.DEVICE_CONTEXT, type="torch.cuda", holder="torch"))
    jax = sys.modules.get("jax._src.xla_bridge")
    if getattr(jax, "_backends", None):
        found.add(Made(what=What.DEVICE_CONTEXT, type="a backend of jax", holder="jax"))
    return found


def _says(question: Callable[[], object]) -> bool:
    """The answer of foreign code; one that cannot be given counts as no."""
    try:
        return bool(question())
    except Exception:  # noqa: BLE001 - whatever a class of the user's raises is no answer
        return False


def _number(one: Any) -> int:
    try:
        number: int = one.fileno()
    except Exception:  # noqa: BLE001 - it is closed, or a class of the user's says otherwise
        return -1
    return number


def _held(values: list[Any], objects: list[Any]) -> Iterable[tuple[Any, str]]:
    """Each value with the name that holds its object; a search takes milliseconds, so only the first few are searched."""
    for place, (value, one) in enumerate(zip(values, objects, strict=True)):
        yield value, _holder(one) if place < _MOST_SEARCHED else ""


def _holder(one: Any) -> str:
    """The global name that holds `one`, directly or through a few containers; nothing where none is found."""
    names = {
        id(vars(module)): name for name, module in list(sys.modules.items()) if type(module) is ModuleType
    }
    level: list[Any] = [one]
    seen = {id(one)}
    for _ in range(_DEPTH):
        above = []
        for holder in gc.get_referrers(*level):
            if id(holder) in seen or holder is level or isinstance(holder, FrameType):
                continue
            seen.add(id(holder))
            if (name := names.get(id(holder))) is not None and name != __name__:
                return _attribute(name, holder, level)
            above.append(holder)
        level = above
    return ""


def _attribute(module: str, space: dict[str, Any], held: list[Any]) -> str:
    ids = {id(one) for one in held}
    for name, value in space.items():
        if id(value) in ids or id(_attributes(value)) in ids:
            return f"{module}.{name}"
    return module


def _attributes(value: Any) -> object:
    try:
        return vars(value)
    except Exception:  # noqa: BLE001 - it has none, or it is a stand-in that asks somebody else
        return None
