"""Reductions block by block: functions of a campaign's owner, and models that predict."""
