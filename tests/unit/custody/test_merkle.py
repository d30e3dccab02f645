from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.custody.merkle import (
    BLOCK_EVENTS,
    NODE,
    entry_of,
    event_leaves,
    events_root,
    inclusion_path,
    leaf_hash,
    root_by_path,
    root_of,
)
from tests.support.events import events

# The published vectors of RFC 6962 trees: certificate-transparency, cpp/merkletree/merkle_tree_test.cc.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: leaf (from 0), size of the tree, path
PATHS = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


def test_published_roots() -> None:
    leaves = [leaf_hash(entry) for entry in INPUTS]
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [root_of(leaves[:n]).hex() for n in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("index", "size", "path"), PATHS)
def test_published_paths(index: int, size: int, path: list[str]) -> None:
    leaves = [leaf_hash(entry) for entry in INPUTS[:size]]
    made = inclusion_path(leaves, index)
    assert [node.hex() for node in made] == path
    assert root_by_path(leaves[index], index, size, made).hex() == ROOTS[size - 1]


def by_the_book(entries: list[bytes]) -> bytes:
    """MTH as RFC 6962 §2.1 writes it."""
    if len(entries) == 1:
        return leaf_hash(entries[0])
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return hashlib.sha256(NODE + by_the_book(entries[:split]) + by_the_book(entries[split:])).digest()


@given(st.integers(1, 70), st.data())
def test_every_leaf_of_any_tree_is_proven_and_nothing_else(size: int, data: st.DataObject) -> None:
    entries = [b"%d" % n for n in range(size)]
    leaves = [leaf_hash(entry) for entry in entries]
    root = root_of(leaves)
    assert root == by_the_book(entries)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(leaves, index)
    assert root_by_path(leaves[index], index, size, path) == root
    assert root_by_path(leaf_hash(b"forged"), index, size, path) != root
    for wrong in (path[:-1] if path else [root], [*path, root]):
        with pytest.raises(ValueError, match="path"):
            root_by_path(leaves[index], index, size, wrong)
    if size > 1:
        other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
        with contextlib.suppress(ValueError):  # a path of another length
            assert root_by_path(leaves[index], other, size, path) != root


def test_an_inner_node_is_no_leaf() -> None:
    """Second preimages: without the prefixes the tree over two nodes would be the tree over four leaves."""
    leaves = [leaf_hash(entry) for entry in INPUTS[:4]]
    inner = [leaves[0] + leaves[1], leaves[2] + leaves[3]]
    assert root_of([leaf_hash(node) for node in inner]) != root_of(leaves)


@pytest.mark.parametrize("count", [1, BLOCK_EVENTS - 1, BLOCK_EVENTS, BLOCK_EVENTS + 1, 100])
def test_an_event_is_proven_by_its_block_and_the_path(count: int) -> None:
    values = events(count, padding=30)
    leaves = event_leaves(values)
    for index, value in enumerate(values):
        block = index // BLOCK_EVENTS
        entry = entry_of(values[block * BLOCK_EVENTS : (block + 1) * BLOCK_EVENTS])
        assert value in entry
        assert leaf_hash(entry) == leaves[block]
        root = root_by_path(leaf_hash(entry), block, len(leaves), inclusion_path(leaves, block))
        assert root.hex() == events_root(values)
