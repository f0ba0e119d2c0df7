"""The relational store: one protocol, and a module for each database that implements it."""
