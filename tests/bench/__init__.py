"""Measures the product against bare primitives on the same machine, in the same minute (design section 10).

    python -m tests.bench [--row NAME ...] [--short] [--rounds N] [--json] [--dir DIR]

Every figure is a ratio of two sides that ran interleaved (A B A B ...): the median over the rounds and its spread.
Bare times would say more about the machine and its neighbours than about the code.
"""
