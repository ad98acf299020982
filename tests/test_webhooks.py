"""What gateways send and take: the exact JSON of each contract."""

import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games.errors import InputError
from csa_games.guard.adapters.webhooks import CONTRACTS, SAY, STEER, WITHHELD

LITELLM, REQUEST, RESPONSE, PORTKEY = CONTRACTS.values()


class Ruled(NamedTuple):
    """Of a ruling, what a gateway carries out."""

    enforced: str
    mechanism: str
    text: str


PASS = Ruled("comply", "pass", "")
SHADOW = Ruled("pass", "pass", "")
TEXT = Ruled("clarify", "text", "What for?")
STEERED = Ruled("guide", "steer", "Be careful.")
ROUTED = Ruled("refer", "route", "A person will answer.")
SILENT = Ruled("refer", "route", "")
BLOCK = Ruled("block", "block", "")
MESSAGES = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "answer"},
    {"role": "user", "content": "second"},
]
TEXTS = ["You help.", "first", "answer", "second"]


def read(contract, body, headers=None, identity=None):
    return contract.read(body, headers or {}, contract.identity if identity is None else identity)


# LiteLLM's generic guardrail.


def litellm(**fields):
    return {"input_type": "request", "texts": TEXTS, "structured_messages": MESSAGES, **fields}


def test_a_call_of_litellm():
    stamped = {"user_api_key_hash": "k", "user_api_key_end_user_id": "u", "session_id": "chosen"}
    call = read(LITELLM, litellm(request_data=stamped))
    assert call.decides
    assert list(call.messages) == MESSAGES
    assert call.conversation == "user_api_key_hash=k"
    assert call.observations is None
    # The operator may put the end user first; without stamps nobody is answered.
    ordered = ("user_api_key_end_user_id", "user_api_key_hash")
    assert read(LITELLM, litellm(request_data=stamped), identity=ordered).conversation == (
        "user_api_key_end_user_id=u"
    )
    assert read(LITELLM, litellm(request_data={"session_id": "chosen"})).conversation == ""
    assert not read(LITELLM, litellm(input_type="response")).decides
    # The end user is what a client says of itself.
    named = {"user_api_key_user_id": "o", "user_api_key_end_user_id": "u"}
    assert read(LITELLM, litellm(request_data=named)).conversation == "user_api_key_user_id=o"
    del named["user_api_key_user_id"]
    assert read(LITELLM, litellm(request_data=named)).conversation == ""
    # Prompts are one turn, or the last of them alone would be decided on.
    bare = read(LITELLM, {"texts": ["a", "b"]})
    assert bare.messages == ({"role": "user", "content": "a\n\nb"},)
    seen = [{"ask": "plain", "signal": "flag"}]
    carried = litellm(additional_provider_specific_params={"csa": seen})
    assert read(LITELLM, carried).observations == seen


@pytest.mark.parametrize(
    ("ruling", "answer"),
    [
        (None, {"action": "NONE"}),
        (PASS, {"action": "NONE"}),
        (SHADOW, {"action": "NONE"}),
        (
            STEERED,
            {
                "action": "GUARDRAIL_INTERVENED",
                "texts": [*TEXTS[:3], f"second\n\n{STEER} Be careful."],
            },
        ),
        (
            TEXT,
            {"action": "GUARDRAIL_INTERVENED", "texts": [*TEXTS[:3], f"{SAY}\n\nWhat for?"]},
        ),
        (
            ROUTED,
            {
                "action": "GUARDRAIL_INTERVENED",
                "texts": [*TEXTS[:3], f"{SAY}\n\nA person will answer."],
            },
        ),
        (SILENT, {"action": "BLOCKED", "blocked_reason": "This request is not answered."}),
        (BLOCK, {"action": "BLOCKED", "blocked_reason": "This request is not answered."}),
    ],
)
def test_what_litellm_is_answered(ruling, answer):
    assert LITELLM.answer(litellm(), ruling) == answer


def test_a_steer_reaches_every_prompt():
    assert LITELLM.answer({"texts": ["a", "b"]}, STEERED)["texts"] == [
        f"a\n\n{STEER} Be careful.",
        f"b\n\n{STEER} Be careful.",
    ]


def test_of_a_message_in_parts_nothing_reaches_the_model():
    parts = [{"type": "text", "text": "part"}, {"type": "image_url"}, {"type": "text", "text": "2"}]
    messages = [*MESSAGES[:3], {"role": "user", "content": parts}, {"role": "tool", "content": "t"}]
    body = litellm(texts=[*TEXTS[:3], "part", "2", "t"], structured_messages=messages)
    assert LITELLM.answer(body, TEXT)["texts"] == [
        *TEXTS[:3],
        WITHHELD,
        WITHHELD,
        f"{SAY}\n\nWhat for?",
    ]
    # Texts that are not just those of the messages are withheld altogether.
    other = litellm(texts=["a", "b", "c"])
    assert LITELLM.answer(other, TEXT)["texts"] == [WITHHELD, WITHHELD, f"{SAY}\n\nWhat for?"]
    # Without a text there is nothing to rewrite, and an image would go through.
    for ruling in (TEXT, STEERED):
        assert LITELLM.answer(litellm(texts=[]), ruling)["action"] == "BLOCKED"


def test_what_was_not_answered_is_one_turn_and_images_leave_their_kind():
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "user", "content": "a"},
        {"role": "tool", "content": "t"},
        {"role": "user", "content": image},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [7]},
    ]
    found = read(LITELLM, litellm(structured_messages=messages)).messages
    assert [(message["role"], message["content"]) for message in found] == [
        ("tool", "t"),
        ("user", "a\n\n[image_url]\nb"),
        ("assistant", ""),
        ("user", "[int]"),
    ]


# agentgateway.


def test_a_call_of_agentgateway():
    seen = [{"ask": "plain", "signal": "flag"}]
    headers = {"x-csa-conversation": "account 17", "x-csa-observations": json.dumps(seen)}
    call = read(REQUEST, {"body": {"messages": MESSAGES}}, headers)
    assert call == (True, tuple(MESSAGES), "account 17", seen)
    assert read(REQUEST, {"body": {"messages": []}}) == (True, (), "", None)
    assert not read(RESPONSE, {"body": {"choices": []}}).decides
    with pytest.raises(InputError, match="x-csa-observations: not JSON"):
        read(REQUEST, {"body": {"messages": []}}, {"x-csa-observations": "[NaN]"})


@pytest.mark.parametrize(
    ("ruling", "action"),
    [
        (None, {}),
        (PASS, {"reason": "comply"}),
        (
            STEERED,
            {
                "body": {"messages": [*MESSAGES, {"role": "system", "content": "Be careful."}]},
                "reason": "guide",
            },
        ),
        (TEXT, {"body": "What for?", "status_code": 403, "reason": "clarify"}),
        (ROUTED, {"body": "A person will answer.", "status_code": 403, "reason": "refer"}),
        (
            BLOCK,
            {"body": "This request is not answered.", "status_code": 403, "reason": "block"},
        ),
    ],
)
def test_what_agentgateway_is_answered(ruling, action):
    assert REQUEST.answer({"body": {"messages": MESSAGES}}, ruling) == {"action": action}


@given(st.builds(Ruled, st.text(), st.text(), st.text()))
def test_agentgateway_never_takes_a_rejection_for_a_pass(ruling):
    """It tries mask, reject, pass in this order, and takes the first whose fields are there."""
    action = REQUEST.answer({"body": {"messages": MESSAGES}}, ruling)["action"]
    if isinstance(action.get("body"), dict):
        taken = "mask"
    elif isinstance(action.get("body"), str) and isinstance(action.get("status_code"), int):
        taken = "reject"
    else:
        taken = "pass"
    expected = {"pass": "pass", "steer": "mask"}.get(ruling.mechanism, "reject")
    assert taken == ("reject" if expected == "mask" and not ruling.text else expected)


# Portkey.


def portkey(**fields):
    content = {"model": "m", "messages": MESSAGES}
    return {"eventType": "beforeRequestHook", "request": {"json": content}, **fields}


def test_a_call_of_portkey():
    stamped = {"_user": "u", "csa_conversation": "c", "csa": '[{"ask": "plain", "signal": null}]'}
    call = read(PORTKEY, portkey(metadata=stamped))
    assert call.conversation == "csa_conversation=c"
    assert list(call.messages) == MESSAGES
    assert call.observations == [{"ask": "plain", "signal": None}]
    assert read(PORTKEY, portkey(metadata={"_user": "u"})).conversation == "_user=u"
    assert not read(PORTKEY, portkey(eventType="afterRequestHook")).decides
    only_text = read(PORTKEY, {"request": {"text": "hello"}})
    assert list(only_text.messages) == [{"role": "user", "content": "hello"}]


def transformed(messages):
    return {
        "verdict": True,
        "transformedData": {"request": {"json": {"model": "m", "messages": messages}}},
    }


@pytest.mark.parametrize(
    ("ruling", "answer"),
    [
        (None, {"verdict": True}),
        (PASS, {"verdict": True}),
        (STEERED, transformed([*MESSAGES, {"role": "system", "content": "Be careful."}])),
        (TEXT, transformed([*MESSAGES[:3], {"role": "user", "content": f"{SAY}\n\nWhat for?"}])),
        (BLOCK, {"verdict": False}),
        (SILENT, {"verdict": False}),
    ],
)
def test_what_portkey_is_answered(ruling, answer):
    assert PORTKEY.answer(portkey(), ruling) == answer


def test_portkey_does_not_pass_what_it_cannot_carry_out():
    assert PORTKEY.answer({"request": {"json": {"prompt": "p"}}}, TEXT) == {"verdict": False}


# What is not of a contract.


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/request", [], "the body: found list, expected an object"),
        ("/request", {}, "body: found NoneType, expected an object"),
        ("/request", {"body": {}}, "body.messages: found NoneType, expected a list"),
        ("/request", {"body": {"messages": [1]}}, r"body.messages\[0\]: found int, expected an"),
        ("/request", {"body": {"messages": [{}]}}, r"messages\[0\].role: found NoneType"),
        ("/response", {"body": {}}, "body.choices: found NoneType, expected a list"),
        ("/portkey", {"eventType": "x"}, "eventType: found 'x'"),
        ("/portkey", {"metadata": {"csa": "["}}, "metadata.csa: not JSON"),
        ("/beta/litellm_basic_guardrail_api", {"input_type": "x"}, "input_type: found 'x'"),
        ("/beta/litellm_basic_guardrail_api", {"texts": [1]}, r"texts\[0\]: found int, expected"),
        ("/beta/litellm_basic_guardrail_api", {"request_data": 1}, "request_data: found int"),
    ],
)
def test_what_is_not_of_the_contract_is_said(path, body, sentence):
    with pytest.raises(InputError, match=sentence):
        read(CONTRACTS[path], body)


FIELDS = (
    *("body", "messages", "choices", "texts", "structured_messages", "request_data", "content"),
    *("metadata", "request", "json", "text", "eventType", "input_type", "role", "csa", "user"),
)
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=12,
)


@given(HOSTILE, st.sampled_from(sorted(CONTRACTS)))
@settings(max_examples=300)
def test_whatever_comes_is_read_and_answered_or_refused(body, path):
    contract = CONTRACTS[path]
    try:
        read(contract, body)
    except InputError:
        pass
    else:
        for ruling in (None, PASS, TEXT, STEERED, ROUTED, BLOCK):
            json.dumps(contract.answer(body, ruling))
