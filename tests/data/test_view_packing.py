"""Arrays of a view file come as they were packed, or an error does."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.data.viewfile import packing
from hffs.data.viewfile.header import PackedArray
from hffs.errors import FormatError


@dataclass(frozen=True, slots=True)
class Packed:
    """A file with an array in it, behind some other bytes."""

    data: bytes
    told: PackedArray

    @classmethod
    def of(cls, array: NDArray[Any]) -> Packed:
        file = io.BytesIO()
        file.write(b"before")
        told = packing.pack(file, array)
        return cls(file.getvalue(), told)

    def unpack(self, folder: Path) -> NDArray[Any]:
        return packing.unpack(memoryview(self.data), self.told, folder)


kinds = st.sampled_from(["|u1", "<u2", "<u4", "<i4", "<i8"])


@given(kinds, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_numbers_come_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, kind: str, numbers: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    array = np.array(numbers, np.int64).astype(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK_ITEMS", 7)
        found = Packed.of(array).unpack(folder)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_no_bit_may_be_another(tmp_path: Path) -> None:
    packed = Packed.of(np.arange(1000, dtype=np.int64) * 977)
    for at in range(len(b"before"), len(packed.data)):
        damaged = bytearray(packed.data)
        damaged[at] ^= 1
        with pytest.raises(FormatError):
            Packed(bytes(damaged), packed.told).unpack(tmp_path)
