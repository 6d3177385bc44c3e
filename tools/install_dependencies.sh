#!/bin/sh
# Installs what building and testing need from the distribution's packages, if anything is missing.
# OpenCL is there because libdnnl-dev's CMake file asks for it, though it only recommends it.
set -eu

packages="g++ cmake ninja-build pkg-config libdnnl-dev ocl-icd-opencl-dev libfmt-dev
  nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libssl-dev libpcre2-dev libutf8proc-dev libgtest-dev libbenchmark-dev"

# cudnn-frontend's headers come from PyPI (cmake/cuda.cmake).
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  python3 -m pip --version >/dev/null 2>&1 || packages="$packages python3-pip"
fi

missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" ||
    missing="$missing $package"
done
[ -z "$missing" ] && exit 0

echo "installing:$missing"
run=""
[ "$(id -u)" -eq 0 ] || run="sudo"
$run apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing
