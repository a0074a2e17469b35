from __future__ import annotations

import base64

from squall.images.redact import Hidden, Redactor, placeholders, reveal, without_userinfo


def test_a_credential_is_put_away_and_comes_back() -> None:
    hidden = Hidden("X_")
    url = "https://ada:p%40ss@example.org/simple"
    text = hidden.hide(f"--index-url {url}\nsix\n")
    (name,) = hidden.secrets
    assert text == f"--index-url https://${{{name}}}@example.org/simple\nsix\n"
    assert hidden.secrets == {name: "ada:p%40ss"}
    assert reveal(text, hidden.secrets) == f"--index-url {url}\nsix\n"


def test_a_new_password_changes_no_text_and_each_place_has_its_own() -> None:
    old, new = Hidden("X_"), Hidden("X_")
    assert old.hide("https://tok1@a.org https://tok1@b.org") == new.hide(
        "https://tok2@a.org https://tok3@b.org"
    )
    assert list(new.secrets.values()) == ["tok2", "tok3"]


def test_two_credentials_for_one_place_are_kept_apart() -> None:
    hidden = Hidden("X_")
    text = "https://one@a.org https://two@a.org https://one@a.org"
    assert reveal(hidden.hide(text), hidden.secrets) == text
    assert len(hidden.secrets) == 2


def test_what_is_no_credential_is_left_alone() -> None:
    hidden = Hidden("X_")
    for text in (
        "git+ssh://git@example.org/x",
        "https://${TOKEN}@example.org",
        "a@b.org",
        "six @ https://x.org/y@z",
    ):
        assert hidden.hide(text) == text


def test_unknown_placeholders_stay() -> None:
    assert reveal("${NOT_OURS} ${A}", {"A": "1"}) == "${NOT_OURS} 1"
    assert placeholders("${A}${B} ${A} $C ${d}") == ("A", "B")


def test_lines_come_out_whole_without_the_secret_in_any_spelling() -> None:
    redactor = Redactor(["ada:s3cr/et!"])
    encoded = base64.b64encode(b"ada:s3cr/et!").decode()
    said = f"go https://ada:s3cr/et!@x.org\npassword s3cr/et!\nquoted s3cr%2Fet%21\nAuthorization: Basic {encoded}\n"
    lines = [line for cut in range(0, len(said), 3) for line in redactor.feed(said[cut : cut + 3].encode())]
    assert lines == ["go https://****@x.org", "password ****", "quoted ****", "Authorization: Basic ****"]


def test_a_credential_that_we_were_not_told_of_is_hidden_in_urls() -> None:
    assert (
        Redactor([]).line("Looking in https://who:what@example.org/x")
        == "Looking in https://****@example.org/x"
    )


def test_a_secret_that_lies_over_the_cut_of_a_long_line_is_hidden() -> None:
    redactor = Redactor(["topsecretvalue"])
    for before in range(16_360, 16_400):
        data = b"x" * before + b"topsecretvalue" + b"y" * 40_000 + b"\n"
        lines = [line for at in range(0, len(data), 10_000) for line in redactor.feed(data[at : at + 10_000])]
        assert "topsecret" not in "".join(lines)
        assert "secretvalue" not in "".join(lines)


def test_what_comes_after_the_last_line_is_not_lost() -> None:
    redactor = Redactor(["hunter22"])
    assert redactor.feed(b"a\r\nb\rc hunter22") == ["a", "b"]
    assert redactor.close() == ["c ****"]
    assert redactor.close() == []


def test_urls_lose_user_and_password() -> None:
    assert (
        without_userinfo("git+https://t@x.org/a.git http://u:p@y.org")
        == "git+https://x.org/a.git http://y.org"
    )


def test_a_url_is_found_wherever_it_begins() -> None:
    assert without_userinfo("1https://u:p@x.org 2://u:p@y.org") == "1https://x.org 2://y.org"


def test_a_line_without_any_url_is_gone_through_once() -> None:
    # Once for each letter would take hours.
    text = "y" * 2**20
    assert without_userinfo(text) == text
    assert without_userinfo(f"{text}://u:p@x.org") == f"{text}://x.org"
