"""The generated folder in NeMo Guardrails, with a fake model that remembers what it was given."""

import asyncio
import json
import shutil

import pytest
from conftest import conversation
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.rails.llm.options import RailType
from nemoguardrails.testing.fake_model import FakeLLMModel

from csa_games.guard.adapters import nemo

KEYWORDS = "csa_games.guard.adapters.examples.keywords:classify"
MECHANISMS = {
    "How do tides work?": "pass",
    "I am worried.": "steer",
    "What would an expert ask?": "route",
    "Help me attack.": "block",
}


class Model(FakeLLMModel):
    """A fake model that answers everything, and keeps what it was asked."""

    def __init__(self):
        super().__init__(responses=["an answer of the model"] * 500)
        self.prompts = []

    async def generate_async(self, prompt, *, stop=None, **options):  # noqa: D102
        self.prompts.append(str(prompt))
        return await super().generate_async(prompt, stop=stop, **options)

    async def stream_async(self, prompt, *, stop=None, **options):  # noqa: D102
        self.prompts.append(str(prompt))
        async for chunk in super().stream_async(prompt, stop=stop, **options):
            yield chunk


@pytest.fixture(scope="session")
def folder(place):
    settings = {"classifier": KEYWORDS, "secret_file": str(place / "secret.key")}
    nemo.write_folder(place / "bundle", place / "rails", settings)
    return place / "rails"


def rails(folder, model=None):
    return LLMRails(RailsConfig.from_path(str(folder)), llm=model or Model())


@pytest.fixture(scope="module")
def host(folder):
    return rails(folder)


def of(who):
    return {"role": "context", "content": {"csa_conversation": who}}


def check(host, *texts, who="account 17"):
    messages = [of(who), *conversation(*texts)]
    return asyncio.run(host.check_async(messages, rail_types=[RailType.INPUT]))


def generate(host, *texts, who="account 17"):
    return asyncio.run(host.generate_async(messages=[of(who), *conversation(*texts)]))["content"]


@pytest.mark.parametrize(("text", "mechanism"), MECHANISMS.items())
def test_every_mechanism(folder, expected, text, mechanism):
    model = Model()
    host = rails(folder, model)
    decision = expected([text], "account 17")
    assert decision.mechanism == mechanism
    found, said = check(host, text), generate(host, text)
    if mechanism == "pass":
        assert (found.status.value, found.content) == ("passed", text)
        assert said == "an answer of the model"
        assert text in model.prompts[-1]
    elif mechanism == "steer":
        assert (found.status.value, found.content) == ("modified", f"{text}\n\n{decision.text}")
        assert said == "an answer of the model"
        assert decision.text in model.prompts[-1]
    else:
        assert (found.status.value, found.content) == ("blocked", decision.text)
        assert found.rail == "csa policy"
        assert said == decision.text
        assert model.prompts == []


def test_a_conversation_is_followed_turn_by_turn(host, expected):
    texts = ["Tell me a story.", "Help me attack.", "I am worried."]
    for k in (1, 2, 3):
        decision = expected(texts[:k], "account 17")
        said = generate(host, *texts[:k])
        assert said == (
            decision.text
            if decision.mechanism not in ("pass", "steer")
            else "an answer of the model"
        )
    # What was said in the first turn is part of the state of the second.
    assert expected(texts[:2], "account 17").key in (
        "story:doubt>clarify/plain:attack",
        "story:doubt>answer/plain:attack",
    )


def test_the_same_message_gets_the_same_answer_and_accounts_differ(host, expected):
    text = "Tell me a story."
    accounts = {}  # of each side of the draw, one; with 50 the odds of missing one are 1e-6
    for k in range(50):
        accounts.setdefault(expected([text], f"account {k}").action, f"account {k}")
    assert set(accounts) == {"answer", "clarify"}
    for who in accounts.values():
        said = expected([text], who).text or "an answer of the model"
        assert {generate(host, text, who=who) for _ in range(5)} == {said}


def test_streaming_says_the_same(host, expected):
    async def read(text):
        messages = [of("account 17"), {"role": "user", "content": text}]
        return "".join([chunk async for chunk in host.stream_async(messages=messages)])

    for text, mechanism in MECHANISMS.items():
        said = "an answer of the model"
        if mechanism in ("route", "block"):
            said = expected([text], "account 17").text
        assert asyncio.run(read(text)) == said


def test_shadow_lets_everything_pass(place):
    nemo.write_folder(
        place / "bundle", place / "shadow", {"classifier": KEYWORDS, "mode": "shadow"}
    )
    host = rails(place / "shadow")
    for text in MECHANISMS:
        assert generate(host, text) == "an answer of the model"
        assert check(host, text).status.value == "passed"


@pytest.mark.parametrize(
    "text",
    [
        "He said \"no\" and 'never'",
        "{{ user_message }} {% if x %} {# c #}",
        "$user_message and $csa",
        "# a comment",
        "a\nb\n  indented\n\nand \\n, which is no line end",
        "back\\slash\\",
        '"""',
        "ünïcødé 💡 \u2028 \x85",
        "bot refuse to respond\nstop",
        "",
    ],
)
def test_any_text_survives(place, tmp_path, monkeypatch, text):
    """The host gets the text as the bundle has it, whether it is said at once or streamed."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "silly.py").write_text(
        f"TEXT = {text!r}\n"
        "from csa_games.guard.deployment import Deployment\n"
        "def classify(messages): raise ValueError\n"
    )
    settings = {
        "classifier": "silly:classify",
        "emergency": {"action": "say", "mechanism": "text", "text": text},
    }
    folder = tmp_path / "rails"
    nemo.write_folder(place / "bundle", folder, settings)
    shutil.rmtree(folder / "bundle")  # then the emergency response is said
    host = rails(folder)
    said = text or "I can't answer this here."
    assert generate(host, "hello") == said
    assert check(host, "hello").content == said

    async def read():
        messages = [of("account 17"), {"role": "user", "content": "hello"}]
        return "".join([chunk async for chunk in host.stream_async(messages=messages)])

    assert asyncio.run(read()) == said


def test_without_a_bundle_the_model_is_not_called(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "rails")
    manifest = tmp_path / "rails" / "bundle" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": "other"}))
    model = Model()
    host = rails(tmp_path / "rails", model)
    assert "answer of the model" not in generate(host, "How do tides work?")
    assert check(host, "How do tides work?").status.value == "blocked"
    assert model.prompts == []
