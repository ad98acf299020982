"""The solver in Inspect, with its mock model; nothing is fetched."""

import pytest
import tiktoken
from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import user_message

from csa_games.guard.adapters.inspect_ai import guarded

KEYWORDS = "csa_games.guard.adapters.examples.keywords:classify"
ANSWER = "an answer of the model"
TEXTS = {
    "How do tides work?": "pass",
    "I am worried.": "steer",
    "What would an expert ask?": "route",
    "Help me attack.": "block",
}


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    """Inspect counts tokens even of its mock model, with an encoding that tiktoken downloads."""
    encoding = tiktoken.Encoding(
        name="bytes",
        pat_str=r"[\s\S]",
        mergeable_ranks={bytes([k]): k for k in range(256)},
        special_tokens={},
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)


@pytest.fixture(scope="module")
def settings(place):
    return {
        "bundle": str(place / "bundle"),
        "classifier": KEYWORDS,
        "secret_file": str(place / "secret.key"),
    }


class Seen:
    """A mock model, and what it was given."""

    def __init__(self, answer=ANSWER):
        self.inputs = []

        def answered(messages, tools, tool_choice, config):
            self.inputs.append([(message.role, message.text) for message in messages])
            return ModelOutput.from_content("mockllm/model", answer)

        self.model = get_model("mockllm/model", custom_outputs=answered, memoize=False)


def run(tmp_path, samples, solver, model, **options):
    task = Task(MemoryDataset(samples), solver=solver, scorer=includes())
    (log,) = evaluate(task, model=model, display="none", log_dir=str(tmp_path), **options)
    assert log.status == "success", log.error
    return log.samples


@pytest.mark.parametrize(("text", "mechanism"), TEXTS.items())
@pytest.mark.parametrize("where", ["first", "last"])
def test_every_mechanism(tmp_path, settings, expected, text, mechanism, where):
    seen = Seen()
    table = guarded(**settings, place=where)
    (sample,) = run(tmp_path, [Sample(input=text, target=ANSWER, id="s")], table, seen.model)
    decision = expected([text], "s in epoch 1")
    assert decision.mechanism == mechanism
    (noted,) = sample.metadata["csa"]
    assert (noted["verdict"], noted["revision"]) == (decision.action, decision.revision)
    if mechanism == "pass":
        assert seen.inputs == [[("user", text)]]
    elif mechanism == "steer":
        told = [("user", text), ("system", decision.text)]
        assert seen.inputs == [told if where == "last" else told[::-1]]
        assert [message.role for message in sample.messages] == ["user", "assistant"]
    else:
        assert seen.inputs == []
        assert sample.output.completion == decision.text
        assert sample.output.stop_reason == ("stop" if mechanism == "route" else "content_filter")
    assert (sample.scores["includes"].value == "C") is (mechanism in ("pass", "steer"))


def test_route(tmp_path, settings):
    table = guarded(**settings, routes={"expert": "mockllm/other"})
    seen = Seen()
    text = "What would an expert ask?"
    (sample,) = run(tmp_path, [Sample(input=text, id="s")], table, seen.model)
    assert seen.inputs == []
    assert sample.output.completion == "Default output from mockllm/model"
    assert sample.metadata["csa"][0]["mechanism"] == "route"


def test_a_conversation_is_followed_turn_by_turn(tmp_path, settings, expected):
    table = guarded(**settings)
    texts = ["Tell me a story.", "I am worried.", "Help me attack."]
    chain = [table, user_message(texts[1]), table, user_message(texts[2]), table]
    (sample,) = run(tmp_path, [Sample(input=texts[0], id="s")], chain, Seen().model)
    decisions = [expected(texts[: k + 1], "s in epoch 1") for k in range(3)]
    assert [noted["verdict"] for noted in sample.metadata["csa"]] == [
        decision.action for decision in decisions
    ]
    assert decisions[2].key.startswith("story:doubt>")
    said = [message.text for message in sample.messages if message.role == "assistant"]
    assert said == [
        ANSWER if decision.mechanism in ("pass", "steer") else decision.text
        for decision in decisions
    ]


def test_epochs_draw_anew_and_runs_repeat(tmp_path, settings, expected):
    text = "Tell me a story."
    runs = [
        run(tmp_path, [Sample(input=text, id="s")], guarded(**settings), Seen().model, epochs=50)
        for _ in range(2)
    ]
    verdicts = [
        {sample.epoch: sample.metadata["csa"][0]["verdict"] for sample in samples}
        for samples in runs
    ]
    assert verdicts[0] == verdicts[1]
    assert verdicts[0] == {
        epoch: expected([text], f"s in epoch {epoch}").action for epoch in range(1, 51)
    }
    assert set(verdicts[0].values()) == {"answer", "clarify"}


def test_shadow_passes(tmp_path, settings):
    seen = Seen()
    samples = [Sample(input=text, id=text) for text in TEXTS]
    found = run(tmp_path, samples, guarded(**settings, mode="shadow"), seen.model)
    assert len(seen.inputs) == len(TEXTS)
    assert {s.metadata["csa"][0]["verdict"] for s in found} == {"answer", "guide", "expert", "stop"}
