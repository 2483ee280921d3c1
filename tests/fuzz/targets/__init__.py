"""What is fed with any bytes at all: one module for each part of the wrapper that reads what strangers wrote.

Each has `check(data)`, which fails where something does not hold and otherwise says in a word what became of
the input; `seeds()`, inputs to begin with; `WORDS`, what inputs of this kind are made of; and `LONGEST`, how
many bytes an input may have: longer ones are slower and no richer, as these hold every kind of thing already.
"""

TARGETS = ("scanner", "parser", "settings")
