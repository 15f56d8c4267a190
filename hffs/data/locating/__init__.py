"""Where the rows of a data set are: its shards on this host, got there first if need be."""
