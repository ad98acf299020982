"""The published schemas say what the guard checks: no more of shape, and no less."""

import copy
import json

import pytest
from bundles import builtin, files_of, table
from hypothesis import given, settings
from hypothesis import strategies as st
from json_schema import violations

from csa_games.cli import main
from csa_games.guard.bundle import GOLDEN, MANIFEST, RESPONSES, RESPONSES_SHAPE, SCENARIO, SHAPE
from csa_games.guard.golden import PROBE
from csa_games.guard.shapes import misfits
from csa_games.guard.signing import ENVELOPE, KEY
from csa_games.scenario import builtin_scenarios
from csa_games.schemas import SCHEMAS
from csa_games.signing import write_keys

SHAPES = {
    "manifest": SHAPE,
    "responses": RESPONSES_SHAPE,
    "probe": PROBE,
    "signature": ENVELOPE,
    "key": KEY,
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return a signed bundle and a key as JSON values: file or what it is -> content."""
    place = tmp_path_factory.mktemp("b")
    write_keys(place, "site", "hmac", b"x" * 32)
    key = place / "site.secret.json"
    table("crisis_guidance").save(place / "b", not_after="2027-03-31T12:00:00Z", sign=key)
    return files_as_json(place / "b") | {"key": json.loads(key.read_bytes())}


def files_as_json(folder):
    files = files_of(folder)
    found = {name: json.loads(files[name]) for name in files if name.endswith(".json")}
    return found | {GOLDEN: [json.loads(line) for line in files[GOLDEN].splitlines()]}


def breaks(value, schema):
    return list(violations(value, schema, schema))


def parsed(parts, what):
    return {
        "manifest": parts[MANIFEST],
        "responses": parts[RESPONSES],
        "probe": parts[GOLDEN][0],
        "signature": parts["signature.dsse.json"],
        "key": parts["key"],
        "scenario": parts[SCENARIO],
        "bundle": {name: part for name, part in parts.items() if name != "key"},
    }[what]


@pytest.mark.parametrize("what", SCHEMAS)
def test_what_is_exported_fits_the_published_schema(parts, what):
    assert breaks(parsed(parts, what), SCHEMAS[what]()) == []


@pytest.mark.parametrize("name", ["csa_oneshot", "nudge_kernel"])
def test_bundles_of_other_scenarios_fit_it_too(name, tmp_path):
    assert builtin(name).name in builtin_scenarios()
    table(name).save(tmp_path / "b", provenance={"seconds": 1.5})
    assert breaks(files_as_json(tmp_path / "b"), SCHEMAS["bundle"]()) == []


def places(value, path=()):
    """Yield the path of every value inside `value`."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def changed(value, path, put):
    """Return `value` with what is at `path` replaced, or left out where `put` is ..."""
    value = copy.deepcopy(value)
    inside = value
    for name in path[:-1]:
        inside = inside[name]
    if put is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = put
    return value


# 1.0 is left out: JSON Schema takes it for a whole number, the guard does not.
STRANGE = [
    *(..., None, True, False, 0, 1, 2, -1, 1.5, "", "x", [], {}, [[]], ["x"], [None], {"x": "x"}),
    *("0.5", "-0.5", "1e-09", "1e+16", "1.5e+307", "5e-324", "0.30000000000000004"),
    *("1e+308", "1e999", "nan", "inf", "-inf", "1", "1_0.0", " 1.0", "1.0\n", "\u0661.0", "+1.0"),
    *("2027-03-31", "2027-03-31T00:00:00Z", "2027-3-31", "2027-03-31\n", "tomorrow"),
    *("0" * 64, "0" * 63, "A" * 64, "0" * 64 + "\n", "AAAA", "AA==", "A===", "AA-_"),
    *("UNIQUE", "ed25519", "hmac", "public", "secret", "csa-games/bundle", "site.2"),
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_guard_and_schema_refuse_the_same_shapes(parts, data):
    what = data.draw(st.sampled_from(sorted(SHAPES)))
    value = parsed(parts, what)
    path = data.draw(st.sampled_from(sorted(places(value), key=str)))
    put = data.draw(st.sampled_from(STRANGE))
    mutated = changed(value, path, put)
    assert bool(list(misfits(SHAPES[what], mutated))) == bool(breaks(mutated, SCHEMAS[what]()))


@pytest.mark.parametrize("what", sorted(SHAPES))
def test_the_mutations_are_worth_something(parts, what):
    # Every field that must be there is missed, and what is in it looked at.
    value, schema = parsed(parts, what), SCHEMAS[what]()
    refused = [
        path
        for path in places(value)
        if breaks(changed(value, path, ...), schema) or breaks(changed(value, path, {}), schema)
    ]
    assert len(refused) >= len(schema.get("required", value))


def test_every_real_number_of_a_table_is_spelled_as_the_shape_has_it():
    real = SHAPE["solution"]["nash_conv"]
    for number in (0.0, -0.0, 1e-300, 5e-324, 1e22, 9007199254740993.0, 0.1 + 0.2, 1e16, 123456.75):
        assert list(misfits(real, repr(number))) == []


def test_the_command(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS["scenario"]()
    for what in SCHEMAS:
        assert main(["schema", "--of", what, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == SCHEMAS[what]()
    assert main(["schema", "--of", "card"]) == 2
    assert "there is no schema of 'card'; there are scenario, manifest" in capsys.readouterr().err
