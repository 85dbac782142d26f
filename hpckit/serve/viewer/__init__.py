"""The viewer: pages for a browser, and the answers that they ask for."""
