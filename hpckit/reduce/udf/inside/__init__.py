"""What runs inside the image, beside code of users: it imports numpy, pandas and xarray, and nothing of hpckit."""
