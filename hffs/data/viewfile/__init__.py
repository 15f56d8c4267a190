"""A view as a file: a Parquet table with a row an image, and beside it all that opens the view."""
