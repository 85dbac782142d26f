"""Which products there are, and which a campaign takes."""
