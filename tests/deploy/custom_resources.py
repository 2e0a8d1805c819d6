"""The parts of custom resources that deploy/ uses, written from their public descriptions.

https://prometheus-operator.dev/docs/api-reference/api/ and
https://kserve.github.io/website/docs/reference/crd-api; what a container, a volume or a selector
looks like is Kubernetes' own, and the tests hold those parts against its schemas.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_STRING: Schema = {"type": "string", "minLength": 1}
_WORDS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}, "minItems": 1}
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_METADATA = _object(
    {"name": _STRING, "namespace": _STRING, "labels": _WORDS, "annotations": _WORDS}, "name"
)
# The v2 protocol over HTTP and over gRPC, and their predecessors.
_PROTOCOL: Schema = {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    return _object(
        {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": _METADATA,
            "spec": spec,
        },
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    )


SCHEMAS: dict[str, Schema] = {
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        _object(
            {
                "selector": _object({"matchLabels": _WORDS}),
                "namespaceSelector": _object(
                    {"any": {"type": "boolean"}, "matchNames": {"type": "array", "items": _STRING}}
                ),
                "podMetricsEndpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object(
                        {
                            "port": _STRING,
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": _DURATION,
                            "scrapeTimeout": _DURATION,
                        },
                        "port",
                    ),
                },
            },
            "selector",
            "podMetricsEndpoints",
        ),
    ),
    "ServingRuntime": _resource(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        _object(
            {
                "annotations": _WORDS,
                "supportedModelFormats": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object(
                        {
                            "name": _STRING,
                            "version": _STRING,
                            "autoSelect": {"type": "boolean"},
                            "priority": {"type": "integer", "minimum": 1},
                        },
                        "name",
                    ),
                },
                "protocolVersions": {"type": "array", "items": _PROTOCOL},
                "containers": _OBJECTS,
                "volumes": _OBJECTS,
            },
            "containers",
        ),
    ),
    "InferenceService": _resource(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        _object(
            {
                "predictor": _object(
                    {
                        "minReplicas": _COUNT,
                        "maxReplicas": _COUNT,
                        "timeout": _COUNT,
                        "model": _object(
                            {
                                "modelFormat": _object(
                                    {"name": _STRING, "version": _STRING}, "name"
                                ),
                                "runtime": _STRING,
                                "protocolVersion": _PROTOCOL,
                                "storageUri": {
                                    "type": "string",
                                    "pattern": "^(pvc|s3|gs|https|hdfs)://[^/]+",
                                },
                                "ports": _OBJECTS,
                            },
                            "modelFormat",
                        ),
                    },
                    "model",
                )
            },
            "predictor",
        ),
    ),
}
