"""Conditions of handles that name parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.errors import AffidavitError, ConstraintError, InvalidQueryError

if TYPE_CHECKING:
    import affidavit


def test_conditions_of_update_and_delete_name_parameters(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, s VARCHAR)")
    table = session.table("t")
    table.insert([{"id": at, "s": "x"} for at in range(4)])
    assert table.update({"s": "it's"}, "id IN $set_0", params={"set_0": [1, 2]}) == 2
    assert table.delete("s = $s AND id > $least", params={"s": "it's", "least": 1}) == 1
    assert [row["id"] for row in table.to_arrow().to_pylist()] == [0, 1, 3]
    with pytest.raises(AffidavitError, match="least"):
        table.delete("id > $least", params={})
    with pytest.raises(InvalidQueryError, match="params must be a dict by name"):
        table.delete("id > 1", params=[1])  # type: ignore[arg-type]
    with pytest.raises(InvalidQueryError, match="keys= are values"):
        table.delete(keys=1, params={"a": 1})
    assert table.count() == 3


def test_a_null_is_told_with_the_key_of_its_row(session: affidavit.Session) -> None:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, s VARCHAR NOT NULL)")
    with pytest.raises(ConstraintError, match="row 1 has NULL: the one with id = 8"):
        session.table("t").insert([{"id": 7, "s": "x"}, {"id": 8, "s": None}])
