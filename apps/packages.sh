# The Debian packages that building and testing need, and how to install those that are missing.
# Sourced by apps/quickstart.sh and tests/run.sh.
BUILD_PACKAGES="g++ meson ninja-build pkg-config libfmt-dev libcli11-dev libtomlplusplus-dev
  nlohmann-json3-dev libjpeg-dev libspng-dev libzip-dev zlib1g-dev libutf8proc-dev
  libeigen3-dev"
TEST_PACKAGES="doctest-dev libopenmpi-dev openmpi-bin"

install_packages() {
  missing=""
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Please install as root: apt-get install$missing" >&2; return 1; }
    sudo=sudo
  fi
  echo "Installing$missing"
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
