"""Batch schedulers: what they are asked, how, and what they answer."""
