"""Data sets that are neither Parquet nor Arrow: made into one Parquet table a split, once."""
