"""How a plan of buckets is shown: as text in a terminal, and as a page."""
