#!/usr/bin/env bash
# Starts a teacher's training in the background, with a log and a pid file.
#
#   ./scripts/start_training.sh {global|eu_sw|eu_core} [--at-boot] [--config.field=value ...]
#
# Makes the splits if they are missing. Checkpoints that don't fit the configuration are
# moved to workdirs/<experiment>/previous-*, never deleted. With --at-boot the training
# goes on by itself after a loss of power: the same command is entered in your crontab.
set -euo pipefail
cd "$(dirname "$0")/.."

# XLA on a CPU allocates its scratch memory anew for every step; in huge pages (glibc 2.35,
# read at a process's start) training is 1.4 to 1.8 times as fast.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1

case "${1:-}" in
  global | eu_sw | eu_core) teacher=$1 experiment=teacher_$1 ;;
  *) echo "usage: $0 {global|eu_sw|eu_core} [--at-boot] [--config.field=value ...]" >&2; exit 2 ;;
esac
shift
at_boot=no
if [ "${1:-}" = --at-boot ]; then
  at_boot=yes
  shift
fi
python=.venv/bin/python
[ -x "$python" ] || python=python
workdir=workdirs/$experiment log=workdirs/$experiment/train.log pid_file=workdirs/$experiment/train.pid
mkdir -p "$workdir"

# After a reboot the number may be another program's.
pid=$(cat "$pid_file" 2>/dev/null || true)
if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "configs/$experiment.py"; then
  echo "error: $experiment is already training (process $pid); follow it with: tail -f $log" >&2
  exit 1
fi

case "$experiment" in
  teacher_global) splits=data/splits/all ;;
  teacher_eu_sw) splits=data/splits/eu_sw ;;
  teacher_eu_core) splits=data/splits/eu_east_eu_north ;;
esac
if [ ! -f "$splits/manifest.json" ]; then
  echo "splits: $splits is missing, making it"
  "$python" -m aplantida_jax.main --config=configs/dataset.py --config.stage=split "$@"
fi

# A first look in the foreground, so that a mistake is seen here and not in a log.
"$python" -m aplantida_jax.main --config="configs/$experiment.py" --dry_run "$@"

enter_at_boot() { # the same command, tried for ten minutes: a disk or a driver may come late
  local table command=$1
  command -v crontab >/dev/null || { echo "error: --at-boot needs crontab; install cron" >&2; exit 1; }
  if ! table=$(crontab -l 2>&1); then
    # Whatever else is wrong, the table that is there stays.
    [[ $table == *"no crontab"* ]] || { echo "error: crontab -l: $table" >&2; exit 1; }
    table=
  fi
  {
    [ -z "$table" ] || grep -vF "# aplantida_jax $PWD $teacher" <<<"$table" || true
    # cron reads % as the end of the line.
    echo "@reboot for try in 1 2 3 4 5 6 7 8 9 10; do ${command//%/\\%}&& break; sleep 60; done" \
      "# aplantida_jax $PWD $teacher"
  } | crontab -
}

if [ "$at_boot" = yes ]; then
  again=("$PWD/scripts/start_training.sh" "$teacher" "$@")
  # Or a driver that is late means days on the CPU.
  ! nvidia-smi -L >/dev/null 2>&1 || again+=(--device=gpu)
  enter_at_boot "$(printf '%q ' "${again[@]}") >>$(printf '%q' "$PWD/$log") 2>&1 "
fi

nohup "$python" -m aplantida_jax.main --config="configs/$experiment.py" "$@" \
  >>"$log" 2>&1 </dev/null &
echo $! >"$pid_file"
cat <<EOF
$experiment is training, process $(cat "$pid_file").
  follow   tail -f $log
  curves   $python -m tensorboard.main --logdir workdirs
  stop     kill $(cat "$pid_file")      saves, then leaves
  go on    $0 $teacher $*
EOF
[ "$at_boot" = no ] || echo "  at boot  it goes on by itself; crontab -e takes that back"
