"""How an inspection is shown: as text in a terminal, and as a page."""
