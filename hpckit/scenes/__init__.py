"""What a Sentinel product is, and catalogues of them."""
