#!/usr/bin/env bash
# For a GPU machine that reaches no package archive: unpacks into .deps/ what the build needs there
# beyond a compiler, meson, ninja and CUDA (headers, libraries, pkg-config files; about 12 MiB).
# Run it on a Debian machine of the same architecture, copy the tree with .deps/ to the other, and
# run tests/run.sh --cuda there.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages="libfmt-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libjpeg62-turbo-dev
  libspng-dev libzip-dev zlib1g-dev doctest-dev libeigen3-dev pkgconf-bin libpkgconf3
  libfmt9 libssl3 libspng0 libzip4 libbz2-1.0 libtomlplusplus3 libjpeg62-turbo zlib1g"
rm -rf .deps
mkdir -p .deps/deb
(cd .deps/deb && apt-get download -q $packages 2>/dev/null)
for deb in .deps/deb/*.deb; do dpkg -x "$deb" .deps; done
rm -rf .deps/deb .deps/usr/share/doc .deps/usr/include/eigen3/unsupported
du -sh .deps
