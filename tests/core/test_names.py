import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.names import format_name, parse_name
from hffs.core.types import Position

extensions = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)


@given(st.integers(0, 10**18).map(Position), extensions)
def test_names_round_trip(position: Position, extension: str) -> None:
    assert parse_name(format_name(position, extension)) == (position, extension)


@given(st.binary(max_size=30))
def test_a_name_that_parses_is_the_name_it_would_be_given(name: bytes) -> None:
    parsed = parse_name(name)
    assert parsed is None or format_name(*parsed) == name


@pytest.mark.parametrize(
    "name",
    [
        b"", b".", b"..", b"1", b"1.", b".jpg", b"-1.jpg", b"+1.jpg", b"01.jpg", b"00.jpg",
        b"1_0.jpg", b" 1.jpg", b"1.jpg ", b"1.jpg\n", b"1.JPG", b"1.jp g", b"1..jpg",
        b"1.2.jpg", b"0x1.jpg", "\uff11.jpg".encode(), "\u0663.jpg".encode(), b"\xff.jpg",
        b"9" * 200 + b".jpg", b"1." + b"j" * 200,
    ],
)  # fmt: skip
def test_rejected_names(name: bytes) -> None:
    assert parse_name(name) is None
