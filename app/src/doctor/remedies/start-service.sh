# shellcheck shell=sh disable=SC2154
# Starts a service that is not running.

backup() {
    put "$(systemctl is-active "$SERVICE" || true)" "$B/state"
}

change() {
    systemctl restart "$SERVICE"
}

verify() {
    systemctl is-active --quiet "$SERVICE"
}

restored() {
    now=$(systemctl is-active "$SERVICE")
    [ "$now" = "$(cat "$B/state")" ] || case $now in active | activating | reloading) false ;; esac
}

restore() {
    restored || systemctl stop "$SERVICE"
}
