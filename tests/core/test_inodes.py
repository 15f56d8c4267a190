import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.inodes import KINDS, ROOT, Kind, first_free_inode, make_inode, split_inode
from hffs.core.types import Inode, Position

positions = st.integers(0, 2**40).map(Position)


@given(positions, st.sampled_from(Kind))
def test_inodes_round_trip(position: Position, kind: Kind) -> None:
    assert split_inode(make_inode(position, kind)) == (position, kind)


@given(st.integers(ROOT + 1, 2**41).map(Inode))
def test_every_inode_above_the_root_is_one_file(inode: Inode) -> None:
    assert make_inode(*split_inode(inode)) == inode


def test_files_of_consecutive_positions_are_consecutive() -> None:
    inodes = [make_inode(Position(p), k) for p in range(3) for k in Kind]
    assert inodes == list(range(ROOT + 1, ROOT + 1 + 3 * KINDS))
    assert first_free_inode(3) == inodes[-1] + 1


@pytest.mark.parametrize("inode", [ROOT, Inode(0), Inode(-5)])
def test_the_root_is_no_file(inode: Inode) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        split_inode(inode)
