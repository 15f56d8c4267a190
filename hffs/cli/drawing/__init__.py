"""How facts are drawn, whichever command found them: texts for a terminal, pages, JSON."""
