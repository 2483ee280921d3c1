"""The validation programs of OCI's runtime-tools, under runsc and under the launcher: the same, line by line?

`suite` builds them, `on_host` runs them in a lab host, `tap` compares what they say, `report` tells.
"""
