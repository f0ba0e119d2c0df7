"""Sealed segments: immutable Parquet files of events or records, indexed, read where they lie."""
