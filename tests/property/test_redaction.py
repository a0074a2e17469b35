"""What is hidden of output: no spelling of a value comes through, however the output is cut, and nothing else is lost."""

from __future__ import annotations

import base64
import json
import string
from itertools import pairwise
from urllib.parse import quote, quote_plus

from hypothesis import given, strategies as st

from squall.model.redaction import HIDDEN, SHORTEST, Redacted, Redactor, forms_of

values = st.text(st.characters(codec="utf-8", exclude_characters="\0*"), min_size=SHORTEST, max_size=40)
plain = st.text(string.ascii_letters + string.digits + "+/_-=. \n", min_size=SHORTEST, max_size=12)
data = st.binary(max_size=60)


def spellings(value: str) -> list[bytes]:
    raw = value.encode()
    return [
        raw,
        quote(value, safe="").encode(),
        quote_plus(value, safe="").encode(),
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw),
        json.dumps(value).encode(),
        repr(value).encode(),
    ]


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(whole)) for place in places} | {0, len(whole)})
    return [whole[start:stop] for start, stop in pairwise(ends)]


def shown(redactor: Redactor, parts: list[bytes]) -> bytes:
    stream = Redacted(redactor)
    return b"".join(stream.feed(part) for part in parts) + stream.close()


@given(values, data, data, st.integers(0, 6), st.lists(st.integers(0, 200), max_size=8))
def test_no_spelling_of_a_value_comes_through(
    value: str, before: bytes, after: bytes, which: int, places: list[int]
) -> None:
    spelled = spellings(value)[which]
    found = shown(Redactor([value]), cut(before + spelled + after, places))
    assert spelled not in found
    assert HIDDEN.encode() in found


@given(
    st.lists(plain, min_size=1, max_size=4), st.lists(st.one_of(plain, st.just("\n")), max_size=8), st.data()
)
def test_how_output_is_cut_makes_no_difference(
    secrets: list[str], told: list[str], how: st.DataObject
) -> None:
    words = [how.draw(st.sampled_from([*secrets, word])) for word in told]
    whole = "".join(words).encode()
    redactor = Redactor(secrets)
    places = how.draw(st.lists(st.integers(0, 200), max_size=10))
    found = shown(redactor, cut(whole, places))
    assert found == redactor.hide(whole)
    for secret in secrets:
        assert secret.encode() not in found.replace(HIDDEN.encode(), b"\0")


@given(values, data)
def test_what_has_no_value_in_it_stays_as_it_is(value: str, told: bytes) -> None:
    if not any(form in told for form in forms_of(value)):
        assert shown(Redactor([value]), [told]) == told


@given(st.text(max_size=SHORTEST - 1))
def test_short_values_are_not_hidden(value: str) -> None:
    assert not Redactor([value])
    assert Redactor([value]).text("a text with all letters") == "a text with all letters"


@given(values, st.binary(max_size=12), st.binary(max_size=12))
def test_base64_of_something_longer_does_not_give_a_value_away(
    value: str, before: bytes, after: bytes
) -> None:
    raw = value.encode()
    if len(raw) >= 9:
        whole = base64.b64encode(before + raw + after)
        found = Redactor([value]).hide(whole)
        assert HIDDEN.encode() in found
        assert whole not in found


@given(
    plain,
    st.recursive(
        st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
)
def test_no_text_in_a_value_of_json_keeps_it(value: str, told: object) -> None:
    whole = {"deep": [told, {"key": f"<{value}>"}], "n": 1}
    hidden = Redactor([value]).plain(whole)
    assert Redactor([value]).plain({value: {value: value}}, but=[value]) == {value: {value: value}}
    found = json.dumps(hidden["deep"][1], ensure_ascii=False)
    assert json.dumps(value, ensure_ascii=False)[1:-1] not in found.replace(HIDDEN, "\0")


def test_lines_of_a_key_are_hidden_one_by_one() -> None:
    lines = [
        "-----BEGIN KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0B",
        "AQEFAASCBKcwggSjAgEAAoIB",
        "-----END KEY-----",
    ]
    redactor = Redactor(["\n".join(lines)])
    for line in lines:
        assert line not in redactor.text(f"[worker] {line}\n")


def test_what_may_begin_a_value_is_held_back_and_let_go() -> None:
    stream = Redacted(Redactor(["hunter22"]))
    said = [(stream.feed(part), stream.holds) for part in (b"it is hunt", b"ing", b"hunter2", b"2!", b"hun")]
    assert said == [(b"it is ", True), (b"hunting", False), (b"", True), (b"****!", False), (b"", True)]
    assert stream.close() == b"hun"
