"""How the bytes of products come in: files, archives, JPEG 2000, and whether they are whole."""
