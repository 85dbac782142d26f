"""`python -m hpckit`: the same as the command `hpckit`."""

from hpckit.cli import main

if __name__ == "__main__":
    main()
