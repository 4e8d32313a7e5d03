"""Which call each method and path are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import BadRequest, MethodNotAllowed, NotFound
from wire.paths import Call, Kind, parse

CALLS = [
    ("POST", "/v1/predict", Call(Kind.PREDICT)),
    ("PUT", "/v1/predict", Call(Kind.PREDICT)),
    ("POST", "/invocations", Call(Kind.PREDICT)),
    ("POST", "/v1/predict/lite0", Call(Kind.PREDICT, "lite0")),
    ("PUT", "/v1/predict/lite0/3", Call(Kind.PREDICT, "lite0", "3")),
    ("POST", "/v1/predict?top_k=3", Call(Kind.PREDICT)),
    ("GET", "/v2", Call(Kind.OIP_METADATA)),
    ("GET", "/v2/health/live", Call(Kind.LIVE)),
    ("HEAD", "/v2/health/ready", Call(Kind.READY)),
    ("GET", "/v2/models/lite0", Call(Kind.OIP_MODEL, "lite0")),
    ("GET", "/v2/models/lite0/versions/7", Call(Kind.OIP_MODEL, "lite0", "7")),
    ("GET", "/v2/models/lite0/ready", Call(Kind.OIP_MODEL_READY, "lite0")),
    ("GET", "/v2/models/lite0/versions/v7-b/ready", Call(Kind.OIP_MODEL_READY, "lite0", "v7-b")),
    ("GET", "/v2/models/lite0/config", Call(Kind.OIP_CONFIG, "lite0")),
    ("POST", "/v2/models/lite0/infer", Call(Kind.OIP_INFER, "lite0")),
    ("POST", "/v2/models/res%20net/versions/3/infer", Call(Kind.OIP_INFER, "res net", "3")),
    ("POST", "/v2/models/caf%C3%A9/infer", Call(Kind.OIP_INFER, "café")),
    ("POST", "/v2/models/infer/infer", Call(Kind.OIP_INFER, "infer")),
    ("POST", "/v1/models/resnet:predict", Call(Kind.TFS_PREDICT, "resnet")),
    ("POST", "/V1/Models/ResNet:Predict", Call(Kind.TFS_PREDICT, "ResNet")),
    ("POST", "/v1/models/resnet/versions/12:predict", Call(Kind.TFS_PREDICT, "resnet", "12")),
    ("POST", "/v1/models/resnet/labels/stable:classify", Call(Kind.TFS_CLASSIFY, "resnet", "", "stable")),
    ("GET", "/v1/models/resnet", Call(Kind.TFS_STATUS, "resnet")),
    ("GET", "/v1/models/resnet/versions/12", Call(Kind.TFS_STATUS, "resnet", "12")),
    ("GET", "/v1/models/resnet/metadata", Call(Kind.TFS_METADATA, "resnet")),
    ("GET", "/v1/models/resnet/labels/stable/metadata", Call(Kind.TFS_METADATA, "resnet", "", "stable")),
    ("GET", "/ping", Call(Kind.PING)),
    ("GET", "/healthz", Call(Kind.HEALTHZ)),
    ("GET", "/readyz", Call(Kind.READYZ)),
    ("GET", "/metrics", Call(Kind.METRICS)),
    ("GET", "/monitoring/prometheus/metrics", Call(Kind.METRICS)),
    ("GET", "/", Call(Kind.INDEX)),
]


@pytest.mark.parametrize(("method", "path", "call"), CALLS)
def test_every_call_of_the_contract_is_known(method: str, path: str, call: Call) -> None:
    assert parse(method, path) == call


NOWHERE = [
    "",
    "*",
    "/nothing",
    "/v2/repository/index",  # a node answers these, and no gateway passes them on
    "/v2/repository/models/lite0/load",
    "/v1/predict/",
    "/v1//predict",
    "//v1/predict",
    "/v1/predict/a/b/c",
    "/v1/predict/../x",
    "/v1/predict/..",
    "/v1/predict/%2e%2e",
    "/v1/predict/.",
    "/v1/predict/a%2Fb",
    "/V1/predict",
    "/v2/",
    "/v2/models",
    "/v2/models//infer",
    "/v2/models/res/net/infer",
    "/v2/models/lite0/versions",
    "/v2/models/lite0/versions//infer",
    "/v2/models/lite0/generate",
    "/v2/models/lite0/infer/",
    "/v1/models",
    "/v1/models/:predict",
    "/v1/models/resnet:regress",
    "/v1/models/resnet:explode",
    "/v1/models/resnet/versions/x:predict",
    "/v1/models/resnet/ver\u017fions/1:predict",
    "/v2/models/" + "m" * 257 + "/infer",
    "/v1/models/resnet/versions/" + "1" * 20,
]


@pytest.mark.parametrize("path", NOWHERE)
def test_what_is_not_in_the_contract_is_not_found(path: str) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(NotFound):
            parse(method, path)


@pytest.mark.parametrize("name", ["%zz", "%4", "%", "%ff", "%00", "a%0d%0ab", "%1b[31m", "%E2%80%A8", "a\nb", "a\tb"])
def test_names_with_broken_escapes_or_control_characters_are_malformed(name: str) -> None:
    for path in (f"/v1/predict/{name}", f"/v2/models/{name}/infer", f"/v1/models/{name}:predict"):
        with pytest.raises(BadRequest):
            parse("POST", path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/predict", "POST, PUT"),
        ("DELETE", "/v1/predict/lite0", "POST, PUT"),
        ("PUT", "/v2/models/lite0/infer", "POST"),
        ("POST", "/v2/models/lite0", "GET, HEAD"),
        ("GET", "/v1/models/resnet:predict", "POST"),
        ("POST", "/v1/models/resnet", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
        ("get", "/ping", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_which_are_right(method: str, path: str, allow: str) -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        parse(method, path)
    assert raised.value.headers == {"Allow": allow}


def test_routes_are_bounded_and_only_inference_computes() -> None:
    by_route: dict[str, set[Kind]] = {}
    for kind in Kind:
        by_route.setdefault(Call(kind).route, set()).add(kind)
    assert set(by_route) == {"predict", "infer", "tfs", "metadata", "health", "other"}
    inference = {kind for kind in Kind if Call(kind).inference}
    assert inference == by_route["predict"] | by_route["infer"] | by_route["tfs"]


@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text(max_size=60),
    st.sampled_from(["", "/v2/models/", "/v1/models/", "/v1/predict/"]),
)
def test_any_path_is_a_call_or_a_clear_error(method: str, rest: str, start: str) -> None:
    try:
        call = parse(method, start + rest)
    except (BadRequest, NotFound, MethodNotAllowed):
        return
    for name in (call.model, call.version, call.label):
        assert "/" not in name
        assert name.isprintable()
        assert name not in (".", "..")
