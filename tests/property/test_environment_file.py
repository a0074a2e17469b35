from __future__ import annotations

from hypothesis import given, strategies as st

from squall.model.errors import InvalidError
from squall.sdk.environment_file import environment_file

plain = st.from_regex(r"[a-z][a-z0-9_-]{0,8}((=| >=|==)[0-9]{1,2}(\.[0-9]{1,2})?(,<[0-9])?)?", fullmatch=True)


@given(
    packages=st.lists(plain, min_size=1, max_size=6),
    pip=st.lists(plain, max_size=3),
    indent=st.integers(0, 4),
)
def test_what_is_listed_is_what_is_found(packages: list[str], pip: list[str], indent: int) -> None:
    pad = " " * indent
    lines = ["dependencies:", *(f"{pad}- {word}  # so" for word in packages)]
    lines += [f"{pad}- pip:", *(f"{pad}  - '{word}'" for word in pip)] if pip else []
    found = environment_file("\n".join(lines), "f")
    assert (found.packages, found.pip) == (tuple(packages), tuple(pip))


@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}'\"#,\n \t&|>@EXPLICTpi\0"), max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for whole in (text, f"dependencies:\n- a\n{text}"):
        try:
            found = environment_file(whole, "f")
        except InvalidError:
            continue
        assert found.packages or found.pip or found.explicit
