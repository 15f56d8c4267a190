"""Encoders of the Hub: the same as those of a folder, on every host, offline too."""

from __future__ import annotations

from pathlib import Path

from hffs.data.hub.models import HubAccess
from hffs.train.caching.encoders import TextSpec
from hffs.train.caching.encoders.opening import open_text_encoder
from tests.data.hub.conftest import Asker
from tests.hub import HubServer


def test_a_model_of_the_hub_is_that_of_the_folder(
    hub: HubServer, pipeline: Path, tmp_path: Path
) -> None:
    repo = hub.add("ann/sdxl", "models")
    hub.lfs_threshold = 10_000
    repo.write_all(
        {
            path.relative_to(pipeline).as_posix(): path
            for path in pipeline.rglob("*")
            if path.is_file()
        }
    )
    local = TextSpec((str(pipeline),))
    facts = open_text_encoder(local, HubAccess()).identify()
    with Asker.start(tmp_path / "asker", hub.env(tmp_path / "hf")) as asker:
        found = asker("identify_text", "ann/sdxl")
        assert found == {"model": f"ann/sdxl@{repo.commit}", "facts": facts}
        assert hub.sent_bytes("vae/") == 0
        hub.clear()
        assert asker("identify_text", "ann/sdxl", offline=True) == found
        single = asker("identify_text", "ann/sdxl/text_encoder_2", offline=True)
        assert single["facts"]["encoders"] == facts["encoders"][1:]
        assert hub.requests == []
    assert (tmp_path / "asker/stderr").read_text() == ""
