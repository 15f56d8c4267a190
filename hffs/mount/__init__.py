"""The async shell around a view: FUSE requests, the life of a mount, and who has what mounted."""
