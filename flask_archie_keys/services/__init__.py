"""The only writers of keys: every face calls these."""
