"""A campaign on a cluster: submissions, elements of job arrays, gates, retries."""
