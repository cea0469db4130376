#!/bin/sh
# Starts one of Dagster's processes; each becomes PID 1 and gets the signals.
set -eu
case "${1:-webserver}" in
  webserver)
    # Whoever reaches this port can start runs: publish it on loopback only.
    exec dagster-webserver -w workspace.yaml -h 0.0.0.0 -p 3000
    ;;
  daemon)
    exec dagster-daemon run -w workspace.yaml
    ;;
  code-server)
    exec dagster code-server start -m jersey_assets.definitions -h 0.0.0.0 -p 4000
    ;;
  *)
    echo "usage: webserver | daemon | code-server, not '$1'" >&2
    exit 2
    ;;
esac
