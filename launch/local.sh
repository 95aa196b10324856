#!/usr/bin/env bash
# Start N processes of medssl_jax.main on this machine, joined over 127.0.0.1:
#
#   launch/local.sh 2 --config=configs/byol3d.py --workdir=runs/two
#
# Process i uses GPU i, if there are any. TERM and INT go on to all processes, which save
# and stop together. Exits with the first failure, and ends the others then: they would
# wait for it forever.
set -uo pipefail

if ! [[ ${1-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: $0 N --config=FILE [flags of medssl_jax.main]" >&2
  exit 2
fi
count=$1
shift

free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
JAX_COORDINATOR_ADDRESS=127.0.0.1:$(python -c "$free_port") || exit
export JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES=$count
export JAX_COORDINATOR_BIND_ADDRESS=$JAX_COORDINATOR_ADDRESS # and not every interface

pids=()
stopping=
# shellcheck disable=SC2317  # the traps call it
forward() {
  stopping=1
  kill "-$1" "${pids[@]}" 2>/dev/null
}
trap 'forward TERM' TERM
trap 'forward INT' INT

for ((i = 0; i < count; i++)); do
  JAX_PROCESS_ID=$i JAX_LOCAL_DEVICE_IDS=$i python -m medssl_jax.main "$@" &
  pids+=($!)
done

status=0
for ((i = 0; i < count; i++)); do
  wait -n || status=$?
  if [[ $stopping ]] || ((status)); then break; fi
done
if [[ $stopping ]]; then
  status=0 # `wait -n` returned for the signal, not for a process
  for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || status=$?; done
  done
elif ((status)); then
  kill -KILL "${pids[@]}" 2>/dev/null
  wait
fi
exit "$status"
