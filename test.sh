#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test; the last lines are CTest's summary.
#
#   ./test.sh [CTEST-OPTION...]      as in: ./test.sh -R base
#
# FACET_TEST_FACES and FACET_TEST_FAIRFACE name the folders with real data; unset, the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")"
source cmake/packages.sh

install_packages "${facet_packages[@]}" "${facet_test_packages[@]}" "${facet_peer_packages[@]}" "${facet_format_packages[@]}"
configure_options
cmake --preset release -DBUILD_TESTING=ON "${configure[@]}"
cmake --build --preset release
ctest --preset release --parallel "$(nproc)" "$@"
