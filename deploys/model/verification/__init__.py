"""The verification's own room: what a host is asked, and what its answers mean. Pure."""
