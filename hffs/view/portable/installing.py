"""Taking a view from a file: checked, compared with its source, and kept as if decided here.

Owns what a recorded view has to be: every array of the form and length that its configuration and
its header call for, names and captions that a decision could have made, and the fingerprint over
all of that. What follows from others is not in the file. From then on it is opened like any view.

Invariants, whatever is in the file: the outcome is a view that any operation can be asked of, or
one error; nothing of the source is read but what compares it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.core.foldernames import make_folder_names
from hffs.core.formats import FORMATS, NOUNS, MediaFormat
from hffs.data.cells.checking import ARRAYS, check_index
from hffs.data.cells.index import CellIndex, TextTable
from hffs.data.cells.keeping import keep_foreign, load_index
from hffs.data.cells.settling import Settling, settle
from hffs.data.mediacolumn import MediaColumn
from hffs.data.viewfile.file import ViewFile, open_view_file
from hffs.data.viewfile.header import refuse
from hffs.data.viewfile.sources import DIGESTS, ETAGS
from hffs.data.watcher import Watcher
from hffs.errors import FormatError, StaleError
from hffs.view import metadata_file
from hffs.view.kept import Decided, fingerprint_files, keep
from hffs.view.layout import Folders, Layout, make_folders
from hffs.view.manifest import Files, TextFiles, ViewInfo
from hffs.view.places import Places
from hffs.view.portable.form import (
    CELLS,
    FOLDER_NAMES,
    FOLDER_OF,
    FORMS,
    LYRICS,
    LYRICS_OFFSETS,
    METADATA,
    NUMBERS,
    SIZES,
)
from hffs.view.rendering import Rendering, parse_rendering, split_forms
from hffs.view.sizes import keep_sizes

_BLOCK = 1 << 20
_MOST_NAME_BYTES, _MOST_FOLDERS_BYTES = 4096, 64 << 20
_LARGEST_NUMBER = 2**62
_INFO = TypeAdapter(ViewInfo)


def install(config: RecordedConfig, places: Places, watcher: Watcher, workers: int) -> Decided:
    """Keep the view of a file as decided; raises FormatError, StaleError and as opening it does."""
    with open_view_file(config.view_file, config.seal, places.store) as file:
        view = _View(config, file, places, parse_rendering(config))
        info = view.check_info()
        files = view.read_files(info)
        index = view.keep_index(info, watcher, workers)
        view.keep_sizes(index)
        info = view.describe(info, files)
        compact = replace(files, cells=view.spread(np.arange(view.images)))
        return keep(places, info, compact, index)


@dataclass(frozen=True)
class _View:
    """The view of a file, while it is taken apart."""

    config: Config
    file: ViewFile
    places: Places
    rendering: Rendering

    @property
    def images(self) -> int:
        return self.file.header.images

    @property
    def each(self) -> int:
        """Positions of an image: one for each tile that is shown."""
        return len(self.rendering.tiles)

    @property
    def positions(self) -> int:
        return self.images * self.each

    @cached_property
    def column(self) -> MediaColumn:
        return MediaColumn(**self.file.header.column.model_dump())

    def spread(self, of_images: NDArray[Any]) -> NDArray[Any]:
        """What is told of each image, for each position."""
        return np.repeat(of_images, self.each)

    def check_info(self) -> ViewInfo:
        """What the file says of the view, if it can be rendered here as it was there."""
        header = self.file.header
        try:
            info = _INFO.validate_json(json.dumps(header.info), strict=True)
        except ValidationError as error:
            raise self.refuse("what it says of its view is wrong") from error
        if info.positions != self.positions or not self.positions:
            raise self.refuse(f"it has {self.positions} positions, and says {info.positions}")
        if info.rendered and header.encoder != self.rendering.identity:
            why = f"its images were rendered by other libraries ({_tell_apart(self)})"
            fix = "install the same releases, or make it again with hffs view on such a host"
            raise StaleError("cannot use view", str(self.file.path), why=why, fix=fix)
        return info

    def read_files(self, info: ViewInfo) -> Files:
        """All files of the view over the cells of the source, under the fingerprint it is told."""
        cells = self.file.array(CELLS, np.int64, self.images)
        if int(cells[0]) < 0 or not (cells[1:] > cells[:-1]).all():
            raise self.refuse("its cells are not in order")
        tiles = None
        if self.rendering.reshape.composite:
            tiles = np.tile(np.array(self.rendering.tiles, np.uint16), self.images)
        files = Files(
            cells=self.spread(cells),
            forms=self._read_forms(),
            tiles=tiles,
            layout=self._read_layout(),
            captions=self._read_captions(info),
            metadata=self._read_metadata(),
            lyrics=self._read_lyrics(info),
        )
        extension = self._extension(files)
        if fingerprint_files(files, self.rendering, info.identity, extension) != info.fingerprint:
            raise self.refuse("its files are not those of its fingerprint")
        return files

    def keep_index(self, info: ViewInfo, watcher: Watcher, workers: int) -> CellIndex:
        """The index of the view's images, as they lie here."""
        located, file = self.places.located, self.file
        arrays = {name: file.array(name, kind) for name, kind in ARRAYS.items()}
        if len(arrays["row"]) != self.images:
            raise self.refuse("its index has another number of images")
        try:
            check_index(arrays, [shard.size_bytes for shard in located.shards])
        except FormatError as error:
            raise self.refuse(error.why) from error
        arrays = settle(arrays, self._make_settling(watcher, workers))
        folder = self.places.index(self.column)
        facts = {"column": asdict(self.column), "identity": self.places.identify(info.identity)}
        index = load_index(folder, located)  # one that does not hold any more goes
        if index is None:
            keep_foreign(folder, arrays, facts, located)
            index = load_index(folder, located)
        if index is None:
            why, fix = "files of its source changed while it was opened", "try again"
            raise StaleError("cannot use view", str(file.path), why=why, fix=fix)
        return index

    def keep_sizes(self, index: CellIndex) -> None:
        """The sizes of images that were rendered where the view was recorded."""
        slots = self.images * self.rendering.slots
        sizes = self.file.optional(SIZES, np.int64, slots)
        if sizes is None:
            return
        if sizes.min() < 0:
            raise self.refuse("its sizes cannot be right")
        keep_sizes(self.places.find_sizes(index, self.rendering), sizes)

    def describe(self, info: ViewInfo, files: Files) -> ViewInfo:
        """What is told of the view: of what follows from the configuration, what follows here."""
        config, located, composite = (
            self.config,
            self.places.located,
            self.rendering.reshape.composite,
        )
        return replace(
            info,
            source=located.name,
            commit=located.commit,
            rendered=self.rendering.count_rendered(files.forms),
            image_column=self.column.name,
            image_format=self.rendering.target,
            orientation=config.orientation,
            composite=str(composite) if composite else "",
            numbering=config.names,
            name_width=config.name_width,
            caption_extension=self._extension(files),
            group_column=config.group_by,
            unsettled=0,
            shard="",
            whole="",
        )

    def refuse(self, why: str) -> FormatError:
        return refuse(self.file.path, why)

    def _extension(self, files: Files) -> str:
        return "" if files.captions is None else self.config.caption_extension

    def _read_forms(self) -> NDArray[np.uint8]:
        """Forms, which have to be those of the images' formats: of what is in none that was known
        before it is read, any of the medium's.
        """
        forms = self.file.array(FORMS, np.uint8, self.positions)
        told = self.spread(self.file.array("format", np.uint8, self.images))
        formats, reshaped = split_forms(forms)
        media = self.column.media
        if media != "image":
            told = np.where(told == MediaFormat.UNKNOWN, formats, told)
            if not np.isin(told, FORMATS[media]).all():
                raise self.refuse(f"its formats are not those of {NOUNS[media][1]}")
        reshape = self.rendering.reshape
        least, most = int(reshape.composite is not None), int(bool(reshape))
        if (told != formats).any() or int(reshaped.min()) < least or int(reshaped.max()) > most:
            raise self.refuse("its forms cannot be right")
        return forms

    def _read_layout(self) -> Layout:
        numbers = None
        if self.config.names == "row":
            numbers = self.file.array(NUMBERS, np.int64, self.positions)
            if (
                int(numbers[0]) < 0
                or int(numbers[-1]) > _LARGEST_NUMBER
                or not (numbers[1:] > numbers[:-1]).all()
            ):
                raise self.refuse("its numbers are not in order")
        folders = None if self.config.group_by is None else self._read_folders()
        return Layout(self.positions, numbers, folders, self.config.name_width)

    def _read_folders(self) -> Folders:
        of = self.file.array(FOLDER_OF, np.int32, self.positions)
        packed = self.file.header.arrays.get(FOLDER_NAMES)
        if packed and packed.count > min(_MOST_NAME_BYTES * self.positions, _MOST_FOLDERS_BYTES):
            raise self.refuse("its folders are too many")
        text = self.file.array(FOLDER_NAMES, np.uint8).tobytes()
        try:
            names = TypeAdapter(list[str]).validate_json(text, strict=True)
        except ValidationError as error:
            raise self.refuse("its folders are wrong") from error
        if list(make_folder_names(names, [metadata_file.NAME]).values()) != names:
            raise self.refuse("names of its folders cannot be right")
        if int(of.min()) < 0 or not np.array_equal(np.unique(of), np.arange(len(names))):
            raise self.refuse("a folder of it is empty, or none")
        return make_folders(names, of)

    def _read_captions(self, info: ViewInfo) -> TextFiles | None:
        if self.config.images_only or not info.caption_extension:
            return None
        offsets, blob = self.file.captions(self.positions, self.each)
        if not (offsets[1:] > offsets[:-1]).all():
            raise self.refuse("a caption of it is empty")
        for at in range(0, self.images, _BLOCK):
            ends = offsets[[at, min(at + _BLOCK, self.images)]]
            self._require_text(blob[ends[0] : ends[1]], "captions")
        starts = blob[offsets[:-1]]
        if (starts & 0xC0 == 0x80).any():  # within a character: the one before is cut
            raise self.refuse("its captions are no text")
        return TextFiles(offsets, blob, self.each)

    def _read_lyrics(self, info: ViewInfo) -> TextFiles | None:
        if self.config.images_only or info.lyrics_column is None:
            return None
        offsets = self.file.array(LYRICS_OFFSETS, np.int64, self.images + 1)
        blob = self.file.array(LYRICS, np.uint8)
        lengths = np.diff(offsets)
        if int(offsets[0]) or int(offsets[-1]) != len(blob) or (lengths < 0).any():
            raise self.refuse("its lyrics are not in order")
        starts = blob[offsets[:-1][lengths > 0]]
        self._require_text(blob, "lyrics")
        if (starts & 0xC0 == 0x80).any():
            raise self.refuse("its lyrics are no text")
        return TextFiles(offsets, blob, self.each)

    def _read_metadata(self) -> NDArray[np.uint8] | None:
        if not self.config.metadata_jsonl:
            return None
        metadata: NDArray[np.uint8] = self.file.array(METADATA, np.uint8)
        lines = 0
        for at in range(0, len(metadata), _BLOCK):
            lines += int((metadata[at : at + _BLOCK] == ord("\n")).sum())
        if lines != self.positions or metadata[-1] != ord("\n"):
            raise self.refuse(f"its {metadata_file.NAME} has {lines} lines")
        return metadata

    def _require_text(self, data: NDArray[np.uint8], what: str) -> None:
        try:
            data.tobytes().decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"its {what} are no text") from error

    def _make_settling(self, watcher: Watcher, workers: int) -> Settling:
        file, digests, etags = self.file, dict[str, NDArray[np.int64]](), dict[str, TextTable]()
        for table in ("files", "containers"):
            count = file.header.arrays[f"{table}.ends"].count
            found = file.optional(f"{table}.{DIGESTS}", np.int64, count)
            if found is not None:
                digests[table] = found
            names = file.optional(f"{table}.{ETAGS}.names", np.uint8)
            ends = file.optional(f"{table}.{ETAGS}.ends", np.int64)
            if names is None or ends is None:
                names, ends = np.zeros(0, np.uint8), np.zeros(0, np.int64)
            etags[table] = TextTable(names, ends)
        return Settling(file.path, self.places.located, digests, etags, workers, watcher)


def _tell_apart(view: _View) -> str:
    """The parts of what a rendering depends on that are not the same here."""
    there, here = (
        set(text.split(", ")) for text in (view.file.header.encoder, view.rendering.identity)
    )
    shown = f"{', '.join(sorted(there - here))} there, {', '.join(sorted(here - there))} here"
    return shown if len(shown) <= 300 else shown[:300] + "..."
