"""Quiet: native libraries that start with one thread, and get the user's number of threads back in each child."""

import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

from squall.runtime import syscalls

# What keeps a library from starting threads when it is imported, or while user code uses it at import. Not here are
# those that read their own variable at the first use, which is in the child: rayon, polars, tokenizers, numba, OpenCV.
_ONE = "1"
_NUMBERS = {
    "OMP_NUM_THREADS": _ONE,  # every OpenMP: torch, scikit-learn
    "OPENBLAS_NUM_THREADS": _ONE,  # numpy, scipy
    "OPENBLAS_THREAD_TIMEOUT": "20",  # else each thread that a child gets back spins for 10 ms before it sleeps
    "MKL_NUM_THREADS": _ONE,
    "BLIS_NUM_THREADS": _ONE,
    "NUMEXPR_NUM_THREADS": _ONE,  # starts its threads when it is imported
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: a thread that writes to a database in the user's home
}
# Options of an allocator; what the user has set stays, and the last word counts.
_ALLOCATORS = ("JE_ARROW_MALLOC_CONF", "_RJEM_MALLOC_CONF")  # pyarrow, polars
_NO_BACKGROUND = "background_thread:false"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Library:
    """How one kind of native library is asked and told its number of threads. variables: the first that is set counts."""

    file: str
    getters: tuple[str, ...]
    setters: tuple[str, ...]
    variables: tuple[str, ...]


_LIBRARIES = (
    _Library(
        file="openblas",
        getters=(
            "scipy_openblas_get_num_threads64_",
            "scipy_openblas_get_num_threads",
            "openblas_get_num_threads64_",
            "openblas_get_num_threads",
        ),
        setters=(
            "scipy_openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "openblas_set_num_threads",
        ),
        variables=("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
    ),
    *(
        _Library(
            file=name,
            getters=("omp_get_max_threads",),
            setters=("omp_set_num_threads",),
            variables=("OMP_NUM_THREADS",),
        )
        for name in ("libgomp", "libomp", "libiomp5")
    ),
    _Library(
        file="libmkl_rt",
        getters=("mkl_get_max_threads",),
        setters=("MKL_Set_Num_Threads",),
        variables=("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    ),
    _Library(
        file="libblis",
        getters=("bli_thread_get_num_threads",),
        setters=("bli_thread_set_num_threads",),
        variables=("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A variable that was set for the imports, what it was set to, and what stood there: None for nothing."""

    name: str
    ours: str
    theirs: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waker:
    """Gives one loaded library its threads. variables: where the user may have said how many."""

    name: str
    wake: Callable[[int], object]
    variables: tuple[str, ...]


def before_imports(environ: MutableMapping[str, str]) -> tuple[Setting, ...]:
    """Set in `environ` what makes native libraries start with one thread. To be called before the first import."""
    settings = [
        *(Setting(name=name, ours=ours, theirs=environ.get(name)) for name, ours in _NUMBERS.items()),
        *(
            Setting(
                name=name,
                ours=",".join(filter(None, (environ.get(name), _NO_BACKGROUND))),
                theirs=environ.get(name),
            )
            for name in _ALLOCATORS
        ),
    ]
    environ.update({one.name: one.ours for one in settings})
    return tuple(settings)


def after_imports() -> tuple[Waker, ...]:
    """What was loaded and has one thread now: for `restore`, looked up once so that a child need not.

    A library that has another number was told so by the user's own code, which stays.
    """
    found = []
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() == 1:
        found.append(
            Waker(name="torch", wake=torch.set_num_threads, variables=("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
        )
    numexpr = sys.modules.get("numexpr")
    if numexpr is not None and numexpr.get_num_threads() == 1:
        found.append(
            Waker(
                name="numexpr",
                wake=lambda threads: numexpr.set_num_threads(min(threads, numexpr.MAX_THREADS)),
                variables=("NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS"),
            )
        )
    for path in _mapped_libraries():
        for library in _LIBRARIES:
            if library.file in os.path.basename(path):
                get = syscalls.loaded_function(path, library.getters)
                wake = syscalls.loaded_function(path, library.setters)
                if get is not None and wake is not None and get() == 1:
                    found.append(Waker(name=path, wake=wake, variables=library.variables))
    return tuple(found)


def restore(settings: tuple[Setting, ...], environ: MutableMapping[str, str]) -> None:
    """After the last import: give the environment back what it would have had, had nobody set anything.

    A variable that the imports have changed since is left alone.
    """
    for one in settings:
        if environ.get(one.name) == one.ours:
            if one.theirs is None:
                del environ[one.name]
            else:
                environ[one.name] = one.theirs


def wake(wakers: tuple[Waker, ...], environ: Mapping[str, str], *, threads: int) -> None:
    """In a child: give the libraries the threads that they would have had.

    threads: how many one gets for which the environment says nothing, at least 1.
    """
    for waker in wakers:
        number = _asked_for(waker.variables, environ) or threads
        if number > 1:
            waker.wake(number)


def _asked_for(variables: tuple[str, ...], environ: Mapping[str, str]) -> int:
    """The number that the first of `variables` sets; 0 for none. OpenMP takes a list, whose first is the outermost."""
    for name in variables:
        text = environ.get(name, "").partition(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return 0


def _mapped_libraries() -> tuple[str, ...]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = (line.rstrip("\n").split(None, 5)[5:] for line in file)
            return tuple(dict.fromkeys(path[0] for path in paths if path and ".so" in path[0]))
    except OSError:
        return ()
