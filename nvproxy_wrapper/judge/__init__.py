"""What becomes of a container's spec: pure, nothing in here touches the host."""
