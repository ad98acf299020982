"""The guardrail in a LiteLLM proxy on localhost, in front of a fake model."""

import json
import sys
from pathlib import Path

import pytest
from conftest import conversation

from csa_games.guard.adapters.examples import backend, running

EXAMPLE = running.HERE / "litellm"
KEYS = [f"sk-account-{k}" for k in range(50)]
INSTEAD = "I can't answer this here."
TEXTS = {
    "How do tides work?": "pass",
    "I am worried.": "steer",
    "What would an expert ask?": "route",
    "Help me attack.": "block",
}
STORY = "Tell me a story."
LITELLM = Path(sys.executable).parent / "litellm"

# Keys without a database: the proxy stamps what this says on each request.
AUTH = f"""
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth

async def auth(request, api_key):
    if api_key not in {KEYS!r}:
        raise HTTPException(401)
    return UserAPIKeyAuth(api_key=api_key)
"""

VARIANT = """
  - guardrail_name: {name}
    litellm_params:
      guardrail: csa_games.guard.adapters.litellm.CSAGuard
      mode: pre_call
      csa:
        bundle: bundle
        classifier: csa_games.guard.adapters.examples.keywords:classify
        secret_file: secret.key
        {setting}
"""
VARIANTS = {"last": "place: last", "user": "place: user", "shadow": "mode: shadow"}


def config(place, name="config.yaml", edit=lambda text: text):
    text = (
        (EXAMPLE / name).read_text().replace("sk-example}", "sk-example, custom_auth: auth.auth}")
    )
    (place / "auth.py").write_text(AUTH)
    (place / name).write_text(edit(text))
    return place / name


def proxy(place, path, **environment):
    port = running.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(LITELLM), "--config", path.name, "--host", "127.0.0.1", "--port", str(port)]
    return url, running.process(command, place, environment, f"{url}/health/liveliness")


class Host:
    """A proxy, asked as a client does."""

    def __init__(self, url):
        self.url = url

    def post(self, path, body, key=KEYS[0]):
        """Return the status and the text of an answer."""
        return running.post(self.url + path, body, {"Authorization": f"Bearer {key}"})

    def chat(self, *texts, key=KEYS[0], **body):
        """Return the status, and the message and how it finished, of a chat completion."""
        given = {"model": "small", "messages": conversation(*texts), **body}
        status, text = self.post("/v1/chat/completions", given, key)
        answer = json.loads(text)
        if status != 200:
            return status, answer["error"]["message"], None
        (choice,) = answer["choices"]
        return status, choice["message"]["content"], choice["finish_reason"]

    def stream(self, *texts, **body):
        """Return the status, what is streamed, and in how many pieces."""
        given = {"model": "small", "messages": conversation(*texts), "stream": True, **body}
        status, text = self.post("/v1/chat/completions", given)
        if status != 200:
            return status, json.loads(text)["error"]["message"], 0
        events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        assert events.pop() == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
        said = [delta for delta in deltas if delta]
        return status, "".join(said), len(said)


@pytest.fixture(scope="module")
def host(place):
    """Start a proxy with the configuration of the example, and variants of its guardrail."""

    def edit(text):
        more = "".join(
            VARIANT.format(name=name, setting=setting) for name, setting in VARIANTS.items()
        )
        return text.replace("\ngeneral_settings", f"{more}\ngeneral_settings")

    path = config(place, edit=edit)
    # Each request of these tests names the one that it tries.
    path.write_text(path.read_text().replace("default_on: true", "default_on: false"))
    with backend.serving() as model:
        url, process = proxy(place, path, CSA_EXAMPLE_BACKEND=model)
        with process:
            yield Host(url)


@pytest.fixture(scope="module")
def chat(host):
    return lambda *texts, **body: host.chat(*texts, **{"guardrails": ["csa"], **body})


@pytest.fixture
def stamped(guard):
    """Return what identity the proxy stamps for a key: LiteLLM's own hash of it."""
    from litellm.proxy._types import hash_token

    return lambda key=KEYS[0]: f"user_api_key_hash={hash_token(key)}"


@pytest.fixture
def either(expected, stamped):
    """Return an account of each side of the draw; of 50, the odds of missing one are 1e-6."""
    found = {}
    for key in KEYS:
        found.setdefault(expected([STORY], stamped(key)).action, key)
    assert set(found) == {"answer", "clarify"}
    return found


def sent(*lines, model="small"):
    return "\n".join([f"This is {model}. It was sent:", *lines])


def test_pass_reaches_the_model_as_it_is(chat):
    status, said, why = chat("How do tides work?")
    assert (status, why) == (200, "stop")
    assert said == sent("user: How do tides work?")


def test_text_is_said_without_the_model(chat, expected, stamped, either):
    key = either["clarify"]
    decision = expected([STORY], stamped(key))
    assert chat(STORY, key=key) == (200, decision.text, "content_filter")


@pytest.mark.parametrize("variant", ["csa", "last", "user"])
def test_a_steer_reaches_the_model_at_its_place(chat, expected, variant):
    text = "I am worried."
    steer = expected([text], "anybody").text
    status, said, _ = chat(text, guardrails=[variant])
    assert status == 200
    assert (
        said
        == {
            "csa": sent(f"system: {steer}", f"user: {text}"),
            "last": sent(f"user: {text}", f"system: {steer}"),
            "user": sent(f"user: {text}", "", steer),
        }[variant]
    )


def test_a_route_needs_a_conversation_to_be_named(chat, expected):
    text = "What would an expert ask?"
    status, said, _ = chat(text, metadata={"session_id": "c1"})
    assert (status, said) == (200, sent(f"user: {text}", model="large"))
    assert chat(text) == (200, expected([text], "anybody").text, "content_filter")
    # And it is for this turn alone.
    _, said, _ = chat("How do tides work?", metadata={"session_id": "c1"})
    assert said.startswith("This is small.")


def test_block_is_an_error_that_tells_nothing_of_the_table(host, expected):
    text = "Help me attack."
    body = {"model": "small", "messages": conversation(text), "guardrails": ["csa"]}
    status, answer = host.post("/v1/chat/completions", body)
    decision = expected([text], "anybody")
    assert (status, json.loads(answer)["error"]["message"]) == (400, decision.text)
    assert decision.revision not in answer
    assert decision.action not in answer


@pytest.mark.parametrize(("text", "mechanism"), [*TEXTS.items(), (STORY, "text")])
def test_streams_say_the_same(host, chat, text, mechanism):
    said = chat(text)[1]
    status, streamed, count = host.stream(text, guardrails=["csa"])
    assert (status, streamed) == (400 if mechanism == "block" else 200, said)
    if mechanism == "pass":
        assert count > 1, "the model's answer comes in pieces"
    if mechanism == "route":
        assert count == 1


def test_a_conversation_is_followed_turn_by_turn(chat, expected, stamped):
    texts = [STORY, "I am worried.", "Help me attack.", "How do tides work?"]
    for k in range(1, 5):
        decision = expected(texts[:k], stamped())
        status, said, _ = chat(*texts[:k])
        if decision.mechanism == "pass":
            assert said == sent(*(f"{m['role']}: {m['content']}" for m in conversation(*texts[:k])))
        elif decision.mechanism == "steer":
            assert said.startswith(sent(f"system: {decision.text}"))
        else:
            assert (status, said) == (400 if decision.mechanism == "block" else 200, decision.text)
    assert expected([STORY, "Help me attack."], stamped()).mechanism == "block"
    assert chat(STORY, "Help me attack.")[0] == 400
    # The table knows three turns, and what the policy has ended stays ended.
    assert expected(texts, stamped()).reason == "DEFAULT"


def test_the_same_message_gets_the_same_response_whatever_the_client_says(
    chat, expected, stamped, either
):
    """Nothing that a client can choose draws again; another account does."""
    for key in either.values():
        decision = expected([STORY], stamped(key))
        model = sent(f"user: {STORY}")
        said = decision.text if decision.mechanism == "text" else model
        for k in range(3):
            assert chat(STORY, key=key)[1] == said
            for choice in (
                {"metadata": {"session_id": f"s{k}"}},
                {"litellm_session_id": f"s{k}"},
                {"user": f"u{k}"},
                {"metadata": {"user_api_key_hash": f"h{k}"}},
                {"litellm_metadata": {"user_api_key_hash": f"h{k}"}},
            ):
                assert chat(STORY, key=key, **choice)[1] == said, choice


def test_shadow_lets_everything_pass(chat):
    for text in (*TEXTS, STORY):
        assert chat(text, guardrails=["shadow"])[:2] == (200, sent(f"user: {text}"))


@pytest.mark.parametrize("variant", ["csa", "last", "user"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "I am worried."}),
        ("/v1/responses", {"input": "I am worried.", "instructions": "Be nice."}),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "worried"}]}]},
        ),
        ("/v1/responses", {"input": "I am worried.", "messages": conversation("stray")}),
        ("/v1/completions", {"prompt": "I am worried."}),
        ("/v1/messages", {"messages": conversation("Hello.", "I am worried."), "max_tokens": 9}),
        (
            "/v1/messages",
            {"messages": conversation("I am worried."), "system": "Be nice.", "max_tokens": 9},
        ),
        (
            "/v1/messages",
            {"messages": conversation("I am worried."), "input": "stray", "max_tokens": 9},
        ),
    ],
)
def test_a_steer_reaches_the_model_on_every_route(host, expected, path, body, variant):
    status, text = host.post(path, {"model": "small", "guardrails": [variant], **body})
    assert status == 200, text
    assert "This is small." in text
    steer = expected(["I am worried."], "anybody").text
    assert steer in text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": "Help me attack."}),
        ("/v1/completions", {"prompt": "Help me attack."}),
        ("/v1/messages", {"messages": conversation("Help me attack."), "max_tokens": 9}),
        ("/v1/embeddings", {"input": "Help me attack."}),
    ],
)
def test_other_routes_block(host, expected, path, body):
    status, text = host.post(path, {"model": "small", "guardrails": ["csa"], **body})
    assert status == 400
    assert expected(["Help me attack."], "anybody").text in text


def test_what_is_not_scanned_is_what_the_documentation_says(host):
    """If this fails, LiteLLM has become better, and csa_games/docs/howto/hosts.md is to say so."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = {"model": "small", "guardrails": ["csa"]}
    messages = [{"role": "user", "content": [image]}]
    status, text = host.post("/v1/chat/completions", {**body, "messages": messages})
    assert (status, "This is small." in text) == (200, True)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("mode: pre_call", "mode: logging_only", "expected pre_call"),
        ("secret_file:", "secret_fiel:", "secret_fiel: is no setting"),
    ],
)
def test_a_proxy_with_wrong_settings_does_not_start(place, old, new, why):
    """LiteLLM starts without a guardrail whose settings raise ValueError."""
    path = config(place, edit=lambda text: text.replace(old, new))
    path = path.rename(place / "wrong.yaml")
    _, process = proxy(place, path, CSA_EXAMPLE_BACKEND="http://127.0.0.1:9/v1")
    with pytest.raises(Exception, match="the process ended") as found, process:
        pass
    assert why in str(found.value)


def test_over_http(place, expected, stamped, either):
    """The same policy behind `csa guard serve`; there is one way to say no, and one to steer."""
    path = config(place, "config_http.yaml")
    server = f"http://127.0.0.1:{running.free_port()}"
    command = [
        *(sys.executable, "-m", "csa_games.cli", "guard", "serve", "bundle"),
        *("--port", server.rpartition(":")[2], "--secret-file", "secret.key", "--drain", "0"),
        *("--classifier", "csa_games.guard.adapters.examples.keywords:classify"),
    ]
    with backend.serving() as model, running.process(command, place, {}, f"{server}/readyz"):
        url, process = proxy(place, path, CSA_EXAMPLE_BACKEND=model, CSA_EXAMPLE_SERVER=server)
        with process:
            host = Host(url)
            assert host.chat("How do tides work?")[1] == sent("user: How do tides work?")
            steer = expected(["I am worried."], "anybody").text
            assert steer in host.chat("I am worried.")[1]
            assert host.chat("Help me attack.")[0] == 400
            for key in either.values():
                decision = expected([STORY], stamped(key))
                said = host.chat(STORY, key=key)[1]
                assert (decision.text in said) if decision.text else said == sent(f"user: {STORY}")
