from __future__ import annotations

from squall.images.conda.history import entry, name_of, requested

WHEN = "2025-01-01 00:00:00"


def test_what_was_asked_for_last_stands() -> None:
    text = entry(["python 3.12.*", "pip", "seed=1"], ["c::a-1-0"], [], WHEN)
    text += entry(["Seed>=2", "https://host/it::tool", "seed<3"], ["c::b-1-0"], ["c::a-1-0"], WHEN)
    assert requested(text) == {
        "python": ("python 3.12.*",), "pip": ("pip",), "seed": ("Seed>=2", "seed<3"), "tool": ("https://host/it::tool",),
    }  # fmt: skip


def test_what_conda_and_micromamba_write_is_understood() -> None:
    text = """==> 2024-03-01 10:00:00 <==
# cmd: /opt/conda/bin/conda install numpy pandas
# conda version: 24.1.0
+conda-forge/linux-64::numpy-1.26.4-py312heda63a1_0
# update specs: ['numpy', 'pandas[version=">=2"]']
==> 2024-03-02 10:00:00 <==
# cmd: micromamba remove pandas
# remove specs: ["pandas"]
"""
    assert requested(text) == {"numpy": ("numpy",)}


def test_what_cannot_be_read_is_passed_over() -> None:
    broken = "# update specs: [1, 'a', None]\n# update specs: [oops\n# update specs: [__import__('os')]\n\0\n"
    assert requested(broken) == {"a": ("a",)}
    assert requested("") == {}
    assert name_of("::") == name_of("") == ""


def test_an_entry_is_the_same_for_the_same_change() -> None:
    assert entry(["a"], {"c::y", "c::x"}, {"c::z"}, WHEN) == entry(["a"], ["c::x", "c::y"], ["c::z"], WHEN)
    assert entry(["a"], ["c::x"], [], WHEN).splitlines() == [
        "==> 2025-01-01 00:00:00 <==", "# cmd: micromamba_install a", "+c::x", '# update specs: ["a"]',
    ]  # fmt: skip
