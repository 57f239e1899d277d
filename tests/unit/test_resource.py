# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine, on a resource whose server is a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, run


class Shelf(Resource[dict[str, Any], dict[str, Any]]):
    """Boxes with a colour and a size. `faults`: name -> the error that writing it raises, or the value that is stored instead."""

    options = {"name": {"type": "str", "required": True}, "colour": {"type": "str"}, "size": {"type": "int"}}

    def __init__(self, stored: dict[str, dict[str, Any]], faults: dict[str, Any] | None = None) -> None:
        self.stored = stored
        self.faults = faults or {}
        self.calls: list[str] = []

    @contextmanager
    def open(self, params: Any, warn: Any) -> Iterator[dict[str, Any]]:
        self.calls.append("open")
        try:
            yield self.stored
        finally:
            self.calls.append("close")

    def read(self, session: dict[str, Any], params: Any) -> dict[str, Any]:
        self.calls.append("read")
        if isinstance(self.faults.get("read"), Exception) and self.calls.count("read") > 1:
            raise self.faults["read"]
        return {name: dict(box) for name, box in session.items()}

    def objects(self, current: dict[str, Any]) -> dict[str, Any]:
        return current

    def check(self, params: Any) -> None:
        self.calls.append("check")
        if any(entry.get("colour") == "octarine" for entry in params.get("config") or ()):
            raise UserError("config: colour 'octarine' does not exist; use red or blue")

    def plan(self, params: Any, current: dict[str, Any]) -> Plan:
        changes = []
        for entry in params["config"]:
            name = entry["name"]
            before = current.get(name)
            after = (
                None
                if params["state"] == "deleted"
                else {**(before or {}), **{key: value for key, value in entry.items() if value is not None}}
            )
            if before != after:
                changes.append(Change(name, before, after))
        return Plan(changes, [f"{change.name} is heavy" for change in changes if (change.after or {}).get("size", 0) > 9])

    def authorize(self, session: Any, plan: Plan, current: Any) -> None:
        self.calls.append("authorize")
        if "authorize" in self.faults:
            raise self.faults["authorize"]

    def apply(self, session: dict[str, Any], change: Change) -> None:
        self.calls.append(f"apply {change.name}")
        fault = self.faults.get(change.name)
        if isinstance(fault, Exception):
            raise fault
        if change.after is None:
            del session[change.name]
        else:
            session[change.name] = {**change.after, **(fault or {})}

    def render(self, params: Any) -> list[dict[str, Any]]:
        return [{key: value for key, value in entry.items() if value is not None} for entry in params["config"]]


class Stubborn(Shelf):
    """What is deleted stays, and is called otherwise than it was asked for."""

    def apply(self, session: dict[str, Any], change: Change) -> None:
        session["A"] = session.pop(change.name)


def box(name: str, colour: str = "red", **further: Any) -> dict[str, Any]:
    return {"name": name, "colour": colour, **further}


def go(shelf: Shelf, *config: dict[str, Any], state: str = "merged", check_mode: bool = False) -> tuple[dict[str, Any], list[str]]:
    warnings: list[str] = []
    return run(shelf, {"state": state, "config": list(config)}, check_mode=check_mode, warn=warnings.append), warnings


def test_create_update_delete():
    shelf = Shelf({"a": box("a"), "b": box("b", size=1)})
    result, _warnings = go(shelf, box("a"), box("b", "blue"), box("c"))
    assert result["changed"] is True
    assert "failed" not in result
    assert result["changes"] == [{"name": "b", "action": "update"}, {"name": "c", "action": "create"}]
    assert result["diff"] == [
        {"before_header": "b", "after_header": "b", "before": {"colour": "red"}, "after": {"colour": "blue"}},
        {"before_header": "c", "after_header": "c", "before": {}, "after": {"name": "c", "colour": "red"}},
    ]
    assert shelf.calls == ["check", "open", "read", "authorize", "apply b", "apply c", "read", "close"]
    assert go(shelf, box("a"), box("b", "blue"), box("c"))[0] == {"changed": False, "changes": [], "diff": []}
    result, _warnings = go(shelf, box("c"), state="deleted")
    assert result["changes"] == [{"name": "c", "action": "delete"}]
    assert result["diff"][0]["before"] == {"name": "c", "colour": "red"} and result["diff"][0]["after"] == {}


def test_names_that_differ_in_case_only():
    """An object that stays beside the one that goes is another one; one that was only spelt otherwise is the same."""
    shelf = Shelf({"a": box("a"), "A": box("A", "blue")})
    result, _warnings = go(shelf, box("a"), state="deleted")
    assert "failed" not in result and shelf.stored == {"A": box("A", "blue")}
    shelf = Shelf({"a": box("a"), "A": box("A", "blue")})
    assert "failed" not in go(shelf, box("a", "green"))[0]
    stubborn = Stubborn({"a": box("a")})
    assert "read back as still there" in go(stubborn, box("a"), state="deleted")[0]["msg"]


def test_no_change_reads_once_and_asks_no_rights():
    shelf = Shelf({"a": box("a")})
    go(shelf, box("a"))
    assert shelf.calls == ["check", "open", "read", "close"]


def test_check_mode_predicts_and_does_not_write():
    predicted, warnings = go(Shelf({"a": box("a")}), box("a", "blue", size=10), check_mode=True)
    shelf = Shelf({"a": box("a")})
    done, same_warnings = go(shelf, box("a", "blue", size=10))
    assert predicted == done
    assert warnings == same_warnings == ["a is heavy"]
    shelf = Shelf({})
    go(shelf, box("a"), check_mode=True)
    assert shelf.stored == {} and shelf.calls.count("read") == 1 and "authorize" in shelf.calls


def test_a_failing_object_does_not_stop_the_others():
    shelf = Shelf({}, {"b": UserError("b is nailed down")})
    result, _warnings = go(shelf, box("a"), box("b"), box("c"))
    assert result["failed"] is True and result["changed"] is True
    assert result["msg"] == "b: b is nailed down"
    assert result["changes"] == [
        {"name": "a", "action": "create"},
        {"name": "b", "action": "create", "failed": True, "msg": "b is nailed down"},
        {"name": "c", "action": "create"},
    ]
    assert [diff["after_header"] for diff in result["diff"]] == ["a", "c"]
    assert set(shelf.stored) == {"a", "c"}


def test_nothing_written_is_not_changed():
    result, _warnings = go(Shelf({}, {"a": UserError("no")}), box("a"))
    assert result["failed"] is True and result["changed"] is False and result["diff"] == []


def test_lost_session_stops_attempts_and_says_so():
    shelf = Shelf({}, {"b": SessionLost("dc1 went away"), "read": SessionLost("dc1 went away")})
    result, _warnings = go(shelf, box("a"), box("b"), box("c"))
    assert "apply c" not in shelf.calls
    assert [change.get("msg") for change in result["changes"]] == [
        "written, but not read back: dc1 went away",
        "dc1 went away",
        "not attempted: dc1 went away",
    ]
    assert result["changed"] is True, "a was written"


def test_mismatch_after_writing_names_both_values():
    result, _warnings = go(Shelf({}, {"a": {"colour": "grey"}}), box("a", size=2))
    assert result["failed"] is True
    assert result["msg"] == "a: colour: wrote 'red', read back 'grey'"


def test_what_was_deleted_and_is_still_there():
    class Sticky(Shelf):
        def apply(self, session: Any, change: Change) -> None:
            pass

    result, _warnings = go(Sticky({"a": box("a")}), box("a"), state="deleted")
    assert result["msg"] == "a: written, but read back as still there; did somebody else change it meanwhile?"


def test_diffs_and_mismatches_show_what_the_resource_shows():
    class Curtained(Shelf):
        def shown(self, words: dict[str, Any]) -> dict[str, Any]:
            return {**words, "colour": words["colour"].upper()}

    result, _warnings = go(Curtained({"a": box("a")}, {"a": {"colour": "grey"}}), box("a", "blue"))
    assert result["diff"][0]["before"] == {"colour": "RED"} and result["diff"][0]["after"] == {"colour": "BLUE"}
    assert result["msg"] == "a: colour: wrote 'BLUE', read back 'GREY'"


def test_names_are_compared_without_case():
    class Loud(Shelf):
        def objects(self, current: dict[str, Any]) -> dict[str, Any]:
            return {name.upper(): words for name, words in current.items()}

    result, _warnings = go(Loud({}), box("a"))
    assert "failed" not in result
    assert go(Loud({"a": box("a")}), {"name": "a"}, state="gathered")[0]["gathered"] == [box("a")]


def test_bugs_keep_their_traceback():
    shelf = Shelf({}, {"a": KeyError("oops")})
    with pytest.raises(KeyError):
        go(shelf, box("a"))
    assert shelf.calls[-1] == "close"


@pytest.mark.parametrize("state", ["merged", "replaced", "deleted", "gathered", "rendered"])
def test_duplicates_are_refused_before_anything(state):
    shelf = Shelf({})
    with pytest.raises(UserError) as caught:
        go(shelf, box("Box"), box("x"), box("bOX"), box("X"), state=state)
    assert str(caught.value).splitlines() == [
        "config: name 'bOX' is listed twice; put all of its options into one entry",
        "config: name 'X' is listed twice; put all of its options into one entry",
    ]
    assert shelf.calls == []


def test_a_bad_request_is_refused_before_connecting():
    shelf = Shelf({})
    with pytest.raises(UserError, match="octarine"):
        go(shelf, box("a", "octarine"))
    assert shelf.calls == ["check"]


def test_missing_rights_are_found_before_the_first_write():
    shelf = Shelf({}, {"authorize": UserError("not yours")})
    with pytest.raises(UserError, match="not yours"):
        go(shelf, box("a"))
    assert shelf.stored == {}


def test_gathered():
    stored = {"a": box("a"), "b": box("b")}
    assert run(Shelf(stored), {"state": "gathered", "config": None}, check_mode=False, warn=print) == {
        "changed": False,
        "gathered": [box("a"), box("b")],
    }
    assert go(Shelf(stored), {"name": "b"}, state="gathered")[0]["gathered"] == [box("b")]
    assert go(Shelf(stored), {"name": "none"}, state="gathered")[0]["gathered"] == []


def test_rendered_needs_no_server():
    shelf = Shelf({})
    assert go(shelf, box("a", size=None), state="rendered")[0] == {"changed": False, "rendered": [box("a")]}
    assert shelf.calls == ["check"]


def test_config_is_needed_by_all_states_but_gathered():
    assert Shelf({}).rules()["required_if"] == [
        ("state", "merged", ["config"]),
        ("state", "replaced", ["config"]),
        ("state", "deleted", ["config"]),
        ("state", "rendered", ["config"]),
    ]


def test_problems_come_once_and_together():
    problems = Problems()
    problems.raise_any()
    problems.collect(["one", "two", "one"])
    with pytest.raises(UserError, match=r"^one\ntwo$"):
        problems.raise_any()
