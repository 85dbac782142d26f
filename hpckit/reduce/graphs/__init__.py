"""Process graphs on campaigns: collections, the stages that evaluate graphs, and their results."""
