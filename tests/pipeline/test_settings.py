"""Settings: read once, checked at once, named when they are wrong."""

import json
from pathlib import Path

import pytest
from bytereel.model import Location
from bytereel.settings import load_settings
from bytereel_codec.errors import Permanent


def test_a_chosen_value_goes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BYTEREEL_WORKERS", "3")
    monkeypatch.setenv("BYTEREEL_LEASE_SECONDS", "12")
    found = load_settings(workers=5, lease_seconds=None)
    assert (found.workers, found.lease_seconds, found.deliveries_max) == (5, 12.0, 5)
    assert found.heartbeat_seconds == 4.0


def test_sizes_may_carry_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEREEL_MEMORY_BUDGET_BYTES", "64MiB")
    assert load_settings().memory_budget_bytes == 64 * 1024 * 1024


def test_home_is_where_the_platform_keeps_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load_settings().home == tmp_path / "bytereel"


def test_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_settings(home="~/a").home == load_settings(home="a").home == tmp_path / "a"
    with pytest.raises(Permanent, match="BYTEREEL_HOME: '~no-such-user' names nobody's"):
        load_settings(home="~no-such-user")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BYTEREEL_WORKERS", "0"),
        ("BYTEREEL_WORKERS", "many"),
        ("BYTEREEL_MEMORY_BUDGET_BYTES", "12 parsecs"),
        ("BYTEREEL_POLL_SECONDS", "-1"),
        ("BYTEREEL_LOG_LEVEL", "loud"),
        ("BYTEREEL_SEALED_NAMES", "nobody"),
        ("BYTEREEL_LEASE_SECONDS", "nan"),
    ],
)
def test_a_wrong_value_fails_at_once_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Permanent, match=name) as caught:
        load_settings()
    assert caught.value.error_id == "settings.invalid"


def test_an_unknown_setting_and_two_secrets_are_refused() -> None:
    with pytest.raises(Permanent, match="BYTEREEL_COLOUR"):
        load_settings(colour="red")
    with pytest.raises(Permanent) as caught:
        load_settings(passphrase_file="a", key_file="b")
    assert caught.value.message == "BYTEREEL_PASSPHRASE_FILE and BYTEREEL_KEY_FILE exclude each other"


def test_settings_survive_the_way_to_a_worker_process() -> None:
    settings = load_settings(home="somewhere", memory_budget_bytes="64MiB", key_file="key")
    assert load_settings(**json.loads(settings.model_dump_json())) == settings


BUCKETS = {"inbox_bucket": "a-in", "work_bucket": "a-work", "outbox_bucket": "a-out"}


def test_buckets_name_places_and_may_share_a_bucket_under_prefixes_that_lie_apart() -> None:
    assert load_settings().locations == {}
    found = load_settings(inbox_bucket="shared/in/", work_bucket="shared/work/", outbox_bucket="own-bucket").locations
    assert found == {
        "inbox": Location("shared", "in/"),
        "work": Location("shared", "work/"),
        "outbox": Location("own-bucket"),
    }


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"inbox_bucket": "a-in"}, "go together"),
        ({**BUCKETS, "table": "jobs"}, "BYTEREEL_TABLE and BYTEREEL_QUEUES go together"),
        ({"table": "jobs", "queues": "q"}, "BYTEREEL_TABLE needs"),
        ({"listen": True}, "BYTEREEL_LISTEN needs"),
        ({**BUCKETS, "outbox_bucket": "a-in"}, "must lie apart"),
        ({**BUCKETS, "outbox_bucket": "a-in/reels/"}, "must lie apart"),
        ({**BUCKETS, "inbox_bucket": "a-out/in/", "outbox_bucket": "a-out/in/reels/"}, "must lie apart"),
        ({**BUCKETS, "inbox_bucket": "Capital"}, "BYTEREEL_INBOX_BUCKET"),
        ({"endpoint_url": "localhost:4566"}, "BYTEREEL_ENDPOINT_URL"),
    ],
)
def test_a_cloud_that_is_not_whole_or_could_feed_on_itself_is_refused(chosen: dict[str, str], said: str) -> None:
    with pytest.raises(Permanent, match=said) as caught:
        load_settings(**chosen)
    assert caught.value.error_id == "settings.invalid"


def test_a_chosen_home_leaves_the_cloud_of_the_environment_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**BUCKETS, "table": "jobs", "queues": "q", "endpoint_url": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(f"BYTEREEL_{name.upper()}", value)
    assert load_settings().table == "jobs"
    assert load_settings().locations
    found = load_settings(home=tmp_path)
    assert (found.locations, found.table, found.endpoint_url) == ({}, None, None)


def test_a_cloud_survives_the_way_to_a_worker_process() -> None:
    found = load_settings(**BUCKETS, table="jobs", queues="q")
    assert load_settings(**json.loads(found.model_dump_json())) == found
