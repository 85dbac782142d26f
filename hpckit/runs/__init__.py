"""The run directory: frozen inputs, plan, journals and what they say."""
