import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.names import format_name, parse_name

extensions = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
widths = st.integers(0, 18)


@given(st.integers(0, 2**63 - 1), extensions, widths)
def test_names_round_trip(number: int, extension: str, width: int) -> None:
    assert parse_name(format_name(number, extension, width), width) == (number, extension)


@given(st.binary(max_size=30) | st.from_regex(rb"[0-9]{1,22}\.jpg", fullmatch=True), widths)
def test_a_name_that_parses_is_the_name_it_would_be_given(name: bytes, width: int) -> None:
    parsed = parse_name(name, width)
    assert parsed is None or format_name(*parsed, width) == name


@pytest.mark.parametrize(
    ("name", "width", "number"),
    [
        (b"007.jpg", 3, 7),
        (b"7.jpg", 3, None),
        (b"0007.jpg", 3, None),
        (b"1234.jpg", 3, 1234),
        (b"0.jpg", 1, 0),
        (b"00.jpg", 1, None),
        (b"00.jpg", 2, 0),
    ],
)
def test_padding_is_exact(name: bytes, width: int, number: int | None) -> None:
    assert parse_name(name, width) == (None if number is None else (number, "jpg"))


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
