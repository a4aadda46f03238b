"""Fakes for tests of users' clients and of this project: vendor roots, chains and structurally exact evidence.

Nothing here is trusted by default: a test hands the fake roots over explicitly.
"""
