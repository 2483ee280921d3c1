"""What a lab command says when it cannot go on."""


class LabError(Exception):
    """One sentence for the user: what is wrong (with the value), where, what to do."""
