#!/usr/bin/env bash
# Train on a Cloud TPU pod slice: the same command on all of its hosts.
#
#   launch/tpu_pod.sh NAME ZONE --config=configs/byol3d.py:mrnet \
#     --config.data.root=/mnt/data/MRNet --workdir=/mnt/shared/runs/mrnet
#
# Before the first run, copy this repository to every host and install it there:
#   gcloud compute tpus tpu-vm scp --recurse . NAME:medssl_jax --zone=ZONE --worker=all
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command='cd medssl_jax && pip install -e ".[tpu]"'
# Data and --workdir lie where all hosts see them (Filestore, or Cloud Storage FUSE).
set -euo pipefail

if (($# < 3)); then
  echo "usage: $0 NAME ZONE --config=FILE [flags of medssl_jax.main]" >&2
  exit 2
fi
name=$1
zone=$2
shift 2

# Quoted once more: the remote shells read the arguments again. JAX finds the other
# hosts by the TPU's own metadata.
arguments=$(printf ' %q' "$@")
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd medssl_jax && MEDSSL_CLUSTER=1 python3 -m medssl_jax.main$arguments"
