"""How the processes of a mount start, what they are told and tell, and how each of them ends."""
