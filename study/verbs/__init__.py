"""The verbs of `python -m study`, one a file: what each adds to its command line, and what it does."""
