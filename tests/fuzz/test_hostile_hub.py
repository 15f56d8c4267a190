"""A Hub that answers anything: a view of what was pinned, or an error of one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests import formats
from tests.fuzz.damage import Opener, damaged, many
from tests.hub import Garble, HubServer


@dataclass(frozen=True)
class Far:
    """A Hub with a data set, and who opens that."""

    hub: HubServer
    opener: Opener


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with HubServer() as hub:
        files = dict(formats.parquet_shards().files)
        hub.add("owner/photos").write_all(files | {"README.md": b"---\nlicense: mit\n---\n"})
        home: Path = tmp_path_factory.mktemp("home")
        opener = Opener(hub.env(home))
        yield Far(hub, opener)
        opener.close()


ANSWERS = (".", "GET /api/", "GET .*/tree/", "GET .*/revision/", "GET .*README", "GET .*parquet")


@pytest.mark.parametrize("streaming", [False, True], ids=["downloaded", "streamed"])
@many
@given(st.sampled_from(ANSWERS), st.data())
def test_any_answer_of_a_hub_is_a_view_or_an_error(
    streaming: bool, far: Far, pattern: str, data: st.DataObject
) -> None:
    where = data.draw(st.floats(0, 1, exclude_max=True))
    kind = data.draw(st.sampled_from(["damaged", "noise", "json", "empty"]))
    noise = data.draw(st.binary(max_size=40))
    said = data.draw(st.sampled_from([b"{}", b"[]", b"null", b"[[]]", b'{"sha": 5}', b"[" * 9999]))
    at = data.draw(damaged(bytes(range(64))))

    def change(body: bytes) -> bytes:
        if kind == "damaged" and body:
            place = int(where * len(body))
            return body[:place] + at[:8] + body[place + 8 :]
        return {"noise": noise, "json": said}.get(kind, b"")

    far.hub.faults[:] = [Garble(pattern, change)]
    event(far.opener.open_there("owner/photos", {"streaming": streaming}))
    far.hub.faults.clear()
