"""Remedies: what the gate tells the owner of a function, for each word."""

from collections.abc import Collection

_INSIDE = "make it inside the function, or in an @squall.after_fork hook, which each container calls once"

# For each word: what was found, and what to change.
TOLD = {
    "unseen": (
        "the process's own {} cannot be looked at",
        "nothing of yours: /proc is hidden from the template, so that its state is not known",
    ),
    "native_thread": (
        "threads of native code run after the imports: {}",
        "a fork copies no thread, and what it held stays held: start it inside the function, or import the module there",
    ),
    "thread": (
        "a thread runs after the imports: {}",
        "a fork copies no thread: start it inside the function, or in an @squall.after_fork hook",
    ),
    "executor": (
        "an executor has threads already: {}",
        f"a fork copies none of them, and what is submitted later waits for ever: {_INSIDE}",
    ),
    "idle_executor": (
        "an executor was made at import: {}",
        "it has no thread yet, so each container starts its own; submit nothing to it while importing",
    ),
    "process_pool": ("a pool of processes was made at import: {}", f"containers would share it: {_INSIDE}"),
    "event_loop": (
        "an event loop was made at import: {}",
        "its descriptors would be shared between containers: use asyncio.run, or an async function",
    ),
    "channel": (
        "a client was made at import: {}",
        f"its connections and threads do not outlive a fork: {_INSIDE}",
    ),
    "connection": (
        "a connection to a database was made at import: {}",
        f"containers would share it: {_INSIDE}",
    ),
    "session": (
        "a session of native code was made at import: {}",
        f"its threads do not outlive a fork: {_INSIDE}",
    ),
    "device_context": (
        "a device was used at import: {}",
        "its state does not outlive a fork: compute, and move tensors and models to a GPU, in an @squall.after_fork hook",
    ),
    "generator": (
        "a random generator was made at import: {}",
        "it gives the same numbers in every container: make it inside the function, or seed it there",
    ),
    "socket": ("a socket is open: {}", f"containers would share it: {_INSIDE}"),
    "pipe": ("a pipe is open: {}", f"containers would share it: {_INSIDE}"),
    "epoll": ("a poll of the kernel's is open: {}", f"containers would share it: {_INSIDE}"),
    "eventfd": ("an event descriptor is open: {}", f"containers would share it: {_INSIDE}"),
    "timerfd": ("a timer descriptor is open: {}", f"containers would share it: {_INSIDE}"),
    "signalfd": ("a signal descriptor is open: {}", f"containers would share it: {_INSIDE}"),
    "inotify": ("a watch on files is open: {}", f"containers would share it: {_INSIDE}"),
    "io_uring": ("an io_uring is open: {}", f"containers would share it: {_INSIDE}"),
    "pidfd": ("a handle of a process is open: {}", f"the process is in no container: {_INSIDE}"),
    "memfd": ("shared memory is open: {}", f"containers would share it: {_INSIDE}"),
    "gpu": (
        "a GPU is open: {}",
        "a GPU's state does not outlive a fork: move tensors and models to it in an @squall.after_fork hook",
    ),
    "device": ("a device is open: {}", f"containers would share it: {_INSIDE}"),
    "directory": ("a directory is open: {}", "it is not the container's own: open it inside the function"),
    "unknown": ("something is open that is not known: {}", f"containers would share it: {_INSIDE}"),
    "file": (
        "a file is open for reading: {}",
        "each container reads on from where the import stopped; close it if it is not needed",
    ),
    "file_writable": (
        "a file is open for writing: {}",
        "what is written would not reach the container's own disk: open it inside the function",
    ),
    "shared_memory": (
        "writable memory is shared with other processes: {}",
        f"containers would share it, and locks in it: {_INSIDE}",
    ),
    "withheld_memory": (
        "memory is marked as not to be copied by a fork: {}",
        f"containers would crash where they touch it: {_INSIDE}",
    ),
    "child_process": (
        "a process was started at import: {}",
        "it is in no container: start it inside the function, or in an @squall.after_fork hook",
    ),
    "handler": (
        "a signal has a handler since the imports: {}",
        "SIGTERM and SIGINT are the runner's; the others stay as they are",
    ),
    "alarm": (
        "a timer was started at import{}",
        "timers do not outlive a fork: start it inside the function",
    ),
}

# Names that native code gives its threads, cut to 15 bytes by the kernel, and the package that is known to do so.
_THREADS = (
    ("polars-", "polars"),
    ("jemalloc_bg_thd", "pyarrow"),
    ("grpc", "grpc"),
    ("event_engine", "grpc"),
    ("cuda-", "torch"),
    ("pt_autograd", "torch"),
    ("tokio-runtime", ""),
    ("ray::", "ray"),
    ("ORT", "onnxruntime"),
)

# Packages whose operations start threads without a name, where they are told to use more than one.
_POOLS = (
    "cv2",
    "duckdb",
    "faiss",
    "jax",
    "lightgbm",
    "numba",
    "numpy",
    "onnxruntime",
    "pyarrow",
    "sklearn",
    "tensorflow",
    "tokenizers",
    "torch",
    "xgboost",
    "xllamacpp",
)

_SPECIAL = {
    (
        "native_thread",
        "polars",
    ): "import polars inside the function: it starts a thread as soon as it is imported",
    (
        "native_thread",
        "grpc",
    ): "make channels and servers inside the function, or in an @squall.after_fork hook",
}


def owner_of_thread(name: str, modules: Collection[str]) -> str:
    """The package that starts threads of this name (nothing: without one), where it is known and loaded."""
    if not name:
        return " or ".join(package for package in _POOLS if package in modules)
    for prefix, package in _THREADS:
        if name.startswith(prefix) and package in modules:
            return package
    return ""


def special(word: str, module: str) -> str:
    """A remedy that is known for this very package, or nothing."""
    return _SPECIAL.get((word, module), "")
