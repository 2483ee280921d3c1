"""What is newer upstream than what this project is tested with, and what it changes.

    python -m tests.upstream            asks, builds, tries; writes build/upstream.md (`make upstream`)
    python -m tests.upstream --help     as if older versions were the newest pinned ones

docs/upstream.md says what to do with what it finds.
"""
