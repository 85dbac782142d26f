"""How outputs of a run were made: crates, and runs that are made again from them."""
