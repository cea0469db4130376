"""Tells people elsewhere that a run has failed: a webhook, off until it is named."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

WEBHOOK = "JERSEY_ALERT_WEBHOOK"
# Dagster tells of five runs a tick, and gives a tick a minute.
_TIMEOUT_S = 5.0
_MESSAGE_LENGTH = 2000


class AlertError(RuntimeError):
    """An alert that nobody took; the message holds the host, never the URL."""


def post(run_id: str, job: str, message: str) -> bool:
    """Posts what happened to the URL in `JERSEY_ALERT_WEBHOOK`, where there is one.

    The body is JSON with `text`, the sentence that chats show, and `run_id`, `job` and
    `message`. It is posted once: a tick that took longer would tell all again.

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
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        reason = f"status {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        # The text of some of them holds the URL.
        reason = type(error).__name__
    raise AlertError(f"{address.hostname} did not take the alert: {reason}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a refusal: it would turn the POST into a GET."""

    def redirect_request(self, *_: Any) -> None:
        return None
