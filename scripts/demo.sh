#!/bin/sh
# The story, on a private host: a namespace comes up, reaches the outside world by name, and goes again.
# Nothing of this machine is touched, and no packet leaves it.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/target/debug:$PATH
export PATH

if [ "${1-}" != inside ]; then
    exec netform sandbox -- "$0" inside
fi

show() {
    if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
        printf '\n\033[1m$ %s\033[0m\n' "$*"
    else
        printf '\n$ %s\n' "$*"
    fi
    "$@"
}

echo 'This is a private host, with an uplink ens33 and a small internet behind it.'
show netform plan -f specs/breezyfrost.yaml
show netform apply -f specs/breezyfrost.yaml
show netform exec breezyfrost -- ping -c 1 198.51.100.10
show netform exec breezyfrost -- bash -c '
    exec 3<>/dev/tcp/www.example.test/80
    printf "GET / HTTP/1.0\r\n\r\n" >&3
    cat <&3'
show netform plan -f specs/breezyfrost.yaml --detailed-exitcode
show netform destroy breezyfrost --yes
show ip netns list
