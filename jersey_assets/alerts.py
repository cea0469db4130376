"""Tells people elsewhere that a run has failed: a webhook, off until it is named."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from urllib.parse import urlsplit

WEBHOOK = "JERSEY_ALERT_WEBHOOK"
_TIMEOUT_S = 10.0
_TRIES = 3
_PAUSE_S = 2.0
_MESSAGE_LENGTH = 2000


class AlertError(RuntimeError):
    """An alert that nobody took; the message holds the host, never the URL."""


def post(run_id: str, job: str, message: str) -> bool:
    """Posts what happened to the URL in `JERSEY_ALERT_WEBHOOK`, where there is one.

    The body is JSON with `text`, the sentence that chats show, and `run_id`, `job` and
    `message`. It is tried three times.

    Returns:
        Whether there is a URL to post to.

    Raises:
        AlertError: the URL is no http(s) URL, or nobody took the alert.
    """
    url = os.environ.get(WEBHOOK, "")
    if not url:
        return False
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise AlertError(f"{WEBHOOK} is no http or https URL")
    message = message[:_MESSAGE_LENGTH]
    text = f"{job}: run {run_id[:8]} failed: {message}"
    body = {"text": text, "run_id": run_id, "job": job, "message": message}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for attempt in range(_TRIES):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
                return True
        except (OSError, ValueError) as error:
            reason = str(error)
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE_S)
    raise AlertError(f"{address.hostname} did not take the alert: {reason}")
