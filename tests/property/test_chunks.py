from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from squall.blobs.chunks import CHUNK_BYTES, Cutter, Piece, pieces

sizes = st.one_of(
    st.integers(0, 40),
    st.integers(0, CHUNK_BYTES + 2),
    st.integers(-2, 2).map(lambda off: CHUNK_BYTES + off),
    st.integers(-2, 2).map(lambda off: 3 * CHUNK_BYTES + off),
    st.integers(0, 6 * CHUNK_BYTES),
)
files = st.dictionaries(st.text("abc/\udcff", min_size=1, max_size=6), sizes, max_size=30).map(
    lambda drawn: sorted(drawn.items())
)
Files = list[tuple[str, int]]


@given(files)
def test_every_byte_of_every_file_is_in_one_piece_in_order(given: Files) -> None:
    cut = list(pieces(given))
    ends: dict[str, int] = defaultdict(int)
    for piece in cut:
        assert piece.length > 0
        assert piece.start == ends[piece.path]
        ends[piece.path] += piece.length
    assert dict(ends) == {path: size for path, size in given if size}
    assert list(dict.fromkeys(piece.path for piece in cut)) == [path for path, size in given if size]


@given(files)
def test_a_chunk_is_filled_without_gap_and_overlap_and_never_beyond_its_bound(given: Files) -> None:
    ends: dict[int, int] = defaultdict(int)
    for piece in pieces(given):
        assert piece.offset == ends[piece.chunk]
        ends[piece.chunk] += piece.length
    assert all(0 < end <= CHUNK_BYTES for end in ends.values())
    assert list(ends) == list(range(len(ends)))


@given(files)
def test_a_shared_chunk_is_half_full_at_least_unless_the_next_file_would_not_fit_or_none_came(
    given: Files,
) -> None:
    small = [piece for piece in pieces(given) if dict(given)[piece.path] < CHUNK_BYTES]
    for before, after in pairwise(small):
        if before.chunk != after.chunk:
            end = before.offset + before.length
            assert end >= CHUNK_BYTES // 2 or end + after.length > CHUNK_BYTES


@given(files, files, st.integers(CHUNK_BYTES, 6 * CHUNK_BYTES))
def test_equal_files_that_are_cut_alone_are_cut_alike(some: Files, others: Files, size: int) -> None:
    def cut_of(path: str, among: Files) -> list[tuple[int, int, int]]:
        cut = list(pieces(sorted([*among, (path, size)])))
        alone = [piece for piece in cut if piece.path == path]
        assert not {piece.chunk for piece in alone} & {piece.chunk for piece in cut if piece.path != path}
        return [(piece.start, piece.length, piece.offset) for piece in alone]

    assert cut_of("dd", some) == cut_of("zz", others)


@given(files)
def test_the_same_files_give_the_same_pieces_however_they_are_told(given: Files) -> None:
    cutter = Cutter()
    told: list[Piece] = [piece for path, size in given for piece in cutter.cut(path, size)]
    assert told == list(pieces(given)) == list(pieces(given))


def test_a_file_that_grew_leaves_the_chunks_far_behind_it_as_they_were() -> None:
    given = [(f"package/module_{number:04}.py", 3_000 + 17 * (number % 101)) for number in range(2_000)]
    grown = [(path, size + 5_000 * (path == "package/module_0100.py")) for path, size in given]

    def shared(among: Files) -> set[tuple[tuple[str, int], ...]]:
        held: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for piece in pieces(among):
            held[piece.chunk].append((piece.path, piece.length))
        return {tuple(files) for files in held.values()}

    assert len(shared(grown) - shared(given)) <= 3
    assert 0.6 * CHUNK_BYTES < sum(size for _, size in given) / len(shared(given)) < CHUNK_BYTES


def test_no_file_has_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="bytes"):
        Cutter().cut("a", -1)
