#!/usr/bin/env bash
# A Ray cluster of two nodes on loopback, one CPU each: ray.sh start DIR | ray.sh stop DIR.
# The head listens at 127.0.0.1:16379: hydra.launcher.address=127.0.0.1:16379. Ray comes from RAY (ray).
set -euo pipefail
dir=$(realpath -m "$2")
ray=${RAY:-ray}
export RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1
memory=80000000 # bytes of object store a node: jobs send and return next to nothing

case $1 in
start)
    mkdir -p "$dir"
    # Ray keeps sockets in its folder, and a socket's path holds at most 107 characters.
    short=$(mktemp -d /tmp/ray-XXXXXX)
    echo "$short" > "$dir/ray.dir"
    "$ray" start --head --node-ip-address=127.0.0.1 --port=16379 --num-cpus=1 --temp-dir="$short" \
        --object-store-memory=$memory --include-dashboard=false --disable-usage-stats \
        --min-worker-port=21000 --max-worker-port=21499
    "$ray" start --address=127.0.0.1:16379 --node-ip-address=127.0.0.1 --num-cpus=1 \
        --object-store-memory=$memory --disable-usage-stats --min-worker-port=21500 --max-worker-port=21999
    ;;
stop)
    short=$(cat "$dir/ray.dir")
    # `ray stop` would end every Ray on this machine; these are ours by their folder.
    if pids=$(pgrep -f "$short"); then
        kill $pids 2> /dev/null || true
        sleep 2
        kill -KILL $pids 2> /dev/null || true
    fi
    rm -rf "$short"
    ;;
*)
    echo "usage: $0 start|stop DIR" >&2
    exit 2
    ;;
esac
