"""Data sets that are neither Parquet nor Arrow: one Parquet table a split is made of them, once."""
