"""Which images a view keeps: a module a kind of term, and `selection`, which takes them all."""
