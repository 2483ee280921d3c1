"""The admin command, and what compiles the package: nothing in here while a container waits."""
