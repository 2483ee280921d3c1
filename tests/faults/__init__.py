"""Faults: of the wrapper in a container's creation, and of a site run on a host."""
