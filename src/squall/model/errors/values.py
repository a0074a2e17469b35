"""Errors of what travels: values, functions and source files."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.asked import ConflictError, InvalidError
from squall.model.errors.root import Error


class SerializationError(Error):
    """A value cannot be turned into bytes, so it cannot travel."""

    code, status = "SQ-1200", 422
    remedy = "send plain data (numbers, text, lists, dicts, arrays), and open files, locks and connections inside the function"
    where: str | None = None


class ArgumentNotSerializable(SerializationError):
    """An argument of the call cannot be turned into bytes."""

    code, status = "SQ-1201", 422
    remedy = "pass plain data instead of the argument that the message names, and make the object inside the function"


class FunctionNotSerializable(SerializationError):
    """A function that travels by value holds something that cannot travel."""

    code, status = "SQ-1202", 422
    remedy = "make the object that the message names inside the function, or put the function in a module and drop `serialized=True`"


class ResultNotSerializable(SerializationError):
    """The function returned a value that cannot be turned into bytes."""

    code, status = "SQ-1203", 422
    remedy = "return plain data: for example `list(x)` instead of a generator, or the path of a file instead of the open file"


class DeserializationError(Error):
    """Bytes that arrived cannot be turned back into a value here."""

    code, status = "SQ-1204", 422
    remedy = "install the package that the message names on this side too, in the same version"


class RequestSizeError(Error):
    """What was sent is larger than may be sent at once."""

    code, status = "SQ-1205", 413
    remedy = "send less at once, or put the data in a file that the function reads"
    size_bytes: int | None = None
    limit_bytes: int | None = None


class ResultTooLarge(RequestSizeError):
    """The function returned more than a result may hold."""

    code, status = "SQ-1206", 413
    remedy = "return less, or yield it in parts from a generator with `remote_gen`"


class PythonVersionMismatch(InvalidError):
    """Code that travels by value needs the same minor version of Python on both sides."""

    code, status = "SQ-1207", 409
    remedy = "use an image with your own Python version, or put the function in a module and drop `serialized=True`"
    local: str | None = None
    remote: str | None = None


class ModuleNotMountable(InvalidError):
    """A module cannot be shipped as source."""

    code, status = "SQ-1208", 422
    remedy = "name a module that consists of Python files, or install it in the image with `.pip_install`"
    module: str | None = None


class LocalModuleMissing(Error):
    """A module that exists on your machine is missing in the container."""

    code, status = "SQ-1209", 422
    remedy = (
        "ship it with `image.add_local_python_source(NAME)`, or install it with `image.pip_install(NAME)`"
    )
    module: str | None = None
    path: str | None = None


class SourceTooLarge(RequestSizeError):
    """The source directory is larger than what ships with an app."""

    code, status = "SQ-1210", 413
    remedy = "name the large files in a `.squallignore` file beside the entry file, or move them elsewhere"


class SourceChanged(ConflictError):
    """A source file changed while it was being read."""

    code, status = "SQ-1211", 409
    remedy = "run the command again; a file that is written all the time belongs into a `.squallignore` file"
    path: str | None = None
