"""Pure decisions on plain values: stdlib and numpy only; no I/O, clock, environment or threads."""
