# Debian's packages for facet, and how test.sh, demo.sh and .ci/run install them. Sourced by those; it runs nothing.
# shellcheck shell=bash disable=SC2034 # the lists are used by those

facet_packages=(g++ cmake ninja-build pkg-config libdnnl-dev libtbb-dev libjpeg62-turbo-dev libpng-dev libwebp-dev
  libboost-program-options-dev nlohmann-json3-dev libfmt-dev libhwloc-dev libhwy-dev libprotobuf-dev protobuf-compiler
  libonnx-dev libzip-dev libopenmpi-dev openmpi-bin
  ocl-icd-opencl-dev) # OpenCL's for CMake's sake alone: Debian 12's dnnl-config.cmake wants it
facet_test_packages=(doctest-dev python3 libturbojpeg0-dev
  zsh groff-base) # what reads the completion script and the man pages
facet_format_packages=(clang-format) # what the form of the code is checked with, where it is of the version that decides
facet_peer_packages=(python3-torch python3-torchvision # PyTorch, which the ops and the whole model are held against
  python3-pil # Pillow, which decoding and resizing are held against
  python3-onnx libopencv-dnn-dev) # what checks and runs the ONNX files that are written

# install_packages PACKAGE...: by apt, those that aren't there; where that can't be done, says what is needed and goes on.
install_packages() {
  local package missing=() sudo=()
  if ! command -v apt-get >/dev/null; then
    echo "facet: no apt here; needed, under Debian's names: $*"
    return
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "facet: missing, and neither root nor sudo to install them: ${missing[*]}"
      return
    fi
    if ! sudo -v; then
      echo "facet: missing, and sudo isn't allowed to install them: ${missing[*]}"
      return
    fi
    sudo=(sudo)
  fi
  echo "facet: installing ${missing[*]}"
  apt_get update || echo "facet: apt-get update failed, the lists that are there are used: $apt_error"
  apt_get install -y --no-install-recommends "${missing[@]}" && return
  local failed=() reasons=() # one that can't be had keeps apt from installing any: each on its own then
  for package in "${missing[@]}"; do
    if [[ $apt_error == *"$apt_locked"* ]]; then
      failed+=("$package")
    elif ! apt_get install -y --no-install-recommends "$package"; then
      failed+=("$package")
      reasons+=("$apt_error")
    fi
  done
  [ ${#failed[@]} -gt 0 ] || return 0
  echo "facet: could not be installed: ${failed[*]}: ${reasons[0]:-$apt_error}"
}

# apt_get ARGUMENT...: as root, or by the words in install_packages' `sudo`. Waits up to five minutes for another apt that
# is at work; sets `apt_error` to the first error's line where it fails.
apt_locked="Could not get lock"
apt_get() {
  local deadline=$((SECONDS + 300))
  apt_error=""
  # The timeout is of dpkg's lock alone: those of the lists and of the archives make apt-get fail at once.
  until apt_error=$("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
    apt-get -qq -o DPkg::Lock::Timeout=300 "$@" 2>&1 >/dev/null); do
    if [[ $apt_error != *"$apt_locked"* || $SECONDS -ge $deadline ]]; then
      apt_error=$(grep -m1 '^E:' <<<"$apt_error" || head -n1 <<<"$apt_error")
      return 1
    fi
    sleep 5
  done
}

# configure_options: sets `configure` to the options of cmake that depend on the machine and the environment. With
# FACET_UNITY_BUILD, sources of a module are compiled together; with FACET_WERROR, a warning fails the build.
configure_options() {
  configure=(-DFACET_TEST_FACES="${FACET_TEST_FACES:-}" -DFACET_TEST_FAIRFACE="${FACET_TEST_FAIRFACE:-}")
  [ -z "${FACET_UNITY_BUILD:-}" ] || configure+=(-DCMAKE_UNITY_BUILD=ON)
  [ -z "${FACET_WERROR:-}" ] || configure+=(-DFACET_WERROR=ON)
  if command -v ccache >/dev/null; then
    configure+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
}
