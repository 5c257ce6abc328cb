#!/bin/sh
# Installs BUILD into a folder of its own, then builds and runs a program against that, as a user
# would. Usage: install.sh BUILD SOURCE
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR=$work meson install -C "$1" --no-rebuild --quiet
pc=$(find "$work" -name nextgrad.pc)
cp "$2/tests/examples/first.cpp" "$work/"
cd "$work"
export PKG_CONFIG_PATH="$(dirname "$pc")"
prefix=$work$(pkg-config --variable=prefix nextgrad)
# shellcheck disable=SC2046
c++ -O1 first.cpp -o first $(pkg-config --define-variable=prefix="$prefix" --static --cflags --libs nextgrad)
./first
"$prefix/bin/segnext" --version | head -1
