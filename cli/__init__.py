"""The `teelog` command. `main` holds the tree, `output` prints, one module per command group does the work."""
