#!/usr/bin/env bash
# Builds and runs a program against an installed facet, as pkg-config says.
#
#   pkg_config.sh COMPILER PKG-CONFIG LIBRARY-FOLDER MAIN.cpp PROGRAM
set -euo pipefail
export PKG_CONFIG_PATH="$3/pkgconfig"
eval "flags=($("$2" --cflags --libs facet))" # its output is quoted for a shell
"$1" -std=c++20 "$4" "${flags[@]}" -Wl,-rpath,"$3" -o "$5"
"$5"
