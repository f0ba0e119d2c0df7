"""Arrow copies of mutable tables, brought up to date by what changed."""
