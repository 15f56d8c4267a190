"""What a plan of buckets means for the images: facts, and pictures of what would be cut away."""
