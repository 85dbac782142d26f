"""A campaign on this machine: prepare, plan, run, synchronise, verify."""
