#!/bin/sh
# Installs the programs that tests run and this machine lacks, Prometheus and Alertmanager, from Debian's packages. Where
# that would need a password or is not possible, it says what to do in one line and ends with status 2.
set -u

has() { command -v "$1" >/dev/null 2>&1; }
refuse() {
  echo "the tests need Prometheus and Alertmanager: $1" >&2
  exit 2
}

packages=
{ has prometheus && has promtool; } || packages=prometheus
{ has amtool && { has alertmanager || has prometheus-alertmanager; }; } || packages="$packages prometheus-alertmanager"
packages=${packages# }
[ -n "$packages" ] || exit 0

has apt-get || refuse "install them with prometheus, promtool, alertmanager and amtool on PATH, or run only: make unit"
by_hand="apt-get update; apt-get install --no-install-recommends $packages"
if [ "$(id -u)" = 0 ]; then
  as_root=
elif has sudo && sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  refuse "run as root: $by_hand"
fi

echo "installing Debian's packages (once): $packages"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null \
  || refuse "apt-get failed; correct that and run as root: $by_hand"
# The packages start their programs as services at ports that docker-compose.yml uses; the tests start their own.
if [ -d /run/systemd/system ]; then
  $as_root systemctl disable --quiet --now $packages
fi
exit 0
