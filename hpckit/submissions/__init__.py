"""What is known of jobs on a cluster: submissions, their elements, and whether any may still run."""
