"""A mirror (c2sp.org/tlog-mirror) beside a witness: it keeps what logs push to it, and says so by its cosignature.

    http.py                          add-entries, bounded in bytes and time
    files.py                         the files that it serves, in pieces
    decide.py, packages.py, ticket.py   what a request is, and what it is answered; pure
    storage.py                       one log's entries, durable before they count
    engine.py                        the one thread that writes and signs
    directory.py                     its folder and keys
"""
