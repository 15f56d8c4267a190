"""Where each image of a source lies: the index of its cells, and how it is made."""
