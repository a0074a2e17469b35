"""Errors in what was asked: wrong, missing, taken or not allowed."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

from squall.model.errors.root import Error


class InternalFailure(Error):
    """Squall itself made a mistake."""

    code, status = "SQ-1001", 500
    remedy = "this is a fault of Squall: report it with the text above and the output of `squall logs`"


class ExecutionError(Error):
    """The server could not carry out what was asked."""

    code, status = "SQ-1002", 500
    remedy = "look at `squall logs` for the cause, and ask again"


class FeatureUnavailable(Error):
    """This feature does not exist in this version or on this machine."""

    code, status = "SQ-1003", 501
    remedy = (
        "run `squall doctor` to see which features this machine has, and `squall version` for the version"
    )
    feature: str | None = None


class InvalidError(Error):
    """What was asked makes no sense as it stands."""

    code, status = "SQ-1010", 400
    remedy = "correct the value that the message names"


class ParameterInvalid(InvalidError):
    """A class was made with a parameter that it does not have, without one that it needs, or with one of another type."""

    code = "SQ-1022"
    remedy = "give each parameter that the class declares with `squall.parameter`, in its type"


class NotFoundError(Error):
    """There is nothing of that name."""

    code, status = "SQ-1011", 404
    remedy = "check the spelling, and list what exists with `squall app list`"


class AlreadyExistsError(Error):
    """Something of that name exists already."""

    code, status = "SQ-1012", 409
    remedy = "choose another name, or remove the one that exists"


class ConflictError(Error):
    """It was changed by somebody else in the meantime."""

    code, status = "SQ-1013", 409
    remedy = "look at what it is now, and ask again"


class AuthError(Error):
    """The server does not know who is asking."""

    code, status = "SQ-1014", 401
    remedy = "use the server of your own user, or give a valid token"


class PermissionDeniedError(Error):
    """Who asks may not do this."""

    code, status = "SQ-1015", 403
    remedy = "ask as the owner of the app or of the state directory"


class FunctionNotFound(NotFoundError):
    """The file or app has no function of that name."""

    code, status = "SQ-1016", 404
    remedy = "name one of the functions that the message lists: `squall run FILE::NAME`"


class EntrypointNotFound(NotFoundError):
    """The file has nothing that can be run."""

    code, status = "SQ-1017", 404
    remedy = "decorate a function with `@app.local_entrypoint()` or `@app.function()`, or name one: `squall run FILE::NAME`"


class AppNotFound(NotFoundError):
    """The file has no app."""

    code, status = "SQ-1018", 404
    remedy = 'make one at the top level of the file: `app = squall.App("name")`'


class SourceFileNotFound(NotFoundError):
    """The file or module to run does not exist."""

    code, status = "SQ-1019", 404
    remedy = "check the path; a module is named with `squall run -m package.module`"
    path: str | None = None


class UsageError(InvalidError):
    """A flag is wrong or missing."""

    code, status = "SQ-1020", 400
    remedy = "`squall run FILE::NAME --help` lists the flags of the function"


class SourceImportError(Error):
    """Your file could not be imported."""

    code, status = "SQ-1021", 422
    remedy = "correct the error in the file; the traceback above names the line"
    path: str | None = None
