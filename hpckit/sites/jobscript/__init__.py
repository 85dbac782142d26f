"""Job scripts: templates, how ranks are started, how a job enters its image."""
