"""Stages of a user's own: any command line, in any image, for each scene or tile of a campaign."""
