from __future__ import annotations

import pytest

from squall.images.installer import (
    InstallerSettings,
    local_path,
    pip_environment,
    sources_of,
    uv_environment,
)
from squall.images.installer_files import InstallerFiles, constraint_paths, read_settings
from squall.images.redact import reveal
from squall.model.image_steps import PipInstall

STEP = PipInstall(packages=("six",))
PIP_CONF = """
[global]
index-url = https://ada:pw123@pypi.example.org/simple
extra-index-url =
    https://one.example.org/simple
    https://two.example.org/simple
trusted-host = one.example.org
find-links = /wheels
timeout = 60
cert = /etc/corp.pem
proxy = http://proxy.example.org:3128
[install]
no-binary = numpy,scipy
use-pep517 = true
[list]
format = columns
"""


def test_pips_file_is_understood() -> None:
    settings = read_settings(InstallerFiles(pip=(PIP_CONF,)))
    assert _revealed(settings) == ["https://ada:pw123@pypi.example.org/simple", *settings.extra_index_url]
    assert list(settings.secrets.values()) == ["ada:pw123"]
    assert settings.extra_index_url == ("https://one.example.org/simple", "https://two.example.org/simple")
    assert (settings.find_links, settings.trusted_host) == (("/wheels",), ("one.example.org",))
    assert (settings.no_binary, settings.timeout_s, settings.cert) == (
        ("numpy", "scipy"),
        60.0,
        "/etc/corp.pem",
    )
    assert settings.proxies == dict.fromkeys(("http_proxy", "https_proxy"), "http://proxy.example.org:3128")
    assert settings.ignored == ("pip: use-pep517",)


def test_a_stronger_file_wins_and_variables_win_over_all() -> None:
    weak, strong = "[global]\nindex-url=https://weak/\npre=yes\n", "[install]\nindex-url=https://strong/\n"
    files = InstallerFiles(pip=(weak, strong), env={"PIP_NO_INDEX": "1"})
    assert read_settings(files).index_url == "https://strong/"
    assert read_settings(files).no_index
    assert read_settings(files).pre
    told = InstallerFiles(pip=(weak, strong), env={"PIP_INDEX_URL": "https://told/"})
    assert read_settings(told).index_url == "https://told/"


def test_uvs_file_and_variables_are_understood_and_stand_before_pips() -> None:
    uv = """
    extra-index-url = ["https://extra/"]
    index-strategy = "unsafe-first-match"
    no-build = true
    [[index]]
    name = "corp-main"
    url = "https://corp/"
    default = true
    [[index]]
    name = "pinned"
    url = "https://pinned/"
    explicit = true
    [[index]]
    url = "https://second/"
    [pip]
    find-links = ["/uv-wheels"]
    """
    env = {
        "UV_INDEX": "team=https://team/",
        "UV_INDEX_TEAM_USERNAME": "bob",
        "UV_INDEX_TEAM_PASSWORD": "x y",
        "UV_INDEX_CORP_MAIN_PASSWORD": "main-pw",
        "UV_PRERELEASE": "allow",
    }
    settings = read_settings(InstallerFiles(pip=("[global]\nindex-url=https://pips/\n",), uv=(uv,), env=env))
    assert _revealed(settings) == [
        *("https://:main-pw@corp/", "https://bob:x%20y@team/", "https://extra/", "https://second/")
    ]
    assert list(settings.secrets.values()) == [":main-pw", "bob:x%20y"]
    assert settings.find_links == ("/uv-wheels",)
    assert settings.uv_env == {
        "UV_INDEX_STRATEGY": "unsafe-first-match",
        "UV_NO_BUILD": "1",
        "UV_PRERELEASE": "allow",
    }


def test_a_login_of_netrc_goes_to_its_host_and_to_no_other() -> None:
    files = InstallerFiles(
        pip=("[global]\nindex-url=https://a.org/simple\nextra-index-url=https://b.org/simple\n",),
        netrc={"a.org": ("ada", "p/w")},
    )
    settings = read_settings(files)
    assert _revealed(settings) == ["https://ada:p%2Fw@a.org/simple", "https://b.org/simple"]
    assert settings.extra_index_url == ("https://b.org/simple",)
    assert list(settings.secrets.values()) == ["ada:p%2Fw"]


def test_constraints_travel_as_text() -> None:
    files = InstallerFiles(env={"PIP_CONSTRAINT": "/c/one.txt /c/two.txt"})
    assert constraint_paths(files) == ("/c/one.txt", "/c/two.txt")
    whole = InstallerFiles(
        env=files.env, texts={"/c/one.txt": "six<2\n", "/c/two.txt": "x @ https://t:k@h/x\n"}
    )
    settings = read_settings(whole)
    assert reveal(settings.constraints, settings.secrets) == "six<2\nx @ https://t:k@h/x\n"
    assert "t:k" not in settings.constraints


@pytest.mark.parametrize("files", [InstallerFiles(pip=("nonsense",)), InstallerFiles(uv=("= [",))])
def test_a_file_that_nobody_can_read_is_named(files: InstallerFiles) -> None:
    with pytest.raises(ValueError, match="configuration cannot be read"):
        read_settings(files)


def test_settings_come_back_from_their_plain_form_and_keep_secrets_out_of_sight() -> None:
    settings = read_settings(InstallerFiles(pip=(PIP_CONF,)))
    assert InstallerSettings.from_json(settings.to_json()) == settings
    assert "pw123" not in repr(settings)


def test_the_identity_of_the_sources_knows_no_secret_and_no_proxy() -> None:
    one = read_settings(InstallerFiles(pip=(PIP_CONF,)))
    other = read_settings(InstallerFiles(pip=(PIP_CONF.replace("pw123", "another").replace("3128", "8080"),)))
    assert one.sources == other.sources
    moved = read_settings(InstallerFiles(pip=(PIP_CONF.replace("pypi.example", "elsewhere"),)))
    assert moved.sources != one.sources


def test_the_steps_own_index_stands_for_the_clients_and_the_rest_adds_up() -> None:
    settings = InstallerSettings(
        index_url="https://c/", extra_index_url=("https://ce/",), find_links=("/cw",)
    )
    step = PipInstall(
        packages=("x",), index_url="https://s/", extra_index_url=("https://se/",), find_links=("/sw",)
    )
    found = sources_of(step, settings)
    assert (found.index_url, found.extra_index_url) == ("https://s/", ("https://se/", "https://ce/"))
    assert found.find_links == ("/sw", "/cw")
    assert found.local_paths == ("/sw", "/cw")
    assert sources_of(STEP, settings).index_url == "https://c/"


def test_both_tools_are_told_the_same_with_credentials_in_place_and_no_keyring() -> None:
    settings = read_settings(InstallerFiles(pip=(PIP_CONF,)))
    uv, pip = uv_environment(STEP, settings), pip_environment(STEP, settings)
    assert uv["UV_INDEX_URL"] == pip["PIP_INDEX_URL"] == "https://ada:pw123@pypi.example.org/simple"
    assert uv["UV_EXTRA_INDEX_URL"] == pip["PIP_EXTRA_INDEX_URL"]
    assert uv["SSL_CERT_FILE"] == pip["PIP_CERT"] == "/etc/corp.pem"
    assert (uv["UV_KEYRING_PROVIDER"], pip["PIP_KEYRING_PROVIDER"]) == ("disabled", "disabled")
    assert pip["PIP_CONFIG_FILE"] == "/dev/null"
    assert uv["http_proxy"] == pip["http_proxy"]


def test_pips_rule_for_several_indexes_holds_for_pip_install_alone() -> None:
    uv_step = PipInstall(packages=("x",), dialect="uv")
    assert uv_environment(STEP, InstallerSettings())["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert "UV_INDEX_STRATEGY" not in uv_environment(uv_step, InstallerSettings())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/a/b/", "/a/b"),
        ("file:///a%20b", "/a b"),
        ("file://localhost/a", "/a"),
        ("https://x/a", None),
        ("file://host/a", None),
        ("relative", None),
    ],
)
def test_a_place_on_this_machine_is_known_as_such(url: str, path: str | None) -> None:
    assert local_path(url) == path


def _revealed(settings: InstallerSettings) -> list[str]:
    """The indexes with their credentials, which must not stand in the settings themselves."""
    indexes = [settings.index_url or "", *settings.extra_index_url]
    assert not [value for value in settings.secrets.values() if value in "".join(indexes)]
    return [reveal(index, settings.secrets) for index in indexes]
