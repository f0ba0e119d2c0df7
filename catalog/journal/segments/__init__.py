"""Sealed segments: immutable Parquet files of events, written, indexed and read where they lie."""
