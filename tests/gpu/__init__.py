"""The verification on a machine that has a GPU and nothing else: no engine, no registry, no network."""
