from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox.patch import PatchError, PatchTestError, apply


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        # RFC 6902 appendix A.1 to A.5, A.8, A.10, A.14, A.16
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        (
            {"foo": ["bar", "baz"]},
            [{"op": "add", "path": "/foo/1", "value": "qux"}],
            {"foo": ["bar", "qux", "baz"]},
        ),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        ({"foo": ["a", 2]}, [{"op": "test", "path": "/foo/1", "value": 2}], {"foo": ["a", 2]}),
        ({"foo": "bar"}, [{"op": "add", "path": "/c", "value": {"d": {}}}], {"foo": "bar", "c": {"d": {}}}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["a"]}], {"foo": ["bar", ["a"]]}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a/b": 1}, [{"op": "remove", "path": "/a~1b"}], {}),
    ],
)
def test_a_patch_does_what_the_standard_says(document: Any, operations: Any, result: Any) -> None:
    assert apply(document, operations) == result


@pytest.mark.parametrize(
    "operations",
    [
        {},
        "x",
        [5],
        [{}],
        [{"op": "add"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "move", "path": "/a", "from": "/b", "value": 1}],
        [{"op": "replace", "path": "/none", "value": 1}],
        [{"op": "remove", "path": "/list/5"}],
        [{"op": "add", "path": "/list/9", "value": 1}],
        [{"op": "add", "path": "/list/01", "value": 1}],
        [{"op": "add", "path": "/list/x", "value": 1}],
        [{"op": "add", "path": "/a/b/c", "value": 1}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "remove", "path": ""}],
    ],
)
def test_a_patch_that_leads_nowhere_is_refused(operations: Any) -> None:
    with pytest.raises(PatchError):
        apply({"a": 1, "list": [1, 2]}, operations)


def test_nothing_is_changed_where_a_test_fails_in_the_end() -> None:
    document = {"a": 1}
    with pytest.raises(PatchTestError):
        apply(document, [{"op": "replace", "path": "/a", "value": 2}, {"op": "test", "path": "/a", "value": 1}])
    assert document == {"a": 1}


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inside: st.lists(inside, max_size=3))


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.text(max_size=3), JSON)
def test_what_is_added_can_be_tested_and_removed_again(document: dict[str, Any], name: str, value: Any) -> None:
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    added = apply(document, [{"op": "add", "path": path, "value": value}])
    assert added[name] == value
    removed = apply(added, [{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}])
    assert removed == {key: kept for key, kept in document.items() if key != name}
