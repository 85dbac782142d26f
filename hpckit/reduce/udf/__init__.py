"""Code of users, run inside an image: without network, home folder, secrets, and within limits."""
