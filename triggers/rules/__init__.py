"""Triggers as they are kept, and what they find in a change."""
