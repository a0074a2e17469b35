from __future__ import annotations

from dataclasses import replace

import pytest

from squall.blobs.digest import digest_of
from squall.images.python.elf import Elf
from squall.images.python.libraries import fit
from squall.images.python.nouns import (
    Archive,
    Base,
    BasePython,
    Binary,
    ClientPrefix,
    Declined,
    Distribution,
    Libc,
    Wanted,
)
from squall.images.python.plan import (
    Facts,
    FromArchive,
    FromClient,
    FromDistribution,
    InBase,
    choose,
    found_in_base,
    installed_by_distribution,
    notes_on,
    said,
)
from squall.images.python.standalone import standalone_for
from squall.model.errors import PythonUnavailable

GLIBC = tuple(f"GLIBC_2.{number}" for number in range(2, 37))
DEBIAN = Distribution(
    id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)", installer="/usr/bin/apt-get"
)
BASE = Base(
    libc=Libc(kind="glibc", version=(2, 36)),
    loader="/lib64/ld-linux-x86-64.so.2",
    library_dir="usr/lib",
    libraries={"libc.so.6": GLIBC},
    distribution=DEBIAN,
)
OWN = BasePython(
    interpreter="/usr/local/bin/python3.11",
    version="3.11",
    site_packages="/usr/local/lib/python3.11/site-packages",
)


def binary(path: str, *needed: str, requires: dict[str, tuple[str, ...]] | None = None) -> Binary:
    elf = Elf(
        machine="x86_64",
        interpreter=BASE.loader,
        needed=(*needed, "libc.so.6"),
        requires=tuple((requires or {}).items()),
    )
    return Binary(path=path, source=f"/here/{path}", elf=elf)


LIB = "usr/local/lib/python3.11"
PREFIX = ClientPrefix(
    version="3.11.7",
    interpreter="usr/local/bin/python3.11",
    source="/here/python3.11",
    prefix="/here",
    stdlib=LIB,
    site_packages=f"{LIB}/site-packages",
    binaries=(
        binary("usr/local/bin/python3.11", "libpython3.11.so.1.0"),
        binary(
            f"{LIB}/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
            "libssl.so.3",
            requires={"libssl.so.3": ("OPENSSL_3.0.0",)},
        ),
        binary(
            f"{LIB}/lib-dynload/math.cpython-311-x86_64-linux-gnu.so", requires={"libc.so.6": ("GLIBC_2.35",)}
        ),
    ),
    libraries={
        "libpython3.11.so.1.0": binary("libpython3.11.so.1.0"),
        "libssl.so.3": binary("libssl.so.3", "libcrypto.so.3"),
        "libcrypto.so.3": binary("libcrypto.so.3"),
    },
)
ARCHIVE = Archive(version="3.11.15", release="1", name="a.tar.gz", digest=digest_of(b""))
FACTS = Facts(
    wanted=Wanted(minor="3.11"), base=replace(BASE, pythons=(OWN,)), standalone=ARCHIVE, client=PREFIX
)
WITHOUT = replace(FACTS, base=BASE)
UNREACHABLE = replace(WITHOUT, standalone=Declined("a standalone build", "nobody answers"))


def test_the_order_is_the_bases_own_then_standalone_then_the_clients_then_the_distributions() -> None:
    assert isinstance(choose(FACTS), InBase)
    assert isinstance(choose(WITHOUT), FromArchive)
    assert isinstance(choose(UNREACHABLE), FromClient)
    no_client = replace(UNREACHABLE, client=Declined("the client's own Python", "it is elsewhere"))
    chosen = choose(no_client)
    assert isinstance(chosen, FromDistribution)
    assert [one.why for one in chosen.declined] == ["it has none", "nobody answers", "it is elsewhere"]


def test_where_nothing_does_the_error_lists_all_and_why() -> None:
    facts = replace(
        UNREACHABLE,
        wanted=Wanted(minor="3.13"),
        base=replace(BASE, pythons=(OWN,)),
    )
    with pytest.raises(PythonUnavailable) as raised:
        choose(facts)
    assert raised.value.minor == "3.13"
    for part in (
        "no Python 3.13 for this image",
        "/usr/local/bin/python3.11: it is Python 3.11",
        "nobody answers",
        "it is Python 3.11.7",
        "Debian GNU/Linux 12 (bookworm) has Python 3.11",
    ):
        assert part in raised.value.message


def test_an_image_that_keeps_its_own_python_is_given_no_other() -> None:
    asked = replace(FACTS, wanted=Wanted(minor=None))
    chosen = choose(asked)
    assert isinstance(chosen, InBase)
    assert found_in_base(chosen).version == "3.11"
    with pytest.raises(PythonUnavailable, match="no Python that can run functions"):
        choose(replace(asked, base=BASE))
    old = replace(OWN, version="3.9")
    with pytest.raises(PythonUnavailable, match="too old"):
        choose(replace(asked, base=replace(BASE, pythons=(old,))))


def test_a_python_that_is_not_whole_gives_way() -> None:
    broken = replace(OWN, lacks="/usr/lib/python3.11/asyncio is missing")
    chosen = choose(replace(FACTS, base=replace(BASE, pythons=(broken,))))
    assert isinstance(chosen, FromArchive)
    assert chosen.declined[0].why == "it is not whole: /usr/lib/python3.11/asyncio is missing"


@pytest.mark.parametrize(
    ("base", "why"),
    [
        (replace(BASE, libc=None), "the image has no C library that it could load"),
        (replace(BASE, libc=Libc(kind="musl")), "copies need glibc, and the image has musl"),
        (replace(BASE, diverted=("usr/local",)), "/usr/local of the image is no directory"),
        (replace(BASE, diverted=(f"{LIB}",)), f"/{LIB} of the image is no directory"),
        (
            replace(BASE, loader="/lib/ld-other.so"),
            "it is loaded by /lib64/ld-linux-x86-64.so.2, which the image has not",
        ),
        (
            replace(BASE, libc=Libc(kind="glibc", version=(2, 31)), libraries={"libc.so.6": GLIBC[:30]}),
            "math.cpython-311-x86_64-linux-gnu.so needs glibc 2.35, and the image has 2.31",
        ),
    ],
)
def test_a_base_on_which_the_clients_python_would_not_load_is_told(base: Base, why: str) -> None:
    facts = replace(UNREACHABLE, base=replace(base, distribution=Distribution()))
    with pytest.raises(PythonUnavailable) as raised:
        choose(facts)
    assert f"the client's own Python: {why}" in raised.value.message


def test_links_where_nothing_of_ours_goes_are_in_nobodys_way() -> None:
    elsewhere = replace(BASE, diverted=("usr/lib64", "usr/include"))
    assert isinstance(choose(replace(UNREACHABLE, base=elsewhere)), FromClient)
    assert isinstance(choose(replace(WITHOUT, base=elsewhere)), FromArchive)
    assert isinstance(
        choose(replace(WITHOUT, base=replace(BASE, diverted=("usr/local/lib",), distribution=DEBIAN))),
        FromDistribution,
    )


def test_libraries_that_the_base_lacks_come_along_with_those_that_they_need() -> None:
    fitting = fit(PREFIX, BASE)
    assert list(fitting.brought) == ["libcrypto.so.3", "libpython3.11.so.1.0", "libssl.so.3"]
    has_ssl = replace(
        BASE, libraries={**BASE.libraries, "libssl.so.3": ("OPENSSL_3.0.0",), "libcrypto.so.3": ()}
    )
    assert list(fit(PREFIX, has_ssl).brought) == ["libpython3.11.so.1.0"]


def test_a_module_whose_library_is_missing_or_another_one_is_left_out_and_told() -> None:
    missing = replace(
        PREFIX, libraries={name: one for name, one in PREFIX.libraries.items() if name != "libcrypto.so.3"}
    )
    fitting = fit(missing, BASE)
    assert [path.rpartition("/")[2][:4] for path, _ in fitting.left_out] == ["_ssl"]
    assert list(fitting.brought) == ["libpython3.11.so.1.0"], "nothing comes along for what is left out"
    older = replace(BASE, libraries={**BASE.libraries, "libssl.so.3": ("OPENSSL_1.1.1",)})
    chosen = choose(replace(UNREACHABLE, base=older))
    assert isinstance(chosen, FromClient)
    assert notes_on(chosen, older)[0] == (
        "_ssl is left out: it needs OPENSSL_3.0.0 of libssl.so.3, and the image has another version of it"
    )


def test_without_a_library_of_the_interpreter_nothing_is_copied() -> None:
    bare = replace(PREFIX, libraries={})
    assert fit(bare, BASE).refused == (
        "python3.11 needs libpython3.11.so.1.0, which the image lacks and this machine cannot give"
    )


def test_the_distributions_python_is_a_command() -> None:
    chosen = choose(replace(UNREACHABLE, client=Declined("the client's own Python", "it is elsewhere")))
    assert isinstance(chosen, FromDistribution)
    given = installed_by_distribution(chosen, Wanted(minor="3.11"))
    assert given.tree is None
    assert any("apt-get install" in command and "python3" in command for command in given.commands)
    assert given.site_packages == "/usr/local/lib/python3.11/dist-packages"


def test_a_person_reads_which_python_it_is_and_what_it_is_not() -> None:
    given = installed_by_distribution(
        FromDistribution(distribution=DEBIAN, declined=UNREACHABLE_DECLINED), Wanted(minor="3.11")
    )
    assert said(given) == (
        "Python 3.11 at /usr/bin/python3: installed by the image's package manager",
        "  not a standalone build: nobody answers",
    )


UNREACHABLE_DECLINED = (Declined("a standalone build", "nobody answers"),)


@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("kind", "system"), [("glibc", "gnu"), ("musl", "musl")])
def test_there_is_a_build_for_each_version_machine_and_c_library(
    minor: str, machine: str, kind: str, system: str
) -> None:
    base = replace(BASE, libc=Libc(kind="glibc", version=(2, 36)) if kind == "glibc" else Libc(kind="musl"))
    found = standalone_for(Wanted(minor=minor, machine=machine), base)
    assert isinstance(found, Archive)
    assert found.version.startswith(f"{minor}.")
    assert found.name == (
        f"cpython-{found.version}+{found.release}-{machine}-unknown-linux-{system}-install_only_stripped.tar.gz"
    )


@pytest.mark.parametrize(
    ("wanted", "libc"),
    [
        (Wanted(minor="3.7"), BASE.libc),
        (Wanted(minor="3.12", machine="riscv64"), BASE.libc),
        (Wanted(minor="3.12"), None),
        (Wanted(minor="3.12"), Libc(kind="glibc", version=(2, 12))),
    ],
)
def test_where_there_is_no_build_the_reason_is_told(wanted: Wanted, libc: Libc | None) -> None:
    assert isinstance(standalone_for(wanted, replace(BASE, libc=libc)), Declined)
