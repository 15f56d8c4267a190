"""What a mount tells of itself while it serves, and how it is asked."""
