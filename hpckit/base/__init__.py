"""Files, text, claims and clocks: what every room stands on, with no Earth observation in it."""
