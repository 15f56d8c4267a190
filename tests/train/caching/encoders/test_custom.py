"""Encoders of one's own: the example of the documentation, and all that may be wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hffs.data.hub.models import HubAccess
from hffs.errors import DataError, HffsError, UsageError
from hffs.train.caching.encoders import TextSpec, VaeSpec
from hffs.train.caching.encoders.opening import open_image_encoder, open_text_encoder, pin
from hffs.train.caching.keys import identify_encoder

ACCESS = HubAccess()

EXAMPLE = '''
import torch


class Patches:
    """Means of 8 x 8 pixels, with a little noise."""

    def identify(self):
        return {"name": "patches", "version": 1, "noise": 0.01}

    def load(self, device):
        self.pool = torch.nn.AvgPool2d(8).to(device)

    def encode(self, batch, seeds):
        latents = self.pool(batch).cpu()
        noise = [
            torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        return {"latents": latents + 0.01 * torch.stack(noise)}
'''

WRONG = """
import torch

class Lengths:
    def identify(self): return {"name": "lengths"}
    def load(self, device): pass
    def encode(self, batch, seeds): return {"length": torch.tensor([len(text) for text in batch])}

class NoLoad(Lengths):
    load = None

class Made(Lengths):
    def __init__(self): raise KeyError("no key")

class Named(Lengths):
    def identify(self): return 1 / 0

class Strange(Lengths):
    def identify(self): return {"of": torch.float32}

class Unready(Lengths):
    def load(self, device): raise OSError("no such device\\nat all")

class Leaving(Lengths):
    def encode(self, batch, seeds): raise SystemExit(0)

class Told(Lengths):
    def encode(self, batch, seeds): raise DataTold

class Nothing(Lengths):
    def encode(self, batch, seeds): return None

class Listed(Lengths):
    def encode(self, batch, seeds): return {"length": [1, 2]}

class Short(Lengths):
    def encode(self, batch, seeds): return {"length": torch.zeros(1, 3)}

class Full(Lengths):
    def encode(self, batch, seeds): raise torch.cuda.OutOfMemoryError("full")

function = len
"""


@pytest.fixture
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules in the folder where hffs is started, and what importing does taken back."""
    (tmp_path / "own_encoder.py").write_text(EXAMPLE)
    (tmp_path / "wrong_encoders.py").write_text(WRONG)
    (tmp_path / "broken_encoder.py").write_text("import torch\nimport nothing_of_that_name")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    for name in ("own_encoder", "wrong_encoders", "broken_encoder"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("_modules")
def test_the_documented_encoder_encodes() -> None:
    spec = VaeSpec("own_encoder:Patches")
    encoder = open_image_encoder(pin(spec, ACCESS), ACCESS)
    facts = encoder.identify()
    assert facts["custom"] == "own_encoder:Patches"
    assert facts["facts"] == {"name": "patches", "version": 1, "noise": 0.01}
    assert len(identify_encoder(facts)) == 64
    encoder.load("cpu")
    batch = torch.rand(3, 3, 16, 24) * 2 - 1
    found = encoder.encode(batch, [1, 2, 3])["latents"]
    assert found.shape == (3, 3, 2, 3)
    torch.testing.assert_close(encoder.encode(batch[1:2], [2])["latents"][0], found[1])


@pytest.mark.usefixtures("_modules")
def test_texts_are_encoded_by_one_of_ones_own_alone() -> None:
    encoder = open_text_encoder(TextSpec(("wrong_encoders:Lengths",)), ACCESS)
    encoder.load("cpu")
    assert encoder.encode(["a", "abc"], [1, 2])["length"].tolist() == [1, 3]
    with pytest.raises(UsageError, match="a class of your own is given alone"):
        open_text_encoder(TextSpec(("wrong_encoders:Lengths", "ann/clip")), ACCESS)


def _use(name: str) -> None:
    encoder = open_text_encoder(TextSpec((name,)), ACCESS)
    encoder.identify()
    encoder.load("cpu")
    encoder.encode(["a", "abc"], [1, 2])


@pytest.mark.usefixtures("_modules")
@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("nowhere:A", UsageError, "there is no module nowhere; start hffs where it is"),
        ("own_encoder.deep:A", UsageError, "there is no module own_encoder.deep"),
        ("wrong_encoders:Nope", UsageError, "wrong_encoders has no Nope"),
        ("wrong_encoders:function", UsageError, "function is no class"),
        ("wrong_encoders:not a name", UsageError, "it is not module:Class"),
        ("broken_encoder:A", DataError, r"No module named 'nothing_of_that_name' \(broken_encoder"),
        ("wrong_encoders:NoLoad", DataError, "it has no method load"),
        (
            "wrong_encoders:Made",
            DataError,
            r"making it raised KeyError: 'no key' \(wrong_enc.*line",
        ),
        ("wrong_encoders:Named", DataError, "identify raised ZeroDivisionError: division by zero"),
        ("wrong_encoders:Strange", DataError, "identify must return what JSON has"),
        ("wrong_encoders:Unready", DataError, "load raised OSError: no such device at all"),
        ("wrong_encoders:Told", DataError, "encode raised NameError: name 'DataTold'"),
        ("wrong_encoders:Leaving", DataError, "encode raised SystemExit: 0"),
        ("wrong_encoders:Nothing", DataError, "encode returned NoneType, not tensors by name"),
        ("wrong_encoders:Listed", DataError, "encode returned list as 'length'"),
        ("wrong_encoders:Short", DataError, r"returned 'length' of shape \(1, 3\) for 2"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(
    name: str, kind: type[HffsError], line: str
) -> None:
    with pytest.raises(kind, match=line) as caught:
        _use(name)
    assert type(caught.value) is kind
    assert f"cannot use encoder {name}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("_modules")
def test_running_out_of_memory_is_for_whoever_chose_the_batch() -> None:
    encoder = open_text_encoder(TextSpec(("wrong_encoders:Full",)), ACCESS)
    encoder.load("cpu")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encoder.encode(["a"], [1])
