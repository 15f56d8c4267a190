"""`python -m hffs` is the same as `hffs`."""

from hffs.cli import main

if __name__ == "__main__":
    main()
