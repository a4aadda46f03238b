"""The index log under the same server: built and signed in a process of its own, answered by the fronts."""
