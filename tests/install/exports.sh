#!/usr/bin/env bash
# libfacet exports its public API and nothing of its modules or of the libraries below.
#
#   exports.sh LIBFACET.so
set -euo pipefail
[ "$(readlink "$1")" = "libfacet.so.$(readelf -d "$1" | sed -n 's/.*SONAME.*\[libfacet\.so\.\(.*\)\]/\1/p')" ] ||
  { echo "$1 doesn't lead to the file that its SONAME names"; exit 1; }
symbols=$(nm -DC --defined-only "$1" | cut -d' ' -f3-)
grep -q 'facet::Trainer::run' <<<"$symbols" || { echo "facet::Trainer::run isn't exported"; exit 1; }
modules='base|kernels|onednn|lowering|ops|optim|program|formats|data|synthetic|train|inference|comm'
hidden="facet::($modules)::|facet::([A-Za-z]+::)?[A-Za-z]*State\b"
if grep -E "$hidden|^(dnnl|tbb|hwy|fmt|nlohmann|google|onnx)[A-Za-z0-9_]*::" <<<"$symbols"; then
  echo "the symbols above shouldn't be exported"
  exit 1
fi
