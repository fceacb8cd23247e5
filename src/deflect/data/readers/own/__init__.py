"""The reader of users' own datasets, which a card describes."""
