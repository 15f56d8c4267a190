"""The names of what a view file has beside the index, for who writes it and who reads it."""

FORMS, NUMBERS, METADATA = "forms", "numbers", "metadata"
FOLDER_OF, FOLDER_NAMES = "folder_of", "folder_names"

LYRICS, LYRICS_OFFSETS = "lyrics", "lyrics_offsets"

KEPT = (FORMS, NUMBERS, METADATA, FOLDER_OF, FOLDER_NAMES, LYRICS, LYRICS_OFFSETS)
"""What is as `hffs.view.kept` names and keeps it; the rest of that follows."""

CELLS = "cells"
"""Of the source's index, those that the view shows, each once."""

SIZES = "sizes"
"""Sizes of rendered images, of all tiles of each; 0 where one was not known."""
