"""pyinfra deploys: what runs on a host, from top to bottom in `site.py`."""
