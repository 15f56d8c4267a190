"""An immutable view of a source: what each position shows, and the bytes it has. Knows no FUSE."""
