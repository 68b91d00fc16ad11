#!/bin/sh
# Eight processes on one machine, one for each GPU (or core). Started again after a kill it goes on
# where the run stopped, also with another number of processes: PROCESSES=4 sh one-machine.sh
set -eu
run=${RUN:-runs/pretrain-together}

if [ -e "$run/config.json" ]; then
    set -- resume "$run"
else
    set -- pretrain data=corpus/ model=base tokens_per_step=262144 out="$run"
fi
exec torchrun --standalone --nproc-per-node "${PROCESSES:-8}" -m fledge "$@"
