"""P12: a module path of 0.1.0 that the documentation named says where the module is now."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

import affidavit
from affidavit.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_p12_an_old_path_names_the_new_one_which_is_there(old: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=rf"is now affidavit\.{MOVED[old]};"):
        importlib.import_module(f"affidavit.{old}")
    assert importlib.import_module(f"affidavit.{MOVED[old]}").__doc__


def test_p12_other_missing_modules_are_missing_as_ever() -> None:
    assert importlib.util.find_spec("affidavit.engine.nothing_of_the_kind") is None
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("affidavit.engine.nothing_of_the_kind")


def test_the_face_is_what_it_was() -> None:
    """Whatever 0.1.0 gave under ``affidavit`` itself is there."""
    names = {
        "AffidavitError", "Broker", "Change", "ChangeListener", "Channel", "CompletedSearch",
        "Delivery", "EnvKeyStore", "FileKeyStore", "KeyStore", "MutableTable", "Outcome",
        "RecordListener", "Result", "SearchHook", "SearchRecord", "SearchRequest", "SearchResult",
        "Session", "Subscription", "Topic", "Trigger", "VectorTable", "Verdict", "Verification",
        "connect", "errors", "expr", "load_ipython_extension",
    }  # fmt: skip
    assert names <= set(affidavit.__all__)
