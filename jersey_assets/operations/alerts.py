"""Alerts: posts failed runs to the webhook in JERSEY_ALERT_WEBHOOK, if it is set."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

WEBHOOK = "JERSEY_ALERT_WEBHOOK"
# Dagster reports five runs per tick, and gives a tick a minute.
_TIMEOUT_S = 5.0
_MESSAGE_LENGTH = 2000


class AlertError(RuntimeError):
    """An alert that was not accepted; the message names the host, never the URL."""


def post(run_id: str, job: str, message: str) -> bool:
    """Posts a failure to the URL in `JERSEY_ALERT_WEBHOOK`, if it is set.

    The body is JSON with `text`, the sentence that chats show, and `run_id`, `job` and
    `message`. It is posted once: a tick that took longer would post all of them again.

    Returns:
        Whether there is a URL to post to.

    Raises:
        AlertError: the URL is not an http(s) URL, or the alert was not accepted.
    """
    url = os.environ.get(WEBHOOK, "")
    if not url:
        return False
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise AlertError(f"{WEBHOOK} is not an http or https URL")
    message = message[:_MESSAGE_LENGTH]
    text = f"{job}: run {run_id[:8]} failed: {message}"
    body = {"text": text, "run_id": run_id, "job": job, "message": message}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        reason = f"status {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        # The text of some of these errors contains the URL.
        reason = type(error).__name__
    raise AlertError(f"{address.hostname} did not accept the alert: {reason}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as a refusal: it would turn the POST into a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None
