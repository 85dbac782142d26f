"""What a cluster says of itself: asked, compared with a site file, or written as a first one."""
