"""Reads the core stack's template: as it is, and as CloudFormation would see it with its parameters put in."""

import fnmatch
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

INFRA = Path(__file__).parents[2] / "infra"
TEMPLATE = INFRA / "core.yaml"
ACCOUNT, REGION = "111122223333", "eu-central-1"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::StackName": "bytereel"}
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/bytereel:1"

Properties = Mapping[str, Any]


def load() -> dict[str, Any]:
    """The template with its short forms written out."""
    template: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    return template


class Deployed:
    """The template as CloudFormation would see it: parameters, conditions and names put in."""

    def __init__(self, **chosen: str) -> None:
        self._template = load()
        declared = self._template["Parameters"]
        defaults = {name: parameter["Default"] for name, parameter in declared.items() if "Default" in parameter}
        self._values = {**PSEUDO, **defaults, "FunctionsImage": IMAGE, **chosen}
        self.types = {name: resource["Type"] for name, resource in self._template["Resources"].items()}

    def __getitem__(self, name: str) -> Properties:
        """The properties of a resource."""
        properties: Properties = self._resolved(self._template["Resources"][name]["Properties"])
        return properties

    def of_type(self, kind: str) -> Mapping[str, Properties]:
        return {name: self[name] for name, found in self.types.items() if found == kind}

    def attributes_of(self, name: str) -> Mapping[str, Any]:
        """A resource without its properties: policies of deletion, and what it waits for."""
        return {key: value for key, value in self._template["Resources"][name].items() if key != "Properties"}

    def statements_of(self, role: str) -> list[Properties]:
        """Everything that a role allows."""
        attached = [self[policy["Ref"]]["PolicyDocument"] for policy in self._raw_policies_of(role)]
        inline = [policy["PolicyDocument"] for policy in self[role]["Policies"]]
        return [statement for document in [*attached, *inline] for statement in document["Statement"]]

    def allows(self, role: str, action: str, resource: str) -> bool:
        """Whether a role may do something to a resource."""
        return any(
            fits(each["Action"], action) and fits(each["Resource"], resource)
            for each in self.statements_of(role)
            if each["Effect"] == "Allow"
        )

    def arn_of(self, name: str) -> str:
        kind, properties = self.types[name], self[name]
        match kind:
            case "AWS::S3::Bucket":
                return f"arn:aws:s3:::{properties['BucketName']}"
            case "AWS::SQS::Queue":
                return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{properties['QueueName']}"
            case "AWS::DynamoDB::Table":
                return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{properties['TableName']}"
            case "AWS::Logs::LogGroup":
                return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{properties['LogGroupName']}:*"
            case _:
                return f"arn:aws:{kind}:{name}"

    def _raw_policies_of(self, role: str) -> list[Mapping[str, str]]:
        found: list[Mapping[str, str]] = self._template["Resources"][role]["Properties"]["ManagedPolicyArns"]
        return found

    def _resolved(self, value: Any) -> Any:
        match value:
            case {"Ref": "AWS::NoValue"}:
                return None
            case {"Ref": name}:
                return self._values.get(name, f"Ref:{name}")
            case {"Fn::GetAtt": [name, "Arn"]}:
                return self.arn_of(name)
            case {"Fn::GetAtt": [name, "QueueName"]}:
                return self[name]["QueueName"]
            case {"Fn::Sub": text}:
                return re.sub(r"\$\{([\w:]+)(\.Arn)?\}", self._substituted, text)
            case {"Fn::If": [name, then, otherwise]}:
                return self._resolved(then if self._holds(self._template["Conditions"][name]) else otherwise)
            case dict():
                found = {key: self._resolved(each) for key, each in value.items()}
                return {key: each for key, each in found.items() if each is not None}
            case list():
                return [each for each in map(self._resolved, value) if each is not None]
            case _:
                return value

    def _substituted(self, found: re.Match[str]) -> str:
        name, attribute = found.groups()
        return self.arn_of(name) if attribute else str(self._values[name])

    def _holds(self, condition: Any) -> bool:
        match condition:
            case {"Fn::Not": [inner]}:
                return not self._holds(inner)
            case {"Fn::Equals": [one, other]}:
                return bool(str(self._resolved(one)) == str(self._resolved(other)))
        raise AssertionError(condition)


def fits(patterns: str | list[str], text: str) -> bool:
    """Whether one of a policy's patterns fits."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(text.lower(), pattern.lower()) for pattern in listed)
