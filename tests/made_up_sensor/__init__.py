"""A made-up optical sensor: it proves that a package adds a sensor without a change of hpckit."""
