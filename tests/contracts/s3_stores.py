"""Buckets of S3 stores for tests: every test has a prefix of its own in one of them."""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from bytereel.adapters.s3.objects import S3Objects
from bytereel.model import BUCKETS, Location

from localstack.servers import REGION, Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3_STORES = ("moto", "ministack", "ministack-versioned", "seaweedfs")


@dataclass(frozen=True)
class StoreBucket:
    """A bucket, and a client that reaches it."""

    client: "S3Client"
    name: str

    def objects(self, client: "S3Client | None" = None) -> S3Objects:
        """A store with nothing in it: the road's buckets as fresh prefixes of this one."""
        fresh = uuid.uuid4().hex[:8]
        places = {bucket: Location(self.name, f"{fresh}/{bucket}/") for bucket in BUCKETS}
        return S3Objects(client or self.client, places)


def made(client: "S3Client", *, versioned: bool = False) -> StoreBucket:
    """A new bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return StoreBucket(client, name)


def client_of(server: Server, **config: Any) -> "S3Client":
    """A client as `make_client` makes it, but with the server's credentials, and with other limits where given."""
    chosen = {
        "retries": {"mode": "standard", "max_attempts": 6},
        "connect_timeout": 5,
        "read_timeout": 60,
        "max_pool_connections": 16,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": "path"},
    }
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(**(chosen | config)),
    )
