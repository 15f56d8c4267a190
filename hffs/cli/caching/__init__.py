"""What `hffs cache` does: encoding, looking after what is kept, and writing it for trainers."""
