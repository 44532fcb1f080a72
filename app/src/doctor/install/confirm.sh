# shellcheck shell=sh disable=SC2154
trap '' HUP PIPE
lock "$S" 60 || return 1
if [ "$(token "$S/watch")" = "$TOKEN" ]; then
    mv -fT "$S/watch" "$S/confirmed"
    clear_away
    sync "$S"
    say result confirmed
elif [ -e "$S/watch" ]; then say result other
elif [ "$(token "$S/confirmed")" = "$TOKEN" ]; then say result confirmed
else
    say result late
    say confirmed "$(token "$S/confirmed")"
fi
