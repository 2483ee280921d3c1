"""Hosts whose containers get what the driver names at create time (jit-cdi, toolkit 1.18 and later)."""

toolkit_mode = "auto"
