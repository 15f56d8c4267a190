"""Where what is kept of a view lies, and under which keys: everything below `{cache_dir}/store`.

    sources/KEY   which files a source came to, if it was asked for or made (`data/locating`)
    prepared/KEY  tables made of other formats (`hffs.data.prepare`)
    index/KEY     where every image of a source lies (`hffs.data.cells.building`)
    measured/KEY  what headers of a source's files tell, if a filter asked for it
    heads/KEY     formats of videos and sounds that nothing else tells
    views/KEY     manifests: cells by position, captions, what was removed
    rendered/KEY  learned sizes of rendered images
    urls/         what images at URLs were when they were first read (`hffs.data.urls.digests`)
    blobs/        rendered and fetched images, decoded row groups, up to `cache_size`

Invariant: a key names everything that what it stands for depends on, so nothing kept is ever
stale; all of it may be deleted at any time. Folders are 0700.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.data.cells.index import CellIndex
from hffs.data.locating.record import find_store
from hffs.data.mediacolumn import MediaColumn
from hffs.data.shards import Located, make_key, pin_shards
from hffs.view.rendering import FORM_VERSION, Rendering, parse_rendering

_DECIDING_KEYS = {
    "image_column", "width_column", "height_column", "filter_func", "max_num_samples", "seed",
    "caption_column", "fallback_caption_column", "description_column", "missing_caption",
    "caption_multi", "caption_separator", "composite_image_config", "image_format", "orientation",
    "names", "name_width", "caption_extension", "images_only", "metadata_jsonl", "group_by",
    "dataset_type", "video", "video_column", "audio_column", "audio_caption_fields",
    "lyrics_column", "duration_column",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one configuration's view over a source as it is now.

    What a view file says is kept apart, under its `seal`: it may say of images of the same source
    what is not so, and nothing else must be served that.
    """

    store: Path
    located: Located
    view: Path
    seal: str = ""

    @property
    def blobs(self) -> Path:
        """Folder of the disk cache."""
        return self.store / "blobs"

    @property
    def urls(self) -> Path:
        """Folder of what images at URLs were."""
        return self.store / "urls"

    def index(self, column: MediaColumn) -> Path:
        """Folder of the source's cell index."""
        facts: list[object] = [pin_shards(self.located), asdict(column)]
        if self.seal:
            facts += [self.seal, self.located.address]
        return self.store / "index" / make_key(*facts)

    def identify(self, identity: str) -> str:
        """What the index is called here whose cells are those of an index of some identity."""
        return make_key(identity, self.seal) if self.seal else identity

    def measured(self, identity: str) -> Path:
        """Folder of the measured sizes of an index's cells."""
        return self.store / "measured" / identity

    def heads(self, identity: str) -> Path:
        """Folder of the formats of an index's cells that were seen by their first bytes."""
        return self.store / "heads" / identity

    def find_sizes(self, index: CellIndex, rendering: Rendering) -> Path:
        """File of the learned sizes of rendered images; its folder is made."""
        folder = self.store / "rendered"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / name_rendered(index, rendering)


def name_rendered(index: CellIndex, rendering: Rendering) -> str:
    """What names the rendered images of a source: under it they are cached, and sizes kept."""
    return make_key(index.identity, rendering.identity)


def find_places(config: Config, located: Located) -> Places:
    """Where the view of a source is kept."""
    rules = config.model_dump(mode="json", include=_DECIDING_KEYS)
    # A column that is named has to be there, also where its name is the default's.
    named = sorted(config.filter_func.model_fields_set & {"collection_column", "quality_column"})
    # Another release of the encoder may make other bytes: then the view is another one.
    encoder = parse_rendering(config).identity
    store = find_store(config)
    facts = [pin_shards(located), located.commit, rules, named, encoder, FORM_VERSION]
    if isinstance(config, RecordedConfig):
        view = make_key(*facts, config.seal, located.address)
        return Places(store, located, store / "views" / view, config.seal)
    return Places(store, located, store / "views" / make_key(*facts))
