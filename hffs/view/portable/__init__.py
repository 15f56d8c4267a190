"""Views that are decided on one host and opened on any: written to a file, and taken from one."""
