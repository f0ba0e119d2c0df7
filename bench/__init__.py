"""The engine's figures, each beside a baseline that runs in the same process: ``python -m bench``.

Rules:
    - A figure and its baseline take turns (A B A B), so that what slows the machine slows both.
    - A figure is a median; a ratio is the figure over its baseline.
    - Nothing here fails because something was slow: the table says what was met.
"""
