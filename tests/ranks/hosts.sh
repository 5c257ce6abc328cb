#!/usr/bin/env bash
# Two hosts made of network namespaces, with a wire between them of a given speed, and a command run
# by mpirun over both, one rank a host (as root; Debian's iproute2).
#   tests/ranks/hosts.sh GBIT COMMAND...     0: as fast as the machine is
#   tests/ranks/hosts.sh 1 build/apps/segnext bench --ranks --threads 1 --size 256
# CUT=SECONDS takes the wire away after so long.
set -euo pipefail
gbit=$1; shift
a=ng-a-$$ b=ng-b-$$
agent=$(mktemp)
hosts=/etc/netns
end() {
  ip netns del $a 2>/dev/null || true; ip netns del $b 2>/dev/null || true
  rm -rf "$agent" $hosts/$a $hosts/$b
}
trap end EXIT
ip netns add $a; ip netns add $b
ip link add wire-a netns $a type veth peer name wire-b netns $b
for side in a b; do
  host=${!side} address=10.77.0.$([ $side = a ] && echo 1 || echo 2)
  mkdir -p $hosts/$host
  printf '127.0.0.1 localhost\n10.77.0.1 %s\n10.77.0.2 %s\n' $a $b >$hosts/$host/hosts
  ip -n $host address add $address/24 dev wire-$side
  ip -n $host link set wire-$side up
  ip -n $host link set lo up
  [ "$gbit" = 0 ] || tc -n $host qdisc add dev wire-$side root tbf rate "${gbit}gbit" burst 1mb latency 50ms
done
# How mpirun reaches the other host: a namespace of names beside that of the network.
cat >"$agent" <<'AGENT'
#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"
AGENT
chmod +x "$agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ -n "${CUT:-}" ]; then (sleep "$CUT"; ip -n $a link set wire-a down) & fi
code=0
ip netns exec $a unshare --uts sh -c 'hostname $0; exec "$@"' $a \
  mpirun --mca plm_rsh_agent "$agent" --mca plm_rsh_no_tree_spawn 1 --mca btl_tcp_if_include 10.77.0.0/24 \
  --mca oob_tcp_if_include 10.77.0.0/24 --bind-to none -host $a:1,$b:1 -n 2 "$@" || code=$?
exit $code
