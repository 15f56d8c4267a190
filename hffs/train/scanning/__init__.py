"""The sizes of all images of a folder: listing it, reading headers, and remembering both."""
