"""A million odd specs, and inputs that are steered by the code they reach: `make fuzz`."""
