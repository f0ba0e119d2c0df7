"""Letting go: rows erased wherever the lake has them, holds that forbid it, and retention."""
