"""Where rows come from: sources, metadata, filters, row stores and the disk cache."""
