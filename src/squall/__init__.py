"""Squall: Python functions that run in isolated containers which the code itself declares."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squall.model.function import Retries as Retries
    from squall.sdk.app import App as App
    from squall.sdk.batched import batched as batched
    from squall.sdk.bucket_mount import CloudBucketMount as CloudBucketMount
    from squall.sdk.concurrent import concurrent as concurrent
    from squall.sdk.function import Function as Function
    from squall.sdk.function_call import FunctionCall as FunctionCall
    from squall.sdk.hooks import enter as enter, exit as exit  # noqa: A004 - the name that users of this field know
    from squall.sdk.image import Image as Image
    from squall.sdk.inside import (
        after_fork as after_fork,
        current_function_call_id as current_function_call_id,
        current_input_id as current_input_id,
        is_local as is_local,
    )
    from squall.sdk.method import method as method
    from squall.sdk.parameter import parameter as parameter
    from squall.sdk.secret import Secret as Secret
    from squall.sdk.shared_dict import Dict as Dict
    from squall.sdk.shared_queue import Queue as Queue
    from squall.sdk.volume import Volume as Volume

    __version__: str

# What users import from `squall`, and where it lives: "module:name", or the module alone where the name is the
# same. Nothing is loaded before it is asked for: the command line and the runner must not pay for the whole SDK.
# The imports above say the same to type checkers; a test compares the two.
_HOMES = {
    "App": "squall.sdk.app",
    "CloudBucketMount": "squall.sdk.bucket_mount",
    "Dict": "squall.sdk.shared_dict",
    "Function": "squall.sdk.function",
    "FunctionCall": "squall.sdk.function_call",
    "Image": "squall.sdk.image",
    "Queue": "squall.sdk.shared_queue",
    "Retries": "squall.model.function",
    "Secret": "squall.sdk.secret",
    "Volume": "squall.sdk.volume",
    "after_fork": "squall.sdk.inside",
    "batched": "squall.sdk.batched",
    "concurrent": "squall.sdk.concurrent",
    "current_function_call_id": "squall.sdk.inside",
    "current_input_id": "squall.sdk.inside",
    "enter": "squall.sdk.hooks",
    "exit": "squall.sdk.hooks",
    "is_local": "squall.sdk.inside",
    "method": "squall.sdk.method",
    "parameter": "squall.sdk.parameter",
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
