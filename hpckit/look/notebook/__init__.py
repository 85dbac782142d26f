"""What notebooks show: the viewer in a frame, and a zone's calendar and series without a server."""
