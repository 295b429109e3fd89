#!/usr/bin/env bash
# Installs what is missing, builds, draws a labelled sample, trains on it, evaluates and predicts: all in runs/demo.
set -euo pipefail
cd "$(dirname "$0")"
source cmake/packages.sh

demo=runs/demo
size=48
epochs=10

say() { printf '\n== %s\n' "$*"; }
run() {
  printf '$ %s\n' "$*"
  "$@"
}

say "Installing and building"
install_packages "${facet_packages[@]}"
configure_options
cmake --preset release -DBUILD_TESTING=OFF "${configure[@]}" >/dev/null
cmake --build --preset release --target facet_app
export PATH="$PWD/build/release/apps/facet:$PATH"
rm -rf "$demo"
mkdir -p "$demo"

say "Drawing a sample: abstract figures with three labels each"
run facet synth "$demo/sample" --train 4000 --validation 800 --size "$size"

say "Training the reference model at ${size}x${size}"
run facet train --train "$demo/sample/train.csv" --validation "$demo/sample/validation.csv" \
  --size "$size" --epochs "$epochs" --lr 2e-4 --out "$demo/run"

say "Evaluating the best checkpoint"
run facet evaluate "$demo/run" --data "$demo/sample/validation.csv"

say "Predicting"
mapfile -t images < <(awk -F, -v folder="$demo/sample/" 'NR > 1 && NR < 5 { print folder $1 }' "$demo/sample/validation.csv")
run facet predict "$demo/run" "${images[@]}" --csv "$demo/predictions.csv"
cut -d, -f1-7 "$demo/predictions.csv" # the classes; each one's probability follows in the file
