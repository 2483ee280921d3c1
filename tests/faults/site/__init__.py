"""A site run, and one fault at each of its steps, on a host of the lab: `make faults` (docs/faults.md)."""
