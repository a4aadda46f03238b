"""The verifiable index: keys, trie, lists, proofs, the index log's leaf (docs/formats/index.md). Pure."""
