"""How large what a plan makes may become: told beforehand, and bounded while it is made."""
