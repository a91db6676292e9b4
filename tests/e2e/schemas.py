# SPDX-License-Identifier: Apache-2.0
"""Strict validation of Kubernetes objects without a cluster: unknown fields and wrong types, by the schemas of scripts/fetch-schemas."""

import functools

import jsonschema
import yaml

from lab.command import BUILD

FOLDER = BUILD / "schemas"
OPERATOR = "monitoring.coreos.com/v1"
SCALARS = {"string": {"type": "string"}, "numeric": {"type": "number"}, "boolean": {"type": "boolean"}, "untyped": {"type": ["string", "number", "boolean"]}}
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def versions():
    """Of Kubernetes, oldest first; empty when nothing was fetched."""
    found = [path.stem.removeprefix("kubernetes-") for path in FOLDER.glob("kubernetes-*.yaml")]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def load(name):
    with open(FOLDER / f"{name}.yaml", encoding="utf-8") as file:
        return yaml.load(file, Loader=yaml.CSafeLoader)


def translate(node):
    """A type as Kubernetes' server-side apply knows it, as JSON schema. One that may be a scalar, a list or a map may be anything."""
    if "namedType" in node:
        return {"$ref": f"#/definitions/{node['namedType']}"}
    shapes = {"scalar", "list", "map"} & node.keys()
    if len(shapes) != 1:
        return {}
    if "scalar" in node:
        return SCALARS[node["scalar"]]
    if "list" in node:
        return {"type": "array", "items": translate(node["list"]["elementType"])}
    fields, others = node["map"].get("fields"), node["map"].get("elementType")
    closed = translate(others) if others else False
    return {"type": "object", "properties": {field["name"]: translate(field["type"]) for field in fields or []}, "additionalProperties": closed}


@functools.cache
def definitions(version):
    return {node["name"]: translate(node) for node in load(f"kubernetes-{version}")["types"]}


def closed(node):
    """A CRD's schema that admits no field that it does not name, where the API server would drop it."""
    node = dict(node)
    if "properties" in node:
        node["properties"] = {name: closed(below) for name, below in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            node["additionalProperties"] = False
    for below in ("items", "additionalProperties"):
        if isinstance(node.get(below), dict):
            node[below] = closed(node[below])
    return node


@functools.cache
def custom(kind):
    version, = (each for each in load(f"{kind.lower()}s")["spec"]["versions"] if each["name"] == "v1")
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"$ref": f"#/definitions/{METADATA}"}
    return schema


@functools.cache
def validator(api, kind, version):
    if api == OPERATOR:
        schema = {"definitions": definitions(version), "allOf": [custom(kind)]}
    else:
        group, _, name = api.rpartition("/")
        full = f"io.k8s.api.{group.split('.')[0] or 'core'}.{name}.{kind}"
        schema = {"definitions": definitions(version), "$ref": f"#/definitions/{full}"}
    return jsonschema.Draft7Validator(schema)


def problems(item, version):
    """What Kubernetes of this version would not take of the object, one line each."""
    where = f"{item['kind']}/{item['metadata']['name']}"
    return [f"{where}: {'.'.join(map(str, found.absolute_path))}: {found.message}"
            for found in validator(item["apiVersion"], item["kind"], version).iter_errors(item)]
