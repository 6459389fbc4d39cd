"""The samples of the documentation run and do what the text says; ``tests/test_docs.py`` has the rest."""
