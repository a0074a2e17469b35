import pytest

from squall.cli.amounts import bytes_in, seconds_in, size_text
from squall.model.errors import UsageError


def test_ages_and_sizes_are_read_as_people_write_them() -> None:
    ages = {"30": 30, "30s": 30, "1.5m": 90, "2h": 7_200, "7d": 604_800, "2w": 1_209_600}
    assert {text: seconds_in("--since", text) for text in ages} == ages
    sizes = {"0": 0, "500MB": 500_000_000, "20GB": 20 * 10**9, "1.5 GiB": 3 * 2**29, "2k": 2_048, "7b": 7}
    assert {text: bytes_in("--keep", text) for text in sizes} == sizes


@pytest.mark.parametrize("text", ["", "x", "-1", "1y", "1 0", "٣GB", "1e9", "GB"])
def test_what_is_neither_is_refused_with_the_flags_name(text: str) -> None:
    with pytest.raises(UsageError, match="--keep"):
        bytes_in("--keep", text)
    with pytest.raises(UsageError, match="--older-than"):
        seconds_in("--older-than", text)


def test_sizes_are_said_in_few_digits() -> None:
    said = [size_text(count) for count in (0, 1_023, 1_024, 150_000, 83_328_009, 5 * 2**30, 3 * 2**40)]
    assert said == ["0 B", "1023 B", "1.0 KiB", "146 KiB", "79.5 MiB", "5.0 GiB", "3.0 TiB"]
