"""Output of containers without values: rows and their bytes go together, and each stream is its own."""

from __future__ import annotations

from squall.model.ids import AppId
from squall.model.redaction import Redactor
from squall.server.log_redaction import LogRedaction, Rows

APP, OTHER = AppId("ap-1"), AppId("ap-2")


class Values:
    """What is secret in an app, as it is now."""

    def __init__(self, *values: str) -> None:
        self.redactor: Redactor | None = Redactor(values)

    def of(self, app: AppId) -> Redactor | None:
        return self.redactor if app == APP else None


def take(
    redaction: LogRedaction, *parts: tuple[str, str], app: AppId = APP, who: str = "co-1"
) -> list[tuple[str, str]]:
    rows = [[tag, len(text.encode()), 1.0] for tag, text in parts]
    return texts(*redaction.take(app, who, rows, memoryview("".join(text for _, text in parts).encode())))


def texts(rows: Rows, payload: memoryview) -> list[tuple[str, str]]:
    found, at = [], 0
    for tag, size, _when in rows:
        found.append((tag, bytes(payload[at : at + size]).decode()))
        at += size
    assert at == len(payload)
    return found


def test_rows_are_as_long_as_what_is_left_of_them() -> None:
    redaction = LogRedaction(Values("hunter22").of)
    told = take(redaction, ("o", "it is hunter22\n"), ("e", "aHVudGVyMjI=\n"), ("o", "plain\n"))
    assert told == [("o", "it is ****\n"), ("e", "****\n"), ("o", "plain\n")]
    assert not redaction.holds_any


def test_what_one_stream_begins_no_other_completes() -> None:
    redaction = LogRedaction(Values("hunter22").of)
    assert take(redaction, ("o", "hunt")) == []
    assert take(redaction, ("e", "er22"), who="co-1") == [("e", "er22")]
    assert take(redaction, ("o", "er22"), who="co-2") == [("o", "er22")]
    assert redaction.holds("co-1")
    assert take(redaction, ("o", "er22 ")) == [("o", "**** ")]
    assert not redaction.holds("co-1")


def test_what_was_held_back_is_let_go_once() -> None:
    redaction = LogRedaction(Values("hunter22").of)
    take(redaction, ("o", "a hunt"), ("e", "hunter2"))
    assert texts(*redaction.let_go("co-1")) == [("o", "hunt"), ("e", "hunter2")]
    assert texts(*redaction.let_go("co-1")) == []


def test_values_that_are_new_are_hidden_in_what_was_held_back() -> None:
    values = Values("hunter22")
    redaction = LogRedaction(values.of)
    assert take(redaction, ("o", "hunt")) == []
    values.redactor = Redactor(["hunter22", "hunting-dog"])
    assert take(redaction, ("o", "ing-dog\n")) == [("o", "****\n")]


def test_what_has_no_secrets_passes_as_it_is() -> None:
    redaction = LogRedaction(Values("hunter22").of)
    payload = memoryview(b"hunter22")
    rows: Rows = [["o", 8, 1.0]]
    assert redaction.take(OTHER, "co-3", rows, payload) == (rows, payload)
