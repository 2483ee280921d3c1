"""One pyinfra deploy per thing that is put on a host."""
