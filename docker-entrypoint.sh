#!/bin/sh
# Starts one of Dagster's processes; each becomes PID 1 and gets the signals.
set -eu
case "${1:-webserver}" in
  webserver)
    # Whoever reaches this port can start runs: it wants JERSEY_UI_PASSWORD.
    exec python -m jersey_assets.webserver --host 0.0.0.0 --port 3000
    ;;
  daemon)
    # It replaces its code server every minute; each old one would say so.
    exec dagster-daemon run -w workspace.yaml --log-level warning \
      --code-server-log-level error
    ;;
  *)
    echo "usage: webserver | daemon, not '$1'" >&2
    exit 2
    ;;
esac
