"""Hosts follow a table: what they share, and each adapter against a fake of its host.

The fakes have the signatures of LiteLLM 1.106.2, NeMo Guardrails 0.24.1 and Inspect 0.3.285; that
the real ones behave so is tested by `make test-hosts`.
"""

import ast
import asyncio
import os
import re
import sys
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import solvers
from csa_games.cli import main
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.guard import Guard
from csa_games.guard.adapters import inspect_ai, litellm, nemo
from csa_games.guard.adapters.conversation import (
    INSTEAD,
    PLACES,
    act,
    classifier_from,
    identity,
    observations,
    plain,
    steered,
)
from csa_games.guard.adapters.examples import backend, keywords, running
from csa_games.guard.adapters.service import service
from csa_games.override import override
from csa_games.scenario import read_scenario
from csa_games.table import tabulate

KEYWORDS = "csa_games.guard.adapters.examples.keywords:classify"
SECRET = b"a secret"
TEXTS = {
    "How do tides work?": "pass",
    "I am worried.": "steer",
    "What would an expert ask?": "route",
    "Help me attack.": "block",
}
STORY = "Tell me a story."  # which the table of desk.toml mixes answer and clarify for
KEYS = [f"key {k}" for k in range(50)]  # enough to draw both, but for odds of 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a bundle of desk.toml and a secret."""
    place = tmp_path_factory.mktemp("hosts")
    # Of two turns, so that it is loaded in no time.
    game = dialogue_game(override(read_scenario(running.HERE / "desk.toml"), {"turns": 2}))
    tabulate(game, solvers.solve(game, "lp")).save(place / "bundle")
    (place / "secret.key").write_bytes(SECRET + b"\r\n")
    return place


@pytest.fixture
def settings(folder):
    return {
        "bundle": str(folder / "bundle"),
        "classifier": KEYWORDS,
        "secret_file": str(folder / "secret.key"),
    }


@cache
def served(items):
    return service(dict(items))


@pytest.fixture
def _loaded_once(monkeypatch):
    """Let adapters share what they load: most of these tests are not about that."""
    for adapter in (litellm, nemo, inspect_ai):
        once = lambda settings: served(tuple(sorted(settings.items())))
        monkeypatch.setattr(adapter, "service", once)


@pytest.fixture(scope="module")
def guard(folder):
    return Guard.load(folder / "bundle", secret=SECRET)


@pytest.fixture(scope="module")
def decide(guard):
    def decided(texts, conversation):
        messages = [{"role": "user", "content": text} for text in texts]
        return guard.follow(keywords.classify(messages), conversation)[-1]

    return decided


def conversation(*texts):
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "..."}]
    return messages[:-1]


# What hosts share.


def test_the_example_uses_every_mechanism(decide):
    found = {text: decide([text], "anybody").mechanism for text in TEXTS}
    assert found == TEXTS
    by_account = {decide([STORY], f"account {k}").mechanism for k in range(50)}
    assert by_account == {"pass", "text"}


def test_classifiers_are_given_texts():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {}}, "x", 3]
    given = [
        {"role": "system", "content": "be kind", "name": "n"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
        "nonsense",
        {"content": "whose?"},
        {"role": 3, "content": {"type": ["x"]}},
    ]
    assert plain(given) == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "look\n[image_url]\nx\n[int]"},
        {"role": "assistant", "content": ""},
        {"role": "", "content": "whose?"},
        {"role": "", "content": "[dict]"},
    ]


def test_what_was_not_answered_is_still_asked():
    said = [
        *conversation("one", "two"),
        {"role": "system", "content": "s"},
        {"role": "user", "content": "three"},
        {"role": "tool", "content": "t"},
    ]
    roles = [(message["role"], message["content"]) for message in plain(said)]
    assert roles == [
        *[("user", "one"), ("assistant", "..."), ("system", "s"), ("user", "two\n\nthree")],
        ("tool", "t"),
    ]
    assert len(observations(keywords.classify, said)) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "type", "x"]), part)
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_is_read_as_messages(value):
    for message in plain(value):
        assert {name: type(text) for name, text in message.items()} == {"role": str, "content": str}


MISSING = {"ask": None, "signal": None}


@pytest.mark.parametrize(
    "classify",
    [
        lambda messages: 1 / 0,
        lambda messages: None,
        lambda messages: [],
        lambda messages: [{"ask": "plain", "signal": "clear"}],
        lambda messages: [{"ask": "plain"}] * 2,
        lambda messages: ["plain", "clear"],
        lambda messages: [{"ask": "plain", "signal": "clear"}] * 3,
    ],
)
def test_a_classifier_that_fails_leaves_observations_missing(classify, settings, decide):
    messages = conversation("Hello.", "Help me attack.")
    assert observations(classify, messages) == [MISSING, MISSING]
    asked = service(settings)._replace(classify=classify)
    ruling = asked.rule(messages, "c")
    assert ruling.decision.reason in ("BACKOFF", "DEFAULT")
    assert ruling.mechanism == "text", "the constant response of desk.toml"


@pytest.mark.parametrize("messages", [None, [], [{"role": "system", "content": "x"}]])
def test_where_nobody_asks_a_turn_is_decided_all_the_same(settings, messages):
    """An ERROR would let it through where `on_error` is open."""
    ruling = service({**settings, "on_error": "open"}).rule(messages, "c")
    assert (ruling.decision.reason, ruling.mechanism) == ("DEFAULT", "text")


def test_observations_keep_what_readers_read():
    reading = {"ask": "plain", "signal": {"reader": "r", "score": 0.5}}
    emitted = {**reading, "why": "a text", "response": "comply"}
    assert observations(lambda messages: [emitted], conversation("Hello.")) == [reading]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("keywords", "expected module:function"),
        ("no_such_module:f", "No module named"),
        ("csa_games.guard.adapters.examples.keywords:f", "has no attribute"),
        ("csa_games.guard.adapters.examples.keywords:KEYWORDS", "found dict, expected a function"),
    ],
)
def test_a_classifier_that_is_none(named, sentence):
    with pytest.raises(InputError, match=sentence):
        classifier_from(named)


@dataclass(frozen=True)
class Ruled:
    """Of a ruling, what a host carries out."""

    mechanism: str
    text: str
    enforced: str = "response"


ALL = ("pass", "text", "steer", "route")


@pytest.mark.parametrize(
    ("mechanism", "text", "able", "done", "said"),
    [
        *((mechanism, "t", ALL, mechanism, "t") for mechanism in (*ALL, "block")),
        ("steer", "advice", ("pass", "text"), "text", INSTEAD),  # which is no text for users
        ("route", "one moment", ("pass", "text"), "text", "one moment"),
        ("route", "", ("pass", "text"), "text", INSTEAD),
        ("text", "no", ("pass",), "block", "no"),
        ("steer", "advice", ("pass",), "block", INSTEAD),
        ("block", "no", (), "block", "no"),
    ],
)
def test_what_a_host_cannot_do_becomes_what_is_safer(mechanism, text, able, done, said):
    found = act(Ruled(mechanism, text), able)
    assert (found.mechanism, found.text, found.response) == (done, said, "response")
    assert found.degraded == ("" if done == mechanism else mechanism)


def test_steers_stand_where_they_are_told():
    user = {"role": "user", "content": "hi"}
    head = {"role": "system", "content": "be kind"}
    told = {"role": "system", "content": "steer"}
    before = [dict(head), dict(user)]
    assert steered(before, "steer", "last") == [head, user, told]
    assert steered(before, "steer", "first") == [
        {"role": "system", "content": "be kind\n\nsteer"},
        user,
    ]
    assert steered([user], "steer", "first") == [told, user]
    assert steered(before, "steer", "user") == [head, {"role": "user", "content": "hi\n\nsteer"}]
    assert before == [head, user], "what was given stays as it was"
    parts = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert steered([parts], "steer", "user")[0]["content"][1] == {"type": "text", "text": "steer"}
    assert steered([head], "steer", "user") == [head, told], "nobody said anything"
    for place in PLACES:
        assert "steer" in str(steered([], "steer", place))


def test_who_is_answered_is_the_first_stamp_there_is():
    stamps = {"a": "", "b": None, "c": 3, "d": "x", "e": "y"}
    assert identity(stamps, ["a", "b", "c", "d", "e"]) == "d=x"
    assert identity(stamps, ["e", "d"]) == "e=y"
    assert identity(stamps, ["a"]) == "", "the same for everybody"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bundle": ""}, "csa.bundle: is missing"),
        ({"classifier": None}, "csa.classifier: is missing"),
        ({"secret": "x"}, "csa.secret: is no setting"),
        ({"bundle": "nowhere"}, "nowhere: found no folder"),
        ({"secret_file": "nowhere"}, "nowhere: cannot be read"),
        ({"mode": "on"}, "mode: found 'on'"),
    ],
)
def test_settings_that_are_wrong(settings, change, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        service({**settings, **change})


def test_a_service_follows_draws_and_logs(settings, tmp_path, decide):
    log = tmp_path / "audit-{process}.jsonl"
    asked = service({**settings, "audit": str(log)})
    texts = [STORY, "Help me attack."]
    for who in ("anna", "ben"):
        ruling = asked.rule(conversation(*texts), who)
        assert ruling.decision == decide(texts, who)
    written = tmp_path / f"audit-{os.getpid()}.jsonl"
    assert len(written.read_bytes().splitlines()) == 3  # its header, and two rulings
    assert b"attack." not in written.read_bytes()


# LiteLLM.


class PassthroughError(Exception):
    """Stands for LiteLLM's ModifyResponseException."""


class RouteError(Exception):
    """Stands for LiteLLM's SensitiveDataRouteException."""


class HTTPError(Exception):
    """Stands for FastAPI's HTTPException."""

    def __init__(self, status_code, detail=None):
        super().__init__(status_code, detail)


class FakeGuardrail:
    """Stands for LiteLLM's CustomGuardrail."""

    def __init__(
        self, guardrail_name=None, event_hook=None, default_on=False, sticky_session_routing=True,
        **kwargs,
    ):  # fmt: skip
        self.guardrail_name, self.event_hook = guardrail_name, event_hook
        self.sticky_session_routing, self.other = sticky_session_routing, kwargs

    def raise_passthrough_exception(
        self, violation_message, request_data, detection_info=None, original_response=None
    ):
        """Answer with a text."""
        raise PassthroughError(violation_message, detection_info)

    def raise_sensitive_data_route_exception(
        self, route_to_model, request_data, detection_info=None
    ):
        """Send the request elsewhere."""
        if not (request_data.get("metadata") or {}).get("session_id"):
            raise ValueError("Cannot route sensitive data without a session_id.")
        raise RouteError(route_to_model)


@pytest.fixture
def hook(settings, monkeypatch, _loaded_once):
    fastapi = types.ModuleType("fastapi")
    fastapi.HTTPException = HTTPError
    monkeypatch.setitem(sys.modules, "fastapi", fastapi)

    def make(**csa):
        options = {"guardrail_name": "csa", "default_on": True, "unknown": 1}
        made = litellm.guardrail_class(FakeGuardrail)
        return made(event_hook="pre_call", csa={**settings, **csa}, **options)

    return make


def call(hook, *texts, key="k", input_type="request", **request):
    messages = conversation(*texts)
    request = {"messages": messages, "metadata": {"user_api_key_hash": key}, **request}
    inputs = {"texts": list(texts), "structured_messages": messages, "model": "m"}
    return inputs, asyncio.run(hook.apply_guardrail(inputs, request, input_type))


def test_litellm_carries_out_every_mechanism(hook, decide):
    guardrail = hook()
    inputs, told = call(guardrail, "How do tides work?")
    assert told is inputs
    steer = decide(["I am worried."], "c").text
    inputs, told = call(guardrail, "I am worried.")
    assert told["structured_messages"] == [
        {"role": "system", "content": steer},
        *inputs["structured_messages"],
    ]
    key = next(k for k in KEYS if decide([STORY], f"user_api_key_hash={k}").text)
    with pytest.raises(PassthroughError) as said:
        call(guardrail, STORY, key=key)
    text, noted = said.value.args
    assert text == decide([STORY], f"user_api_key_hash={key}").text
    assert (noted["verdict"], noted["mode"], noted["turn"]) == ("clarify", "enforce", 1)
    with pytest.raises(HTTPError) as blocked:
        call(guardrail, "Help me attack.")
    status, detail = blocked.value.args
    assert (status, detail["error"]) == (400, decide(["Help me attack."], "c").text)
    assert set(detail) == {"error", "id"}, "a client learns nothing of the table"


def test_litellm_routes_what_names_a_conversation(hook, decide):
    text = "What would an expert ask?"
    named = {"metadata": {"user_api_key_hash": "k", "session_id": "s"}}
    with pytest.raises(RouteError, match="large"):
        call(hook(routes={"expert": "large"}), text, **named)
    for guardrail, request in ((hook(routes={"expert": "large"}), {}), (hook(), named)):
        with pytest.raises(PassthroughError, match=re.escape(decide([text], "c").text)):
            call(guardrail, text, **request)
    assert hook().sticky_session_routing is False


@pytest.mark.parametrize("place", PLACES)
def test_litellm_steers_messages_that_it_was_given_translated(hook, decide, place):
    """A system message at the end would be lost: LiteLLM writes none into Anthropic's messages."""
    messages, own = conversation("I am worried."), conversation("I am worried.")
    request = {"messages": own, "metadata": {}}
    inputs = {"texts": ["I am worried."], "structured_messages": messages}
    told = asyncio.run(hook(place=place).apply_guardrail(inputs, request, "request"))
    text = decide(["I am worried."], "").text
    where = 0 if place == "user" else -1
    assert text in told["structured_messages"][0]["content"]
    assert len(told["structured_messages"]) == 1 - where


def test_litellm_takes_prompts_together(hook, decide):
    """A completion of several prompts has one request, and one ruling."""
    inputs = {"texts": ["How do tides work?", "I am worried."]}
    told = asyncio.run(hook().apply_guardrail(inputs, {"prompt": inputs["texts"]}, "request"))
    steer = decide(["I am worried."], "").text
    assert told["texts"] == [f"{text}\n\n{steer}" for text in inputs["texts"]]
    inputs = {"texts": ["Help me attack.", "How do tides work?"]}
    with pytest.raises(HTTPError):
        asyncio.run(hook().apply_guardrail(inputs, {"prompt": inputs["texts"]}, "request"))


def test_litellm_draws_by_what_clients_cannot_choose(hook, decide):
    """Metadata of clients come without names that begin as the proxy's do: it drops those."""
    guardrail, seen = hook(), set()
    for key in KEYS:
        found = []
        for choice in ({}, {"user": "u"}, {"litellm_session_id": "s"}):
            try:
                call(guardrail, STORY, key=key, **choice)
                found.append("answer")
            except PassthroughError:
                found.append("clarify")
        decision = decide([STORY], f"user_api_key_hash={key}")
        assert found == [decision.action] * 3
        seen.add(decision.action)
    assert seen == {"answer", "clarify"}


def test_litellm_reads_stamps_where_the_route_has_them(hook, decide):
    key = next(k for k in KEYS if decide([STORY], f"user_api_key_hash={k}").text)
    with pytest.raises(PassthroughError):
        call(hook(), STORY, metadata={"x": 1}, litellm_metadata={"user_api_key_hash": key})
    with pytest.raises(PassthroughError):
        call(
            hook(identity=["user_api_key_end_user_id", "user_api_key_hash"]),
            STORY,
            metadata={"user_api_key_hash": key, "user_api_key_end_user_id": None},
        )


def test_litellm_in_shadow_and_for_answers(hook):
    for text in TEXTS:
        inputs, told = call(hook(mode="shadow"), text)
        assert told is inputs
        inputs, told = call(hook(), text, input_type="response")
        assert told is inputs


@pytest.mark.parametrize(
    ("event_hook", "csa", "sentence"),
    [
        ("post_call", {}, "expected pre_call"),
        (["pre_call", "post_call"], {}, "expected pre_call"),
        (None, {}, "expected pre_call"),
        ("pre_call", None, "csa: found NoneType"),
        ("pre_call", {"place": "middle"}, "csa.place: found 'middle'"),
        ("pre_call", {"place": ["last"]}, "csa.place"),
        ("pre_call", {"routes": ["large"]}, "csa.routes"),
        ("pre_call", {"routes": {"expert": 1}}, "csa.routes"),
        ("pre_call", {"instead": ""}, "csa.instead"),
        ("pre_call", {"identity": ["metadata.session_id"]}, "theirs to choose"),
        ("pre_call", {"identity": "user_api_key_hash"}, "csa.identity"),
        ("pre_call", {"identity": []}, "csa.identity"),
        ("pre_call", {"watch": "soon"}, "csa: Type"),
        ("pre_call", {"bundel": "x"}, "csa.bundel: is no setting"),
    ],
)
def test_litellm_does_not_start_with_wrong_settings(settings, event_hook, csa, sentence):
    """Not by a ValueError: LiteLLM would log it, and start without the guardrail."""
    given = csa if csa is None else {**settings, **csa}
    with pytest.raises(litellm.RefusedError, match=re.escape(sentence)) as refused:
        litellm.guardrail_class(FakeGuardrail)(event_hook=event_hook, csa=given)
    assert not isinstance(refused.value, (ValueError, TypeError))


def test_litellm_is_imported_with_the_guardrail_only(monkeypatch):
    assert "litellm" not in sys.modules
    with pytest.raises(ImportError):
        litellm.CSAGuard  # noqa: B018
    for name in ("litellm", "litellm.integrations", "litellm.integrations.custom_guardrail"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    host = sys.modules["litellm.integrations.custom_guardrail"]
    host.CustomGuardrail = FakeGuardrail
    try:
        assert issubclass(litellm.CSAGuard, FakeGuardrail)
    finally:
        vars(litellm).pop("CSAGuard", None)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        litellm.other  # noqa: B018


# NeMo Guardrails.


@pytest.fixture
def nemo_host(monkeypatch, _loaded_once):
    """Stand in for NeMo Guardrails; return the pieces that were streamed."""
    actions, context = types.ModuleType("nemoguardrails.actions"), types.ModuleType("context")
    streamed: list[str] = []

    def action(is_system_action=False, name=None, execute_async=False):
        def decorated(function):
            function.action_meta = {"name": name, "is_system_action": is_system_action}
            return function

        return decorated

    class Handler:
        async def push_chunk(self, chunk, metadata=None):
            streamed.append(chunk)

    actions.action = action
    context.streaming_handler_var = types.SimpleNamespace(get=Handler)
    monkeypatch.setitem(sys.modules, "nemoguardrails", types.ModuleType("nemoguardrails"))
    monkeypatch.setitem(sys.modules, "nemoguardrails.actions", actions)
    monkeypatch.setitem(sys.modules, "nemoguardrails.context", context)
    return streamed


def events_of(messages):
    """Return the events of NeMo Guardrails for a conversation, with others in between."""
    events = [{"type": "ContextUpdate", "data": {}}]
    for message in messages:
        if message["role"] == "user":
            said = {"final_transcript": message["content"]}
            events += [{"type": "UtteranceUserActionFinished", **said}, {"type": "StartInputRails"}]
        else:
            said = {"script": message["content"]}
            events += [{"type": "StartUtteranceBotAction", **said}, {"type": "UserMessage"}]
    return events


def test_the_nemo_action(settings, decide, nemo_host):
    decided = nemo.action(settings)
    assert decided.action_meta == {"name": "csa_decide", "is_system_action": True}
    for texts in (*((text,) for text in TEXTS), (STORY, "Help me attack.")):
        context = {"csa_conversation": "c", "user_message": texts[-1]}
        events = events_of(conversation(*texts))
        found = asyncio.run(decided(context=context, events=events, config=None))
        decision = decide(texts, "c")
        mechanism = {"route": "text"}.get(decision.mechanism, decision.mechanism)
        assert (found["verdict"], found["mechanism"]) == (decision.action, mechanism)
        if mechanism == "steer":
            assert found["message"] == f"{texts[-1]}\n\n{decision.text}"
            assert nemo_host == []
        elif mechanism != "pass":
            assert found["text"] == nemo_host.pop() == decision.text
    assert asyncio.run(decided())["mechanism"] == "text", "no conversation, the constant response"


def test_the_nemo_folder_holds_no_text_of_the_scenario(folder, settings, tmp_path):
    del settings["bundle"]
    revision = nemo.write_folder(folder / "bundle", tmp_path / "rails", settings)
    guard = Guard.load(tmp_path / "rails" / "bundle")
    assert guard.revision == revision
    rails = (tmp_path / "rails" / "rails.co").read_text()
    assert revision in rails
    assert not [
        how["text"] for how in guard.responses.values() if how["text"] in rails and how["text"]
    ]
    with pytest.raises(InputError, match="is there already"):
        nemo.write_folder(folder / "bundle", tmp_path / "rails", settings)


@given(st.text(), st.text())
def test_any_setting_survives_in_the_nemo_folder(guard, one, other):
    """Python's own spelling is read by Python itself."""
    given = {"secret_file": one, "emergency": {"text": other}}
    source = nemo.texts(guard, given)["actions.py"].encode("utf-8", "surrogatepass")
    (made,) = (
        node.value for node in ast.parse(source.decode()).body if isinstance(node, ast.Assign)
    )
    found = {
        ast.literal_eval(key): value
        for key, value in zip(made.args[0].keys, made.args[0].values, strict=True)
    }
    del found["bundle"]
    assert {name: ast.literal_eval(value) for name, value in found.items()} == given


def test_nemo_by_the_command_line(folder, tmp_path, capsys):
    arguments = ["guard", "nemo", str(folder / "bundle"), str(tmp_path / "rails")]
    options = ["--classifier", KEYWORDS, "--secret-file", "s.key", "--mode", "shadow"]
    assert main([*arguments, *options]) == 0
    assert Guard.load(folder / "bundle").revision in capsys.readouterr().out.replace("\n", "")
    actions = (tmp_path / "rails" / "actions.py").read_text()
    assert f"'secret_file': {str(Path('s.key').absolute())!r}" in actions
    assert "'mode': 'shadow'" in actions
    assert main([*arguments, *options]) == 2
    damaged = tmp_path / "rails" / "bundle"
    (damaged / "CARD.md").write_text("x")
    assert main(["guard", "nemo", str(damaged), str(tmp_path / "more"), *options]) == 3
    assert not (tmp_path / "more").exists()


# Inspect.


@dataclass
class FakeMessage:
    """Stands for one of Inspect's messages."""

    role: str
    content: Any
    id: str | None = None


@dataclass
class FakeOutput:
    """Stands for Inspect's ModelOutput."""

    message: FakeMessage
    stop_reason: str

    @staticmethod
    def from_content(model, content, stop_reason="stop", error=None):
        """Return an output of one message."""
        return FakeOutput(FakeMessage("assistant", content), stop_reason)


@dataclass
class FakeState:
    """Stands for Inspect's TaskState."""

    messages: list[FakeMessage]
    sample_id: str = "s"
    epoch: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)
    output: FakeOutput | None = None
    completed: bool = False


class FakeModel:
    """Stands for a model of Inspect."""

    def __init__(self, name):
        self.name = name

    async def generate(self, messages):
        """Return an answer that says who gave it."""
        return FakeOutput.from_content("m", f"{self.name} answers")


@pytest.fixture
def solver(monkeypatch, settings, _loaded_once):
    """Stand in for Inspect; return a maker of its solver."""
    model, thread = types.ModuleType("inspect_ai.model"), types.ModuleType("anyio.to_thread")
    model.ChatMessageSystem = lambda content, **more: FakeMessage("system", content, **more)
    model.ModelOutput, model.get_model = FakeOutput, FakeModel
    solver = types.ModuleType("inspect_ai.solver")
    solver.solver = lambda name: lambda function: function
    thread.run_sync = asyncio.to_thread
    for module in (model, solver, thread):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        package = module.__name__.partition(".")[0]
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    yield lambda **more: inspect_ai.guarded(**settings, **more)
    vars(inspect_ai).pop("guarded", None)


def solve(solver, *texts):
    """Return the state after the last turn, and what the model was given."""
    given = []

    async def generate(state):
        given.append([(message.role, message.content) for message in state.messages])
        state.output = FakeOutput.from_content("m", "the model answers")
        state.messages.append(state.output.message)
        return state

    messages = [FakeMessage(m["role"], m["content"]) for m in conversation(*texts)]
    return asyncio.run(solver(FakeState(messages), generate)), given


@pytest.mark.parametrize("place", inspect_ai.PLACES)
def test_inspect_carries_out_every_mechanism(solver, decide, place):
    table = solver(place=place, routes={"expert": "large"})
    for text, mechanism in TEXTS.items():
        state, given = solve(table, text)
        decision = decide([text], "s in epoch 1")
        assert [noted["verdict"] for noted in state.metadata["csa"]] == [decision.action]
        said = state.messages[-1].content
        assert state.completed == (mechanism == "block")
        if mechanism in ("pass", "steer"):
            told = [("user", text)]
            if mechanism == "steer":
                told.insert(0 if place == "first" else 1, ("system", decision.text))
            assert given == [told]
            assert [message.role for message in state.messages] == ["user", "assistant"]
        else:
            assert given == []
            assert said == ("large answers" if mechanism == "route" else decision.text)


def test_inspect_follows_parts_and_turns(solver, decide):
    parts = [types.SimpleNamespace(type="text", text=STORY), types.SimpleNamespace(type="image")]
    state, _ = solve(solver(), "x", "Help me attack.")
    assert state.metadata["csa"][0]["turn"] == 2
    table = solver()
    state = FakeState([FakeMessage("user", parts)])

    async def generate(state):
        return state

    state = asyncio.run(table(state, generate))
    assert state.metadata["csa"][0]["verdict"] == decide([STORY], "s in epoch 1").action
    with pytest.raises(InputError, match="place: found 'user'"):
        solver(place="user")


# The examples, and what holds of every file.


def test_the_fake_model_answers_with_what_it_was_sent():
    with backend.serving() as url:
        for path, body in (
            ("chat/completions", {"messages": conversation("hi")}),
            ("responses", {"input": "hi"}),
            ("completions", {"prompt": "hi"}),
        ):
            status, text = running.post(f"{url}/{path}", {"model": "m", **body})
            assert status == 200
            assert "This is m. It was sent:\\nuser: hi" in text
        assert running.post(f"{url}/other", {})[0] == 404


def test_processes_end_even_if_they_do_not_want_to(tmp_path):
    stubborn = (
        "import http.server, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), "
        "http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    port = running.free_port()
    command = [sys.executable, "-c", stubborn, str(port)]
    url = f"http://127.0.0.1:{port}/"
    with running.process(command, tmp_path, {}, url, patience=0.2) as started:
        assert started.poll() is None
    assert started.returncode < 0
    with (
        pytest.raises(InputError, match="the process ended with 3"),
        running.process([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, {}, url),
    ):
        pass


ADAPTERS = sorted(Path(litellm.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: path.name)
def test_adapters_need_nothing_but_the_standard_library(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    first = {name.partition(".")[0] for name in imported}
    assert first <= set(sys.stdlib_module_names) | {"csa_games"}


@pytest.mark.parametrize("host", ["litellm", "nemo", "inspect"])
def test_hosts_are_pinned(host):
    """Two releases of LiteLLM, 1.82.7 and 1.82.8, carried a credential stealer."""
    text = (Path(__file__).parent / "hosts" / f"{host}.txt").read_text()
    assert "://" not in text
    pins = re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, re.MULTILINE)
    assert len(pins) > 50
    versions = dict(pins)
    assert versions.get("litellm") not in ("1.82.7", "1.82.8")
    if host == "litellm":
        assert versions["litellm"] == "1.106.2"
        entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
        assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
