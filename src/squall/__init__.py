"""Squall: Python functions that run in isolated containers which the code itself declares."""

from importlib import import_module
from typing import Any

# What users import from `squall`, and where it lives: "module:name", or the module alone where the name is the
# same. Nothing is loaded before it is asked for: the command line and the runner must not pay for the whole SDK.
_HOMES = {
    "App": "squall.sdk.app",
    "Function": "squall.sdk.function",
    "FunctionCall": "squall.sdk.call",
    "Image": "squall.sdk.image",
    "Retries": "squall.sdk.function",
    "current_function_call_id": "squall.context",
    "current_input_id": "squall.context",
    "is_local": "squall.context",
    "__version__": "squall.settings.version:VERSION",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'squall' has no attribute {name!r}")
    module, _, original = home.partition(":")
    value = getattr(import_module(module), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
