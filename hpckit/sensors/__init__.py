"""What was measured: products, their bands, and how pixels get from files to the windows of a cube."""
