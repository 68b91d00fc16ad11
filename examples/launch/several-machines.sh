#!/bin/sh
# The same on several machines: start it on each of them, with the address of one that all can reach.
#   HEAD=10.0.0.1 MACHINES=2 sh several-machines.sh
# The run's folder lies on a disk that the first machine writes; what others need of it they are told.
set -eu
run=${RUN:-/shared/runs/pretrain-together}

if [ -e "$run/config.json" ]; then
    set -- resume "$run"
else
    set -- pretrain data=/shared/corpus/ model=base tokens_per_step=1048576 out="$run"
fi
exec torchrun --nnodes "${MACHINES:-2}" --nproc-per-node "${PROCESSES:-8}" \
    --rdzv-backend c10d --rdzv-endpoint "${HEAD:?the address of one machine}:29500" \
    --rdzv-id "${RUN_ID:-fledge}" --max-restarts 0 -m fledge "$@"
