"""The verifiable index on disk: its SQLite file, and building it from a log's entries."""
