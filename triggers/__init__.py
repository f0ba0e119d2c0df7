"""Who is told.

Nothing yet. Topics and change triggers will listen here through
:class:`affidavit.catalog.change.ChangeListener`, which already sees every mutation.
"""
