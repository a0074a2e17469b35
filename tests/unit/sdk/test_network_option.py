"""The option that takes a function's network away."""

from __future__ import annotations

from typing import Any

import pytest

from squall.model.errors import InvalidError
from squall.model.function import Function
from squall.model.jsonable import from_json, to_json
from squall.sdk.declare import declare


def declared(**options: Any) -> Function:
    return declare(declared, options, is_generator=False, is_async=False).noun


def test_it_is_off_by_default_and_travels() -> None:
    assert not declared().block_network
    assert from_json(Function, to_json(declared(block_network=True))).block_network


@pytest.mark.parametrize("wrong", [1, "yes", ["10.0.0.0/8"]])
def test_it_is_true_or_false_and_nothing_else(wrong: Any) -> None:
    with pytest.raises(InvalidError, match="block_network is True or False"):
        declared(block_network=wrong)
