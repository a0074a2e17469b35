"""Plain value: what a packed value is, as far as it can be shown without running code that travels in it."""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from squall.wire.codec import Buffer, length

_HARMLESS: Final = frozenset(
    {
        ("builtins", "complex"),
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        ("decimal", "Decimal"),
    }
)
"""What a pickle may name here: making one of these does nothing else."""


class Foreign:
    """A value that holds something of a class which is not made here. repr(): which, and how large it is."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def plain_value(data: Buffer) -> Any:
    """The value in bytes of `pack_many`, where it is made of Python's own data; else a `Foreign`. Runs no code that is in it."""
    reader = _Reader(io.BytesIO(bytes(data)))
    try:
        return reader.load()
    except Exception:  # noqa: BLE001 - a pickle is a program, and may fail in any way
        what = f"holds {reader.refused}" if reader.refused else "which cannot be read"
        return Foreign(f"<a value of {length(data)} bytes, {what}>")


class _Reader(pickle.Unpickler):
    refused = ""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) in _HARMLESS:
            return super().find_class(module_name, global_name)
        travels = module_name.startswith("cloudpickle")
        self.refused = "code that travels in it" if travels else f"{module_name}.{global_name}"
        raise pickle.UnpicklingError(self.refused)
