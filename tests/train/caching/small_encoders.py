"""Encoders of one's own, as docs/caching.md has them; quick to import, in any process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from hffs.mount.mountinfo import read_mounts
from tests.waiting import wait_until


class Noisy:
    """Images an eighth as wide, with noise by the seed of each."""

    def identify(self) -> Mapping[str, Any]:
        """All that its tensors depend on."""
        return {"name": "noisy", "version": 1}

    def load(self, device: str) -> None:
        """It has no weights."""
        self._device = device

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Means of 8 x 8 pixels."""
        small = torch.nn.functional.avg_pool2d(batch, 8)
        noise = [
            torch.randn(small.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        return {"latents": small + 0.1 * torch.stack(noise).to(self._device)}


class Words:
    """Texts as the numbers of their letters, of as many as a model might take."""

    def identify(self) -> Mapping[str, Any]:
        """All that its tensors depend on."""
        return {"name": "words"}

    def load(self, device: str) -> None:
        """It has no weights."""

    def encode(self, batch: list[str], seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """The first letters."""
        letters = [list(text.encode().ljust(32)[:32]) for text in batch]
        return {"hidden": torch.tensor(letters, dtype=torch.float32)}


class Raising(Noisy):
    """One that does not work."""

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Nothing."""
        raise ValueError("no such layer")


class Blank(Noisy):
    """One whose numbers ran over."""

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """No numbers."""
        return {"latents": torch.full((len(batch), 3, 8, 8), torch.nan)}


class Slow(Noisy):
    """Goes on only while there is no file at $HFFS_TEST_HOLD; one batch of each thread is free.

    The first batch of all is the first of its thread, whichever that is, and so never held.
    """

    _mine = threading.local()

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """As it always does, later."""
        is_free, self._mine.has_encoded = not hasattr(self._mine, "has_encoded"), True
        if not is_free and (held := os.environ.get("HFFS_TEST_HOLD")):
            wait_until(lambda: not os.path.exists(held))
        return super().encode(batch, seeds)


class Mortal(Noisy):
    """Kills its process, the first that encodes where $HFFS_TEST_MARKS names a folder."""

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """As it always does, if it lives."""
        if marks := os.environ.get("HFFS_TEST_MARKS"):
            with suppress(FileExistsError), open(os.path.join(marks, "killed"), "x"):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(batch, seeds)


class Detaching(Noisy):
    """Takes all mounts away in whose path $HFFS_TEST_DETACH is, before it encodes anything."""

    def load(self, device: str) -> None:
        """Leave a line of each for who wants to know."""
        super().load(device)
        if not (part := os.environ.get("HFFS_TEST_DETACH")):
            return
        for mounted in read_mounts():
            if part in mounted.mountpoint:
                command = ["fusermount3", "-u", "-z", mounted.mountpoint]
                done = subprocess.run(command, check=False, capture_output=True)
                with open(os.path.join(os.environ["HFFS_TEST_MARKS"], "detached"), "a") as file:
                    file.write(f"{mounted.mountpoint} {done.returncode}\n")
