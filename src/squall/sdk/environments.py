"""Environments: which one is meant where none is named."""

from __future__ import annotations

import os

from squall.context.current import in_container
from squall.model.deploy import MAIN_ENVIRONMENT, check_name
from squall.sdk.client import Client

VARIABLE = "SQUALL_ENVIRONMENT"


def environment_of(given: str | None) -> str:
    """The environment that is given, or that of SQUALL_ENVIRONMENT, or of the configuration, or main.

    In a container where none is named: empty, which means that of its own app. Raises NameInvalid.
    """
    named = given if given is not None else os.environ.get(VARIABLE) or None
    if named is not None:
        return check_name("an environment", named)
    if in_container() is not None:
        return ""
    home = Client.here().home
    return home.options.environment if home is not None else MAIN_ENVIRONMENT
