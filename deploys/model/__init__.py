"""What is decided, without a host: settings, snapshot, plan, verification. No I/O, nothing of pyinfra."""
