"""Ranges of files that lie elsewhere: fetched, checked, kept in the disk cache."""
