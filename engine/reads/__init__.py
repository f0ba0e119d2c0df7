"""Reads on record: who was given which rows, when and of which data, signed before they leave."""
