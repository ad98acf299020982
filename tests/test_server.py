"""The server: what it answers, and that whatever comes it answers a decision or a 4xx."""

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
import schemathesis
from bundles import table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from csa_games.errors import InputError
from csa_games.guard import REASONS
from csa_games.guard.adapters.webhooks import CONTRACTS, SAY
from csa_games.guard.deployment import Deployment
from csa_games.server import Limits, app
from csa_games.server.metrics import Histogram, sample

SECRET = b"a secret of the tests"
LITELLM, REQUEST, RESPONSE, PORTKEY = CONTRACTS
TURNS = [
    {"ask": "plain", "signal": "flag", "response": "clarify"},
    {"ask": "plain", "signal": "clear"},
]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("served") / "crisis"
    table("crisis_guidance").save(place)
    return place


@pytest.fixture(scope="module")
def deployment(folder):
    return Deployment(folder, secret=SECRET)


@pytest.fixture(scope="module")
def client(deployment):
    return TestClient(app(deployment, playground=True), raise_server_exceptions=False)


def decide(client, **given):
    return client.post("/v1/decide", json={"conversation": "c1", **given})


# Decisions.


def test_a_decision_is_the_one_of_the_deployment(client, deployment):
    ours = deployment.decide(TURNS, "c1").as_dict()
    answer = decide(client, history=TURNS)
    assert answer.status_code == 200
    theirs = answer.json()
    for one in (ours, theirs):
        del one["id"], one["latency_ns"]
    assert theirs == ours
    assert theirs["enforced"] == theirs["decision"]["action"]


def test_observations_are_followed(client, deployment):
    seen = [{"ask": turn["ask"], "signal": turn["signal"]} for turn in TURNS]
    answer = decide(client, observations=seen).json()
    assert answer["turn"] == 2
    assert answer["decision"]["action"] == deployment.follow(seen, "c1").decision.action


def test_a_call_may_have_a_mode_of_its_own(client):
    verdict = decide(client, history=TURNS).json()["decision"]
    shadow = decide(client, history=TURNS, mode="shadow").json()
    assert (shadow["mode"], shadow["enforced"], shadow["mechanism"]) == ("shadow", "pass", "pass")
    assert shadow["decision"] == verdict
    assert decide(client, history=TURNS, mode=None).json()["mode"] == "enforce"
    assert decide(client, history=TURNS, mode="off").json()["decision"]["reason"] == "DISABLED"


@pytest.mark.parametrize("history", [[], [7], [["plain"]], [{"ask": 1}, {}], [[[]]]])
def test_what_a_history_holds_is_the_guards_business(client, history):
    ruling = decide(client, history=history).json()
    assert ruling["decision"]["reason"] in REASONS


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"history": [NaN], "conversation": "c"}', "NaN is no number"),
        (b'{"history": [-Infinity], "conversation": "c"}', "-Infinity is no number"),
        (b'{"history": [' + b"1" * 5000 + b'], "conversation": "c"}', "not JSON"),
        (b'{"history": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 40_000, "nested too deeply"),
        (b"[]", "found list, expected an object"),
        (b'{"conversation": "c"}', "history or observations, one of them"),
        (b'{"history": [], "observations": [], "conversation": "c"}', "one of them"),
        (b'{"history": []}', "conversation: expected a text"),
        (b'{"history": [], "conversation": ""}', "conversation: expected a text"),
        (b'{"history": [], "conversation": 7}', "conversation: expected a text"),
        (b'{"history": {}, "conversation": "c"}', "history: found dict, expected a list"),
        (b'{"history": [], "conversation": "c", "x": 1}', "found 'x'"),
        (b'{"history": [], "conversation": "c", "mode": "x"}', "mode: expected one of off"),
        (b'{"history": [], "conversation": "c", "mode": []}', "mode: expected one of off"),
    ],
)
def test_what_is_no_call_is_refused_in_a_sentence(client, body, sentence):
    answer = client.post("/v1/decide", content=body, headers=JSON)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"][0]


def test_surrogates_and_numbers_too_large_get_a_decision(client):
    body = rb'{"history": [{"ask": "\ud800", "signal": {"reader": "x", "score": 1e999}}], '
    body += rb'"conversation": "\udfff"}'
    answer = client.post("/v1/decide", content=body, headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["decision"]["reason"] in {"BACKOFF", "DEFAULT"}


def test_bodies_have_a_size_and_a_type(folder):
    client = TestClient(app(Deployment(folder), limits=Limits(body=100)))
    assert decide(client, history=[], conversation="c" * 100).status_code == 413

    def in_pieces():
        for _ in range(50):
            yield b"[" * 10

    answer = client.post("/v1/decide", content=in_pieces(), headers=JSON)
    assert answer.status_code == 413
    assert answer.json() == {"error": ["the body is larger than 100 bytes"]}
    assert client.post("/v1/decide", content=b"{}").status_code == 415
    plain = client.post("/v1/decide", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    spelled = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/decide", content=b"{}", headers=spelled).status_code == 400


def test_other_paths_and_methods(client):
    answer = client.get("/v1/decide")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.get("/nothing").status_code == 404
    assert client.post("/healthz").status_code == 405
    assert client.get("/nothing").json() == {"error": ["/nothing: Not Found"]}
    assert client.get("/docs").status_code == 404  # its scripts would come from elsewhere


FIELDS = (
    *("history", "observations", "conversation", "mode", "ask", "signal", "response"),
    *("reader", "score", "label", "probabilities", "refusal", "body", "messages"),
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            part,
            max_size=4,
        )
    ),
    max_leaves=10,
)
SHALLOW = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PATHS = ["/v1/decide", "/playground/decide", *CONTRACTS]


@given(body=st.binary(max_size=200), path=st.sampled_from(PATHS))
@SHALLOW
def test_bytes_of_any_kind_are_refused(client, body, path):
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code in (200, 400)


@given(body=JSON_VALUES, path=st.sampled_from(PATHS))
@SHALLOW
def test_json_of_any_kind_gets_a_decision_or_a_refusal(client, body, path):
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code in (200, 400)
    assert isinstance(answer.json(), dict)


@given(given=JSON_VALUES, what=st.sampled_from(["history", "observations"]))
@SHALLOW
def test_turns_of_any_kind_get_a_decision(client, given, what):
    answer = decide(client, **{what: [given, TURNS[0], given]})
    assert answer.status_code == 200
    assert answer.json()["decision"]["reason"] in REASONS


# Its own description.


@pytest.fixture(scope="module")
def described(deployment):
    # A classifier, so that gateways get other answers than those to a failure, too.
    gate = app(deployment, classify=lambda messages: TURNS[1:] * max(1, len(messages)))
    return schemathesis.openapi.from_asgi("/openapi.json", gate)


CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
DESCRIBED = ["/v1/decide", *CONTRACTS, "/healthz", "/readyz", "/metrics", "/v1/bundle"]


def operations(schema):
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {operation.path: operation for operation in found}


def test_everything_is_described(described):
    assert sorted(operations(described)) == sorted(DESCRIBED)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", DESCRIBED)
def test_the_server_does_what_its_description_says(described, path):
    load_all_checks()
    checks = schemathesis.checks.CHECKS.get_by_names(CHECKS)
    operation = operations(described)[path]

    @given(case=operation.as_strategy())
    @settings(
        max_examples=25 if path in PATHS else 3,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case):
        response = case.call()
        case.validate_response(response, checks=checks)

    conforms()


def test_the_examples_of_the_description_are_answered(client, deployment):
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/decide", *CONTRACTS):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        answer = client.post(path, json=content["example"])
        assert answer.status_code == 200, path


# Gateways.


def classify(messages):
    """Flag what says so; one observation for each message of the user."""
    return [
        {"ask": "plain", "signal": "flag" if "flag" in message["content"] else "clear"}
        for message in messages
        if message["role"] == "user"
    ]


def user(*texts):
    return [{"role": "user", "content": text} for text in texts]


def litellm(*texts, **fields):
    return {
        "input_type": "request",
        "texts": list(texts),
        "structured_messages": user(*texts),
        "request_data": {"user_api_key_hash": "k17"},
        **fields,
    }


def test_a_gateway_gets_what_the_policy_says_of_its_messages(deployment):
    client = TestClient(app(deployment, classify=classify))
    messages = [*user("flag this"), {"role": "assistant", "content": "Why?"}, *user("and now?")]
    body = litellm("flag this", "Why?", "and now?", structured_messages=messages)
    ruling = deployment.follow(classify(messages), "user_api_key_hash=k17")
    assert ruling.turn == 2
    assert client.post(LITELLM, json=body).json() == CONTRACTS[LITELLM].answer(body, ruling)
    flagged = deployment.follow(classify(user("flag")), "user_api_key_hash=k17")
    assert (flagged.enforced, flagged.mechanism) == ("clarify", "text")
    assert client.post(LITELLM, json=litellm("flag")).json() == {
        "action": "GUARDRAIL_INTERVENED",
        "texts": [f"{SAY}\n\n{flagged.text}"],
    }
    assert client.post(LITELLM, json=litellm("x", input_type="response")).json() == {
        "action": "NONE"
    }
    answered = client.post(
        REQUEST, json={"body": {"messages": user("flag")}}, headers={"x-csa-conversation": "k17"}
    )
    clarified = deployment.follow(classify(user("flag")), "k17")
    assert answered.json() == {
        "action": {"body": clarified.text, "status_code": 403, "reason": clarified.enforced}
    }
    passed = client.post(RESPONSE, json={"body": {"choices": [{"index": 0}]}})
    assert passed.json() == {"action": {}}


def test_a_classifier_may_be_a_coroutine(deployment):
    async def later(messages):
        await asyncio.sleep(0)
        return classify(messages)

    body = litellm("flag")
    one, other = (TestClient(app(deployment, classify=how)) for how in (classify, later))
    assert one.post(LITELLM, json=body).json() == other.post(LITELLM, json=body).json()


def hang(messages):
    time.sleep(0.5)


def fail(messages):
    raise RuntimeError(messages[0]["content"])


@pytest.mark.parametrize(
    "broken",
    [
        *(None, fail, hang, lambda messages: "nonsense", lambda messages: None),
        lambda messages: [{"ask": "plain"}] * 2,
        lambda messages: [3] * 2,  # would be no history, which passes where errors do
    ],
)
def test_without_a_classifier_that_works_the_ladder_answers(folder, broken, caplog):
    deployment = Deployment(folder, secret=SECRET)
    client = TestClient(app(deployment, classify=broken, limits=Limits(seconds=0.05)))
    messages = [*user("private"), {"role": "assistant", "content": "Yes?"}, *user("more")]
    body = {"request": {"json": {"messages": messages}}, "metadata": {"_user": "u"}}
    steered = client.post(PORTKEY, json=body).json()["transformedData"]["request"]["json"]
    guide = deployment.guard.responses["guide"]["text"]  # of the scenario's last rung
    assert steered["messages"][3:] == [{"role": "system", "content": guide}]
    ((action, reason, _, _),) = deployment.counters.decisions
    assert (action, reason) == ("guide", "DEFAULT")
    failed = 0 if broken is None else 1
    assert f"csa_classifier_failures_total {failed}\n" in client.get("/metrics").text
    assert "private" not in caplog.text  # the log names the error, and repeats nothing


@pytest.mark.parametrize(("on_error", "verdict"), [("open", True), ("closed", False)])
def test_what_is_no_history_goes_by_the_rule_for_errors(folder, on_error, verdict):
    deployment = Deployment(folder, secret=SECRET, on_error=on_error)
    client = TestClient(app(deployment, accept_observations=True))
    answer = client.post(PORTKEY, json={"metadata": {"_user": "u", "csa": "{}"}})
    assert answer.json() == {"verdict": verdict}
    ((_, reason, _, _),) = deployment.counters.decisions
    assert reason == "ERROR"


def test_observations_of_a_gateway_are_taken_only_where_asked_for(deployment):
    seen = [{"ask": "plain", "signal": "clear"}]
    body = litellm("flag", additional_provider_specific_params={"csa": seen})
    wary = TestClient(app(deployment, classify=classify)).post(LITELLM, json=body).json()
    assert wary["texts"][0].startswith(SAY)
    gate = app(deployment, classify=classify, accept_observations=True)
    ruling = deployment.follow(seen, "user_api_key_hash=k17")
    assert TestClient(gate).post(LITELLM, json=body).json() == CONTRACTS[LITELLM].answer(
        body, ruling
    )


def test_who_is_answered_may_be_said_by_another_stamp(deployment, monkeypatch):
    followed = []
    monkeypatch.setattr(
        deployment,
        "follow",
        lambda seen, who: followed.append(who) or Deployment.follow(deployment, seen, who),
    )
    body = litellm("flag", request_data={"user_api_key_hash": "k", "user_api_key_team_id": "t"})
    for identity in ([], ["user_api_key_team_id"], ["no_such_stamp"]):
        gate = app(deployment, classify=classify, identity=identity)
        assert TestClient(gate).post(LITELLM, json=body).status_code == 200
    assert followed == ["user_api_key_hash=k", "user_api_key_team_id=t", ""]


def test_a_header_of_ours_that_comes_twice_is_refused(client):
    answer = client.post(
        REQUEST,
        json={"body": {"messages": []}},
        headers=[("x-csa-conversation", "mine"), ("X-CSA-Conversation", "theirs")],
    )
    assert answer.status_code == 400


# Limits.


def call(gate, body=b"{}", path="/v1/decide", more=False, never=False):
    """Return status and headers of a call made without a client in between."""
    sent = []

    async def receive():
        if never:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"content-type", b"application/json")],
    }

    async def run():
        await gate(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])

    return run()


def test_a_body_that_does_not_come_in_is_given_up(deployment):
    gate = app(deployment, limits=Limits(seconds=0.05))
    status, headers = asyncio.run(call(gate, never=True))
    assert (status, headers[b"connection"]) == (408, b"close")


def test_more_than_so_many_calls_at_once_are_to_come_again(deployment):
    async def all_at_once():
        arrived, free = asyncio.Event(), asyncio.Event()

        async def slow(messages):
            arrived.set()
            await free.wait()
            return []

        gate = app(deployment, classify=slow, limits=Limits(concurrent=1, seconds=30.0))
        body = json.dumps(litellm("hello")).encode()
        first = asyncio.create_task(call(gate, body, LITELLM))
        await arrived.wait()
        second = await call(gate, body, LITELLM)
        assert gate.in_flight == 1
        free.set()
        return await first, second, gate.in_flight

    (first, _), (second, headers), left = asyncio.run(all_at_once())
    assert (first, second, left) == (200, 503, 0)
    assert headers[b"retry-after"] == b"1"


def test_a_fault_of_ours_is_a_500_that_tells_nothing(deployment, monkeypatch, caplog):
    def broken(*given):
        raise RuntimeError("a secret")

    monkeypatch.setattr(deployment, "decide", broken)
    answer = decide(TestClient(app(deployment)), history=TURNS)
    assert answer.status_code == 500
    assert answer.json() == {"error": ["something went wrong in the server"]}
    assert "a secret" not in caplog.text


def test_a_token_is_asked_for_everywhere_but_by_health(folder):
    client = TestClient(app(Deployment(folder), token="a-token"))
    assert decide(client, history=TURNS).status_code == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    wrong = client.get("/metrics", headers={"authorization": "Bearer a-toke"})
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    client.headers["authorization"] = "Bearer a-token"
    assert decide(client, history=TURNS).status_code == 200
    assert client.get("/openapi.json").json()["security"] == [{"token": []}]
    with pytest.raises(InputError, match="playground: found a token as well"):
        app(Deployment(folder), token="t", playground=True)


# Operations.


def test_health_and_readiness(folder):
    gate = app(Deployment(folder))
    client = TestClient(gate)
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    gate.draining = True
    drained = client.get("/readyz")
    assert (drained.status_code, drained.json()["why"]) == (503, "the process is about to end")
    answer = decide(client, history=TURNS)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert client.get("/healthz").headers["connection"] == "close"


def test_without_a_bundle_the_server_answers_but_is_not_ready(tmp_path):
    emergency = {"action": "refuse", "mechanism": "block", "text": ""}
    client = TestClient(app(Deployment(tmp_path / "none", emergency=emergency), playground=True))
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "no bundle is in service" in ready.json()["why"]
    assert ready.json()["revision"] is None
    assert decide(client, history=TURNS).json()["enforced"] == "refuse"
    assert client.get("/v1/bundle").status_code == 503
    assert client.post("/playground/decide", json={}).status_code == 400
    assert "csa_reload_failures_total 1\n" in client.get("/metrics").text


def test_what_is_in_service_is_told(client, deployment):
    told = client.get("/v1/bundle").json()
    assert told["revision"] == deployment.guard.revision
    assert (told["name"], told["turns"], told["keyed"]) == ("crisis_guidance", 2, True)
    assert {"name": "leave", "ends": True} in told["asks"]
    refer = next(each for each in told["responses"] if each["name"] == "refer")
    assert (refer["ends"], refer["mechanism"]) == (True, "route")
    assert [arm["arm"] for arm in told["arms"]] == ["stable"]


LINE = re.compile(
    r'[a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,(?=[a-z]))?)+\})? '
    r"(?:[0-9.e+-]+)"
)


def read_metrics(text):
    """Return samples by name with labels, after checking the format line by line."""
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found
            found[name] = float(value)
            family = re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0])
            assert family in kinds or name.partition("{")[0] in kinds
    return found


def test_everything_is_counted(folder):
    deployment = Deployment(folder, secret=SECRET, canary=(folder, 0.5))
    client = TestClient(app(deployment, playground=True))
    for k in range(40):
        decide(client, history=TURNS, conversation=f"c{k}")
    decide(client, history=[])
    client.post("/v1/decide", content=b"[", headers=JSON)
    client.get("/no/such/path")
    client.post("/playground/decide", json={"history": TURNS, "conversation": "c"})
    client.get("/healthz")
    found = read_metrics(client.get("/metrics").text)
    decisions = {name: n for name, n in found.items() if name.startswith("csa_decisions_total{")}
    assert sum(decisions.values()) == 41  # the playground is none
    for arm in ("stable", "canary"):
        assert 10 < sum(n for name, n in decisions.items() if f'arm="{arm}"' in name) < 31
    assert sum(n for name, n in decisions.items() if 'reason="ERROR"' in name) == 1
    assert found["csa_decide_seconds_count"] == 41
    buckets = [n for name, n in found.items() if name.startswith("csa_decide_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 41
    assert 0 < found["csa_decide_seconds_sum"] < 41
    assert found['csa_http_requests_total{path="/v1/decide",status="400"}'] == 1
    assert found['csa_http_requests_total{path="other",status="404"}'] == 1
    assert found['csa_http_requests_total{path="/healthz",status="200"}'] == 1
    assert found["csa_activations_total"] == 2
    assert found["csa_requests_in_flight"] == found["csa_draining"] == 0
    info = next(name for name in found if name.startswith("csa_bundle_info"))
    assert f'revision="{deployment.guard.revision}"' in info


def test_a_bundle_that_is_refused_is_counted_and_told(tmp_path):
    table("crisis_guidance").save(tmp_path / "b")
    deployment = Deployment(tmp_path / "b", secret=SECRET)
    client = TestClient(app(deployment))
    Path(tmp_path, "b", "CARD.md").write_text("forged")
    deployment.reload()
    assert "csa_reload_failures_total 1\n" in client.get("/metrics").text
    assert "CARD.md" in client.get("/v1/bundle").json()["fault"]
    assert decide(client, history=TURNS).status_code == client.get("/readyz").status_code == 200


def test_labels_are_escaped_and_bins_hold_their_upper_bound():
    assert sample("m", {"a": 'x"\\\n'}, 1) == 'm{a="x\\"\\\\\\n"} 1'
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert list(histogram.lines("h")) == [
        'h_bucket{le="1.0"} 2',
        'h_bucket{le="2.0"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 6.0",
        "h_count 4",
    ]
