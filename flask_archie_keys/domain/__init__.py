"""The words and rules of API keys: pure Python, no Flask, no SQLAlchemy."""
