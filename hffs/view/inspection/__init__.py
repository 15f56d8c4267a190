"""What a view would be, found out without making it: for `hffs inspect`."""
