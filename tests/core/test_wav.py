import io
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hffs.core.wav import make_wav
from hffs.errors import FormatError

SHAPES = st.tuples(st.integers(0, 50), st.integers(1, 4))
RATES = st.sampled_from([8_000, 16_000, 44_100, 192_000])


@given(arrays.arrays(np.int16, SHAPES), RATES)
def test_whole_numbers_of_16_bits_come_back(
    samples: np.ndarray[tuple[int, int], np.dtype[np.int16]], rate: int
) -> None:
    with wave.open(io.BytesIO(make_wav(samples, rate))) as file:
        assert (file.getframerate(), file.getnchannels()) == (rate, samples.shape[1])
        assert (file.getsampwidth(), file.getnframes()) == (2, len(samples))
        assert file.readframes(1 << 20) == samples.astype("<i2").tobytes()


FLOATS = st.floats(-1, 1, width=32)


@pytest.mark.parametrize(
    ("kind", "subtype", "read_as"),
    [
        (np.float16, "FLOAT", "float32"),
        (np.float32, "FLOAT", "float32"),
        (np.float64, "DOUBLE", "float64"),
        (np.int64, "PCM_16", "int16"),
        (np.uint8, "PCM_16", "int16"),
    ],
)
def test_samples_keep_their_kind(kind: type, subtype: str, read_as: str) -> None:
    numbers = np.arange(30).reshape(10, 3)
    samples: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    samples = (numbers / 64 if np.dtype(kind).kind == "f" else numbers).astype(kind)
    file = io.BytesIO(make_wav(samples, 22_050))
    assert soundfile.info(file).subtype == subtype
    file.seek(0)
    read, rate = soundfile.read(file, dtype=read_as)
    assert rate == 22_050
    np.testing.assert_array_equal(read, samples.astype(read_as))


def test_what_16_bits_do_not_hold_takes_32() -> None:
    samples = np.array([[40_000], [-(1 << 31)]], np.int64)
    file = io.BytesIO(make_wav(samples, 8_000))
    assert soundfile.info(file).subtype == "PCM_32"


@pytest.mark.parametrize(
    ("samples", "rate", "why"),
    [
        (np.zeros((1, 0)), 8_000, "0 channels at 8000 Hz"),
        (np.zeros((1, 300)), 8_000, "300 channels"),
        (np.zeros((1, 1)), 0, "1 channels at 0 Hz"),
        (np.zeros((1, 1)), 1 << 30, "Hz"),
        (np.array([[1 << 40]]), 8_000, "samples from"),
    ],
)
def test_what_no_wav_can_be(
    samples: np.ndarray[tuple[int, int], np.dtype[np.float64]], rate: int, why: str
) -> None:
    with pytest.raises(FormatError, match=why):
        make_wav(samples, rate)


def test_samples_that_are_too_many_are_not_looked_at() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.int16), (1 << 31, 1), (0, 0))
    with pytest.raises(FormatError, match="2147483648 samples"):
        make_wav(huge, 8_000)
