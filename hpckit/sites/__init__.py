"""What a cluster is: site files, schedulers, probes, logins and images."""
