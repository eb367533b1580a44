#!/usr/bin/env bash
# The whole pipeline, one stage a line. Every stage resumes or says that there's nothing
# to do, so running this again goes on where it stopped.
#
#   ./scripts/reproduce_full_pipeline.sh [:demo] [--from=STEP] [--vit=FILE]
#       [--mobilenet=FILE] [--pack] [--labels] [--alternatives]
#       [-- --config.field=value ...]
#
# FILE holds pretrained weights: of the global teacher, and of baseline and student.
# --pack packs the images into few large files, which all later stages then read.
# --labels trains the student on the labels alone too, so that the report shows whether
# the teachers helped; the demo always does. --alternatives trains student_finetune_kl and
# student_tail too: the report shows them beside student_finetune, which still ships.
# Species with too few photos to be a class are held out, so that it can be measured what
# the student says of plants that it does not know: they cost no class, and about one
# download in a hundred. -- --config.dataset.hold_out_rare=False goes without them, and
# -- --config.dataset.hold_out_share=0.01 holds out one class in a hundred too.
# STEP is a stage ("split") or a stage of an experiment ("train/teacher_eu_sw").
# What follows "--" is given to every stage, e.g. -- --config.source.uri=mongodb://host/
set -euo pipefail
cd "$(dirname "$0")/.."

# XLA on a CPU allocates its scratch memory anew for every step; in huge pages (glibc 2.35,
# read at a process's start) training is 1.4 to 1.8 times as fast.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1

variant="" from="" pack="" labels="" alternatives="" vit=() mobilenet=() extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    :demo) variant=":demo" labels=yes ;;
    --from=?*) from="${1#--from=}" ;;
    --vit=*) vit=("--config.model.pretrained=${1#*=}") ;;
    --mobilenet=*) mobilenet=("--config.model.pretrained=${1#*=}") ;;
    --pack) pack=yes ;;
    --labels) labels=yes ;;
    --alternatives) alternatives=yes ;;
    --) shift; extra=("$@"); break ;;
    *) echo "error: unknown option '$1'; usage: $0 [:demo] [--from=STEP] [--vit=FILE] [--mobilenet=FILE] [--pack] [--labels] [--alternatives] [-- --config.field=value ...]" >&2; exit 2 ;;
  esac
  shift
done

[ -z "$pack" ] || extra=("--config.input.read_from=pack" ${extra[@]+"${extra[@]}"})
python=.venv/bin/python
[ -x "$python" ] || python=python
started=$([ -n "$from" ] && echo no || echo yes)

step() { # experiment stage [option ...]
  local experiment=$1 stage=$2
  shift 2
  case "$from" in "$stage" | "$stage/$experiment") started=yes ;; esac
  [ "$started" = yes ] || return 0
  echo "=== $stage ($experiment) $*"
  "$python" -m aplantida_jax.main --config="configs/$experiment.py$variant" \
    --config.stage="$stage" "$@" ${extra[@]+"${extra[@]}"}
}

[ -z "$variant" ] || step dataset demo_data
step dataset export_dataset
step dataset download
step dataset audit
step dataset split
[ -z "$pack" ] || step dataset pack
step dataset preview
step baseline baseline ${mobilenet[@]+"${mobilenet[@]}"}

step teacher_global train ${vit[@]+"${vit[@]}"}
step teacher_global evaluate
step teacher_global evaluate --config.region=EU_SW
step teacher_global evaluate --config.region=EU_NORTH,EU_EAST
step teacher_global predict
step teacher_eu_sw train
step teacher_eu_sw evaluate
step teacher_eu_sw predict
step teacher_eu_core train
step teacher_eu_core evaluate
step teacher_eu_core predict
step student_distill combine

step student_distill train ${mobilenet[@]+"${mobilenet[@]}"}
step student_distill evaluate
step student_finetune train
step student_finetune evaluate
step student_finetune calibrate
step student_finetune out_of_distribution
compared="'student_distill', 'student_finetune'"
if [ -n "$alternatives" ]; then
  for student in student_finetune_kl student_tail; do
    step "$student" train
    step "$student" evaluate
    compared="$compared, '$student'"
  done
fi
experiment=student_distill runs="'teacher_global', $compared"
if [ -n "$labels" ]; then
  experiment=student_labels runs="'student_labels', $compared"
  step student_labels train ${mobilenet[@]+"${mobilenet[@]}"}
  step student_labels evaluate
fi
step "$experiment" compare --config.compare.runs="($runs)"

step export_tfjs export_model
step export_tfjs validate_export
step export_tfjs pwa
step report report

if [ "$started" = no ]; then
  echo "error: --from=$from is no step; the steps are listed in $0" >&2
  exit 2
fi
