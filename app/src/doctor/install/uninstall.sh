# shellcheck shell=sh disable=SC2154
umask 022
trap '' HUP PIPE
lock "$S" 60 || return 1

stock() {
    rm -f "$DROPIN"
    # A swap that still waits is over with it.
    rm -f "$S/watch" "$S/confirmed"
    clear_away
    systemctl daemon-reload
}

not_there() {
    ! present "$DROPIN" && [ ! -e "$S/watch" ] && [ "$(starts_next program)" != "$NEW" ] && ! ours "$(running)" &&
        { ! present "$NEW" || [ -n "$(owner "$NEW")" ]; }
}

if is not_there; then
    clear_away
    say result nothing
    return 0
fi
step stock
if [ "$(starts_next program)" = "$NEW" ]; then
    file=$(starts_next file)
    say result kept
    say file "$file"
    say package "$(owner "$file")"
    return 0
fi
systemctl restart llm-llm
if [ -z "$(owner "$NEW")" ]; then rm -f "$NEW"; fi
if is runs not_ours; then
    say result removed
else
    say result stopped
    say why "$(systemctl status llm-llm --no-pager 2>&1 | tail -n 4)"
fi
