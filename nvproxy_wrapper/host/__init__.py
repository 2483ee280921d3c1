"""All that touches the host: the bundle, the settings file, the driver and its nodes, the decision log."""
