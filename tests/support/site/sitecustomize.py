"""Run by every Python that a test starts: its lakes have their stores where the test's have."""

from tests.support import stores

stores.use_chosen()
