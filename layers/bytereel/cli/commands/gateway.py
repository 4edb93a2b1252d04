"""The command `gateway`: webhooks of a MinIO-compatible server in, intake messages out."""

import click

from bytereel.errors import Permanent

ADDRESS = "127.0.0.1:9300"


@click.command()
@click.option("--listen", default=ADDRESS, metavar="HOST:PORT", show_default=True, help="Where to listen.")
def gateway(*, listen: str) -> None:
    """Take the webhooks of a MinIO-compatible server, until interrupted.

    They go to POST /events. With BYTEREEL_GATEWAY_TOKEN_FILE they must bring the token in that file; without, the
    gateway listens on this machine alone.
    """
    from bytereel.logs import configure_logging
    from bytereel.settings import load_settings
    from bytereel.wiring import open_home

    settings = load_settings()
    if not settings.locations:
        raise Permanent(
            "gateway.no_store",
            "there are no events to take: the inbox is a folder of this machine, which `bytereel up` watches",
            hint="set BYTEREEL_INBOX_BUCKET, BYTEREEL_WORK_BUCKET and BYTEREEL_OUTBOX_BUCKET",
        )
    try:
        from bytereel.service.server import serve
    except ImportError as error:
        raise Permanent(
            "cloud.not_installed",
            f"{error.name} is not installed: the gateway needs it",
            hint="pip install 'bytereel[cloud]'",
        ) from error
    configure_logging(settings.log_level)
    serve(open_home(settings).ports, listen, settings.gateway_token_file)
